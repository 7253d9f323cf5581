"""Nearest neighbours at any size: exact up to one that is said, above it by FAISS with its recall measured."""

import logging
from typing import Any, NamedTuple

import torch

from embedtrain.errors import UserError
from embedtrain.mining.cosines import best_keys, dots, make_keys, read_keys, unit_vectors
from embedtrain.mining.exclusions import Excluded
from embedtrain.mining.names import SearchName
from embedtrain.mining.search import top_k
from embedtrain.progress import progress

logger = logging.getLogger(__name__)

# Queries times corpus. Two cores with bf16 instructions search 50,000 sentences of 384 dimensions among themselves in
# 2.5 seconds, hence a million in a quarter of an hour; the time grows with this product, that of FAISS more slowly.
EXACT_PRODUCTS = 10**12
TARGET_RECALL = 0.95
SAMPLE = 1000
LINKS = 32
FIRST_BREADTH, LAST_BREADTH = 16, 4096
_ROWS = 4096


class Neighbours(NamedTuple):
    """What a search found."""

    indices: torch.Tensor  # int64 (n, k), -1 where there is none
    similarities: torch.Tensor  # float32 (n, k), exact for the pair, high to low, -inf where there is none
    recall: float | None  # share of the exact neighbours found, on a sample of queries; None for an exact search


def nearest_neighbours(
    queries: torch.Tensor,
    corpus: torch.Tensor | None = None,
    *,
    k: int,
    exclude: torch.Tensor | None = None,
    search: SearchName = "auto",
    seed: int = 42,
) -> Neighbours:
    """The k corpus vectors nearest to each query by cosine; which search is used is logged with the reason.

    Args:
        queries: Shape (n, dim).
        corpus: Shape (m, dim); ``None`` searches among ``queries``, where none is its own neighbour.
        k: Neighbours wanted, after everything excluded is left out.
        exclude: Integer tensor of shape (pairs, 2): rows of (query index, corpus index) never returned.
        search: ``exact`` (``search.top_k``), ``faiss`` (``faiss_top_k``), or ``auto``: exact up to a trillion pairs of
            query and corpus vector, a million sentences among themselves, and FAISS above.
        seed: Of the queries on which the recall of FAISS is measured.

    Raises:
        UserError: FAISS is asked for, or the size asks for it, and it is not installed.
        ValueError: As ``search.top_k``.
    """
    size = len(queries) * len(queries if corpus is None else corpus)
    if search == "auto":
        search = "exact" if size <= EXACT_PRODUCTS else "faiss"
        if search == "faiss":
            logger.info(
                "search: by FAISS, as there are %.2g pairs of vectors; no more than %.0e are searched exactly without "
                "being asked (--search exact)",
                size,
                EXACT_PRODUCTS,
            )
    if search == "exact":
        return Neighbours(*top_k(queries, corpus, k=k, exclude=exclude), None)
    return faiss_top_k(queries, corpus, k=k, exclude=exclude, seed=seed)


def faiss_top_k(
    queries: torch.Tensor,
    corpus: torch.Tensor | None = None,
    *,
    k: int,
    exclude: torch.Tensor | None = None,
    target_recall: float = TARGET_RECALL,
    sample: int = SAMPLE,
    seed: int = 42,
) -> Neighbours:
    """As ``search.top_k``, by a graph index of FAISS (extra ``faiss``) on the processor: most of the nearest.

    The index is a hierarchical navigable small world graph (Malkov and Yashunin 2016, arXiv 1603.09320). The breadth of
    its search is doubled until the recall on a sample of queries reaches the target, and the recall is logged. Excluded
    pairs are honoured by asking for as many more. Similarities are computed again, exactly, and equal ones ranked by
    the lower index; which of the neighbours are found may differ from run to run where several threads build the graph.

    Args:
        queries: Shape (n, dim).
        corpus: Shape (m, dim), or ``None`` for the queries themselves.
        k: Neighbours wanted, after everything excluded is left out.
        exclude: Integer tensor of shape (pairs, 2): rows of (query index, corpus index) never returned.
        target_recall: Share of the exact neighbours to be found.
        sample: Queries that are searched exactly, too, for the recall. A neighbour as near as an exact one counts.
        seed: Of the sample.

    Raises:
        UserError: FAISS is not installed.
        ValueError: As ``search.top_k``.
    """
    faiss = _import_faiss()
    itself = corpus is None
    targets = queries if corpus is None else corpus
    if not len(queries) or not len(targets):
        return Neighbours(*top_k(queries, corpus, k=k), None)
    excluded = Excluded(
        None if exclude is None else exclude.cpu(), len(queries), len(targets), torch.device("cpu"), itself=itself
    )
    rows = torch.randperm(len(queries), generator=torch.Generator().manual_seed(seed))[:sample].sort().values
    hidden = torch.stack(excluded.of(rows), dim=1)
    exact = top_k(queries[rows.to(queries.device)], targets, k=k, exclude=hidden)[1].cpu()
    query_units = unit_vectors(queries).cpu()
    corpus_units = query_units if itself else unit_vectors(targets).cpu()
    index = _build_index(faiss, corpus_units)
    breadth, recall = FIRST_BREADTH, 0.0
    while True:
        index.hnsw.efSearch = breadth
        keys = _search(index, query_units, corpus_units, rows, k=k, excluded=excluded)
        recall = _recall(read_keys(keys)[1], exact)
        if recall >= target_recall or breadth >= min(LAST_BREADTH, len(targets)):
            break
        breadth *= 2
    logger.log(
        logging.INFO if recall >= target_recall else logging.WARNING,
        "search: FAISS finds %.1f %% of the exact neighbours of %d queries (wanted: %.1f %%), with a breadth of %d",
        100 * recall,
        len(rows),
        100 * target_recall,
        breadth,
    )
    keys = _search(index, query_units, corpus_units, torch.arange(len(queries)), k=k, excluded=excluded)
    indices, similarities = read_keys(keys)
    return Neighbours(indices.to(queries.device), similarities.to(queries.device), recall)


def _import_faiss() -> Any:
    # FAISS tells which of its builds it tries and takes, which is no matter of the user's.
    logging.getLogger("faiss").setLevel(logging.WARNING)
    try:
        import faiss
    except ImportError:
        raise UserError(
            "search with FAISS needs the package faiss-cpu: pip install 'embedtrain[faiss]'; or search exactly, which "
            "takes longer: --search exact"
        ) from None
    return faiss


def _build_index(faiss: Any, corpus: torch.Tensor) -> Any:
    index = faiss.index_factory(corpus.shape[1], f"HNSW{LINKS},Flat", faiss.METRIC_INNER_PRODUCT)
    for part in progress(corpus.split(_ROWS), what="indexing", unit="block"):
        index.add(part.numpy())
    return index


def _search(
    index: Any, queries: torch.Tensor, corpus: torch.Tensor, rows: torch.Tensor, *, k: int, excluded: Excluded
) -> torch.Tensor:
    """Sorted keys, (len(rows), k), of the nearest that the index finds and that are not excluded."""
    keys = torch.empty((len(rows), k), dtype=torch.int64)
    # Queries with many exclusions ask for many more: side by side, they do not make the others ask for as many.
    order = torch.argsort(excluded.counts[rows], stable=True)
    for part in progress(order.split(_ROWS), what="neighbours", unit="block"):
        some = rows[part]
        wanted = min(k + int(excluded.counts[some].max()), len(corpus))
        found = torch.from_numpy(index.search(queries[some].numpy(), wanted)[1])
        position, slot = (found >= 0).nonzero().unbind(1)
        column = found[position, slot]
        hidden_position, hidden_column = excluded.of(some)
        allowed = ~torch.isin(position * len(corpus) + column, hidden_position * len(corpus) + hidden_column)
        position, column = position[allowed], column[allowed]
        exact = make_keys(dots(queries, corpus, some[position], column), column)
        keys[part] = best_keys(position, exact, rows=len(some), k=k)
    return keys


def _recall(found: torch.Tensor, exact: torch.Tensor) -> float:
    """Share of the exact neighbours that were found, by their similarities, (queries, k) each."""
    wanted = exact > -torch.inf
    # Everything found has an exact similarity, so one at or above the exact search's last is among the nearest.
    last = torch.where(wanted, exact, torch.inf).amin(1)
    hits = torch.minimum((found >= last[:, None]).sum(1), wanted.sum(1)).sum()
    return float(hits / wanted.sum()) if wanted.any() else 1.0
