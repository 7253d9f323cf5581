"""Texts that lie end to end, laid out for attention on a CPU: groups of like length, each on a grid of its own."""

from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

# What one more group costs in a layer, in attention weights that could have been computed instead, for each head.
GROUP_COST = 4000


@dataclass(frozen=True)
class Grid:
    """Texts of one group: ``lengths`` of shape (texts,), laid out as (texts, width)."""

    lengths: Tensor
    width: int

    def bias(self, reach: int | None, dtype: torch.dtype) -> Tensor:
        """0 where a query sees a key and a large negative number elsewhere, (texts, 1, 1 or width, width)."""
        place = torch.arange(self.width)
        visible = (place < self.lengths[:, None])[:, None, None]
        if reach is not None:
            distance = (place[:, None] - place).abs()
            # Places without a token see themselves, so that no softmax is over nothing.
            visible = visible & (distance <= reach) | (distance == 0)
        return torch.zeros(visible.shape, dtype=dtype).masked_fill_(~visible, torch.finfo(dtype).min / 2)

    def causal_bias(self, dtype: torch.dtype) -> Tensor:
        """0 where a query sees its own or an earlier place, and a large negative number elsewhere, (width, width)."""
        return torch.full((self.width, self.width), torch.finfo(dtype).min / 2, dtype=dtype).triu(1)


@dataclass(frozen=True)
class Layout:
    """Where packed rows of shape (tokens, parts, heads) lie on grids, each of (parts, texts, heads, width).

    Attributes:
        row_at: For each place the row that lies there, or row 0 where no token is, (places,).
        place_of: For each row its place, (rows,).
        empty: The places without a token.
    """

    row_at: Tensor
    place_of: Tensor
    empty: Tensor


@dataclass(frozen=True)
class Grids:
    """Where the tokens of packed texts lie on the grids of their groups.

    Args:
        starts: First token of each text and, at the end, the number of all tokens, (texts + 1,).
    """

    starts: Tensor
    _biases: dict[Any, list[Tensor]] = field(default_factory=dict, compare=False)
    _layouts: dict[tuple[int, int], Layout] = field(default_factory=dict, compare=False)

    @cached_property
    def groups(self) -> list[Grid]:
        """The texts in the order of their lengths, cut where that saves more than another group costs."""
        lengths = self._sorted[0]
        bounds = [0, *_cuts(lengths, 0, len(lengths)), len(lengths)]
        return [Grid(lengths[first:last], int(lengths[last - 1])) for first, last in pairwise(bounds)]

    @cached_property
    def sizes(self) -> list[int]:
        """Places of each grid."""
        return [len(grid.lengths) * grid.width for grid in self.groups]

    @cached_property
    def places(self) -> Tensor:
        """For each packed token its place among the places of all grids, (tokens,)."""
        order = self._sorted[1]
        widths = torch.cat([torch.full((len(grid.lengths),), grid.width) for grid in self.groups])
        rows = torch.empty_like(widths)
        rows[order] = F.pad(widths.cumsum(0), (1, -1))  # where each text's row begins
        in_text = torch.arange(int(self.starts[-1])) - self.starts[:-1].long().repeat_interleave(self.starts.diff())
        return rows.repeat_interleave(self.starts.diff()) + in_text

    def layout(self, heads: int, parts: int = 1) -> Layout:
        """Where packed rows of (tokens, parts, heads) lie on the grids; the layers of a model share it."""
        if (heads, parts) not in self._layouts:
            self._layouts[heads, parts] = self._layout(heads, parts)
        return self._layouts[heads, parts]

    def biases(self, reach: int | None, dtype: torch.dtype) -> list[Tensor]:
        """Each group's :meth:`Grid.bias`; the layers of a model share them."""
        key = (reach, dtype)
        if key not in self._biases:
            self._biases[key] = [grid.bias(reach, dtype) for grid in self.groups]
        return self._biases[key]

    def causal_biases(self, dtype: torch.dtype) -> list[Tensor]:
        """Each group's :meth:`Grid.causal_bias`; places without a token come last, so that no token sees them."""
        key = ("causal", dtype)
        if key not in self._biases:
            self._biases[key] = [grid.causal_bias(dtype) for grid in self.groups]
        return self._biases[key]

    @cached_property
    def _sorted(self) -> tuple[Tensor, Tensor]:
        lengths, order = self.starts.diff().long().sort(stable=True)
        return lengths, order

    def _layout(self, heads: int, parts: int) -> Layout:
        on_grids = torch.full((sum(self.sizes),), -1)
        on_grids[self.places] = torch.arange(len(self.places))
        offsets = torch.arange(parts * heads).view(parts, 1, heads, 1)
        rows = []
        for grid, tokens in zip(self.groups, on_grids.split(self.sizes), strict=True):
            of_texts = tokens.view(1, len(grid.lengths), 1, grid.width)
            rows.append(torch.where(of_texts < 0, -1, of_texts * (parts * heads) + offsets).flatten())
        row_at = torch.cat(rows)
        taken = (row_at >= 0).nonzero().squeeze(1)
        place_of = torch.empty_like(taken)
        place_of[row_at[taken]] = taken
        return Layout(row_at.clamp(min=0), place_of, (row_at < 0).nonzero().squeeze(1))


def _cuts(lengths: Tensor, first: int, last: int) -> list[int]:
    """Where to cut texts of ascending lengths, from ``first`` to ``last``, into groups."""
    widest = lengths[last - 1]
    # With the k shortest in a group of their own, those k are as wide as the k-th.
    saved = torch.arange(1, last - first + 1) * (widest**2 - lengths[first:last] ** 2)
    cut = first + int(saved.argmax()) + 1
    if saved.max() <= GROUP_COST:
        return []
    return [*_cuts(lengths, first, cut), cut, *_cuts(lengths, cut, last)]
