"""What ``embedtrain mine`` reads before it starts: tables, models and choices, with every mistake shown together."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from embedtrain.data import audit_pairs, audit_sentences, fold_text, read_scored_pairs, read_sentences, read_table_of
from embedtrain.data.findings import AuditReport
from embedtrain.data.schema import LABELLED_PAIRS, POSITIVE_PAIRS, SCORED_PAIRS, Kind
from embedtrain.errors import Problems, UserError
from embedtrain.mining.pair_files import PAIRS
from embedtrain.mining.strategies import NEED_TEACHER, need_embeddings
from embedtrain.models import Choice, ModelSource, choose_device, choose_precision, resolve_model
from embedtrain.models.sharing import processes
from embedtrain.pipelines.checks import noting
from embedtrain.pipelines.label.teachers import Teacher, read_teacher
from embedtrain.pipelines.mine.checks import (
    asked_strategies,
    check_options,
    check_scale,
    warn_about_teachers,
    warn_without_effect,
)
from embedtrain.pipelines.mine.options import MineOptions

logger = logging.getLogger(__name__)

PAIR = list(PAIRS.columns)


@dataclass(frozen=True)
class MineInputs:
    """Everything from outside that a mining depends on; what its mode does not read is empty.

    Attributes:
        sentences: The unlabelled texts, different ones and none blank.
        gold: ``sentence1``, ``sentence2`` and ``score``.
        known: ``sentence1`` and ``sentence2`` of pairs that shall not come out, gold's not among them.
        ready: ``sentence1`` and ``sentence2`` of pairs that were given ready made, or None.
        positives: ``anchor`` and ``positive``.
        scored: ``sentence1``, ``sentence2`` and ``score`` to make tuples of.
        model: What makes embeddings, or None where none are needed.
        teachers: What scores pairs.
        device: Where to compute.
        precision: Of matrix products.
        findings: What the audit of the tables says.
    """

    sentences: list[str]
    gold: pd.DataFrame
    known: pd.DataFrame
    ready: pd.DataFrame | None
    positives: pd.DataFrame
    scored: pd.DataFrame
    model: ModelSource | None
    teachers: list[Teacher]
    device: Choice
    precision: Choice
    findings: list[str] = field(default_factory=list)


def collect_mine_inputs(options: MineOptions) -> MineInputs:
    """Check the options, read the tables and find the models; nothing is loaded yet.

    Raises:
        UserError: With every problem of every option, file and model at once.
    """
    problems = Problems()
    check_options(options, problems)
    mode = options.mode
    reads = _Reader(options)
    sentences: list[str] | None = []
    gold: pd.DataFrame | None = _empty(SCORED_PAIRS)
    positives: pd.DataFrame | None = _empty(POSITIVE_PAIRS)
    scored: pd.DataFrame | None = _empty(SCORED_PAIRS)
    ready: pd.DataFrame | None = None
    known: list[pd.DataFrame | None] = []
    if mode == "tuples":
        scored = noting(problems, lambda: reads.scored_pairs(str(options.scored)))
    else:
        if options.unlabeled is not None:
            unlabeled = options.unlabeled
            sentences = noting(problems, lambda: reads.sentences(unlabeled))
        known = [noting(problems, reads.pairs, source) for source in options.known]
    if mode == "hard-negatives" and options.positives is not None:
        source = options.positives
        positives = noting(problems, lambda: reads.positives(source))
    names = (noting(problems, lambda: asked_strategies(options)) or []) if mode == "pairs" else []
    if mode == "pairs":
        if options.gold is not None:
            gold_source = options.gold
            gold = noting(problems, lambda: reads.scored_pairs(gold_source))
        if options.pairs is not None and "cross-domain" in names:
            pairs_source = options.pairs
            ready = noting(problems, lambda: reads.pairs(pairs_source))
    needs_model = mode == "hard-negatives" or bool(need_embeddings(names, ready_pairs=options.pairs is not None))
    model = noting(problems, lambda: resolve_model(options.model)) if needs_model else None
    asks_teacher = mode == "hard-negatives" or bool(NEED_TEACHER.intersection(names))
    teachers = [noting(problems, read_teacher, name) for name in options.teacher if asks_teacher]
    device = noting(problems, lambda: choose_device(options.device))
    if mode == "pairs":
        check_scale(options, [teacher for teacher in teachers if teacher is not None], problems)
    problems.raise_if_any()
    # Nothing is None past this point: each attempt either gave a value or noted a problem.
    assert sentences is not None
    assert gold is not None
    assert positives is not None
    assert scored is not None
    assert device is not None
    tables = [table for table in known if table is not None]
    inputs = MineInputs(
        sentences=sentences,
        gold=gold,
        known=pd.concat(tables, ignore_index=True) if tables else _empty(PAIRS),
        ready=ready,
        positives=positives,
        scored=scored,
        model=model,
        teachers=[teacher for teacher in teachers if teacher is not None],
        device=device,
        precision=choose_precision(device.name, options.precision),
        findings=reads.findings,
    )
    if mode == "pairs":
        _check_pool(options, inputs, names)
    warn_without_effect(options)
    if asks_teacher:
        warn_about_teachers(options, inputs.teachers)
    if processes() > 1:
        logger.warning("mine works in one process, and the other %d wait for it", processes() - 1)
    return inputs


class _Reader:
    """Reads tables with the columns and the scale that the options name, and keeps what their audit says."""

    def __init__(self, options: MineOptions) -> None:
        self.options = options
        self.findings: list[str] = []

    def sentences(self, source: str) -> list[str]:
        """Different sentences, none of them blank."""
        text = self.options.columns.get("text")
        # Lines of plain text have no columns to name.
        columns = {"text": text} if text and not source.lower().endswith(".txt") else None
        audited = audit_sentences(read_sentences(source, columns=columns), names={"sentences": source})
        self._note(audited.report)
        return audited.sentences["text"].tolist()

    def scored_pairs(self, source: str) -> pd.DataFrame:
        """``sentence1``, ``sentence2`` and ``score``."""
        return read_scored_pairs(
            source, columns=self._columns([SCORED_PAIRS]), score_range=self.options.score_range
        ).reset_index(drop=True)

    def pairs(self, source: str) -> pd.DataFrame:
        """Two sentences, also of a table of positive pairs, whatever else it has."""
        kinds = [PAIRS, POSITIVE_PAIRS]
        table, _ = read_table_of(source, kinds=kinds, columns=self._columns(kinds))
        return table.set_axis(PAIR, axis="columns").reset_index(drop=True)

    def positives(self, source: str) -> pd.DataFrame:
        """``anchor`` and ``positive`` of the pairs that belong together."""
        kinds = [POSITIVE_PAIRS, SCORED_PAIRS, LABELLED_PAIRS]
        table, kind = read_table_of(
            source, kinds=kinds, columns=self._columns(kinds), score_range=self.options.score_range
        )
        if kind is not POSITIVE_PAIRS:
            table = self._above_threshold(table, kind, source)
        elif self.options.positive_threshold is not None:
            logger.warning("--positive-threshold has no effect: %s has no scores", source)
        audited = audit_pairs(table, names={"gold": source})
        self._note(audited.report)
        return audited.gold.reset_index(drop=True)

    def _above_threshold(self, table: pd.DataFrame, kind: Kind, source: str) -> pd.DataFrame:
        threshold = self.options.positive_threshold
        if kind is LABELLED_PAIRS:
            positive = table["label"] == 1
            lacking = f"{source}: no pair has the label 1, and negatives are searched for those"
        elif threshold is None:
            raise UserError(f"{source} has scores: say with --positive-threshold from which on a pair is positive")
        else:
            positive = table["score"] >= threshold
            lacking = (
                f"--positive-threshold {threshold}: no pair of {source} scores that high (the highest is "
                f"{table['score'].max():.2f} on the scale from 0 to 1)"
            )
        if not positive.any():
            raise UserError(lacking)
        logger.info("%s: %d of %d pairs are positive", source, int(positive.sum()), len(table))
        chosen = table.loc[positive, PAIR]
        return chosen.set_axis(list(POSITIVE_PAIRS.columns), axis="columns")

    def _columns(self, kinds: Sequence[Kind]) -> dict[str, str]:
        return {
            name: found for name, found in self.options.columns.items() if any(kind.may_hold(name) for kind in kinds)
        }

    def _note(self, report: AuditReport) -> None:
        self.findings += report.messages


def rows_of(pairs: pd.DataFrame) -> list[tuple[str, str]]:
    """The two texts of each pair."""
    return list(zip(pairs["sentence1"], pairs["sentence2"], strict=True))


def _empty(kind: Kind) -> pd.DataFrame:
    columns = {name: pd.Series(dtype="str") for name in kind.text_columns}
    return pd.DataFrame({**columns, **({kind.number_column: pd.Series(dtype="float64")} if kind.number_column else {})})


def _check_pool(options: MineOptions, inputs: MineInputs, names: Sequence[str]) -> None:
    """Say, or refuse, sentences that all stand in gold."""
    if options.unlabeled is None:
        return
    gold = {fold_text(text) for name in PAIR for text in inputs.gold[name]}
    new = sum(fold_text(text) not in gold for text in inputs.sentences)
    if "cross-domain" in names and options.pairs is None and new < 2:
        raise UserError(
            f"--strategy cross-domain pairs up sentences that gold does not have, and of {len(inputs.sentences)} in "
            f"{options.unlabeled} {'one is' if new else 'none is'} such a one; give sentences of the other domain"
        )
    if not new:
        logger.warning(
            "%s: all %d sentences stand in %s; new pairs are other combinations of gold's own sentences",
            options.unlabeled,
            len(inputs.sentences),
            options.gold,
        )
