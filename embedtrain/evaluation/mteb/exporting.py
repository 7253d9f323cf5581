"""Writing a mirror where there is a network: what mteb loads for a task, as Parquet files."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from embedtrain.errors import UserError
from embedtrain.evaluation.mteb.instructions import PART, load_changes, measures_instructions
from embedtrain.evaluation.mteb.mirror import DEFAULT_SUBSET, TaskFolder
from embedtrain.evaluation.mteb.shapes import Column, Shape, shape_of
from embedtrain.evaluation.mteb.task_data import find_data
from embedtrain.files import whole_folder, write_parquet

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask

logger = logging.getLogger(__name__)


def lacks_parts(task: AbsTask, folder: TaskFolder) -> bool:
    """Whether a mirror lacks some of a task; the task's subsets are widened by those that are there already.

    A mirror may have been written for a benchmark that takes a few subsets of a task, and be wanted for others now.
    """
    if not folder.path.is_dir():
        return True
    asked = list(task.hf_subsets)
    task.hf_subsets = list(task.metadata.hf_subsets)
    try:
        data = find_data(task, folder)
    except UserError:
        task.hf_subsets = asked
        return True
    held = dict.fromkeys(subset for _, subset in data.parts)
    task.hf_subsets = list(dict.fromkeys([*asked, *held]))
    return any(subset in asked for _, subset in data.absent)


def export_task(task: AbsTask, root: str | Path) -> list[str]:
    """Load a task as mteb does, which fetches it where it is not cached, and write what it judges into a mirror.

    The task's folder appears whole or not at all.

    Args:
        task: mteb's task.
        root: The mirror.

    Returns:
        The files that were written, relative to the task's folder.

    Raises:
        UserError: When the task is not made of text alone, or its data cannot be loaded.
    """
    from mteb.abstasks import AbsTaskRetrieval

    shape = shape_of(task)
    name = task.metadata.name
    try:
        task.load_data()
        if isinstance(task, AbsTaskRetrieval):
            task.convert_v1_dataset_format_to_v2(num_proc=None)
    except Exception as error:  # Hub, network, scripts of data sets: whatever another project's loading may raise.
        cause = error.__cause__ or error  # datasets says what it did, and in the cause why it failed
        reason = (str(cause).strip().splitlines() or [""])[0]
        raise UserError(f"task {name}: its data cannot be loaded: {type(cause).__name__}: {reason}") from error
    written = []
    with whole_folder(Path(root) / name) as folder:
        try:
            for file, frame in _tables(task, shape):
                write_parquet(folder / file, frame)
                written.append(file)
        except KeyError as error:  # pyarrow's, where a name stands twice
            raise UserError(f"task {name}: its data is not what mteb's task takes: {error.args[0]}") from error
        if not written:
            raise UserError(f"task {name}: none of its splits ({', '.join(task.eval_splits)}) was loaded")
    task.unload_data()
    return written


def _tables(task: AbsTask, shape: Shape) -> Iterator[tuple[str, pd.DataFrame]]:
    dataset: Any = task.dataset
    splits = list(dict.fromkeys([*task.eval_splits, *([shape.train_split] if shape.train_split else [])]))
    if shape.languages_in_columns:
        languages = sorted({language for subset in task.hf_subsets for language in subset.split("-")})
        for split in splits:
            yield f"{split}.parquet", _frame(dataset[split], [Column(language, "text") for language in languages])
        return
    for subset in task.hf_subsets:
        of_subset = dataset if subset == DEFAULT_SUBSET and subset not in dataset else dataset[subset]
        folder = "" if subset == DEFAULT_SUBSET else f"{subset}/"
        for split in splits:
            if split not in of_subset:
                continue
            if shape.is_retrieval:
                yield from _retrieval_tables(of_subset[split], folder, split)
                if measures_instructions(task):
                    yield f"{folder}{PART}/{split}.parquet", _lists(load_changes(task, subset))
            else:
                yield f"{folder}{split}.parquet", _frame(of_subset[split], shape.columns)


def _frame(table: Any, columns: Sequence[Column]) -> pd.DataFrame:
    missing = [column.name for column in columns if column.name not in table.column_names]
    if missing:
        raise KeyError(f"there is no column {', '.join(missing)}; found {', '.join(table.column_names)}")
    values = {column.name: list(table[column.name]) for column in columns}
    texts = next(values[column.name] for column in columns if column.holds in ("text", "texts"))
    # Older tasks hold a whole table as the lists of a single row.
    if columns[0].holds == "text" and len(texts) == 1 and isinstance(texts[0], list):
        values = {name: one[0] for name, one in values.items()}
    return pd.DataFrame(values)


def _retrieval_tables(data: Mapping[str, Any], folder: str, split: str) -> Iterator[tuple[str, pd.DataFrame]]:
    for part, optional in (("corpus", "title"), ("queries", "instruction")):
        table = data[part]
        columns = ["id", "text", *([optional] if optional in table.column_names else [])]
        yield f"{folder}{part}/{split}.parquet", pd.DataFrame({column: list(table[column]) for column in columns})
    judged = [
        (query, document, score)
        for query, documents in data["relevant_docs"].items()
        for document, score in documents.items()
    ]
    yield f"{folder}qrels/{split}.parquet", pd.DataFrame(judged, columns=["query-id", "corpus-id", "score"])
    ranked = data.get("top_ranked")
    if ranked:
        yield f"{folder}top_ranked/{split}.parquet", _lists(ranked)


def _lists(documents: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """A list of documents for each query."""
    return pd.DataFrame({"query-id": list(documents), "corpus-ids": [list(one) for one in documents.values()]})
