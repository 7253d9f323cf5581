"""Rows of GLUE's tasks, checked: texts, and classes as numbers or scores in [0, 1]."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from embedtrain.data import hf_datasets
from embedtrain.data.glue.files import MSR_DEV_IDS, MSR_TEST, MSR_TRAIN, TaskFiles, task_folder, tasks_in
from embedtrain.data.glue.labels import read_labels
from embedtrain.data.glue.tables import read_pairs_of_ids, read_raw
from embedtrain.data.glue.tasks import MIN_ROWS, TASKS, GLUETask
from embedtrain.data.schema import Kind
from embedtrain.data.values import check_values
from embedtrain.errors import Problems, UserError

logger = logging.getLogger(__name__)

_IDS = ("#1 ID", "#2 ID")


@dataclass(frozen=True)
class GLUEData:
    """The rows of one task.

    Attributes:
        task: The task.
        train: ``sentence1``, for pairs ``sentence2``, and ``label``: a class's number (int64) or a score (float64).
        dev: The same of each part that it is measured on.
        note: What is measured on in place of GLUE's own dev rows; empty where it is those.
    """

    task: GLUETask
    train: pd.DataFrame
    dev: Mapping[str, pd.DataFrame]
    note: str = ""


@dataclass(frozen=True)
class GLUEFolder:
    """GLUE's data in a folder with one folder a task."""

    root: Path

    @property
    def tasks(self) -> list[GLUETask]:
        """The tasks that are there."""
        return tasks_in(self.root)

    def read(self, task: GLUETask) -> GLUEData:
        """The rows of a task.

        Raises:
            UserError: All that is wrong: files that are missing, their columns and values, splits that are empty.
        """
        files = task_folder(self.root, task)
        if files is None:
            raise UserError(f"--tasks {task.name}: looked for the folder {self.root / task.name}, which is not there")
        if task.name == "MRPC" and (files.folder / MSR_TRAIN).is_file() and not files.split("train"):
            return _checked(_read_msr(files, task))
        problems = Problems()
        read: dict[str, pd.DataFrame] = {}
        for part, stems in {"train": ("train",), **task.dev_splits}.items():
            try:
                paths = files.split(*stems)
                if not paths:
                    problems.add(files.missing(*stems))
                    continue
                tables = [_rows(read_raw(path, task), task, label=str(path)) for path in paths]
                read[part] = pd.concat(tables) if len(tables) > 1 else tables[0]
            except UserError as error:
                problems.extend(error)
        problems.raise_if_any()
        return _checked(GLUEData(task, read.pop("train"), read))


@dataclass(frozen=True)
class GLUEHub:
    """GLUE's data on the hub, or in its local cache."""

    name: str

    @property
    def tasks(self) -> list[GLUETask]:
        """All of them."""
        return list(TASKS.values())

    def read(self, task: GLUETask) -> GLUEData:
        """The rows of a task; see ``GLUEFolder.read``.

        Raises:
            UserError: There is no network and no cached copy, or something is wrong with the rows.
        """
        read = {}
        for part, stems in {"train": ("train",), **task.dev_splits}.items():
            source = f"{self.name}:{task.hub_name}:{stems[-1]}"
            read[part] = _rows(read_raw(self._load(source), task, label=source), task, label=source)
        return _checked(GLUEData(task, read.pop("train"), read))

    def _load(self, source: str) -> pd.DataFrame:
        try:
            return hf_datasets.from_hub(source, label=source)
        except UserError as error:
            reason = str(error.__cause__ or error).splitlines()[0]
            raise UserError(
                f"--data-root {self.name}: looked for the folders {', '.join(TASKS)} in a folder of this name, which "
                f"is not there, and as a data set of the hub it cannot be loaded: {reason}"
            ) from error


def open_glue(root: str) -> GLUEFolder | GLUEHub:
    """Where GLUE's data is: a folder, or a data set's name on the hub such as ``nyu-mll/glue``."""
    if not Path(root).exists() and hf_datasets.looks_like_hub_name(root):
        return GLUEHub(root)
    return GLUEFolder(Path(root).expanduser())


def _read_msr(files: TaskFiles, task: GLUETask) -> GLUEData:
    """MRPC as it is published: without the ids of GLUE's dev rows, its own test rows take their place."""
    published = files.folder / MSR_TRAIN
    raw = read_raw(published, task, more=_IDS)
    rows = _rows(raw, task, label=str(published))
    listed = files.folder / MSR_DEV_IDS
    if listed.is_file():
        wanted = read_pairs_of_ids(listed)
        is_dev = [ids in wanted for ids in zip(raw[_IDS[0]], raw[_IDS[1]], strict=True)]
        dev = rows[is_dev]
        return GLUEData(task, rows[[not one for one in is_dev]], {"dev": dev})
    own = files.folder / MSR_TEST
    if not own.is_file():
        raise UserError(
            f"{files.folder}: found {MSR_TRAIN} alone; expected {MSR_DEV_IDS} (which of its rows are dev) or {MSR_TEST}"
        )
    dev = _rows(read_raw(own, task), task, label=str(own))
    note = f"MRPC has its own test rows ({MSR_TEST}), for want of {MSR_DEV_IDS}"
    return GLUEData(task, rows, {"dev": dev}, note)


def _rows(raw: pd.DataFrame, task: GLUETask, *, label: str) -> pd.DataFrame:
    problems = Problems()
    texts = raw.iloc[:, : len(task.text_columns)]
    found: list[pd.DataFrame | pd.Series] = []
    kind = Kind(f"{task.name}'s texts", tuple(texts.columns))
    for check in (
        lambda: check_values(texts, kind=kind, score_range=None, label=label).set_axis(task.text_columns, axis=1),
        lambda: read_labels(raw.iloc[:, len(task.text_columns)], task, label=label).rename("label"),
    ):
        try:
            found.append(check())
        except UserError as error:
            problems.extend(error)
    problems.raise_if_any()
    return pd.concat(found, axis=1)


def _checked(data: GLUEData) -> GLUEData:
    """The data, with a note where it is not of GLUE's own size.

    Raises:
        UserError: A split is too small to learn from or to measure on.
    """
    task = data.task
    problems = Problems()
    for name, rows in {"train": data.train, **data.dev}.items():
        if len(rows) < MIN_ROWS:
            found = f"{len(rows)} row{'' if len(rows) == 1 else 's'}"
            problems.add(f"{task.name}, {name}: {found}, expected at least {MIN_ROWS}")
        elif rows["label"].nunique() < 2:
            problems.add(f"{task.name}, {name}: every row has the same label, expected labels that differ")
    problems.raise_if_any()
    sizes = {part: len(rows) for part, rows in data.dev.items()}
    if data.note or sizes == dict(task.dev_rows):
        return data
    ours, theirs = (" and ".join(f"{size:,}" for size in some.values()) for some in (sizes, task.dev_rows))
    return GLUEData(task, data.train, data.dev, f"{task.name} has {ours} dev rows in place of {theirs}")
