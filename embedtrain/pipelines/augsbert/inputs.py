"""What a pipeline reads before it starts: tables, models and choices, with every mistake shown together."""

import logging
from dataclasses import dataclass

import pandas as pd

from embedtrain.data import POSITIVE_PAIRS, SENTENCES, read_scored_pairs, read_sentences, read_table_of
from embedtrain.errors import Problems
from embedtrain.mining.pair_files import PAIRS
from embedtrain.models import Choice, ModelSource, choose_device, choose_precision, resolve_model
from embedtrain.pipelines.augsbert.checks import check_options, check_positives, warn_without_effect
from embedtrain.pipelines.augsbert.options import AugSBERTOptions
from embedtrain.pipelines.checks import check_tables, noting

logger = logging.getLogger(__name__)

# Of tables that are not scored pairs.
OTHER_COLUMNS = (*SENTENCES.columns, *POSITIVE_PAIRS.columns)


@dataclass(frozen=True)
class Inputs:
    """Everything from outside that a run of the pipeline depends on.

    Attributes:
        gold: Scored pairs to train on.
        dev: Scored pairs that choose; None where they are to be held out of gold.
        test: Scored pairs that judge; None where they are to be held out of gold.
        sentences: Texts to make pairs of.
        ready: Unlabelled pairs, ``sentence1`` and ``sentence2``, or None.
        base: What the students start from.
        teacher_base: What the teachers start from.
        device: Where to compute.
        precision: Of matrix products.
    """

    gold: pd.DataFrame
    dev: pd.DataFrame | None
    test: pd.DataFrame | None
    sentences: pd.DataFrame
    ready: pd.DataFrame | None
    base: ModelSource
    teacher_base: ModelSource
    device: Choice
    precision: Choice


def collect_inputs(options: AugSBERTOptions) -> Inputs:
    """Check the options, read the tables and find the models; nothing is loaded yet.

    Raises:
        UserError: With every problem of every option, file and model at once.
    """
    problems = Problems()
    check_options(options, problems)

    def pairs(source: str) -> pd.DataFrame | None:
        # What no table has is left in, so that the reader names it.
        columns = {name: found for name, found in options.columns.items() if name not in OTHER_COLUMNS}
        return noting(problems, lambda: read_scored_pairs(source, columns=columns, score_range=options.score_range))

    def ready_pairs(source: str) -> pd.DataFrame:
        kinds = [PAIRS, POSITIVE_PAIRS]
        names = {name: found for name, found in options.columns.items() if any(kind.may_hold(name) for kind in kinds)}
        table, _ = read_table_of(source, kinds=kinds, columns=names)
        return table.set_axis(list(PAIRS.columns), axis="columns")

    gold = pairs(options.gold)
    dev, test = (None if source is None else pairs(source) for source in (options.dev, options.test))
    sentences: pd.DataFrame | None = pd.DataFrame({"text": pd.Series(dtype="str")})
    if options.unlabeled is not None:
        source, text = options.unlabeled, options.columns.get("text")
        sentences = noting(problems, lambda: read_sentences(source, columns={"text": text} if text else None))
    ready: pd.DataFrame | None = None
    if options.pairs is not None:
        pairs_source = options.pairs
        ready = noting(problems, lambda: ready_pairs(pairs_source))
    base = noting(problems, lambda: resolve_model(options.base))
    teacher_name = options.teacher_base
    teacher_base = noting(problems, lambda: resolve_model(teacher_name)) if teacher_name else base
    device = noting(problems, lambda: choose_device(options.device))
    given = {options.gold: gold, options.dev: dev, options.test: test}
    noting(problems, check_tables, {str(name): table for name, table in given.items() if table is not None})
    if gold is not None:
        noting(problems, check_positives, gold, options, name=options.gold)
    problems.raise_if_any()
    # Nothing is None past this point: each attempt either gave a value or noted a problem.
    assert gold is not None
    assert sentences is not None
    assert base is not None
    assert teacher_base is not None
    assert device is not None
    if options.gold_limit is not None and options.gold_limit >= len(gold):
        logger.warning("--gold-limit %d has no effect: %s has %d pairs", options.gold_limit, options.gold, len(gold))
    warn_without_effect(options)
    precision = choose_precision(device.name, options.precision)
    return Inputs(gold, dev, test, sentences, ready, base, teacher_base, device, precision)
