"""What every evaluation reads before a model is loaded: the models' files and the tables of pairs."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from embedtrain.data.readers import read_table
from embedtrain.data.schema import LABELLED_PAIRS, SCORED_PAIRS, Kind
from embedtrain.errors import Problems, UserError
from embedtrain.evaluation.leakage import Leak, Texts, find_leaks
from embedtrain.models import Choice, ModelSource, choose_device, choose_precision, resolve_model
from embedtrain.pipelines.checks import check_tables, content_hash, noting
from embedtrain.pipelines.evaluate.leaking import read_trained_on
from embedtrain.pipelines.evaluate.options import EvaluateOptions, PairsOptions, STSOptions
from embedtrain.pipelines.label.teachers import kind_of


@dataclass(frozen=True)
class Tables:
    """Pairs that models are measured on.

    Attributes:
        by_name: The tables without pairs that lack a text, by the name that they were given.
        warnings: What is odd about them.
        leaks: What of them models were trained on.
    """

    by_name: Mapping[str, pd.DataFrame]
    warnings: list[str]
    leaks: list[Leak]


@dataclass(frozen=True)
class Evaluated:
    """The models of an evaluation, and where they compute."""

    models: list[ModelSource]
    device: Choice
    precision: Choice


def find_models(options: EvaluateOptions, problems: Problems) -> list[ModelSource]:
    """Find every model, without loading it, and note those that are nowhere, no bi-encoders, or the same one twice."""
    found = [noting(problems, find_biencoder, name) for name in dict.fromkeys(options.model)]
    models = [source for source in found if source is not None]
    first_of: dict[str, str] = {}
    for source in models:
        other = first_of.setdefault(source.location, source.name)
        if other != source.name:
            problems.add(f"--model {source.name}: this is the same model as --model {other} ({source.location})")
    return models


def find_biencoder(name: str) -> ModelSource:
    """Find a model that gives embeddings; a run's folder stands for the model that it kept.

    Raises:
        UserError: It is nowhere, or a cross-encoder.
    """
    folder = Path(name).expanduser()
    if is_run(folder):
        if not (folder / "model").is_dir():
            raise UserError(
                f"{name}: this run folder holds no model/; expected one of train, augsbert, tsdae or adapt that is done"
            )
        source = replace(resolve_model(str(folder / "model")), name=name)
    else:
        source = resolve_model(name)
    if kind_of(Path(source.location)) == "cross-encoder":
        raise UserError(f"model {name}: a cross-encoder gives no embeddings, expected a bi-encoder")
    return source


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a run."""
    return (folder / "manifest.json").is_file() and not (folder / "modules.json").is_file()


def choose_where(options: EvaluateOptions, problems: Problems) -> tuple[Choice | None, Choice | None]:
    """Device and precision, or None for what cannot be."""
    device = noting(problems, choose_device, options.device)
    precision = None if device is None else noting(problems, choose_precision, device.name, options.precision)
    return device, precision


def read_pair_tables(options: STSOptions | PairsOptions) -> tuple[Evaluated, Tables]:
    """Check the options, find the models, and read the tables of pairs and those that were trained on.

    Raises:
        UserError: With every problem of every option, file and model at once.
    """
    problems = Problems()
    options.check(problems)
    models = find_models(options, problems)
    kind = SCORED_PAIRS if isinstance(options, STSOptions) else LABELLED_PAIRS
    score_range = options.score_range if isinstance(options, STSOptions) else None
    read = {
        name: noting(problems, _read_pairs, name, kind, options.columns, score_range)
        for name in dict.fromkeys(options.data)
    }
    trained_on = read_trained_on(options.train_data, options.columns, problems)
    device, precision = choose_where(options, problems)
    warnings: list[str] = []
    tables = {name: _with_both_texts(name, table, warnings) for name, table in read.items() if table is not None}
    if kind is SCORED_PAIRS:
        noting(problems, check_tables, {f"--data {name}": table for name, table in tables.items()})
    else:
        noting(problems, _check_labels, tables)
    problems.raise_if_any()
    # Nothing is None past this point: each attempt either gave a value or noted a problem.
    assert device is not None
    assert precision is not None
    leaks = find_leaks(trained_on, {name: Texts.of_table(table) for name, table in tables.items()})
    return Evaluated(models, device, precision), Tables(tables, [*warnings, *map(str, leaks)], leaks)


def items_hash(table: pd.DataFrame) -> str:
    """A hash of what a table measures, whatever file it came from and whatever scale its scores had."""
    plain = pd.DataFrame(table).reset_index(drop=True)
    if "score" in plain:
        low, high = plain["score"].min(), plain["score"].max()
        plain["score"] = ((plain["score"] - low) / (high - low if high > low else 1.0)).round(9)
    for name in plain.columns:
        if name not in ("score", "label"):
            plain[name] = plain[name].astype(str)
    return content_hash(plain)


def _read_pairs(
    name: str, kind: Kind, columns: Mapping[str, str], score_range: tuple[float, float] | None
) -> pd.DataFrame:
    return read_table(name, kind=kind, columns=columns, score_range=score_range)


def _with_both_texts(name: str, table: pd.DataFrame, warnings: list[str]) -> pd.DataFrame:
    whole = table["sentence1"].str.strip().ne("") & table["sentence2"].str.strip().ne("")
    if not whole.all():
        lacking = int((~whole).sum())
        warnings.append(f"{name}: {lacking} of {len(table)} pairs lack a text and are left out.")
    return table[whole]


def _check_labels(tables: Mapping[str, pd.DataFrame]) -> None:
    problems = Problems()
    for name, table in tables.items():
        if table["label"].nunique() < 2:
            found = f"every label is {table['label'].iloc[0]}" if len(table) else "there is no pair"
            problems.add(f"--data {name}: {found}, expected pairs of label 0 and of label 1")
    problems.raise_if_any()
