"""What is wrong with the options of ``embedtrain augsbert``, and which of them have no effect."""

import logging
import os

import pandas as pd

from embedtrain.errors import Problems, UserError
from embedtrain.mining.shares import check_strategies, read_strategies, strategy_names
from embedtrain.mining.strategies import need_embeddings
from embedtrain.pipelines.augsbert.members import candidates_of, kinds_of, learns_batches
from embedtrain.pipelines.augsbert.options import DISTILLATION, AugSBERTOptions
from embedtrain.pipelines.checks import noting

logger = logging.getLogger(__name__)


def check_options(options: AugSBERTOptions, problems: Problems) -> None:
    """Note every value that is out of range and every pair of options that contradict each other."""
    _check_values(options, problems)
    _check_strategies(options, problems)
    _check_teacher(options, problems)
    _check_thresholds(options, problems)
    for group in ("teacher_training", "bi_encoder_training", "student", "distillation"):
        getattr(options, group).check(group.replace("_", "-"), problems)
    _check_files(options, problems)


def warn_without_effect(options: AugSBERTOptions) -> None:
    """Say which options have no effect, given the others."""
    default, warn = AugSBERTOptions, logger.warning
    kinds = kinds_of(options)
    if options.teacher_kind not in ("ensemble", "auto") and options.teacher_members is not None:
        warn("--teacher-members has no effect with --teacher %s", options.teacher)
    if "cross-encoder" not in kinds:
        for option in ("teacher_start", "teacher_pooling"):
            if getattr(options, option) != getattr(default, option):
                warn("--%s has no effect: no cross-encoder is trained", option.replace("_", "-"))
    elif options.teacher_start == "student" and options.teacher_base and "bi-encoder" not in kinds:
        warn("--teacher-base has no effect: the cross-encoder starts from the student's weights")
    if options.teacher_average == "ranks" and kinds in (("cross-encoder",), ("bi-encoder",)):
        if options.teacher_seeds == 1:
            warn("--teacher-average ranks has no effect: there is one teacher")
        elif kinds == ("cross-encoder",) and options.calibration == "auto":
            warn("--teacher-average ranks calibrates the mean of the cross-encoders' ranks, too")
    if kinds == ("bi-encoder",) and options.teacher_base in (None, options.base):
        warn(
            "--teacher bi-encoder with the student's own base: it can hardly know more than the student; "
            "a larger --teacher-base is what it is for"
        )
    # Which teacher it will be, and with it what students learn, may only be known when dev has chosen.
    batches = {learns_batches(options, candidate.members) for candidate in candidates_of(options)}
    if batches == {True}:
        for option in ("calibration", "teacher_average"):
            if getattr(options, option) != getattr(default, option):
                warn(
                    "--%s changes the scores that are shown, not what students learn: that is every similarity of a "
                    "batch as it is (--silver-targets pairs learns scores)",
                    option.replace("_", "-"),
                )
    elif options.calibration == "none" and kinds != ("cross-encoder",):
        warn("--calibration none: cosines are not on gold's scale, and students learn the wrong ones as they are")
    names = strategy_names(read_strategies(options.strategies, option="--strategies"))
    if options.pairs is not None and "cross-domain" not in names:
        warn("--pairs has no effect: only the strategy cross-domain takes ready pairs")
    searching = need_embeddings(names, ready_pairs=options.pairs is not None)
    if options.search_model != default.search_model and not searching:
        warn("--search-model has no effect: no strategy searches among embeddings")
    schedule = options.silver_schedule or ("silver-then-gold" if batches == {True} else "mixed")
    if schedule == "silver-then-gold" and options.silver_weight != default.silver_weight:
        warn("--silver-weight has no effect: silver and gold are not trained on together")
    distils = options.silver_schedule in (None, "silver-then-gold") and True in batches
    if options.distillation != DISTILLATION and not distils:
        warn("--distillation has no effect: the student is not trained on the similarities of batches before gold")
    tuples = options.loss == "mnrl" and options.negative_threshold is not None
    if options.negatives != default.negatives and not tuples:
        warn("--negatives has no effect without --loss mnrl and --negative-threshold")
    if "text" in options.columns and options.unlabeled is None:
        warn("--columns text=%s has no effect without --unlabeled", options.columns["text"])


def check_positives(gold: pd.DataFrame, options: AugSBERTOptions, *, name: str) -> None:
    """Refuse a threshold above which no gold pair is left for the ranking loss.

    Raises:
        UserError: With the highest score there is.
    """
    high = options.positive_threshold
    if options.loss == "mnrl" and high is not None and not (gold["score"] >= high).any():
        raise UserError(
            f"--positive-threshold {high}: no pair of {name} scores that high, and --loss mnrl "
            f"trains on those (the highest is {gold['score'].max():.2f} on the scale from 0 to 1)"
        )


def _check_values(options: AugSBERTOptions, problems: Problems) -> None:
    limit, silver = options.gold_limit, options.silver_limit
    bounds: list[tuple[str, bool, str]] = [
        ("gold_limit", limit is None or limit >= 10, "at least 10"),
        ("top_k", options.top_k >= 1, "at least 1"),
        ("silver_limit", silver is None or silver >= 0, "at least 0 (0: no limit)"),
        ("teacher_seeds", options.teacher_seeds >= 1, "at least 1"),
        ("negatives", options.negatives >= 1, "at least 1"),
        ("silver_confidence", 0 < options.silver_confidence <= 1, "a share above 0 and up to 1"),
        ("silver_weight", options.silver_weight > 0, "above 0"),
        ("seed", options.seed >= 0, "at least 0"),
        ("bootstrap_samples", options.bootstrap_samples >= 100, "at least 100"),
    ]
    for name, holds, expected in bounds:
        if not holds:
            problems.add(f"--{name.replace('_', '-')} is {getattr(options, name)}, expected {expected}")


def _check_strategies(options: AugSBERTOptions, problems: Problems) -> None:
    strategies = noting(problems, lambda: read_strategies(options.strategies, option="--strategies"))
    if strategies is None:
        return
    found = Problems()
    # The number of gold pairs is not known yet; the default limit is far above what shares need.
    check_strategies(strategies, found, limit=options.silver_pairs_at_most(0))
    for problem in found.messages:
        problems.add(f"--strategies: {problem.replace('(--limit)', '(--silver-limit above 0)')}")
    if len(set(options.strategies)) < len(options.strategies):
        problems.add(f"--strategies {' '.join(options.strategies)}: expected each once")


def _check_teacher(options: AugSBERTOptions, problems: Problems) -> None:
    kinds = kinds_of(options)
    single = len(kinds) == 1 and options.teacher_seeds == 1
    if options.teacher_kind in ("ensemble", "auto"):
        listed = " ".join(kinds)
        if not kinds or len(set(kinds)) < len(kinds):
            problems.add(
                f"--teacher-members is '{listed}', expected one or more of cross-encoder, bi-encoder and student, "
                "each once"
            )
        elif kinds == ("student",):
            problems.add("--teacher-members student: the student alone has nothing to teach itself; name a teacher too")
        elif options.teacher_kind == "ensemble" and single:
            problems.add(
                f"--teacher ensemble with the one member {listed}: expected several --teacher-members, or "
                "--teacher-seeds above 1"
            )
    if options.teacher_average == "ranks" and options.calibration == "none" and not single:
        problems.add("--teacher-average ranks with --calibration none: ranks are no scores until they are calibrated")
    if options.silver_targets == "batch" and "cross-encoder" in kinds:
        problems.add(
            "--silver-targets batch needs a teacher that embeds each text, and a cross-encoder scores pairs only; give "
            "--teacher bi-encoder, --teacher ensemble --teacher-members bi-encoder student, or --silver-targets pairs"
        )
    if options.silver_confidence < 1 and single:
        problems.add(
            f"--silver-confidence {options.silver_confidence} keeps the pairs on which several teachers agree, and "
            "there is one; give --teacher ensemble or --teacher-seeds"
        )


def _check_thresholds(options: AugSBERTOptions, problems: Problems) -> None:
    high, low = options.positive_threshold, options.negative_threshold
    for option, value in (("--positive-threshold", high), ("--negative-threshold", low)):
        if value is not None and not 0 <= value <= 1:
            problems.add(f"{option} is {value}, expected a score between 0 and 1 (scores are scaled to that range)")
    if options.loss == "mnrl" and high is None:
        problems.add(
            "--loss mnrl trains on the pairs above a score, and --positive-threshold is not set; "
            "expected for instance --positive-threshold 0.8"
        )
    elif options.loss != "mnrl" and (high is None) != (low is None):
        given, missing = ("positive", "negative") if low is None else ("negative", "positive")
        problems.add(f"--{given}-threshold without --{missing}-threshold: hard labels need both")
    if options.silver_targets == "batch" and options.labels_by_thresholds:
        problems.add(
            "--silver-targets batch with both thresholds: similarities of a batch are learnt as they are, labels of 1 "
            "and 0 are for --silver-targets pairs"
        )
    if high is not None and low is not None and low >= high:
        problems.add(f"--negative-threshold {low} is not below --positive-threshold {high}")


def _check_files(options: AugSBERTOptions, problems: Problems) -> None:
    # os.path answers False where a path may not be looked at; the writing check says so then.
    if os.path.isfile(options.output):
        problems.add(f"--output {options.output}: this is a file, expected a folder")
    for option in ("gold", "dev", "test", "unlabeled", "pairs"):
        given = getattr(options, option)
        if given and os.path.isdir(given) and os.path.abspath(given) == os.path.abspath(options.output):
            problems.add(f"--output {options.output}: this is the input of --{option}, expected a folder of its own")
