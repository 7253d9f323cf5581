"""A run of queries in a screening: what is known of their highest products so far, and their candidates."""

from typing import NamedTuple

import numpy as np
import torch

from embedtrain.mining.exclusions import Excluded

# Positive floats sort as the integers of their bits, and integers are compared faster, bf16 above all.
INTEGERS = {torch.bfloat16: torch.int16, torch.float32: torch.int32}


class Candidates(NamedTuple):
    """What a run of queries may have as nearest neighbours."""

    rows: torch.Tensor  # (r,) the queries
    position: torch.Tensor  # (c,) of each candidate's query within rows, int64
    column: torch.Tensor  # (c,) of each candidate within the corpus, int64
    sure: torch.Tensor  # (r,) whether the k nearest of the query are among its candidates, bool


class Strip:
    """A run of queries.

    Args:
        rows: The queries, int64.
        size: Rows of a block of products; those beyond ``rows`` are zero.
        k: Neighbours wanted.
        lanes: Lanes that the corpus is dealt into.
        dtype: Of the products.
        error: The most by which a product is off, before its own rounding.
        excluded: Pairs that are no candidates.
    """

    def __init__(
        self,
        rows: torch.Tensor,
        *,
        size: int,
        k: int,
        lanes: int,
        dtype: torch.dtype,
        error: float,
        excluded: Excluded,
    ) -> None:
        self.rows, self.size, self.k, self.lanes, self.error = rows, size, k, lanes, error
        self.dtype, self.integer = dtype, INTEGERS[dtype]
        # One with more near ties is left unsure, as memory would have no bound.
        self.limit = 64 + 8 * k
        self.highest = torch.iinfo(self.integer).max
        self.best: torch.Tensor | None = None  # (size, lanes)
        self.least = torch.ones(size, dtype=self.integer, device=rows.device)
        self.sure = torch.zeros(size, dtype=torch.bool, device=rows.device)
        self.crowded = torch.zeros(size, dtype=torch.bool, device=rows.device)
        self.counts = torch.zeros(size, dtype=torch.int64, device=rows.device)
        self.found: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        self.excluded = excluded.of(rows)

    def lay_out_by_rows(self) -> None:
        """Blocks came column by column so far, and come row by row from here on."""
        if self.best is not None:
            self.best = self.best.contiguous()

    def excluded_within(self, start: int, stop: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Positions of excluded pairs in the block of these columns."""
        position, column = self.excluded
        inside = (column >= start) & (column < stop)
        return position[inside], column[inside] - start

    def look(self, products: torch.Tensor, *, start: int) -> None:
        """Take the candidates out of a block.

        Args:
            products: Their bits, (size, members, lanes): column ``start + member * lanes + lane``.
            start: First column.
        """
        # Everything that goes through a whole block does so in the order of memory.
        by_rows = products.stride(2) == 1
        maxima = products.amax(1) if by_rows else products.permute(1, 2, 0).amax(0).T
        self.best = maxima.clone() if self.best is None else torch.maximum(self.best, maxima, out=self.best)
        self._raise_bound()
        above = maxima >= self.least[:, None]
        if by_rows:
            position, lane = _nonzero(above)
        else:
            lane, position = _nonzero(above.T)
        bits = products[position, :, lane]
        hit, member = _nonzero(bits >= self.least[position, None])
        if not len(hit):
            return
        position, lane = position[hit], lane[hit]
        column = start + member * self.lanes + lane
        self.found.append((position.to(torch.int32), column.to(torch.int32), bits[hit, member]))
        self.counts += torch.bincount(position, minlength=self.size)
        if int(self.counts.max()) > self.limit:
            self._sift()

    def finish(self) -> Candidates:
        """What is left after the last block."""
        position, column = self._sift()
        real = len(self.rows)
        return Candidates(self.rows, position, column, self.sure[:real] & ~self.crowded[:real])

    def forget(self) -> None:
        """Free what a finished run of queries holds."""
        self.found = []
        self.best = None

    def _raise_bound(self) -> None:
        assert self.best is not None
        kth = _kth_highest(self.best, self.k)
        known = kth.clamp(min=1)
        # A product rounded to kth was not below the middle between it and the next lower number.
        before_rounding = (known.view(self.dtype).double() + (known - 1).view(self.dtype).double()) / 2
        bound = (before_rounding - 2 * self.error).float().to(self.dtype).view(self.integer)
        self.sure = (kth > 0) & (bound > 0)
        # Bits of numbers below 0 do not sort, so that nothing at or below 0 can be a candidate.
        self.least = torch.where(self.sure, bound, 1).masked_fill(self.crowded, self.highest)

    def _sift(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Drop candidates below the bound as it is now, and all of queries that have too many."""
        self._raise_bound()
        if not self.found:
            nothing = torch.empty(0, dtype=torch.int64, device=self.rows.device)
            return nothing, nothing
        position, column, bits = (torch.cat(parts) for parts in zip(*self.found, strict=True))
        kept = bits >= self.least[position]
        counts = torch.bincount(position[kept], minlength=self.size)
        self.crowded |= counts > self.limit
        self.least.masked_fill_(self.crowded, self.highest)
        kept &= ~self.crowded[position]
        self.counts = counts.masked_fill(self.crowded, 0)
        position, column = position[kept], column[kept]
        self.found = [(position, column, bits[kept])]
        return position.long(), column.long()


def _nonzero(mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows and columns of what is true in a contiguous table."""
    # Where little is true, numpy skips the rest eight at a time.
    flat = (
        torch.from_numpy(np.flatnonzero(mask.numpy())) if mask.device.type == "cpu" else mask.flatten().nonzero()[:, 0]
    )
    return flat // mask.shape[1], flat % mask.shape[1]


def _kth_highest(table: torch.Tensor, k: int) -> torch.Tensor:
    """The k-th highest number of each row."""
    if table.device.type != "cpu":
        return torch.topk(table, k, dim=1).values[:, -1].contiguous()
    # Ten times as fast as torch.topk for short rows, where they lie one after the other.
    return torch.from_numpy(np.partition(table.contiguous().numpy(), -k, axis=1)[:, -k].copy())
