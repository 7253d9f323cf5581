"""Attention over texts that lie end to end, on a CPU: groups of texts of like length, each on a grid of its own."""

from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from embedtrain.models.dropout import dropped

# What one more group costs in a layer, in attention weights that could have been computed instead, for each head.
GROUP_COST = 4000
# Rows narrower than a register of 16 numbers, of which PyTorch's softmax has no fast kernel.
NARROW = 16


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
        return torch.where(visible, 0.0, torch.finfo(dtype).min / 2).to(dtype)

    def causal_bias(self, dtype: torch.dtype) -> Tensor:
        """0 where a query sees its own or an earlier place, and a large negative number elsewhere, (width, width)."""
        return torch.full((self.width, self.width), torch.finfo(dtype).min / 2, dtype=dtype).triu(1)


@dataclass(frozen=True)
class Grids:
    """Where the tokens of packed texts lie on the grids of their groups.

    Args:
        starts: First token of each text and, at the end, the number of all tokens, (texts + 1,).
    """

    starts: Tensor
    _biases: dict[Any, list[Tensor]] = field(default_factory=dict, compare=False)

    @cached_property
    def groups(self) -> list[Grid]:
        """The texts in the order of their lengths, cut where that saves more than another group costs."""
        lengths = self._sorted[0]
        bounds = [0, *_cuts(lengths, 0, len(lengths)), len(lengths)]
        return [Grid(lengths[first:last], int(lengths[last - 1])) for first, last in pairwise(bounds)]

    @cached_property
    def places(self) -> Tensor:
        """For each packed token its place among the places of all grids, (tokens,)."""
        order = self._sorted[1]
        widths = torch.cat([torch.full((len(grid.lengths),), grid.width) for grid in self.groups])
        rows = torch.empty_like(widths)
        rows[order] = F.pad(widths.cumsum(0), (1, -1))  # where each text's row begins
        in_text = torch.arange(int(self.starts[-1])) - self.starts[:-1].long().repeat_interleave(self.starts.diff())
        return rows.repeat_interleave(self.starts.diff()) + in_text

    @cached_property
    def tokens(self) -> Tensor:
        """For each place of all grids the packed token that lies there, or token 0 where there is none, (places,)."""
        tokens = torch.zeros(self._size, dtype=torch.long)
        tokens[self.places] = torch.arange(len(self.places))
        return tokens

    @cached_property
    def empty(self) -> Tensor:
        """The places without a token."""
        taken = torch.zeros(self._size, dtype=torch.bool)
        taken[self.places] = True
        return (~taken).nonzero().squeeze(1)

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

    @cached_property
    def _size(self) -> int:
        return sum(len(grid.lengths) * grid.width for grid in self.groups)


def grid_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    grids: Grids,
    *,
    scaling: float,
    dropout: float,
    reach: int | None = None,
    causal: bool = False,
    added: Tensor | None = None,
) -> Tensor:
    """Attention of each text over itself, group by group.

    Args:
        query: (1, heads, tokens, head dim).
        key: (1, heads, tokens, head dim).
        value: (1, heads, tokens, head dim).
        grids: Where the tokens lie.
        scaling: Factor on the products.
        dropout: Probability of dropping an attention weight.
        reach: How many places away a token sees; None for any distance.
        causal: Whether a token sees itself and those before it alone, at any distance.
        added: Added to the products of queries and keys, (heads, longest or more, longest or more).

    Returns:
        (1, tokens, heads, head dim).
    """
    heads, dim = query.shape[1], query.shape[3]
    sizes = [len(grid.lengths) * grid.width for grid in grids.groups]
    spread = [
        cast(Tensor, _Spread.apply(x[0].transpose(0, 1).flatten(1), grids)).split(sizes) for x in (query, key, value)
    ]
    attended = []
    biases = grids.causal_biases(query.dtype) if causal else grids.biases(reach, query.dtype)
    for grid, bias, *rows in zip(grids.groups, biases, *spread, strict=True):
        if added is not None:
            bias = bias + added[:, : grid.width, : grid.width].to(bias.dtype)
        q, k, v = (x.view(len(grid.lengths), grid.width, heads, dim).transpose(1, 2) for x in rows)
        # Autocast would keep the weights in fp32.
        with torch.autocast("cpu", enabled=False):
            weights = _softmax((q * scaling) @ k.transpose(2, 3) + bias)
            attended.append((dropped(weights, dropout) @ v).transpose(1, 2).reshape(-1, heads * dim))
    return cast(Tensor, _Collect.apply(torch.cat(attended), grids)).view(1, -1, heads, dim)


def _softmax(logits: Tensor) -> Tensor:
    """Over the last axis, of half precision in fp32; in the logits' type."""
    return cast(Tensor, _FullSoftmax.apply(logits))


class _FullSoftmax(torch.autograd.Function):
    """Softmax over rows of any width at the same cost an element.

    PyTorch's kernel is several times as slow on rows that do not fill a vector register, and in bf16 twice as slow on
    short ones as the same with conversions.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor) -> Tensor:
        exact = _full(logits)
        if logits.shape[-1] < NARROW:
            exact = (exact - exact.amax(dim=-1, keepdim=True)).exp_()
            weights = exact.div_(exact.sum(dim=-1, keepdim=True)).to(logits.dtype)
        else:
            weights = torch.softmax(exact, dim=-1).to(logits.dtype)
        ctx.save_for_backward(weights)
        return weights

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (weights,) = ctx.saved_tensors
        exact, gradient = _full(weights), _full(gradients[0])
        if weights.shape[-1] < NARROW:
            weighted = (gradient * exact).sum(dim=-1, keepdim=True)
            return ((gradient - weighted) * exact).to(weights.dtype)
        found = torch.ops.aten._softmax_backward_data(gradient, exact, -1, exact.dtype)
        return cast(Tensor, found).to(weights.dtype)


def _full(x: Tensor) -> Tensor:
    return x.float() if x.itemsize == 2 else x


class _Spread(torch.autograd.Function):
    """Packed rows, (tokens, dim), to the places of all grids, (places, dim); what lies where no token is, is unused."""

    @staticmethod
    def forward(ctx: Any, packed: Tensor, grids: Grids) -> Tensor:
        ctx.grids = grids
        return packed.index_select(0, grids.tokens)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0].index_select(0, ctx.grids.places), None


class _Collect(torch.autograd.Function):
    """The places of all grids, (places, dim), to packed rows, (tokens, dim)."""

    @staticmethod
    def forward(ctx: Any, spread: Tensor, grids: Grids) -> Tensor:
        ctx.grids = grids
        return spread.index_select(0, grids.places)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0].index_select(0, ctx.grids.tokens).index_fill_(0, ctx.grids.empty, 0.0), None


def _cuts(lengths: Tensor, first: int, last: int) -> list[int]:
    """Where to cut texts of ascending lengths, from ``first`` to ``last``, into groups."""
    widest = lengths[last - 1]
    # With the k shortest in a group of their own, those k are as wide as the k-th.
    saved = torch.arange(1, last - first + 1) * (widest**2 - lengths[first:last] ** 2)
    cut = first + int(saved.argmax()) + 1
    if saved.max() <= GROUP_COST:
        return []
    return [*_cuts(lengths, first, cut), cut, *_cuts(lengths, cut, last)]
