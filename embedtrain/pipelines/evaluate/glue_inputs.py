"""What ``embedtrain evaluate glue`` reads before a model is loaded: the models' files and the rows of each task."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from embedtrain.data.glue import TASKS, GLUEData, GLUEFolder, GLUEHub, GLUETask, find_task, open_glue
from embedtrain.errors import Problems
from embedtrain.evaluation.splitting import dev_rows
from embedtrain.pipelines.checks import content_hash, noting
from embedtrain.pipelines.evaluate.glue_options import GLUEOptions
from embedtrain.pipelines.evaluate.inputs import Evaluated, choose_where, find_models


@dataclass(frozen=True)
class TaskRows:
    """The rows of one task as they are used.

    Attributes:
        data: Rows to train on, and each part to measure on.
        choosing: Rows that the weights are chosen by.
        drawn: In words, how many of the rows that there are were drawn; empty where it is all.
    """

    data: GLUEData
    choosing: pd.DataFrame
    drawn: str

    @property
    def task(self) -> GLUETask:
        """The task."""
        return self.data.task

    @property
    def hashes(self) -> Mapping[str, str]:
        """A hash of the rows of each part."""
        parts = {"train": self.data.train, "choosing": self.choosing, **self.data.dev}
        return {name: content_hash(rows) for name, rows in parts.items()}


def read_glue(options: GLUEOptions) -> tuple[Evaluated, list[TaskRows]]:
    """Check the options, find the models, and read every task's rows.

    Raises:
        UserError: With every problem of every option, file and model at once.
    """
    problems = Problems()
    options.check(problems)
    models = find_models(options, problems)
    source = open_glue(options.data_root)
    wanted = _tasks(options, source, problems)
    found = [noting(problems, source.read, task) for task in wanted]
    device, precision = choose_where(options, problems)
    problems.raise_if_any()
    # Nothing is None past this point: each attempt either gave a value or noted a problem.
    assert device is not None
    assert precision is not None
    rows = [_as_used(data, options) for data in found if data is not None]
    return Evaluated(models, device, precision), rows


def _tasks(options: GLUEOptions, source: GLUEFolder | GLUEHub, problems: Problems) -> list[GLUETask]:
    there = noting(problems, lambda: source.tasks) or []
    if not options.tasks:
        return there
    named = [noting(problems, find_task, name) for name in options.tasks]
    # Where there is no such folder at all, one message says it for all tasks.
    return [task for task in TASKS.values() if task in named and there]


def _as_used(data: GLUEData, options: GLUEOptions) -> TaskRows:
    train = _drawn(data.train, options.max_train_rows, options.seed)
    dev = {part: _drawn(rows, options.max_dev_rows, options.seed) for part, rows in data.dev.items()}
    before = {"training": data.train, **{_dev_name(part): rows for part, rows in data.dev.items()}}
    after = {"training": train, **{_dev_name(part): rows for part, rows in dev.items()}}
    fewer = [
        f"{len(rows):,} of {len(before[name]):,} {name} rows"
        for name, rows in after.items()
        if len(rows) < len(before[name])
    ]
    drawn = f"{data.task.name} {', '.join(fewer)}" if fewer else ""
    if options.choose_on == "dev":
        return TaskRows(replace(data, train=train, dev=dev), pd.concat(list(dev.values())), drawn)
    chosen = np.random.default_rng([options.seed, 1]).permutation(len(train))[: dev_rows(len(train))]
    held = np.zeros(len(train), dtype=bool)
    held[chosen] = True
    return TaskRows(replace(data, train=train[~held], dev=dev), train[held], drawn)


def _dev_name(part: str) -> str:
    return part if part == "dev" else f"{part} dev"


def _drawn(rows: pd.DataFrame, most: int | None, seed: int) -> pd.DataFrame:
    if most is None or len(rows) <= most:
        return rows
    return rows.iloc[np.sort(np.random.default_rng(seed).permutation(len(rows))[:most])]
