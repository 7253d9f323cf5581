"""Which tasks are run: named ones, those of a benchmark, or all that a mirror holds; and what is missing of them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from embedtrain.errors import Problems, UserError, did_you_mean
from embedtrain.evaluation.mteb.hub_cache import HubCache
from embedtrain.evaluation.mteb.mirror import Mirror
from embedtrain.evaluation.mteb.offline import quiet_libraries
from embedtrain.evaluation.mteb.task_data import LocalData, find_data

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask

logger = logging.getLogger(__name__)

_SHOWN = 5


@dataclass(frozen=True)
class Coverage:
    """How much of a benchmark a mirror holds.

    Attributes:
        benchmark: Its name.
        held: Its tasks that are there.
        missing: Those that are not.
    """

    benchmark: str
    held: tuple[str, ...]
    missing: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.benchmark}: {len(self.held)} of {len(self.held) + len(self.missing)} tasks in this mirror"


@dataclass
class Selection:
    """What is run.

    Attributes:
        data: The tasks.
        coverage: Of each benchmark that was asked for.
    """

    data: list[LocalData] = field(default_factory=list)
    coverage: list[Coverage] = field(default_factory=list)


def named_tasks(names: Sequence[str]) -> tuple[dict[str, AbsTask], dict[str, list[AbsTask]]]:
    """Mteb's tasks by name, and its benchmarks' tasks by the benchmark's name.

    Args:
        names: Of tasks and benchmarks, mixed.

    Raises:
        UserError: For every name that mteb does not know.
    """
    import mteb
    from mteb.benchmarks.get_benchmark import _build_aliases_registry, _build_registry

    tasks: dict[str, AbsTask] = {}
    benchmarks: dict[str, list[AbsTask]] = {}
    problems = Problems()
    with quiet_libraries():
        known_benchmarks = {**_build_aliases_registry(), **_build_registry()}
        known = task_names()
        for name in names:
            if name in known:
                tasks[name] = mteb.get_task(name)
            elif name in known_benchmarks:
                benchmark = known_benchmarks[name]
                benchmarks[benchmark.name] = list(benchmark.tasks)
            else:
                hint = did_you_mean(name, [*known, *known_benchmarks])
                problems.add(f"--tasks {name}: mteb has no task and no benchmark of this name{hint}")
    problems.raise_if_any()
    return tasks, benchmarks


def task_names() -> set[str]:
    """Every task that mteb knows."""
    from mteb.get_tasks import _TASKS_REGISTRY

    return set(_TASKS_REGISTRY)


def leaves(tasks: Iterable[AbsTask]) -> list[AbsTask]:
    """The tasks that have data: an aggregate, which has none, is replaced by its parts."""
    from mteb.abstasks.aggregated_task import AbsTaskAggregate

    found: list[AbsTask] = []
    for task in tasks:
        found.extend(leaves(task.metadata.tasks) if isinstance(task, AbsTaskAggregate) else [task])
    return found


def select(names: Sequence[str], mirror: Mirror) -> Selection:
    """Find the data of tasks and benchmarks.

    A task that is named has to be there. Of a benchmark those are run that are there, and the rest is counted.

    Args:
        names: Of tasks and benchmarks; none means every task that the mirror holds.
        mirror: Where the data lies.

    Raises:
        UserError: For every unknown name, and every named task without data, with the files that were looked for.
    """
    tasks, benchmarks = named_tasks(names or _held(mirror))
    problems = Problems()
    selection = Selection()
    found: dict[str, LocalData] = {}
    for task in leaves(tasks.values()):
        try:
            found[task.metadata.name] = find_data(task, mirror.folder(task.metadata.name))
        except UserError as error:
            # A cache holds what other work has left in it, whole or not: only what was asked for has to be read.
            if names or not isinstance(mirror, HubCache):
                problems.extend(error)
            else:
                logger.warning("left out: %s", "; ".join(error.problems))
    for name, members in benchmarks.items():
        held: list[str] = []
        missing: list[str] = []
        for task in members:
            parts = [_found_or_none(leaf, mirror, problems) for leaf in leaves([task])]
            there = [part for part in parts if part is not None]
            (held if len(there) == len(parts) else missing).append(task.metadata.name)
            for part in there:
                found.setdefault(part.name, part)
        selection.coverage.append(Coverage(name, tuple(held), tuple(missing)))
        if not held:
            looked = mirror.folder(missing[0]).path if missing else mirror.root
            problems.add(
                f"--tasks {name}: none of its {len(missing)} tasks is in {mirror.root}; each has a folder of its name, "
                f"such as {looked}"
            )
    problems.raise_if_any()
    selection.data = list(found.values())
    return selection


def _held(mirror: Mirror) -> list[str]:
    known = task_names()
    held = [name for name in mirror.names if name in known]
    others = [name for name in mirror.names if name not in known]
    if others:
        hints = [f"{name}{did_you_mean(name, known)}" for name in others[:_SHOWN]]
        more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        logger.warning("%s: mteb has no task of these names, left out: %s%s", mirror.root, ", ".join(hints), more)
    if not held:
        what = "no data set in this hub cache is" if isinstance(mirror, HubCache) else "no folder in it is called as"
        raise UserError(f"--data-root {mirror.root}: {what} one of mteb's tasks")
    return held


def _found_or_none(task: AbsTask, mirror: Mirror, problems: Problems) -> LocalData | None:
    try:
        folder = mirror.folder(task.metadata.name)
        return find_data(task, folder) if folder.path.is_dir() else None
    except UserError as error:
        # A folder of that name with other files in it is a mistake, and no gap in the mirror.
        problems.extend(error)
        return None
