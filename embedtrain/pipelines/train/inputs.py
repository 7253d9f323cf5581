"""What ``embedtrain train`` reads before it starts: tables with their losses, models and choices."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from embedtrain.data import read_table_of
from embedtrain.data.schema import (
    CLASSIFIED_PAIRS,
    LABELLED_PAIRS,
    LABELLED_SENTENCES,
    POSITIVE_PAIRS,
    SCORED_PAIRS,
    Kind,
)
from embedtrain.errors import Problems, UserError
from embedtrain.files import read_json
from embedtrain.models import Choice, ModelSource, choose_device, choose_precision, resolve_model
from embedtrain.pipelines.checks import MIN_PAIRS, check_tables, noting
from embedtrain.pipelines.train.checks import check_losses, check_options, warn_without_effect
from embedtrain.pipelines.train.options import TrainOptions
from embedtrain.pipelines.train.searching import DevSearch, has_dev_search, read_dev_search, tell_costs
from embedtrain.training.loss_choice import LOSSES, choose_loss, likely_kinds

logger = logging.getLogger(__name__)

# What --dev may hold, each with its metric: Spearman, average precision, MRR.
DEV_KINDS = (SCORED_PAIRS, LABELLED_PAIRS, POSITIVE_PAIRS)
ZERO_OR_ONE = {"0": 0, "1": 1, "False": 0, "True": 1}


@dataclass(frozen=True)
class TrainingTable:
    """One table of training rows and what is learnt from it.

    Attributes:
        source: Where it was read from, which is how messages call it.
        kind: What it holds.
        loss: Short name of its loss.
        rows: The rows as they were read; classes as whole numbers from 0.
        classes: The names of those classes.
    """

    source: str
    kind: Kind
    loss: str
    rows: pd.DataFrame
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrainInputs:
    """Everything from outside that a training depends on."""

    tables: list[TrainingTable]
    dev: pd.DataFrame | None
    test: pd.DataFrame | None
    base: ModelSource
    guide: ModelSource | None
    device: Choice
    precision: Choice
    search: DevSearch | None = None

    @property
    def holds_out(self) -> bool:
        """Whether dev is held out of the training data."""
        return self.dev is None and self.search is None


def collect_train_inputs(options: TrainOptions) -> TrainInputs:
    """Check the options, read the tables, choose their losses and find the models; nothing is loaded yet.

    Raises:
        UserError: With every problem of every option, file, loss and model at once.
    """
    problems = Problems()
    check_options(options, problems)
    asked = list(zip(options.data, options.asked_losses(), strict=True))
    tables = [
        noting(problems, read_training_table, source, loss=loss, options=options)
        for source, loss in asked
        if not source.lower().endswith(".txt")
    ]
    search = noting(problems, read_dev_search, options) if has_dev_search(options) else None
    dev = None if has_dev_search(options) else options.dev
    measured = {
        name: noting(problems, _read_pairs, source, options, kinds)
        for name, source, kinds in (("dev", dev, DEV_KINDS), ("test", options.test, DEV_KINDS[:1]))
        if source is not None
    }
    base = noting(problems, lambda: resolve_model(options.base))
    guide_name = options.guide
    guide = noting(problems, lambda: resolve_model(guide_name)) if guide_name is not None else None
    device = noting(problems, lambda: choose_device(options.device))
    read = [table for table in tables if table is not None]
    losses = [table.loss for table in read] if len(read) == len(asked) else [n for _, n in asked if n in LOSSES]
    check_losses(options, [loss for loss in losses if loss is not None], problems)
    if base is not None:
        _check_lengths(options, base, problems)
    pairs = {name: table for name, table in measured.items() if table is not None}
    scored = {f"--{name} {getattr(options, name)}": table for name, table in pairs.items() if "score" in table}
    noting(problems, check_tables, scored)
    if "dev" in pairs and "score" not in pairs["dev"]:
        noting(problems, _check_choosing, f"--dev {options.dev}", pairs["dev"])
    noting(problems, _check_dev, options, [table for table in tables[:1] if table is not None])
    problems.raise_if_any()
    # Nothing is None past this point: each attempt either gave a value or noted a problem.
    assert base is not None
    assert device is not None
    for table in read:
        said = "asked for" if options.loss else f"the first choice for {table.kind.name}"
        columns = ", ".join(map(str, table.rows.columns))
        logger.info(
            "%s: %d %s (%s), loss %s (%s)", table.source, len(table.rows), table.kind.name, columns, table.loss, said
        )
    _warn_about_reading(options, read, pairs)
    columns_read = [list(rows.columns) for rows in (*(table.rows for table in read), *pairs.values())]
    warn_without_effect(options, [table.loss for table in read], columns_read)
    if search is not None:
        tell_costs(search, options)
    precision = choose_precision(device.name, options.precision)
    return TrainInputs(read, pairs.get("dev"), pairs.get("test"), base, guide, device, precision, search)


def read_training_table(source: str, *, loss: str | None, options: TrainOptions) -> TrainingTable:
    """Read a table, find out what it holds, and choose its loss.

    Raises:
        UserError: It cannot be read, holds what the loss does not fit, or has too few classes.
    """
    if loss is not None and loss not in LOSSES:
        # Said once already, among the options.
        loss = None
    kinds = likely_kinds(loss)
    rows, kind = read_table_of(source, kinds=kinds, columns=options.columns, score_range=options.score_range)
    if kind is CLASSIFIED_PAIRS and set(rows["label"]) <= set(ZERO_OR_ONE):
        kind, rows = LABELLED_PAIRS, rows.assign(label=rows["label"].map(ZERO_OR_ONE).astype("int64"))
    chosen = choose_loss(loss, kind=kind, columns=list(rows.columns), source=source)
    table = TrainingTable(source, kind, chosen, rows)
    return _with_numbered_classes(table) if kind.has_classes else table


def embedding_length(source: ModelSource) -> int | None:
    """Length of a model's embeddings as its files state it, or None where they do not."""
    folder = Path(source.location)
    parts = [""]
    if (folder / "modules.json").is_file():
        parts = [module.get("path", "") for module in read_json(folder / "modules.json")]
    length: int | None = None
    for part in parts:
        if (folder / part / "config.json").is_file():
            length = _stated_length(read_json(folder / part / "config.json")) or length
    return length


def _stated_length(config: Mapping[str, Any]) -> int | None:
    for name in ("out_features", "hidden_size", "dim"):
        if isinstance(config.get(name), int):
            return int(config[name])
    pooled = config.get("embedding_dimension", config.get("word_embedding_dimension"))
    if not isinstance(pooled, int):
        return None
    modes = config.get("pooling_mode")
    several = (
        len(modes) if isinstance(modes, list) else sum(v is True for k, v in config.items() if "pooling_mode_" in k)
    )
    return pooled * max(1, several)


def kind_of_dev(table: pd.DataFrame) -> Kind:
    """Which of ``DEV_KINDS`` a table is."""
    return next(kind for kind in DEV_KINDS if set(kind.columns) <= set(table.columns))


def _read_pairs(source: str, options: TrainOptions, kinds: tuple[Kind, ...]) -> pd.DataFrame:
    known = {name for kind in kinds for name in kind.columns}
    columns = {name: found for name, found in options.columns.items() if name in known}
    return read_table_of(source, kinds=kinds, columns=columns, score_range=options.score_range)[0]


def _check_choosing(label: str, table: pd.DataFrame) -> None:
    """Refuse pairs without scores that could not tell a better model from a worse one."""
    if len(table) < MIN_PAIRS:
        raise UserError(f"{label}: {len(table)} pairs, expected at least {MIN_PAIRS}")
    if "label" in table and table["label"].nunique() < 2:
        raise UserError(f"{label}: every label is {table['label'].iloc[0]}, expected pairs of label 0 and of label 1")


def _with_numbered_classes(table: TrainingTable) -> TrainingTable:
    labels = table.rows["label"]
    counts = labels.value_counts()
    if len(counts) == 1:
        raise UserError(f"{table.source}: every row has the label '{counts.index[0]}', expected at least two classes")
    if table.kind is LABELLED_SENTENCES and counts.iloc[0] < 2:
        raise UserError(
            f"{table.source}: each of the {len(counts)} classes has a single text, expected at least two texts "
            "in a class: the loss compares texts of one class"
        )
    names = sorted(counts.index, key=_in_order)
    number = {name: place for place, name in enumerate(names)}
    return replace(table, rows=table.rows.assign(label=labels.map(number).astype("int64")), classes=tuple(names))


def _in_order(name: str) -> tuple[int, str]:
    return (int(name), "") if name.lstrip("-").isdecimal() and name.isascii() else (0, name)


def _check_lengths(options: TrainOptions, base: ModelSource, problems: Problems) -> None:
    length = embedding_length(base)
    longer = [dim for dim in options.matryoshka if length is not None and dim > length]
    if longer:
        problems.add(
            f"--matryoshka {' '.join(map(str, options.matryoshka))}: the embeddings of {options.base} have {length} "
            f"numbers, expected no more, found {', '.join(map(str, longer))}"
        )


def _check_dev(options: TrainOptions, tables: list[TrainingTable]) -> None:
    if options.dev is None and tables and tables[0].kind is CLASSIFIED_PAIRS:
        raise UserError(
            f"{tables[0].source}: what was learnt from classified pairs cannot be measured by a cosine; "
            "give scored pairs with --dev"
        )


def _warn_about_reading(
    options: TrainOptions, tables: list[TrainingTable], measured: Mapping[str, pd.DataFrame]
) -> None:
    scored = any("score" in table for table in measured.values()) or any(table.kind is SCORED_PAIRS for table in tables)
    if not scored and options.score_range != TrainOptions.score_range:
        logger.warning("--score-range has no effect: no table has scores")
    used = {str(column) for table in tables for column in table.rows.columns}
    used |= {str(column) for table in measured.values() for column in table.columns}
    for name in options.columns:
        if name not in used:
            logger.warning("--columns %s=%s has no effect: no table is read with it", name, options.columns[name])
