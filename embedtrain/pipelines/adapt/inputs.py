"""What an adaptation reads before it starts: text, pairs, the model and choices, with every mistake shown together."""

import logging
from dataclasses import dataclass

import pandas as pd

from embedtrain.data import LABELLED_PAIRS, POSITIVE_PAIRS, SCORED_PAIRS, Kind, read_sentences, read_table_of
from embedtrain.errors import Problems, UserError
from embedtrain.models import Choice, ModelSource, choose_device, choose_precision, resolve_model
from embedtrain.pipelines.adapt.checks import check_options, warn_without_effect
from embedtrain.pipelines.adapt.options import AdaptOptions
from embedtrain.pipelines.checks import check_tables, noting
from embedtrain.training.loss_choice import choose_loss

logger = logging.getLogger(__name__)

# Of two kinds of which one has all the columns of the other, the wider one comes first.
PAIR_KINDS = (SCORED_PAIRS, LABELLED_PAIRS, POSITIVE_PAIRS)
# Some are held out, and a batch is to hold several.
MIN_SENTENCES = 20


@dataclass(frozen=True)
class Pairs:
    """A table of pairs and what it holds."""

    table: pd.DataFrame
    kind: Kind


@dataclass(frozen=True)
class AdaptInputs:
    """Everything from outside that an adaptation depends on.

    Attributes:
        sentences: The raw text, ``text``.
        gold: Pairs to train on, or None.
        dev: Pairs that choose; None where they are held out of gold, or where there is nothing to choose by.
        test: Pairs that judge, or None.
        loss: Short name of the loss on gold; None without gold.
        base: The encoder.
        device: Where to compute.
        precision: Of matrix products.
    """

    sentences: pd.DataFrame
    gold: Pairs | None
    dev: Pairs | None
    test: Pairs | None
    loss: str | None
    base: ModelSource
    device: Choice
    precision: Choice


def collect_adapt_inputs(options: AdaptOptions) -> AdaptInputs:
    """Check the options, read text and pairs and find the model; nothing is loaded yet.

    Raises:
        UserError: With every problem of every option, file and model at once.
    """
    problems = Problems()
    check_options(options, problems)
    text = options.columns.get("text")
    sentences = noting(problems, lambda: read_sentences(options.sentences, columns={"text": text} if text else None))
    if sentences is not None and len(sentences) < MIN_SENTENCES:
        problems.add(
            f"{options.sentences}: {len(sentences)} sentence{'' if len(sentences) == 1 else 's'}, expected at least "
            f"{MIN_SENTENCES}, one a line; a domain takes thousands"
        )
    named = {name: getattr(options, name) for name in ("gold", "dev", "test")}
    pairs = {name: noting(problems, _read_pairs, source, options) for name, source in named.items() if source}
    base = noting(problems, lambda: resolve_model(options.base))
    device = noting(problems, lambda: choose_device(options.device))
    gold = pairs.get("gold")
    loss = None
    if gold is not None and not any("--loss" in problem for problem in problems.messages):
        loss = noting(
            problems,
            lambda: choose_loss(
                options.loss, kind=gold.kind, columns=list(gold.table.columns), source=str(options.gold)
            ),
        )
    found = {name: table for name, table in pairs.items() if table is not None}
    scored = {str(named[name]): given.table for name, given in found.items() if given.kind is SCORED_PAIRS}
    noting(problems, check_tables, scored)
    problems.raise_if_any()
    # Nothing is None past this point: each attempt either gave a value or noted a problem.
    assert sentences is not None
    assert base is not None
    assert device is not None
    for name, given in found.items():
        logger.info("%s: %d %s", named[name], len(given.table), given.kind.name)
    if loss is not None:
        logger.info("%s: loss %s (%s)", options.gold, loss, "asked for" if options.loss else "the first choice")
    warn_without_effect(options)
    return AdaptInputs(
        sentences,
        found.get("gold"),
        found.get("dev"),
        found.get("test"),
        loss,
        base,
        device,
        choose_precision(device.name, options.precision),
    )


def _read_pairs(source: str, options: AdaptOptions) -> Pairs:
    columns = {name: found for name, found in options.columns.items() if name != "text"}
    if source.lower().endswith(".txt"):
        raise UserError(f"{source}: expected a table of pairs, found a file of sentences")
    table, kind = read_table_of(source, kinds=PAIR_KINDS, columns=columns, score_range=options.score_range)
    return Pairs(table, kind)
