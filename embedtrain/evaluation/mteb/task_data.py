"""Local data in the place of what an mteb task would fetch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from embedtrain.errors import Problems, UserError
from embedtrain.evaluation.kept_items import Part
from embedtrain.evaluation.mteb.cells import read_cells
from embedtrain.evaluation.mteb.instructions import measures_instructions, put_changes, take_changes
from embedtrain.evaluation.mteb.mirror import DEFAULT_SUBSET, TaskFolder
from embedtrain.evaluation.mteb.retrieval_data import RetrievalTables, read_retrieval_tables
from embedtrain.evaluation.mteb.shapes import Column, Shape, shape_of

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask

_SHOWN = 6


@dataclass(frozen=True)
class LocalData:
    """Where the data of a task lies and which of its parts are there.

    Attributes:
        task: mteb's task.
        folder: Where its files are.
        parts: The splits and subsets that are judged, as far as they are there.
        absent: Those that are not.
    """

    task: AbsTask
    folder: TaskFolder
    parts: tuple[Part, ...]
    absent: tuple[Part, ...]

    @property
    def name(self) -> str:
        """The task's name."""
        return str(self.task.metadata.name)

    @property
    def coverage(self) -> str:
        """In words, what of the task is not there; empty when all is."""
        if not self.absent:
            return ""
        names = [_part_name(part) for part in self.parts]
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        total = len(self.parts) + len(self.absent)
        return f"{len(names)} of {total} splits and subsets: {', '.join(names[:_SHOWN])}{more}"

    def groups(self) -> list[tuple[list[str], list[str]]]:
        """Splits and subsets such that each of a group's splits is there for each of its subsets."""
        by_splits: dict[tuple[str, ...], list[str]] = {}
        for subset in dict.fromkeys(subset for _, subset in self.parts):
            splits = tuple(split for split, other in self.parts if other == subset)
            by_splits.setdefault(splits, []).append(subset)
        return [(list(splits), subsets) for splits, subsets in by_splits.items()]


def find_data(task: AbsTask, folder: TaskFolder) -> LocalData:
    """Which parts of a task's data are there; the files are not opened.

    Raises:
        UserError: When none is, with the files that were looked for; when the task's type is not read from files.
    """
    shape = shape_of(task)
    wanted = [(split, subset) for subset in task.hf_subsets for split in task.eval_splits]
    there = [part for part in wanted if _is_there(folder, shape, *part)]
    if not there:
        shown = [folder.looked_for(*part, retrieval=shape.is_retrieval) for part in _examples(wanted, shape)]
        more = f" and so on for {len(wanted)} splits and subsets" if len(wanted) > len(shown) else ""
        raise UserError(f"task {task.metadata.name}: looked for {'; '.join(shown)}{more}; {folder.listing}")
    return LocalData(task, folder, tuple(there), tuple(part for part in wanted if part not in there))


def fill(data: LocalData, *, numbered_classes: bool = False) -> None:
    """Read a task's data and put it into the task, which fetches nothing any more.

    Args:
        data: The task, and where its files are.
        numbered_classes: Put whole numbers in the place of classes that are words, which not every measure of mteb's
            classification takes; numbered in the order of the alphabet, as a classifier would order them.

    Raises:
        UserError: Everything that is wrong with the files.
    """
    task, shape = data.task, shape_of(data.task)
    problems = Problems()
    tables: dict[str, dict[str, Any]] = {}
    for split, subset in [*data.parts, *_train_parts(data, shape)]:
        try:
            tables.setdefault(subset, {})[split] = _read(data, shape, split, subset)
        except UserError as error:
            problems.extend(error)
    problems.raise_if_any()
    if numbered_classes:
        for column in shape.columns:
            if column.holds == "class":
                _number_classes([table[column.name] for splits in tables.values() for table in splits.values()])
    if measures_instructions(task):
        every = [(split, subset, one) for subset, splits in tables.items() for split, one in splits.items()]
        put_changes(task, {(split, subset): one.changes for split, subset, one in every})
    task.dataset = _arranged(task, shape, tables)
    task.data_loaded = True


def empty(data: LocalData) -> None:
    """Let go of a task's data."""
    take_changes(data.task)
    data.task.dataset = None
    data.task.data_loaded = False


def _number_classes(columns: Sequence[list[Any]]) -> None:
    classes = {label for column in columns for label in column}
    if any(isinstance(label, str) for label in classes):
        number = {label: at for at, label in enumerate(sorted(classes, key=str))}
        for column in columns:
            column[:] = [number[label] for label in column]


def _part_name(part: Part) -> str:
    split, subset = part
    return split if subset == DEFAULT_SUBSET else f"{subset} {split}"


def _examples(wanted: Sequence[Part], shape: Shape) -> list[Part]:
    return list(wanted[:2]) if not shape.languages_in_columns else list(wanted[:1])


def _is_there(folder: TaskFolder, shape: Shape, split: str, subset: str) -> bool:
    if shape.is_retrieval:
        return folder.part("qrels", split, subset) is not None
    return folder.table(split, DEFAULT_SUBSET if shape.languages_in_columns else subset) is not None


def _train_parts(data: LocalData, shape: Shape) -> list[Part]:
    if shape.train_split is None:
        return []
    parts = ((shape.train_split, subset) for subset in dict.fromkeys(subset for _, subset in data.parts))
    return [part for part in parts if part not in data.parts]


def _read(data: LocalData, shape: Shape, split: str, subset: str) -> Any:
    if shape.is_retrieval:
        allowed = _official_unknown_documents(data.task, split, subset)
        return read_retrieval_tables(
            data.folder,
            split=split,
            subset=subset,
            unknown_documents_allowed=allowed,
            measures_instructions=measures_instructions(data.task),
        )
    if shape.languages_in_columns:
        path = data.folder.table(split, DEFAULT_SUBSET)
        columns: Sequence[Column] = [Column(language, "text") for language in subset.split("-")]
    else:
        path = data.folder.table(split, subset)
        columns = shape.columns
    if path is None:
        wanted = data.folder.looked_for(split, subset, retrieval=False)
        raise UserError(
            f"task {data.name}: its classifier learns from the split '{split}', which is not there; looked for {wanted}"
        )
    return read_cells(path, columns)


def _official_unknown_documents(task: AbsTask, split: str, subset: str) -> int:
    stats: Any = (task.metadata.descriptive_stats or {}).get(split, {})
    stats = stats.get("hf_subset_descriptive_stats", {}).get(subset, stats)
    return int((stats.get("relevant_docs_statistics") or {}).get("num_missing_corpus_ids") or 0)


def _arranged(task: AbsTask, shape: Shape, tables: dict[str, dict[str, Any]]) -> Any:
    """The data as mteb's task of this kind holds it."""
    from datasets import Dataset, DatasetDict

    if shape.is_retrieval:
        return {
            subset: {split: _retrieval_split(one) for split, one in splits.items()} for subset, splits in tables.items()
        }
    if shape.languages_in_columns:
        joined: dict[str, dict[str, list[Any]]] = {}
        for splits in tables.values():
            for split, columns in splits.items():
                joined.setdefault(split, {}).update(columns)
        return DatasetDict({split: Dataset.from_dict(columns) for split, columns in joined.items()})
    arranged = {
        subset: DatasetDict({split: Dataset.from_dict(columns) for split, columns in splits.items()})
        for subset, splits in tables.items()
    }
    return arranged if task.metadata.is_multilingual else arranged[DEFAULT_SUBSET]


def _retrieval_split(tables: RetrievalTables) -> dict[str, Any]:
    from datasets import Dataset

    return {
        "corpus": Dataset.from_dict(tables.corpus),
        "queries": Dataset.from_dict(tables.queries),
        "relevant_docs": tables.judgements,
        "top_ranked": tables.candidates,
    }
