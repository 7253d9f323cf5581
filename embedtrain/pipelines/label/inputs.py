"""What ``embedtrain label`` reads before it starts: pairs, teachers, tables to measure on, and choices."""

import logging
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa

from embedtrain.data import read_scored_pairs
from embedtrain.data.schema import SCORED_PAIRS
from embedtrain.errors import Problems
from embedtrain.files import sha256_of_file, sha256_of_value
from embedtrain.mining.pair_files import PAIRS, PairFiles
from embedtrain.models import Choice, ModelSource, choose_device, choose_precision, resolve_model
from embedtrain.pipelines.checks import check_tables, content_hash, noting
from embedtrain.pipelines.label.options import LabelOptions
from embedtrain.pipelines.label.tables import is_parquet, read_pairs
from embedtrain.pipelines.label.teachers import Teacher, read_teacher

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PairSource:
    """One source of pairs.

    Attributes:
        name: As it was asked for.
        columns: Our column name to the file's, for a Parquet file.
        table: The pairs of any other source; None for a Parquet file, which is read where it lies.
        fingerprint: A hash of what the table was made of; of a Parquet file ``PairFiles`` knows it.
    """

    name: str
    columns: dict[str, str]
    table: pa.Table | None = None
    fingerprint: str = ""


@dataclass(frozen=True)
class LabelInputs:
    """Everything from outside that a labelling depends on."""

    pairs: list[PairSource]
    teachers: list[Teacher]
    student: ModelSource | None
    dev: pd.DataFrame | None
    gold: pd.DataFrame | None
    device: Choice
    precision: Choice


def collect_label_inputs(options: LabelOptions) -> LabelInputs:
    """Check the options, the pairs' files, the models' files and the tables to measure on; no model is loaded yet.

    Raises:
        UserError: With every problem of every option, file and model at once.
    """
    problems = Problems()
    options.check(problems)
    sources = [noting(problems, _pair_source, source, options) for source in options.pairs]
    teachers = [noting(problems, read_teacher, name) for name in options.teacher]
    measured = {
        name: noting(problems, _read_scored, source, options)
        for name, source in (("dev", options.dev), ("gold", options.gold))
        if source is not None
    }
    student_name = options.student
    student = noting(problems, lambda: resolve_model(student_name)) if student_name is not None else None
    device = noting(problems, lambda: choose_device(options.device))
    tables = {name: table for name, table in measured.items() if table is not None}
    if "dev" in tables:
        noting(problems, check_tables, {f"--dev {options.dev}": tables["dev"]})
    problems.raise_if_any()
    # Nothing is None past this point: each attempt either gave a value or noted a problem.
    assert device is not None
    found = [teacher for teacher in teachers if teacher is not None]
    pairs = [source for source in sources if source is not None]
    _warn_without_effect(options, found)
    precision = choose_precision(device.name, options.precision)
    return LabelInputs(pairs, found, student, tables.get("dev"), tables.get("gold"), device, precision)


def _pair_source(source: str, options: LabelOptions) -> PairSource:
    columns = {name: found for name, found in options.columns.items() if name in PAIRS.columns}
    if is_parquet(source) and Path(source).is_file():
        # Its form alone is looked at; what is in it is read shard by shard.
        PairFiles([source], columns)
        return PairSource(source, columns)
    table = read_pairs(source, columns=columns)
    if Path(source).is_file():
        made_of = [sha256_of_file(source), sorted(columns.items())]
    else:
        made_of = [content_hash(table.to_pandas())]
    return PairSource(source, {}, table, sha256_of_value(made_of))


def _read_scored(source: str, options: LabelOptions) -> pd.DataFrame:
    columns = {name: found for name, found in options.columns.items() if name in SCORED_PAIRS.columns}
    return read_scored_pairs(source, columns=columns, score_range=options.score_range)


def _warn_without_effect(options: LabelOptions, teachers: list[Teacher]) -> None:
    warn = logger.warning
    if options.dev is None and options.gold is None and options.score_range != LabelOptions.score_range:
        warn("--score-range has no effect without --dev or --gold")
    if options.sigmoid and all(teacher.has_sigmoid or teacher.kind == "bi-encoder" for teacher in teachers):
        warn("--sigmoid has no effect: no teacher's files ask for raw outputs")
    if options.one_order and all(teacher.kind == "bi-encoder" for teacher in teachers):
        warn("--one-order has no effect: a cosine has no order")
    if len({teacher.kind for teacher in teachers}) > 1 and not options.calibrate:
        warn("cosines and a cross-encoder's scores are averaged as they are, on scales of their own: give --calibrate")
    if "score" in options.columns and options.dev is None and options.gold is None:
        warn("--columns score=%s has no effect without --dev or --gold", options.columns["score"])
