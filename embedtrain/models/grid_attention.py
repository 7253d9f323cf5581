"""Attention over texts that lie end to end, on a CPU, with its backward pass written out.

Left to autograd, every text's small matrices are copied for each product, forward and backward, which takes as long as
the products. Here queries, keys and values are laid out for them at once, and their gradients come back the same way.
"""

from typing import Any, cast

import torch
from torch import Tensor

from embedtrain.models.dropout import drawn, scaled
from embedtrain.models.packed_grids import Grids

# Rows narrower than a register of 16 numbers, of which PyTorch's softmax has no fast kernel.
NARROW = 16


# What torch.compile makes of it would be made again for every batch, whose groups are never the same.
@torch.compiler.disable
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

    Raises:
        RuntimeError: When its gradient is differentiated again.
    """
    biases = grids.causal_biases(query.dtype) if causal else grids.biases(reach, query.dtype)
    # Autocast would turn what is computed in fp32 back.
    with torch.autocast("cpu", enabled=False):
        return cast(Tensor, _Attention.apply(query, key, value, added, grids, biases, scaling, dropout))


class _Attention(torch.autograd.Function):
    """softmax(q k' * scaling + bias + added) v for every text and head; after dropout of the weights."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        added: Tensor | None,
        grids: Grids,
        biases: list[Tensor],
        scaling: float,
        dropout: float,
    ) -> Tensor:
        _, heads, tokens, dim = query.shape
        layout = grids.layout(heads, 3)
        # Zeros in places without a token: a weight of 0 on another text's NaN would be NaN here too.
        spread = _side_by_side(query, key, value).index_select(0, layout.row_at).index_fill_(0, layout.empty, 0.0)
        attended = query.new_empty(len(grids.layout(heads).row_at), dim)
        kept_weights, kept, factors = [], [], []
        for grid, bias, (q, k, v), (out,) in zip(
            grids.groups, biases, _matrices(spread, grids, heads, 3), _matrices(attended, grids, heads), strict=True
        ):
            logits = _full(torch.bmm(q, k.mT)).mul_(scaling).view(-1, heads, grid.width, grid.width).add_(bias)
            if added is not None:
                logits += added[:, : grid.width, : grid.width]
            weights = _softmax_(logits).to(q.dtype).flatten(0, 1)
            elements, factor = drawn(weights.shape, dropout, weights.device)
            used = scaled(weights, elements, factor)
            torch.bmm(used, v, out=out)
            if any(ctx.needs_input_grad):
                kept_weights += [weights, used]
                kept.append(elements)
                factors.append(factor)
        ctx.save_for_backward(spread, added, *kept_weights, *kept)
        ctx.grids, ctx.heads, ctx.scaling, ctx.factors = grids, heads, scaling, factors
        return attended.index_select(0, grids.layout(heads).place_of).view(1, tokens, heads, dim)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "attention of packed texts on a CPU cannot be differentiated twice: its gradient has no gradient; call "
                "backward() or torch.autograd.grad() without create_graph=True, or train with pack=False"
            )
        spread, added, *saved = ctx.saved_tensors
        grids, heads = ctx.grids, ctx.heads
        _, tokens, _, dim = gradients[0].shape
        layout, count = grids.layout(heads), len(grids.groups)
        rows = gradients[0].reshape(-1, dim).index_select(0, layout.row_at).index_fill_(0, layout.empty, 0.0)
        of_spread = torch.empty_like(spread)
        of_added = None if added is None else torch.zeros_like(added)
        for grid, (q, k, v), (of_q, of_k, of_v), (of_out,), weights, used, elements, factor in zip(
            grids.groups,
            _matrices(spread, grids, heads, 3),
            _matrices(of_spread, grids, heads, 3),
            _matrices(rows, grids, heads),
            saved[0 : 2 * count : 2],
            saved[1 : 2 * count : 2],
            saved[2 * count :],
            ctx.factors,
            strict=True,
        ):
            torch.bmm(used.mT, of_out, out=of_v)
            of_weights = scaled(torch.bmm(of_out, v.mT), elements, factor)
            of_logits = _softmax_gradient(weights, of_weights)
            if of_added is not None:
                by_head = of_logits.view(-1, heads, grid.width, grid.width).sum(0)
                of_added[:, : grid.width, : grid.width] += by_head
            of_logits = of_logits.mul_(ctx.scaling).to(q.dtype)
            torch.bmm(of_logits, k, out=of_q)
            torch.bmm(of_logits.mT, q, out=of_k)
        packed = of_spread.index_select(0, grids.layout(heads, 3).place_of).view(tokens, 3, heads, dim)
        return *(part.transpose(0, 1)[None] for part in packed.unbind(1)), of_added, None, None, None, None


def _side_by_side(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Three of (1, heads, tokens, head dim) as rows of (tokens, 3, heads), (rows, head dim).

    Parts of one product lie so already and are not copied.
    """
    heads, dim = query.shape[1], query.shape[3]
    places = [x.storage_offset() - query.storage_offset() for x in (query, key, value)]
    if (
        len({x.untyped_storage().data_ptr() for x in (query, key, value)}) == 1
        and {x.stride()[1:] for x in (query, key, value)} == {(dim, 3 * heads * dim, 1)}
        and places == [0, heads * dim, 2 * heads * dim]
    ):
        return query.as_strided((query.shape[2] * 3 * heads, dim), (dim, 1))
    return torch.stack([x[0].transpose(0, 1) for x in (query, key, value)], dim=1).view(-1, dim)


def _matrices(rows: Tensor, grids: Grids, heads: int, parts: int = 1) -> list[tuple[Tensor, ...]]:
    """Of each grid its parts, each of shape (texts * heads, width, head dim); views of rows laid out on the grids."""
    cut = rows.split([size * parts * heads for size in grids.sizes])
    return [
        part.view(parts, -1, grid.width, rows.shape[1]).unbind() for part, grid in zip(cut, grids.groups, strict=True)
    ]


def _softmax_(logits: Tensor) -> Tensor:
    """Softmax over the last axis at the same cost an element for rows of any width; may overwrite its input.

    PyTorch's kernel is several times as slow on rows that do not fill a vector register.
    """
    if logits.shape[-1] >= NARROW:
        return torch.softmax(logits, dim=-1)
    weights = logits.sub_(logits.amax(dim=-1, keepdim=True)).exp_()
    return weights.div_(weights.sum(dim=-1, keepdim=True))


def _softmax_gradient(weights: Tensor, gradient: Tensor) -> Tensor:
    """Of the logits, for the gradient of the softmax's output; half precision is computed in fp32, which comes back."""
    weights, gradient = _full(weights), _full(gradient)
    if weights.shape[-1] >= NARROW:
        return cast(Tensor, torch.ops.aten._softmax_backward_data(gradient, weights, -1, weights.dtype))
    return (gradient - (gradient * weights).sum(dim=-1, keepdim=True)).mul_(weights)


def _full(x: Tensor) -> Tensor:
    return x.float() if x.itemsize == 2 else x
