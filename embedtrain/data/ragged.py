"""Rows of different lengths as two flat arrays, and the one gather that all work on them comes down to."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True, eq=False)
class Ragged:
    """Rows of token numbers, one after another.

    Attributes:
        values: All tokens, int32 (tokens,).
        starts: Where each row begins, and the end of the last one, int64 (rows + 1,).
    """

    values: np.ndarray
    starts: np.ndarray

    @classmethod
    def from_lists(cls, rows: Sequence[Sequence[int]]) -> "Ragged":
        """Rows given as lists, each of any length, none included."""
        starts = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum([len(row) for row in rows], out=starts[1:])
        values = np.fromiter((token for row in rows for token in row), dtype=np.int32, count=int(starts[-1]))
        return cls(values, starts)

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, int64 (rows,)."""
        return np.diff(self.starts)

    def to_lists(self) -> list[list[int]]:
        """The rows as lists."""
        values = self.values.tolist()
        return [values[first:end] for first, end in pairwise(self.starts.tolist())]


def span_indices(first: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The places that spans cover, span by span: ``first[0], first[0] + 1, ...``, then those of the next.

    Gathers chosen rows of a ragged array: ``values[span_indices(starts[rows], lengths[rows])]``.

    Args:
        first: Where each span begins, (spans,).
        lengths: How long it is, 0 or more, (spans,).

    Returns:
        int64, as many as the lengths add up to.
    """
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return np.repeat(first - (ends - lengths), lengths) + np.arange(total)
