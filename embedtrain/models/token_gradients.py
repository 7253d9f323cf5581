"""One gradient for token embeddings that serve as an encoder's input, a decoder's input and its output layer.

Autograd makes a gradient of the whole vocabulary for each of these uses and then adds them up. The two lookups' are
nearly all zeros; on a CPU they cost as much as a small encoder's layers.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn


@contextmanager
def token_gradients_in_place(table: nn.Embedding) -> Iterator[None]:
    """Let lookups add to the gradient that the output layer leaves in ``table.weight.grad``, while the context lasts.

    Gradients are put straight into ``weight.grad``: hooks on the weight and wrappers that wait for its gradient, such
    as for distribution, do not see them, and ``torch.autograd.grad`` finds none.

    Args:
        table: The token embeddings. Who multiplies by them asks :func:`as_output_weight` for the weight.
    """
    own = vars(table)
    if not table.weight.requires_grad or type(table) is not nn.Embedding or "forward" in own:
        yield
        return
    own["forward"] = partial(_looked_up, table)
    try:
        yield
    finally:
        del own["forward"]


def as_output_weight(table: nn.Embedding) -> Tensor:
    """The weight for a product whose gradient goes where the lookups' go, (vocabulary, width)."""
    forward: Any = vars(table).get("forward")
    if isinstance(forward, partial) and forward.func is _looked_up and torch.is_grad_enabled():
        return cast(Tensor, _OutputWeight.apply(table.weight))
    return table.weight


def _looked_up(table: nn.Embedding, ids: Tensor) -> Tensor:
    return cast(Tensor, _Lookup.apply(table.weight, ids, table))


class _OutputWeight(torch.autograd.Function):
    """The weight itself; its gradient, the first to be there, becomes ``weight.grad`` without a copy."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> Tensor:
        ctx.weight = weight
        return weight.view_as(weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> None:
        weight = ctx.weight
        if weight.grad is None:
            weight.grad = gradients[0].contiguous()
        else:
            weight.grad.add_(gradients[0])


class _Lookup(torch.autograd.Function):
    """Rows of the weight; their gradient is added to ``weight.grad``."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor, table: nn.Embedding) -> Tensor:
        ctx.table, ctx.ids = table, ids
        return weight.index_select(0, ids.flatten()).unflatten(0, ids.shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None, None]:
        table, ids = ctx.table, ctx.ids.flatten()
        rows = gradients[0].flatten(0, -2)
        if table.padding_idx is not None:
            rows = rows.masked_fill((ids == table.padding_idx)[:, None], 0)
        if table.weight.grad is None:
            table.weight.grad = torch.zeros_like(table.weight)
        table.weight.grad.index_add_(0, ids, rows.to(table.weight.dtype))
        return None, None, None
