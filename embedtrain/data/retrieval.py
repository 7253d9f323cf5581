"""A retrieval test: documents, queries, and judgements of which document answers which query, from BEIR's layout.

A folder holds ``corpus`` (``_id``, ``text`` and perhaps ``title``), ``queries`` (``_id``, ``text``) and judgements of
each split, ``qrels/test`` or ``qrels_test`` (``query-id``, ``corpus-id``, ``score``), each of them as JSONL, TSV, CSV,
JSON or Parquet. Source: Thakur et al. 2021, BEIR.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from embedtrain.data.readers import read_columns
from embedtrain.data.schema import AnyOf, Kind
from embedtrain.errors import Problems, UserError

ENDINGS = (".jsonl", ".parquet", ".tsv", ".csv", ".json")
QRELS = Kind("relevance judgements", ("query-id", "corpus-id", "score"), can_be_mapped=False)
# Data sets on the hub call it id as often as _id.
_QUERIES = AnyOf(
    "queries",
    (),
    can_be_mapped=False,
    kinds=tuple(Kind("queries", columns, can_be_mapped=False) for columns in (("_id", "text"), ("id", "text"))),
)
_CORPUS = AnyOf(
    "a corpus",
    (),
    can_be_mapped=False,
    kinds=tuple(
        Kind("a corpus", columns, can_be_mapped=False)
        for columns in (("_id", "title", "text"), ("id", "title", "text"), ("_id", "text"), ("id", "text"))
    ),
)
_SHOWN = 5

Read = TypeVar("Read")


@dataclass(frozen=True)
class RetrievalSet:
    """What retrieval is measured on.

    Attributes:
        corpus: Text of each document by its id; a title stands before the text, a space between them.
        queries: Text of each query by its id; some may belong to other splits.
        qrels: ``query-id`` and ``corpus-id`` (``str``) and ``score`` (int64): 0 is not relevant, more is more relevant.
    """

    corpus: dict[str, str]
    queries: dict[str, str]
    qrels: pd.DataFrame


def read_retrieval_set(folder: str | Path, *, split: str = "test") -> RetrievalSet:
    """Read a folder in BEIR's layout; see the module's description.

    Args:
        folder: Where corpus, queries and judgements lie.
        split: Whose judgements to read.

    Raises:
        UserError: All that is wrong with the files: those that are missing, ids that are missing or stand twice, scores
            that are no whole numbers, judgements of documents or queries that do not exist.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; expected one that holds corpus, queries and qrels")
    problems = Problems()
    corpus = _noting(problems, lambda: _read_texts(_find(folder, ["corpus"]), kind=_CORPUS))
    queries = _noting(problems, lambda: _read_texts(_find(folder, ["queries"]), kind=_QUERIES))
    qrels = _noting(problems, lambda: _read_qrels(_find(folder, [f"qrels/{split}", f"qrels_{split}"])))
    if corpus is None or queries is None or qrels is None:
        raise UserError(*problems.messages)
    checked = check_qrels(qrels, queries=queries, corpus=corpus, label=f"{folder}, qrels of {split}")
    return RetrievalSet(corpus, queries, checked)


def check_qrels(
    qrels: pd.DataFrame, *, queries: Collection[str], corpus: Collection[str], label: str = "qrels"
) -> pd.DataFrame:
    """Judgements, each once, of queries and documents that exist.

    Args:
        qrels: ``query-id``, ``corpus-id`` and ``score``.
        queries: Every query's id.
        corpus: Every document's id.
        label: What messages call the judgements.

    Returns:
        The three columns without repeated rows.

    Raises:
        UserError: Ids are unknown, a pair is judged twice and differently, or nothing at all is relevant.
    """
    problems = Problems()
    for column, what, known in (("query-id", "queries", queries), ("corpus-id", "documents", corpus)):
        unknown = qrels[column][~qrels[column].isin(list(known))].drop_duplicates().tolist()
        if unknown:
            problems.add(f"{label}: {len(unknown)} {what} are judged but not there: {_shown(unknown)}")
    once = qrels[["query-id", "corpus-id", "score"]].drop_duplicates()
    twice = once[once.duplicated(["query-id", "corpus-id"])]
    if len(twice):
        pairs = [
            f"{query} and {document}" for query, document in zip(twice["query-id"], twice["corpus-id"], strict=True)
        ]
        problems.add(f"{label}: {len(pairs)} pairs of query and document have two different scores: {_shown(pairs)}")
    if not (once["score"] > 0).any():
        problems.add(f"{label}: no document is relevant to any query (a score of 1 or more), so nothing can be found")
    problems.raise_if_any()
    return once


def _noting(problems: Problems, read: Callable[[], Read]) -> Read | None:
    """What is read, or None and its problems noted."""
    try:
        return read()
    except UserError as error:
        problems.extend(error)
        return None


def _find(folder: Path, stems: list[str]) -> Path:
    candidates = [folder / f"{stem}{ending}" for stem in stems for ending in ENDINGS]
    found = [path for path in candidates if path.is_file()]
    if len(found) > 1:
        names = " and ".join(str(path.relative_to(folder)) for path in found)
        raise UserError(f"{folder}: found {names}, which are read as the same table; keep one")
    if not found:
        wanted = " or ".join(f"{stem}{{{','.join(ENDINGS)}}}" for stem in stems)
        there = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
        raise UserError(f"{folder}: there is no {wanted}; found {_shown(there) if there else 'no file at all'}")
    return found[0]


def _read_texts(path: Path, *, kind: Kind) -> dict[str, str]:
    table = read_columns(path, kind=kind)
    ids = _ids(table.iloc[:, 0], label=str(path))
    twice = ids[ids.duplicated()]
    if len(twice):
        where = [f"'{one}' in row {row}" for row, one in twice.items()]
        raise UserError(f"{path}: {len(where)} ids were given to an earlier row already: {_shown(where)}")
    texts = _texts(table["text"], label=str(path))
    if "title" in table:
        titles = _texts(table["title"], label=str(path))
        texts = [f"{title} {text}".strip() if title else text for title, text in zip(titles, texts, strict=True)]
    return dict(zip(ids, texts, strict=True))


def _read_qrels(path: Path) -> pd.DataFrame:
    table = read_columns(path, kind=QRELS)
    problems = Problems()
    checked = {}
    for name, check in (("query-id", _ids), ("corpus-id", _ids), ("score", _grades)):
        try:
            checked[name] = check(table[name], label=str(path))
        except UserError as error:
            problems.extend(error)
    problems.raise_if_any()
    return pd.DataFrame(checked)


def _ids(column: pd.Series, *, label: str) -> pd.Series:
    """Ids as text; a whole number is its digits."""
    ids = column.astype(object).map(_id_of)
    bad = column[ids.isna()]
    if len(bad):
        found = _shown([f"row {row} {value!r}" for row, value in bad.items()])
        raise UserError(f"{label}: '{column.name}' must be an id, a word or a whole number, found {found}")
    return ids


def _id_of(value: object) -> str | None:
    if isinstance(value, Integral) and not isinstance(value, bool | np.bool_):
        return str(value)
    return value if isinstance(value, str) and value else None


def _texts(column: pd.Series, *, label: str) -> list[str]:
    texts = column.astype(object).where(column.notna(), "")
    bad = texts[[not isinstance(value, str) for value in texts]]
    if len(bad):
        found = _shown([f"row {row} {value!r}"[:60] for row, value in bad.items()])
        raise UserError(f"{label}: '{column.name}' must hold text, found {found}")
    return texts.tolist()


def _grades(column: pd.Series, *, label: str) -> pd.Series:
    numbers = pd.to_numeric(column, errors="coerce").astype("float64")
    bad = column[~np.isfinite(numbers) | (numbers != numbers.round())]
    if len(bad):
        found = _shown([f"row {row} {value!r}" for row, value in bad.items()])
        raise UserError(f"{label}: 'score' must be a whole number, 0 for not relevant, found {found}")
    return numbers.astype("int64")


def _shown(items: list[str]) -> str:
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(items[:_SHOWN]) + more
