"""Exact nearest neighbours by cosine, with known pairs left out inside the search."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

# Fetched beyond k by the fast pass, so that a near tie at rank k seldom needs the slow pass.
SPARE = 8
# Components of unit vectors are rounded to this grid: exact in float32, and products of two are exact in float64.
GRID = 2.0**24
HIGHEST_INDEX = 2**31 - 1
NO_KEY = torch.iinfo(torch.int64).min


def top_k(
    queries: torch.Tensor,
    corpus: torch.Tensor | None = None,
    *,
    k: int,
    exclude: torch.Tensor | None = None,
    block_size: int = 4096,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The k corpus vectors nearest to each query by cosine, exactly, on the device of ``queries``.

    Promised: the result depends on the vectors alone, never on ``block_size``, the number of threads, or settings
    that let matrix products run in TF32 or bf16. Unit vectors are rounded to a grid of 2**-24, on which a dot product
    in float64 has no rounding error whatever the order of summation; that value, rounded to float32, is the
    similarity, and equal similarities are ranked by the lower corpus index. A float32 product (its error bounded as
    in Higham, Accuracy and Stability of Numerical Algorithms, section 3.1) first finds k + 8 candidates; the few
    queries for which that bound cannot rule out a better vector among the rest are searched again in float64.

    Args:
        queries: Vectors of shape (n, dim), of any length (a zero vector has cosine 0 with everything) and float type.
        corpus: Vectors of shape (m, dim) on the same device; ``None`` searches among ``queries`` themselves, where a
            vector is never its own neighbour.
        k: Neighbours wanted for each query, counted after everything excluded is left out.
        exclude: Integer tensor of shape (pairs, 2): rows of (query index, corpus index) never returned, in that
            direction only.
        block_size: Vectors on each side of one block; memory is about 4 * block_size**2 bytes.

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
    excluded = _Excluded(exclude, len(queries), len(corpus), queries.device, itself=among_themselves)
    query_units = _units(queries)
    corpus_units = query_units if among_themselves else _units(corpus)
    indices = torch.full((len(queries), k), -1, dtype=torch.int64, device=queries.device)
    similarities = torch.full((len(queries), k), -torch.inf, device=queries.device)
    if len(corpus) == 0:
        return indices, similarities
    for start in range(0, len(queries), block_size):
        rows = torch.arange(start, min(start + block_size, len(queries)), device=queries.device)
        keys, doubtful = _fast_pass(query_units, corpus_units, rows, k=k, excluded=excluded, block_size=block_size)
        if doubtful.any():
            keys[doubtful] = _slow_pass(
                query_units, corpus_units, rows[doubtful], k=k, excluded=excluded, block_size=block_size
            )
        found, values = _read_keys(keys)
        indices[rows, : keys.shape[1]] = found
        similarities[rows, : keys.shape[1]] = values
    return indices, similarities


def pair_similarity(embeddings: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Cosines of given pairs, equal to the bit to the similarities of :func:`top_k`.

    Args:
        embeddings: Vectors of shape (n, dim).
        first: Row indices, int64 of shape (pairs,).
        second: Row indices, int64 of shape (pairs,).

    Returns:
        Float32 of shape (pairs,) on the device of ``embeddings``.
    """
    units = _units(embeddings)
    values = torch.empty(len(first), dtype=torch.float32, device=units.device)
    for start in range(0, len(first), 8192):
        part = slice(start, start + 8192)
        values[part] = (units[first[part]].double() * units[second[part]].double()).sum(1).float()
    return values


class _Excluded:
    """Known pairs sorted by query, handed out for one block of similarities at a time."""

    def __init__(
        self, pairs: torch.Tensor | None, queries: int, corpus: int, device: torch.device, *, itself: bool
    ) -> None:
        pairs = torch.empty((0, 2), dtype=torch.int64) if pairs is None else pairs.to(torch.int64)
        if pairs.ndim != 2 or pairs.shape[1] != 2:
            raise ValueError(f"exclude must have shape (pairs, 2), found {tuple(pairs.shape)}")
        pairs = pairs.to(device)
        if ((pairs < 0) | (pairs >= torch.tensor([queries, corpus], device=device))).any():
            raise ValueError(f"exclude holds an index outside {queries} queries and {corpus} corpus vectors")
        if itself:
            every = torch.arange(queries, device=device)
            pairs = torch.cat([pairs, torch.stack([every, every], dim=1)])
        self.columns = pairs[torch.argsort(pairs[:, 0]), 1]
        counts = torch.bincount(pairs[:, 0], minlength=queries)
        self.ends = counts.cumsum(0)
        self.counts = counts

    def of(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Positions in ``rows`` and corpus indices of every pair excluded for these queries, one entry a pair."""
        counts = self.counts[rows]
        position = torch.repeat_interleave(torch.arange(len(rows), device=rows.device), counts)
        within = torch.arange(len(position), device=rows.device) - (counts.cumsum(0) - counts)[position]
        return position, self.columns[(self.ends[rows] - counts)[position] + within]


@contextmanager
def _plain_float32(device: torch.device) -> Iterator[None]:
    """Matrix products in IEEE float32, whatever the caller has allowed: the error bound of the fast pass needs it."""
    backends = [torch.backends.mkldnn.matmul, torch.backends.cuda.matmul]  # type: ignore[attr-defined]
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


def _units(vectors: torch.Tensor) -> torch.Tensor:
    """Vectors divided by their length and rounded to the grid, float32."""
    units = torch.empty(vectors.shape, dtype=torch.float32, device=vectors.device)
    for start in range(0, len(vectors), 8192):
        part = vectors[start : start + 8192].detach().double()
        length = torch.linalg.vector_norm(part, dim=1, keepdim=True)
        if not torch.isfinite(length).all():
            row = start + int(torch.nonzero(~torch.isfinite(length[:, 0]))[0])
            raise ValueError(f"row {row} of the embeddings is not finite")
        units[start : start + 8192] = ((part / torch.where(length == 0, 1.0, length)) * GRID).round() / GRID
    return units


def _blocks(
    queries: torch.Tensor,
    corpus: torch.Tensor,
    rows: torch.Tensor,
    *,
    excluded: _Excluded,
    block_size: int,
    dtype: torch.dtype,
) -> Iterator[tuple[int, torch.Tensor]]:
    """First corpus index and similarities (len(rows), block) of each block, excluded pairs at -inf."""
    position, column = excluded.of(rows)
    wanted = queries[rows].to(dtype)
    for start in range(0, len(corpus), block_size):
        part = corpus[start : start + block_size].to(dtype)
        with _plain_float32(queries.device):
            similarities = wanted @ part.T
        inside = (column >= start) & (column < start + len(part))
        similarities[position[inside], column[inside] - start] = -torch.inf
        yield start, similarities


def _fast_pass(
    queries: torch.Tensor, corpus: torch.Tensor, rows: torch.Tensor, *, k: int, excluded: _Excluded, block_size: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sorted keys of the k best of k + SPARE candidates per row, and the rows for which others may be as good."""
    width = min(k + SPARE, len(corpus))
    values = torch.empty((len(rows), 0), device=queries.device)
    found = torch.empty((len(rows), 0), dtype=torch.int64, device=queries.device)
    for start, block in _blocks(queries, corpus, rows, excluded=excluded, block_size=block_size, dtype=torch.float32):
        best = torch.topk(block, min(width, block.shape[1]), dim=1)
        values, found = torch.cat([values, best.values], 1), torch.cat([found, best.indices + start], 1)
        values, order = torch.topk(values, min(width, values.shape[1]), dim=1)
        found = torch.gather(found, 1, order)
    exact = torch.empty_like(values)
    for part in torch.arange(len(rows), device=queries.device).split(512):
        one, many = queries[rows[part]].double(), corpus[found[part]].double()
        exact[part] = torch.bmm(many, one[:, :, None])[:, :, 0].float()
    exact[values == -torch.inf] = -torch.inf
    keys = torch.topk(_keys(exact, found), min(k, width), dim=1).values
    # |computed - exact| <= dim * u / (1 - dim * u) for unit vectors, u = 2**-24; 2 u more for lengths and rounding.
    slack = (1.01 * queries.shape[1] + 4) * 2.0**-24
    worst_kept, kth = values[:, -1], _read_keys(keys[:, -1])[1]
    doubtful = (worst_kept > -torch.inf) & (worst_kept + slack >= kth)
    return keys, doubtful & (width < len(corpus))


def _slow_pass(
    queries: torch.Tensor, corpus: torch.Tensor, rows: torch.Tensor, *, k: int, excluded: _Excluded, block_size: int
) -> torch.Tensor:
    """Sorted keys of the k best per row from exact similarities to the whole corpus."""
    keys = torch.empty((len(rows), 0), dtype=torch.int64, device=queries.device)
    for start, block in _blocks(queries, corpus, rows, excluded=excluded, block_size=block_size, dtype=torch.float64):
        index = torch.arange(start, start + block.shape[1], device=queries.device)
        best = torch.topk(_keys(block.float(), index.expand_as(block)), min(k, block.shape[1]), dim=1).values
        keys = torch.cat([keys, best], 1)
        keys = torch.topk(keys, min(k, keys.shape[1]), dim=1).values
    return keys


def _keys(similarities: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """One int64 per candidate that sorts by similarity, then by lower index: no two are equal, so no tie is left."""
    # Adding 0 turns -0 into +0; flipping the low 31 bits of negative floats makes their bits sort as integers.
    bits = (similarities + 0.0).contiguous().view(torch.int32)
    rank = (bits ^ ((bits >> 31) & HIGHEST_INDEX)).long()
    return torch.where(similarities == -torch.inf, NO_KEY, (rank << 32) | (HIGHEST_INDEX - indices))


def _read_keys(keys: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices and similarities that keys were made of; -1 and -inf where nothing was found."""
    rank = (keys >> 32).to(torch.int32)
    similarities = (rank ^ ((rank >> 31) & HIGHEST_INDEX)).contiguous().view(torch.float32)
    indices = HIGHEST_INDEX - (keys & 0xFFFFFFFF)
    nothing = keys == NO_KEY
    return indices.masked_fill(nothing, -1), similarities.masked_fill(nothing, -torch.inf)
