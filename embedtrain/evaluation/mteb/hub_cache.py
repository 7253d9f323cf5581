"""A hub cache in a mirror's place: tasks are read from the snapshots of their data sets, by mteb's own loading.

::

    cache/hub/datasets--mteb--stsbenchmark-sts/snapshots/<revision>/...   HF_HOME (cache), its hub folder,
                                                                          or the folder of one data set

What mteb loads of a snapshot is written as a mirror's task, once: mteb prepares many data sets after loading, and
everything that a mirror's data goes through (checks, comparison with the official data) is then the same for both.
"""

import importlib.metadata
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from embedtrain.errors import UserError
from embedtrain.evaluation.mteb.exporting import export_task
from embedtrain.evaluation.mteb.mirror import Mirror, TaskFolder
from embedtrain.evaluation.mteb.offline import quiet_libraries
from embedtrain.evaluation.mteb.snapshots import load_from_snapshots, narrow
from embedtrain.files import read_json, write_json

logger = logging.getLogger(__name__)

PREFIX = "datasets--"
_SHOWN_REVISIONS = 3


@dataclass(frozen=True)
class Snapshot:
    """A data set's files of one revision.

    Attributes:
        path: Where they are.
        revision: The commit.
        asked: The commit that the task asks for.
    """

    path: Path
    revision: str
    asked: str

    def __str__(self) -> str:
        if self.revision == self.asked:
            return f"snapshot {self.path}, the task's revision"
        return f"snapshot {self.path}; the task asks for revision {self.asked}, which is not in the cache"


@dataclass(frozen=True)
class _Missing(TaskFolder):
    """A task that the cache does not hold; says which folders were looked for."""

    looked: str = ""
    found: str = ""

    def looked_for(self, split: str, subset: str, *, retrieval: bool, part: str | None = None) -> str:
        return self.looked

    @property
    def listing(self) -> str:
        return self.found


@dataclass(frozen=True)
class HubCache(Mirror):
    """A hub cache whose data sets stand for the tasks that are made of them; folders of tasks may stand beside them.

    Attributes:
        hub: The folder that holds ``datasets--...``.
        copies: Where what mteb loads of them is kept.
        only: The one data set's folder that was asked for, or None.
    """

    hub: Path = field(kw_only=True)
    copies: Path = field(kw_only=True)
    only: str | None = field(default=None, kw_only=True)

    @cached_property
    def repositories(self) -> dict[str, Path]:
        """The folders of data sets that hold a snapshot, by their names in lower case, as the hub compares them."""
        found = (path for path in sorted(self.hub.glob(f"{PREFIX}*")) if self.only in (None, path.name))
        return {path.name.lower(): path for path in found if _revisions(path)}

    @property
    def names(self) -> list[str]:
        """Text tasks whose data sets are there, and the folders that are called as tasks are.

        Of tasks that share a data set in several revisions those are taken whose revision is there, if any is.
        """
        by_repository: dict[str, dict[str, Snapshot]] = {}
        for name, metadata in _text_tasks():
            snapshot = self.snapshot(metadata.dataset)
            if snapshot is not None:
                by_repository.setdefault(snapshot.path.parent.parent.name, {})[name] = snapshot
        found = []
        for tasks in by_repository.values():
            exact = [name for name, snapshot in tasks.items() if snapshot.revision == snapshot.asked]
            found += exact or list(tasks)
        known = {name for name, _ in _text_tasks()}
        return sorted({*found, *(name for name in super().names if name in known)})

    def snapshot(self, dataset: Any) -> Snapshot | None:
        """The files of a task's data set: of the revision that it asks for, of the branch ``main``, or the newest."""
        repository = self.repositories.get(_folder_name(str(dataset["path"])).lower())
        if repository is None:
            return None
        asked = str(dataset.get("revision") or "")
        there = _revisions(repository)
        main = repository / "refs" / "main"
        for revision in (asked, main.read_text().strip() if main.is_file() else ""):
            if revision in there:
                return Snapshot(there[revision], revision, asked)
        newest = max(there.values(), key=lambda path: path.stat().st_mtime)
        return Snapshot(newest, newest.name, asked)

    def folder(self, task: str) -> TaskFolder:
        """Where a task's data lies as a mirror has it, written there from its snapshot if need be.

        Raises:
            UserError: When mteb cannot load what is in the snapshot.
        """
        plain = super().folder(task)
        if plain.path.is_dir():
            return plain
        metadata = _task_class(task).metadata
        snapshot = self.snapshot(metadata.dataset)
        if snapshot is None:
            name, revision = _folder_name(str(metadata.dataset["path"])), metadata.dataset.get("revision")
            found = sorted(self.repositories.values())
            held = f"the cache holds {len(found)} data sets" if found else "the cache holds no data set"
            path = self.hub / name / "snapshots" / str(revision)
            return _Missing(path, looked=f"{plain.path} and {path} (or another revision there)", found=held)
        return TaskFolder(self._copied(task, snapshot), origin=str(snapshot))

    def _copied(self, task: str, snapshot: Snapshot) -> Path:
        folder, record = self.copies / task, self.copies / f"{task}.json"
        made_of = {
            "revision": snapshot.revision,
            # In a hub cache the files are links to blobs that are called by their hashes.
            "files": [[str(file), path.resolve().name, path.stat().st_size] for file, path in _files(snapshot.path)],
            "mteb": importlib.metadata.version("mteb"),
        }
        try:
            if folder.is_dir() and read_json(record) == made_of:
                return folder
        except (OSError, ValueError):  # There is none, or not all of it.
            pass
        logger.info("%s: reading %s", task, snapshot)
        loaded = _task_class(task)()
        narrow(loaded, snapshot.path)
        try:
            with load_from_snapshots(self._snapshot_path), quiet_libraries():
                export_task(loaded, self.copies)
        except UserError as error:
            raise UserError(*(f"{problem} ({snapshot})" for problem in error.problems)) from error
        write_json(record, made_of)
        return folder

    def _snapshot_path(self, name: str, revision: str | None) -> Path | None:
        snapshot = self.snapshot({"path": name, "revision": revision})
        return None if snapshot is None else snapshot.path


def open_data_root(root: str | Path, *, copies: Path) -> Mirror:
    """The mirror or the hub cache in a folder.

    Args:
        root: A mirror, or ``HF_HOME``, its ``hub`` folder, or the folder of one data set in it.
        copies: Where what is read of a hub cache is kept.

    Raises:
        UserError: When there is no such folder.
    """
    mirror = Mirror.at(root)
    if mirror.root.name.startswith(PREFIX):
        return HubCache(mirror.root, hub=mirror.root.parent, copies=copies, only=mirror.root.name)
    for hub in (mirror.root, mirror.root / "hub"):
        if any(hub.glob(f"{PREFIX}*")):
            return HubCache(mirror.root, hub=hub, copies=copies)
    return mirror


def _folder_name(repository: str) -> str:
    return PREFIX + repository.replace("/", "--")


def _revisions(repository: Path) -> dict[str, Path]:
    """Snapshots that hold files, by revision; a download that was cut off may have left an empty one."""
    found = (path for path in sorted(repository.glob("snapshots/*")) if path.is_dir())
    return {path.name: path for path in found if any(_files(path))}


def _files(snapshot: Path) -> Iterator[tuple[Path, Path]]:
    for path in sorted(snapshot.rglob("*")):
        if path.is_file():
            yield path.relative_to(snapshot), path


def _task_class(name: str) -> Any:
    from mteb.get_tasks import _TASKS_REGISTRY

    return _TASKS_REGISTRY[name]


def _text_tasks() -> Iterator[tuple[str, Any]]:
    from mteb.abstasks.aggregated_task import AbsTaskAggregate
    from mteb.get_tasks import _TASKS_REGISTRY

    for name, task in _TASKS_REGISTRY.items():
        if list(task.metadata.modalities) == ["text"] and not issubclass(task, AbsTaskAggregate):
            yield name, task.metadata
