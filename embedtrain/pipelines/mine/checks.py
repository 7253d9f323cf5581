"""What is wrong with the options of ``embedtrain mine``, and which of them have no effect."""

import dataclasses
import importlib.util
import logging
import os
from collections.abc import Sequence

from embedtrain.errors import Problems, did_you_mean
from embedtrain.mining.ray_engine import check_ray
from embedtrain.mining.shares import check_strategies, read_strategies, strategy_names
from embedtrain.mining.strategies import MADE_ON_DEMAND, NEED_TEACHER, need_embeddings
from embedtrain.models.prompts import DOCUMENT, QUERY
from embedtrain.models.sharing import processes
from embedtrain.pipelines.checks import check_roles, noting
from embedtrain.pipelines.label.teachers import Teacher
from embedtrain.pipelines.mine.options import MineOptions, Mode

logger = logging.getLogger(__name__)

# The options that not every mode reads, with those that do.
READ_BY: dict[str, tuple[Mode, ...]] = {
    **dict.fromkeys(("gold", "pairs", "strategy", "top_k", "limit", "labelled_pairs", "calibrate"), ("pairs",)),
    **dict.fromkeys(
        ("unlabeled", "known", "model", "teacher", "sigmoid", "search", "engine"), ("pairs", "hard-negatives")
    ),
    **dict.fromkeys(("positives", "prompts", "range_min", "range_max", "max_score", "min_score"), ("hard-negatives",)),
    **dict.fromkeys(("absolute_margin", "relative_margin", "output_scores"), ("hard-negatives",)),
    **dict.fromkeys(("num_negatives", "sampling_strategy", "positive_threshold"), ("hard-negatives", "tuples")),
    **dict.fromkeys(("negative_threshold", "both_orders"), ("tuples",)),
}
COLUMNS = ("text", "sentence1", "sentence2", "score", "label", "anchor", "positive")
SWITCH: dict[Mode, str] = {"hard-negatives": "--hard-negatives", "tuples": "--scored"}


def check_options(options: MineOptions, problems: Problems) -> None:
    """Note every value that is out of range and every pair of options that contradict each other."""
    for name in options.columns:
        if name not in COLUMNS:
            expected = ", ".join(COLUMNS)
            problems.add(
                f"--columns {name}={options.columns[name]}: unknown column '{name}'{did_you_mean(name, COLUMNS)}; "
                f"expected {expected}"
            )
    if options.hard_negatives and options.scored is not None:
        problems.add("--hard-negatives with --scored: one searches for negatives, the other has them scored; give one")
    elif options.mode == "pairs":
        _check_pairs(options, problems)
    elif options.mode == "hard-negatives":
        _check_hard_negatives(options, problems)
    else:
        _check_tuples(options, problems)
    if options.seed < 0:
        problems.add(f"--seed is {options.seed}, expected at least 0")
    for twice in sorted({name for name in options.teacher if options.teacher.count(name) > 1}):
        problems.add(f"--teacher {twice} is given twice")
    if options.engine == "ray":
        noting(problems, check_ray)
        if processes() > 1:
            problems.add("--engine ray under torchrun or accelerate: Ray starts its own workers; use one of them")
    if options.search == "faiss" and importlib.util.find_spec("faiss") is None:
        problems.add("--search faiss needs faiss-cpu, which is not installed: pip install 'embedtrain[faiss]'")
    _check_output(options, problems)


def warn_without_effect(options: MineOptions) -> None:
    """Say which options have no effect in this mode, or with these strategies."""
    for field in dataclasses.fields(options):
        modes = READ_BY.get(field.name)
        if modes is None or options.mode in modes or not _is_given(options, field):
            continue
        place = " or ".join(SWITCH[mode] for mode in modes if mode in SWITCH)
        without = f"without {place}" if options.mode == "pairs" else f"with {SWITCH[options.mode]}"
        logger.warning("%s has no effect %s", _flag(field.name), without)
    if "text" in options.columns and options.unlabeled is None:
        logger.warning("--columns text=%s has no effect without --unlabeled", options.columns["text"])
    if options.mode == "pairs":
        _warn_about_pairs(options)
    elif options.mode == "hard-negatives" and options.range_max is not None:
        wanted = options.rules.num_negatives
        if options.sampling_strategy == "random" and options.range_max - options.range_min == wanted:
            logger.warning("--sampling-strategy random has no effect: of %d candidates all are taken", wanted)


def check_scale(options: MineOptions, teachers: Sequence[Teacher], problems: Problems) -> None:
    """Refuse, or warn of, scores on another scale than gold's where densities are to be compared."""
    if options.calibrate:
        return
    for teacher in teachers:
        if teacher.kind == "bi-encoder":
            logger.warning(
                "teacher %s: a cosine is not on the scale of gold's scores, by which kde draws; give --calibrate",
                teacher.name,
            )
        elif not (teacher.has_sigmoid or options.sigmoid):
            problems.add(
                f"--teacher {teacher.name}: its files ask for raw outputs, which are not on the scale of gold's "
                "scores, by which kde draws: give --sigmoid or --calibrate"
            )


def warn_about_teachers(options: MineOptions, teachers: Sequence[Teacher]) -> None:
    """Say what limits on hard negatives are compared with, and when a sigmoid has no effect."""
    raw = [teacher.name for teacher in teachers if teacher.kind == "cross-encoder" and not teacher.has_sigmoid]
    if options.sigmoid and teachers and not raw:
        logger.warning("--sigmoid has no effect: no teacher's files ask for raw outputs")
    elif options.sigmoid and not teachers:
        logger.warning("--sigmoid has no effect without --teacher")
    if options.mode != "hard-negatives":
        return
    left_raw = [] if options.sigmoid else raw
    for name in left_raw:
        logger.warning(
            "teacher %s: its files ask for raw outputs, with which margins and limits are then compared; --sigmoid "
            "brings them between 0 and 1",
            name,
        )
    if len({(teacher.kind, teacher.name in left_raw) for teacher in teachers}) > 1:
        logger.warning("the teachers' scores are averaged as they are, on scales of their own")


def asked_strategies(options: MineOptions) -> list[str]:
    """The single strategies asked for."""
    return strategy_names(read_strategies(options.strategy))


def _check_pairs(options: MineOptions, problems: Problems) -> None:
    strategies = noting(problems, lambda: read_strategies(options.strategy))
    names = strategy_names(strategies or [])
    if strategies is not None:
        check_strategies(strategies, problems, limit=options.limit)
    for name, least in (("top_k", 1), ("limit", 1), ("labelled_pairs", 1)):
        value = getattr(options, name)
        if value is not None and value < least:
            problems.add(f"{_flag(name)} is {value}, expected at least {least}")
    if options.unlabeled is None and options.gold is None and (options.pairs is None or names != ["cross-domain"]):
        problems.add("there is nothing to make pairs of: give sentences with --unlabeled, or gold pairs with --gold")
    if NEED_TEACHER.intersection(names):
        if not options.teacher:
            problems.add("--strategy kde draws pairs by a teacher's scores: give --teacher MODEL")
        if options.gold is None:
            problems.add("--strategy kde draws pairs with scores spread as gold's: give --gold PAIRS")
        if options.limit is None and options.labelled_pairs is None:
            problems.add("--strategy kde labels eight random pairs for each one wanted: say how many with --limit")
    if "cross-domain" in names and options.pairs is None and options.unlabeled is None:
        problems.add("--strategy cross-domain: give sentences of the other domain with --unlabeled, or --pairs")


def _check_hard_negatives(options: MineOptions, problems: Problems) -> None:
    if options.positives is None:
        problems.add("--hard-negatives without --positives: give the pairs of anchor and positive that need negatives")
    options.rules.check(problems)
    check_roles(options.prompts, (QUERY, DOCUMENT), problems)
    if options.teacher and not options.rules.can_reject:
        problems.add(
            "--teacher has no effect on hard negatives without --relative-margin, --absolute-margin, --max-score or "
            "--min-score"
        )
    high = options.positive_threshold
    if high is not None and not 0 <= high <= 1:
        problems.add(f"--positive-threshold is {high}, expected a score between 0 and 1")


def _check_tuples(options: MineOptions, problems: Problems) -> None:
    high, low = options.positive_threshold, options.negative_threshold
    for name, value in (("positive", high), ("negative", low)):
        if value is None:
            problems.add(f"--scored without --{name}-threshold: two thresholds say what is positive and what negative")
        elif not 0 <= value <= 1:
            problems.add(f"--{name}-threshold is {value}, expected a score between 0 and 1")
    if high is not None and low is not None and low >= high:
        problems.add(f"--negative-threshold {low} is not below --positive-threshold {high}")
    if options.negatives < 0:
        problems.add(f"--num-negatives {options.negatives}: expected 0 or more")


def _check_output(options: MineOptions, problems: Problems) -> None:
    # os.path answers False where a path may not be looked at; the writing check says so then.
    if os.path.isfile(options.output):
        problems.add(f"--output {options.output}: this is a file, expected a folder")
    given: list[tuple[str, str | None]] = [
        (name, getattr(options, name)) for name in ("unlabeled", "gold", "pairs", "positives", "scored", "model")
    ]
    given += [("known", source) for source in options.known] + [("teacher", name) for name in options.teacher]
    for option, source in given:
        if source and os.path.isdir(source) and os.path.abspath(source) == os.path.abspath(options.output):
            problems.add(f"--output {options.output}: this is the input of --{option}, expected a folder of its own")


def _warn_about_pairs(options: MineOptions) -> None:
    names = asked_strategies(options)
    if not NEED_TEACHER.intersection(names):
        _warn_given(options, ("teacher", "sigmoid", "labelled_pairs", "calibrate"), "without --strategy kde")
    if "cross-domain" not in names:
        _warn_given(options, ("pairs",), "without --strategy cross-domain")
    elif options.pairs is None and options.gold is None and not options.known:
        logger.warning("--strategy cross-domain is the same as semantic without --gold: no sentence is left out")
    if not need_embeddings(names, ready_pairs=options.pairs is not None):
        _warn_given(options, ("model", "search"), "with strategies that search no embeddings")
    if options.limit is not None and MADE_ON_DEMAND.issuperset(names):
        _warn_given(options, ("top_k",), "with --limit and strategies that draw at random")


def _warn_given(options: MineOptions, names: Sequence[str], place: str) -> None:
    for field in dataclasses.fields(options):
        if field.name in names and _is_given(options, field):
            logger.warning("%s has no effect %s", _flag(field.name), place)


def _is_given(options: MineOptions, field: "dataclasses.Field[object]") -> bool:
    value = getattr(options, field.name)
    if field.default_factory is not dataclasses.MISSING:
        return bool(value != field.default_factory())
    return bool(value != field.default)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
