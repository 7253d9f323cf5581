"""What run folders kept of their test sets, and the tables that models are compared on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from embedtrain.data.readers import read_table_of
from embedtrain.data.schema import (
    KINDS,
    LABELLED_PAIRS,
    LABELLED_SENTENCES,
    POSITIVE_PAIRS,
    SCORED_PAIRS,
    TRIPLETS,
    Kind,
)
from embedtrain.errors import Problems, UserError
from embedtrain.evaluation.leakage import Leak, Texts, find_leaks
from embedtrain.evaluation.resampling import Floats
from embedtrain.files import read_json
from embedtrain.models import ModelSource
from embedtrain.pipelines.checks import MIN_PAIRS, noting
from embedtrain.pipelines.compare.options import CompareOptions
from embedtrain.pipelines.evaluate.inputs import Evaluated, choose_where, find_models, is_run, items_hash
from embedtrain.pipelines.evaluate.leaking import read_trained_on

# Triplets have all columns of positive pairs, so that they are looked for first.
KINDS_COMPARED = (SCORED_PAIRS, LABELLED_PAIRS, TRIPLETS, POSITIVE_PAIRS, LABELLED_SENTENCES)


@dataclass(frozen=True)
class RowSet:
    """Rows to compare on.

    Attributes:
        table: The rows.
        kind: What they are.
        fingerprint: See ``items_hash``.
    """

    table: pd.DataFrame
    kind: Kind
    fingerprint: str


@dataclass(frozen=True)
class Compared:
    """Everything from outside that a comparison depends on.

    Attributes:
        evaluated: The models.
        sets: What they are measured on, by name.
        kept: What runs have predicted already, a number a row, by model and the set's fingerprint.
        leaks: What of the sets models were trained on.
    """

    evaluated: Evaluated
    sets: dict[str, RowSet]
    kept: dict[tuple[str, str], Floats]
    leaks: list[Leak]


def collect_compared(options: CompareOptions) -> Compared:
    """Check the options, find models and tables, and read what runs kept; no model is loaded yet.

    Raises:
        UserError: With every problem of every option, file and model at once.
    """
    problems = Problems()
    options.check(problems)
    models = find_models(options, problems)
    given = {name: noting(problems, _read, name, options) for name in dict.fromkeys(options.data)}
    trained_on = read_trained_on(options.train_data, options.columns, problems)
    device, precision = choose_where(options, problems)
    runs = {source.name: Path(source.name).expanduser() for source in models if _is_run_of(source)}
    tests = {name: noting(problems, read_test, folder) for name, folder in runs.items()}
    of_runs = {name: found for name, found in tests.items() if found is not None}
    sets = {name: found for name, found in given.items() if found is not None} if options.data else _of_runs(of_runs)
    if not options.data and not sets:
        problems.add(
            "there is nothing to compare on: none of the models is a run with a test set; give tables with --data"
        )
    for name, found in sets.items():
        _check(name, found, problems)
    problems.raise_if_any()
    # Nothing is None past this point: each attempt either gave a value or noted a problem.
    assert device is not None
    assert precision is not None
    kept = {}
    for name, found in of_runs.items():
        predictions = kept_predictions(runs[name], rows=len(found.table))
        if predictions is not None:
            kept[name, found.fingerprint] = predictions
    leaks = find_leaks(trained_on, {name: Texts.of_table(one.table) for name, one in sets.items()})
    return Compared(Evaluated(models, device, precision), sets, kept, leaks)


def read_test(folder: Path) -> RowSet | None:
    """The test set of a run, or None where it had none."""
    path = folder / "stages" / "read" / "test.parquet"
    if not path.is_file():
        return None
    kinds = _json(path.with_name("kinds.json"))
    kind = KINDS[kinds.get("test", SCORED_PAIRS.name)]
    try:
        table = pd.read_parquet(path)
        table = table.set_index("row") if "row" in table else table
        return _test_set(table[list(kind.columns_for(table.columns))], kind)
    except (ValueError, KeyError, OSError) as error:
        raise UserError(f"{path}: not readable as {kind.name}: {' '.join(str(error).split())}") from None


def kept_predictions(folder: Path, *, rows: int) -> Floats | None:
    """What a run's kept model predicted for each row of its test set, or None where that is not on record.

    Args:
        folder: Of a run.
        rows: Of its test set.
    """
    metrics = _json(folder / "metrics.json")
    winner, stages = metrics.get("winner"), metrics.get("stages")
    stage = stages[winner] if isinstance(stages, dict) and winner in stages else "predict"
    path = folder / "stages" / stage / "predictions.parquet"
    if not path.is_file():
        return None
    frame = pd.read_parquet(path)
    chosen = frame["split"] == "test"
    if "model" in frame:
        chosen &= frame["model"] == winner
    predictions = frame.loc[chosen, "prediction"].to_numpy(dtype=np.float64)
    return predictions if len(predictions) == rows else None


def _is_run_of(source: ModelSource) -> bool:
    return is_run(Path(source.name).expanduser())


def _read(name: str, options: CompareOptions) -> RowSet:
    table, kind = read_table_of(name, kinds=KINDS_COMPARED, columns=options.columns, score_range=None)
    whole = np.logical_and.reduce([table[column].str.strip().ne("") for column in kind.text_columns])
    return _test_set(table[whole], kind)


def _test_set(table: pd.DataFrame, kind: Kind) -> RowSet:
    return RowSet(table, kind, items_hash(table))


def _of_runs(tests: dict[str, RowSet]) -> dict[str, RowSet]:
    """Each different test set once, named for the first run that has it."""
    found: dict[str, RowSet] = {}
    for name, test in tests.items():
        if test.fingerprint not in {other.fingerprint for other in found.values()}:
            found[f"test of {name}"] = test
    return found


def _check(name: str, found: RowSet, problems: Problems) -> None:
    table, number = found.table, found.kind.number_column
    if len(table) < MIN_PAIRS:
        problems.add(f"{name}: {len(table)} {found.kind.name}, expected at least {MIN_PAIRS}")
    elif number is not None and table[number].nunique() == 1:
        problems.add(f"{name}: every {number} is {table[number].iloc[0]}, expected some that differ")


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = read_json(path)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
