"""Exact nearest neighbours by cosine, with known pairs left out inside the search."""

import torch

from embedtrain.mining.cosines import HIGHEST_INDEX, NO_KEY, best_keys, dots, make_keys, read_keys, unit_vectors
from embedtrain.mining.exclusions import Excluded
from embedtrain.mining.screening import can_screen, candidates, screening_types

# Fewer similarities than this are computed exactly at once: a screening has many small steps to pay for.
WORTH_SCREENING = 2**20


def top_k(
    queries: torch.Tensor,
    corpus: torch.Tensor | None = None,
    *,
    k: int,
    exclude: torch.Tensor | None = None,
    block_size: int = 2048,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The k corpus vectors nearest to each query by cosine, exactly, on the device of ``queries``.

    Promised: the result depends on the vectors alone, never on ``block_size``, the processor, the number of threads, or
    settings that let matrix products run in TF32 or bf16. Unit vectors are rounded to a grid of 2**-24, on which a dot
    product in float64 has no rounding error whatever the order of summation; that value, rounded to float32, is the
    similarity, and equal similarities are ranked by the lower corpus index. Products in bf16 (where the processor has
    instructions for them) or float32 only tell which vectors cannot be among the k nearest: see ``screening``. Queries
    with too many near ties for bf16 are screened again in float32, and those left by that are searched in float64.

    Args:
        queries: Vectors of shape (n, dim), of any length (a zero vector has cosine 0 with everything) and float type.
        corpus: Vectors of shape (m, dim) on the same device; ``None`` searches among ``queries`` themselves, where a
            vector is never its own neighbour, and each product serves both of its vectors.
        k: Neighbours wanted for each query, counted after everything excluded is left out. Up to half of
            ``block_size`` the search is fast, beyond it every similarity is computed in float64.
        exclude: Integer tensor of shape (pairs, 2): rows of (query index, corpus index) never returned, in that
            direction only.
        block_size: Vectors on each side of one block of products. Beside the vectors in the type they are screened in,
            some hundred bytes a query and twenty a candidate are held at a time.

    Returns:
        Corpus indices, int64 of shape (n, k), and cosines, float32 of shape (n, k), both from near to far. A query
        with fewer than k candidates is filled up with index -1 and similarity -inf.

    Raises:
        ValueError: The shapes do not fit, a vector is not finite, an index is out of range, or ``k`` or
            ``block_size`` is below 1.
    """
    among_themselves = corpus is None
    corpus = queries if corpus is None else corpus
    if queries.ndim != 2 or corpus.ndim != 2 or queries.shape[1] != corpus.shape[1]:
        raise ValueError(f"expected (n, dim) and (m, dim), found {tuple(queries.shape)} and {tuple(corpus.shape)}")
    if k < 1 or block_size < 1:
        raise ValueError(f"k and block_size must be at least 1, found k={k} and block_size={block_size}")
    if len(corpus) > HIGHEST_INDEX:
        raise ValueError(f"at most {HIGHEST_INDEX} corpus vectors can be searched, found {len(corpus)}")
    excluded = Excluded(exclude, len(queries), len(corpus), queries.device, itself=among_themselves)
    query_units = unit_vectors(queries)
    corpus_units = query_units if among_themselves else unit_vectors(corpus)
    indices = torch.full((len(queries), k), -1, dtype=torch.int64, device=queries.device)
    similarities = torch.full((len(queries), k), -torch.inf, device=queries.device)
    width = min(k, len(corpus))
    if width == 0:
        return indices, similarities
    keys = torch.full((len(queries), width), NO_KEY, dtype=torch.int64, device=queries.device)
    open_rows = torch.arange(len(queries), device=queries.device)
    for dtype in screening_types(queries.device):
        size = len(open_rows) * len(corpus)
        if size == 0 or size < WORTH_SCREENING or not can_screen(len(corpus), k=width, block_size=block_size):
            break
        screened = candidates(
            query_units,
            corpus_units,
            open_rows,
            k=width,
            dtype=dtype,
            block_size=block_size,
            excluded=excluded,
            symmetric=among_themselves and len(open_rows) == len(queries),
        )
        unsure = []
        for rows, position, column, sure in screened:
            exact = dots(query_units, corpus_units, rows[position], column)
            keys[rows] = best_keys(position, make_keys(exact, column), rows=len(rows), k=width)
            unsure.append(rows[~sure])
        open_rows = torch.cat(unsure)
    for rows in open_rows.split(block_size) if len(open_rows) else ():
        keys[rows] = _exact_pass(query_units, corpus_units, rows, k=width, excluded=excluded, block_size=block_size)
    indices[:, :width], similarities[:, :width] = read_keys(keys)
    return indices, similarities


def pair_similarity(
    embeddings: torch.Tensor, first: torch.Tensor, second: torch.Tensor, *, corpus: torch.Tensor | None = None
) -> torch.Tensor:
    """Cosines of given pairs, equal to the bit to the similarities of :func:`top_k`.

    Args:
        embeddings: Vectors of shape (n, dim).
        first: Row indices, int64 of shape (pairs,).
        second: Row indices, int64 of shape (pairs,), into ``corpus`` where that is given.
        corpus: Vectors of shape (m, dim), if the second of each pair is found among others than ``embeddings``.

    Returns:
        Float32 of shape (pairs,) on the device of ``embeddings``.
    """
    units = unit_vectors(embeddings)
    return dots(units, units if corpus is None else unit_vectors(corpus), first, second)


def _exact_pass(
    queries: torch.Tensor, corpus: torch.Tensor, rows: torch.Tensor, *, k: int, excluded: Excluded, block_size: int
) -> torch.Tensor:
    """Sorted keys of the k best per row from exact similarities to the whole corpus."""
    position, column = excluded.of(rows)
    wanted = queries[rows].double()
    keys = torch.full((len(rows), k), NO_KEY, dtype=torch.int64, device=queries.device)
    for start in range(0, len(corpus), block_size):
        part = corpus[start : start + block_size].double()
        with torch.autocast(queries.device.type, enabled=False):
            similarities = (wanted @ part.T).float()
        inside = (column >= start) & (column < start + len(part))
        similarities[position[inside], column[inside] - start] = -torch.inf
        index = torch.arange(start, start + len(part), device=queries.device)
        best = torch.topk(make_keys(similarities, index.expand_as(similarities)), min(k, len(part)), dim=1).values
        keys = torch.topk(torch.cat([keys, best], 1), k, dim=1).values
    return keys
