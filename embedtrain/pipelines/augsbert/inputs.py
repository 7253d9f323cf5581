"""What a pipeline reads before it starts: tables, models and choices, with every mistake shown together."""

import logging
from dataclasses import dataclass
from functools import partial

import pandas as pd

from embedtrain.data import read_scored_pairs, read_sentences
from embedtrain.errors import Problems, UserError
from embedtrain.models import Choice, ModelSource, choose_device, choose_precision, resolve_model
from embedtrain.pipelines.augsbert.options import AugSBERTOptions
from embedtrain.pipelines.checks import check_tables, noting

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Inputs:
    """Everything from outside that a run of the pipeline depends on."""

    gold: pd.DataFrame
    dev: pd.DataFrame
    test: pd.DataFrame
    sentences: pd.DataFrame
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
    options.check(problems)
    attempt = partial(noting, problems)

    def pairs(source: str) -> pd.DataFrame | None:
        columns = {name: found for name, found in options.columns.items() if name != "text"}
        return attempt(lambda: read_scored_pairs(source, columns=columns, score_range=options.score_range))

    gold, dev, test = pairs(options.gold), pairs(options.dev), pairs(options.test)
    sentences: pd.DataFrame | None = pd.DataFrame({"text": pd.Series(dtype="str")})
    if options.unlabeled is not None:
        source, text = options.unlabeled, options.columns.get("text")
        sentences = attempt(lambda: read_sentences(source, columns={"text": text} if text else None))
    base = attempt(lambda: resolve_model(options.base))
    teacher_name = options.teacher_base
    teacher_base = attempt(lambda: resolve_model(teacher_name)) if teacher_name else base
    device = attempt(lambda: choose_device(options.device))
    problems.raise_if_any()
    # Nothing is None past this point: each attempt either gave a value or noted a problem.
    assert gold is not None
    assert dev is not None
    assert test is not None
    assert sentences is not None
    assert base is not None
    assert teacher_base is not None
    assert device is not None
    check_tables({options.gold: gold, options.dev: dev, options.test: test})
    check_positives(gold, options, name=options.gold)
    if options.gold_limit is not None and options.gold_limit >= len(gold):
        logger.warning("--gold-limit %d has no effect: %s has %d pairs", options.gold_limit, options.gold, len(gold))
    if "text" in options.columns and options.unlabeled is None:
        logger.warning("--columns text=%s has no effect without --unlabeled", options.columns["text"])
    precision = choose_precision(device.name, options.precision)
    return Inputs(gold, dev, test, sentences, base, teacher_base, device, precision)


def check_positives(gold: pd.DataFrame, options: AugSBERTOptions, *, name: str) -> None:
    """Refuse a threshold above which no gold pair is left for the ranking loss.

    Raises:
        UserError: With the highest score there is.
    """
    if options.loss == "mnrl" and not (gold["score"] >= options.positive_threshold).any():
        raise UserError(
            f"--positive-threshold {options.positive_threshold}: no pair of {name} scores that high, and --loss mnrl "
            f"trains on those (the highest is {gold['score'].max():.2f} on the scale from 0 to 1)"
        )
