"""Cosines that have the same bits whatever computes them, and the order of neighbours that follows from them."""

import torch

# Components of unit vectors are rounded to this grid: exact in float32, and products of two are exact in float64.
GRID = 2.0**24
HIGHEST_INDEX = 2**31 - 1
NO_KEY = torch.iinfo(torch.int64).min
# Rows at a time that stay in a processor's cache in float64.
_ROWS = 256


def unit_vectors(vectors: torch.Tensor) -> torch.Tensor:
    """Vectors divided by their length and rounded to a grid of 2**-24; a zero vector stays one.

    On that grid the dot product of two unit vectors has no rounding error in float64, in whatever order it is summed.

    Args:
        vectors: Shape (n, dim), of any length and float type.

    Returns:
        Float32 of shape (n, dim) on the same device.

    Raises:
        ValueError: A vector is not finite.
    """
    units = torch.empty(vectors.shape, dtype=torch.float32, device=vectors.device)
    for start in range(0, len(vectors), _ROWS):
        part = vectors[start : start + _ROWS].detach().double()
        length = torch.linalg.vector_norm(part, dim=1, keepdim=True)
        if not torch.isfinite(length).all():
            row = start + int(torch.nonzero(~torch.isfinite(length[:, 0]))[0])
            raise ValueError(f"row {row} of the embeddings is not finite")
        units[start : start + _ROWS] = (part / torch.where(length == 0, 1.0, length)).mul_(GRID).round_().div_(GRID)
    return units


def dots(queries: torch.Tensor, corpus: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Exact dot products of given pairs of unit vectors, rounded once to float32.

    Args:
        queries: Unit vectors, shape (n, dim).
        corpus: Unit vectors, shape (m, dim).
        first: Rows of ``queries``, int64 of shape (pairs,).
        second: Rows of ``corpus``, int64 of shape (pairs,).

    Returns:
        Float32 of shape (pairs,).
    """
    values = torch.empty(len(first), dtype=torch.float32, device=queries.device)
    for start in range(0, len(first), _ROWS):
        part = slice(start, start + _ROWS)
        one, other = queries.index_select(0, first[part]), corpus.index_select(0, second[part])
        values[part] = one.double().mul_(other.double()).sum(1)
    return values


def make_keys(similarities: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """One int64 per candidate that sorts by similarity, then by lower index: no two are equal, so no tie is left."""
    # Adding 0 turns -0 into +0; flipping the low 31 bits of negative floats makes their bits sort as integers.
    bits = (similarities + 0.0).contiguous().view(torch.int32)
    rank = (bits ^ ((bits >> 31) & HIGHEST_INDEX)).long()
    return torch.where(similarities == -torch.inf, NO_KEY, (rank << 32) | (HIGHEST_INDEX - indices))


def read_keys(keys: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices and similarities that keys were made of; -1 and -inf where nothing was found."""
    rank = (keys >> 32).to(torch.int32)
    similarities = (rank ^ ((rank >> 31) & HIGHEST_INDEX)).contiguous().view(torch.float32)
    indices = HIGHEST_INDEX - (keys & 0xFFFFFFFF)
    nothing = keys == NO_KEY
    return indices.masked_fill(nothing, -1), similarities.masked_fill(nothing, -torch.inf)


def best_keys(position: torch.Tensor, keys: torch.Tensor, *, rows: int, k: int) -> torch.Tensor:
    """The k best keys of each row, from a list of keys that belong to rows.

    Args:
        position: The row of each key, int64 of shape (keys,), in any order.
        keys: As from ``make_keys``, shape (keys,).
        rows: Number of rows.
        k: Keys wanted for each.

    Returns:
        Shape (rows, k), high to low, filled up with ``NO_KEY``.
    """
    counts = torch.bincount(position, minlength=rows)
    order = torch.argsort(position)
    position = position[order]
    slot = torch.arange(len(position), device=keys.device) - (counts.cumsum(0) - counts)[position]
    width = max(k, int(counts.max())) if rows else k
    table = torch.full((rows, width), NO_KEY, dtype=torch.int64, device=keys.device)
    table[position, slot] = keys[order]
    return torch.topk(table, k, dim=1).values
