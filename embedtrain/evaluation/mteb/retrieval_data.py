"""The data of a retrieval or reranking task from a mirror: corpus, queries, judgements and candidates."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from embedtrain.data.readers import read_columns
from embedtrain.data.schema import AnyOf, Kind
from embedtrain.errors import Problems, UserError
from embedtrain.evaluation.mteb.cells import as_id, read_cells
from embedtrain.evaluation.mteb.instructions import PART
from embedtrain.evaluation.mteb.mirror import TaskFolder
from embedtrain.evaluation.mteb.shapes import Column

_QRELS = (Column("query-id", "id"), Column("corpus-id", "id"), Column("score", "number"))
_CANDIDATES = Kind("candidates", ("query-id", "corpus-ids"), can_be_mapped=False)
_SHOWN = 5

Judgements = dict[str, dict[str, int]]


@dataclass(frozen=True)
class RetrievalTables:
    """What one split and subset of a retrieval task is made of.

    Attributes:
        corpus: Columns ``id``, ``title`` and ``text``.
        queries: Columns ``id`` and ``text``, perhaps ``instruction``; those alone that are judged.
        judgements: Of each query, each judged document's score.
        candidates: Of each query, the documents to rank; None for retrieval from the whole corpus.
        changes: Of each query, the documents that its changed instruction makes irrelevant; None where there is none.
    """

    corpus: dict[str, list[Any]]
    queries: dict[str, list[Any]]
    judgements: Judgements
    candidates: dict[str, list[str]] | None
    changes: dict[str, list[str]] | None = None


def read_retrieval_tables(
    folder: TaskFolder,
    *,
    split: str,
    subset: str,
    unknown_documents_allowed: int = 0,
    measures_instructions: bool = False,
) -> RetrievalTables | None:
    """Read one split and subset.

    Args:
        folder: The task's folder.
        split: Such as ``test``.
        subset: Such as ``default`` or ``zh``.
        unknown_documents_allowed: How many judged documents the official data itself does not hold.
        measures_instructions: Whether there has to be a table of what changed instructions change.

    Returns:
        The tables, or None when there are no judgements of this split and subset.

    Raises:
        UserError: All that is wrong with the files.
    """
    found = {part: folder.part(part, split, subset) for part in ("qrels", "corpus", "queries", "top_ranked", PART)}
    if found["qrels"] is None:
        return None
    problems = Problems()
    for part in ("corpus", "queries", *([PART] if measures_instructions else [])):
        if found[part] is None:
            wanted = folder.looked_for(split, subset, retrieval=True, part=part)
            problems.add(f"{folder.path}: there is no {part} for {found['qrels'].name}; looked for {wanted}")
    problems.raise_if_any()
    noting = partial(_noting, problems)
    corpus = noting(lambda: _read_texts(_given(found["corpus"]), optional="title"))
    queries = noting(lambda: _read_texts(_given(found["queries"]), optional="instruction"))
    judgements = noting(lambda: _read_judgements(_given(found["qrels"])))
    candidates = noting(lambda: _read_candidates(found["top_ranked"])) if found["top_ranked"] else None
    changes = noting(lambda: _read_candidates(found[PART])) if measures_instructions else None
    problems.raise_if_any()
    _check_ids(found, corpus, queries, judgements, candidates, allowed=unknown_documents_allowed)
    judged = [at for at, query in enumerate(queries["id"]) if query in judgements]
    queries = {name: [values[at] for at in judged] for name, values in queries.items()}
    corpus.setdefault("title", [""] * len(corpus["id"]))
    return RetrievalTables(corpus, queries, judgements, candidates, changes)


def _noting(problems: Problems, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except UserError as error:
        problems.extend(error)
        return None


def _given(path: Path | None) -> Path:
    assert path is not None  # looked at before
    return path


def _read_texts(path: Path, *, optional: str) -> dict[str, list[Any]]:
    columns = [(name, *extra, "text") for extra in ((optional,), ()) for name in ("id", "_id")]
    kinds = tuple(Kind("texts with ids", names, can_be_mapped=False) for names in columns)
    kind = AnyOf("texts with ids", (), can_be_mapped=False, kinds=kinds)
    table = read_columns(path, kind=kind)
    ids, problems = [as_id(value) for value in _objects(table.iloc[:, 0])], Problems()
    texts = [value if isinstance(value, str) else None for value in table["text"]]
    for name, values, expected in ((table.columns[0], ids, "an id, a word or a whole number"), ("text", texts, "text")):
        bad = [(row, given) for row, given, good in zip(table.index, table[name], values, strict=True) if good is None]
        if bad:
            problems.add(
                f"{path}: '{name}' must be {expected}, "
                f"found {_shown([f'row {row} {str(given)[:40]!r}' for row, given in bad])}"
            )
    problems.raise_if_any()
    first: dict[str | None, Any] = {}
    twice = [
        f"'{one}' in row {row}" for row, one in zip(table.index, ids, strict=True) if first.setdefault(one, row) != row
    ]
    if twice:
        raise UserError(f"{path}: {len(twice)} ids were given to an earlier row already: {_shown(twice)}")
    read: dict[str, list[Any]] = {"id": ids, "text": texts}
    if optional in table:
        read[optional] = ["" if not isinstance(value, str) else value for value in table[optional]]
    return read


def _read_judgements(path: Path) -> Judgements:
    cells = read_cells(path, _QRELS)
    scores = cells["score"]
    broken = [score for score in scores if score != int(score)]
    if broken:
        raise UserError(f"{path}: 'score' must be a whole number, found {_shown([str(score) for score in broken])}")
    judgements: Judgements = {}
    for query, document, score in zip(cells["query-id"], cells["corpus-id"], scores, strict=True):
        judgements.setdefault(query, {})[document] = int(score)
    return judgements


def _read_candidates(path: Path | None) -> dict[str, list[str]]:
    path = _given(path)
    table = read_columns(path, kind=_CANDIDATES)
    queries = [as_id(value) for value in _objects(table["query-id"])]
    lists = [_ids_of(value) for value in table["corpus-ids"]]
    bad = [row for row, one, many in zip(table.index, queries, lists, strict=True) if one is None or many is None]
    if bad:
        raise UserError(
            f"{path}: expected a query's id and a list of documents' ids in every row (Parquet or JSONL), "
            f"found something else in row {_shown([str(row) for row in bad])}"
        )
    pairs = zip(queries, lists, strict=True)
    return {query: documents for query, documents in pairs if query is not None and documents is not None}


def _objects(column: pd.Series) -> list[Any]:
    return list(column.astype(object))


def _ids_of(value: Any) -> list[str] | None:
    values = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(values, list):
        return None
    ids = [as_id(one) for one in values]
    return None if any(one is None for one in ids) else [one for one in ids if one is not None]


def _check_ids(
    found: Mapping[str, Path | None],
    corpus: Mapping[str, list[Any]],
    queries: Mapping[str, list[Any]],
    judgements: Judgements,
    candidates: Mapping[str, list[str]] | None,
    *,
    allowed: int,
) -> None:
    problems = Problems()
    qrels = found["qrels"]
    known_queries, known_documents = set(queries["id"]), set(corpus["id"])

    def unknown(what: str, path: Path | None, names: Collection[str], known: set[str], verb: str) -> None:
        missing = sorted(set(names) - known)
        if missing and not (what == "documents" and len(missing) == allowed):
            problems.add(f"{path}: {len(missing)} {what} are {verb} but not there: {_shown(missing)}")

    unknown("queries", qrels, judgements, known_queries, "judged")
    judged = {document for documents in judgements.values() for document in documents}
    unknown("documents", qrels, judged, known_documents, "judged")
    if not any(score > 0 for documents in judgements.values() for score in documents.values()):
        problems.add(f"{qrels}: no document is relevant to any query (a score of 1 or more), so nothing can be found")
    if candidates is not None:
        path = found["top_ranked"]
        ranked = {document for documents in candidates.values() for document in documents}
        unknown("documents", path, ranked, known_documents, "candidates")
        without = sorted(set(judgements) - set(candidates))
        if without:
            problems.add(f"{path}: {len(without)} judged queries have no candidates: {_shown(without)}")
    problems.raise_if_any()


def _shown(items: Sequence[str]) -> str:
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(items[:_SHOWN]) + more
