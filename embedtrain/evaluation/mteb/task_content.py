"""What a filled task holds: the table of a split and subset, and a hash of what is judged by it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from embedtrain.evaluation.mteb.shapes import shape_of
from embedtrain.evaluation.mteb.task_data import LocalData, Part

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask


def table_of_part(task: AbsTask, part: Part) -> Any:
    """The table of a split and subset, of a task that is no retrieval."""
    split, subset = part
    dataset: Any = task.dataset
    return dataset[subset][split] if subset in dataset else dataset[split]


def content_of_part(data: LocalData, part: Part) -> str:
    """A hash of what a part is judged by, with what a classifier learns from; the same whatever the files' form."""
    shape, (split, subset) = shape_of(data.task), part
    dataset: Any = data.task.dataset
    digest = hashlib.sha256()
    if shape.languages_in_columns:
        _add(digest, {language: dataset[split][language] for language in subset.split("-")})
    elif shape.is_retrieval:
        of_part = dataset[subset][split]
        for name in ("corpus", "queries"):
            _add(digest, {column: of_part[name][column] for column in sorted(of_part[name].column_names)})
        for name in ("relevant_docs", "top_ranked"):
            _add(digest, of_part[name] or {})
    else:
        for one in dict.fromkeys([split, *([shape.train_split] if shape.train_split else [])]):
            table = table_of_part(data.task, (one, subset))
            _add(digest, {column.name: table[column.name] for column in shape.columns})
    return digest.hexdigest()


def _add(digest: Any, columns: Mapping[str, Any]) -> None:
    for name, values in columns.items():
        digest.update(repr(name).encode("utf-8", "surrogatepass"))
        for value in values.items() if isinstance(values, Mapping) else values:
            digest.update(repr(_plain(value)).encode("utf-8", "surrogatepass"))
            digest.update(b"\0")


def _plain(value: Any) -> Any:
    """Numbers as floats: a CSV file has 5.0 where a Parquet file has 5."""
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return float(value) if isinstance(value, int | float) else value
