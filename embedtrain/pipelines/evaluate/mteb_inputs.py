"""What ``embedtrain evaluate mteb`` reads before a model is loaded: models' files, tasks' data, published scores."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from embedtrain.data.readers import read_columns
from embedtrain.data.schema import Kind
from embedtrain.errors import Problems, UserError
from embedtrain.evaluation.leakage import Leak, find_leaks
from embedtrain.evaluation.mteb.checking import Checked, check_data
from embedtrain.evaluation.mteb.custom import custom_data
from embedtrain.evaluation.mteb.encoder import model_name
from embedtrain.evaluation.mteb.hub_cache import open_data_root
from embedtrain.evaluation.mteb.selecting import Coverage, Selection, select
from embedtrain.evaluation.mteb.task_data import LocalData
from embedtrain.evaluation.mteb.task_texts import task_texts
from embedtrain.models import Choice, ModelSource, choose_device, choose_precision
from embedtrain.pipelines.checks import noting
from embedtrain.pipelines.evaluate.inputs import find_biencoder
from embedtrain.pipelines.evaluate.leaking import read_trained_on
from embedtrain.pipelines.evaluate.mteb_options import MTEBOptions

REFERENCE = Kind("published scores", ("model", "task", "split", "subset", "main_score"), can_be_mapped=False)


@dataclass(frozen=True)
class MTEBInputs:
    """Everything from outside that an evaluation depends on.

    Attributes:
        models: What is measured, each under the name that its results are kept by.
        checked: The tasks, with a word on their data.
        coverage: Of each benchmark that was asked for.
        reference: Published scores, or None.
        device: Where to compute.
        precision: Of matrix products.
        leaks: What of the tasks models were trained on.
    """

    models: dict[str, ModelSource]
    checked: list[Checked]
    coverage: list[Coverage]
    reference: pd.DataFrame | None
    device: Choice
    precision: Choice
    leaks: list[Leak]


def collect_mteb_inputs(options: MTEBOptions) -> MTEBInputs:
    """Check the options, find the models, read every task's data and compare it with the official data.

    Raises:
        UserError: With every problem of every option, file and model at once.
    """
    problems = Problems()
    options.check(problems)
    models = _named(options.model, problems)
    selection = noting(problems, _selection, options) or Selection()
    custom = [noting(problems, _custom, source, options) for source in options.custom if options.type is not None]
    own = [data for data in custom if data is not None]
    _check_names(selection.data, own, problems)
    notes = None if Path(options.output).is_file() else Path(options.output) / "data"
    checked = [noting(problems, check_data, data, notes=notes) for data in selection.data]
    checked += [noting(problems, check_data, data, notes=notes, is_custom=True) for data in own]
    reference = None if options.reference is None else noting(problems, _read_reference, options.reference)
    trained_on = read_trained_on(options.train_data, {}, problems)
    device = noting(problems, choose_device, options.device)
    precision = None if device is None else noting(problems, choose_precision, device.name, options.precision)
    problems.raise_if_any()
    # Nothing is None past this point: each attempt either gave a value or noted a problem.
    assert device is not None
    assert precision is not None
    found = [one for one in checked if one is not None]
    measured = {one.data.name: task_texts(one.data) for one in found} if trained_on else {}
    leaks = find_leaks(trained_on, measured)
    return MTEBInputs(models, found, selection.coverage, reference, device, precision, leaks)


def _named(names: Iterable[str], problems: Problems) -> dict[str, ModelSource]:
    models: dict[str, ModelSource] = {}
    for given in dict.fromkeys(names):
        source = noting(problems, find_biencoder, given)
        if source is None:
            continue
        name = model_name(source)
        other = models.setdefault(name, source)
        if other is not source:
            what = "the same model" if other.location == source.location else "another model of the same name"
            problems.add(
                f"--model {given}: this is {what} as --model {other.name}, and their results would be mixed up "
                f"under '{name}'; rename a folder or evaluate them into two --output folders"
            )
    return models


def _selection(options: MTEBOptions) -> Selection:
    if options.data_root is None:
        return Selection()
    return select(options.tasks, open_data_root(options.data_root, copies=Path(options.output) / "from-cache"))


def _custom(source: str, options: MTEBOptions) -> LocalData:
    assert options.type is not None  # looked at by the caller
    return custom_data(source, options.type)


def _check_names(tasks: Iterable[LocalData], own: Iterable[LocalData], problems: Problems) -> None:
    taken = {data.name: str(data.folder.path) for data in tasks}
    for data in own:
        place = str(data.folder.single or data.folder.path)
        other = taken.setdefault(data.name, place)
        if other != place:
            problems.add(f"--custom {place}: a task '{data.name}' is there already ({other}); rename one of them")


def _read_reference(path: str) -> pd.DataFrame:
    table = read_columns(path, kind=REFERENCE, name="--reference")
    scores = pd.to_numeric(table["main_score"], errors="coerce")
    bad = table.index[scores.isna()]
    if len(bad):
        shown = ", ".join(f"row {row} {table.loc[row, 'main_score']!r}" for row in bad[:5])
        raise UserError(f"--reference {path}: 'main_score' must be a number, found {shown}")
    return table.assign(main_score=scores)
