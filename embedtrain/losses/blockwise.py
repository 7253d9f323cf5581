"""Losses on the similarities of every row with every column, without ever holding them all.

A block of rows at a time: its similarities, the loss on them, and at once the loss's derivative, which two more matrix
products turn into gradients of the embeddings. Nothing is computed twice, and what is kept for the backward pass has
the size of the embeddings. The same code runs on CPU and GPU.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor

from embedtrain.losses.distances import inverse_norms, working

# Similarities in one block: on a CPU they should stay in its caches, on a GPU they should keep it busy.
BLOCK_ELEMENTS = {"cpu": 1 << 22, "cuda": 1 << 24}
# Products of fewer rows than this leave the processor waiting for memory.
MIN_BLOCK_ROWS = 64
# Up to so many similarities, losses that have a plain form are faster in it, all similarities at once.
PLAIN_ELEMENTS = 1 << 14


class BlockLoss(Protocol):
    """The arithmetic of one block."""

    def __call__(self, similarities: Tensor, start: int, *, with_gradient: bool) -> tuple[Tensor, Tensor | None]:
        """The loss of some rows, and its derivative.

        Args:
            similarities: (rows, columns), the columns of all terms side by side; may be overwritten.
            start: Index of the block's first row.
            with_gradient: Whether the derivative is wanted.

        Returns:
            The sum of the rows' losses, a scalar; its derivative by ``similarities``, (rows, columns), or None.
        """


def blockwise_loss(
    embeddings: Sequence[Tensor],
    terms: Sequence[tuple[int, int]],
    block_loss: BlockLoss,
    *,
    normalize: bool = True,
    scale: float = 1.0,
    weight: float = 1.0,
) -> Tensor:
    """``weight`` times the sum over all rows of a loss on their similarities, with its gradient.

    Row i sees ``scale * <embeddings[r]_i, embeddings[c]_j>`` for every term (r, c) and every j, side by side.

    Args:
        embeddings: Each (any number, dim); those that are rows of a term have one number of rows.
        terms: Which embeddings meet which, as indices.
        block_loss: The loss of a block of rows.
        normalize: Take the cosine; an all-zero embedding has cosine 0 with everything and gradient 0.
        scale: Factor on every similarity.
        weight: Factor on the sum, such as one by the number of rows.

    Returns:
        A scalar in fp32, or fp64 where the embeddings are.

    Raises:
        RuntimeError: From ``backward(create_graph=True)``: there is no second derivative.
    """
    with_gradient = torch.is_grad_enabled()
    return _Blockwise.apply(terms, block_loss, normalize, scale, weight, with_gradient, *embeddings)


def by_autograd(loss: Callable[[Tensor, int], Tensor]) -> BlockLoss:
    """A block's arithmetic from a function of (similarities, start) that autograd can differentiate."""

    def block_loss(similarities: Tensor, start: int, *, with_gradient: bool) -> tuple[Tensor, Tensor | None]:
        if not with_gradient:
            return loss(similarities, start), None
        with torch.enable_grad():
            leaf = similarities.detach().requires_grad_()
            value = loss(leaf, start)
            return value.detach(), torch.autograd.grad(value, leaf)[0]

    return block_loss


class _Blockwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        terms: Sequence[tuple[int, int]],
        block_loss: BlockLoss,
        normalize: bool,
        scale: float,
        weight: float,
        with_gradient: bool,
        *embeddings: Tensor,
    ) -> Tensor:
        with full_products(embeddings):
            sides = [_Side(tensor, normalize, with_gradient and tensor.requires_grad) for tensor in embeddings]
            value = _run_blocks(sides, terms, block_loss, scale=scale, weight=weight)
            ctx.save_for_backward(*(side.finished_gradient() for side in sides))
        ctx.types = [tensor.dtype for tensor in embeddings]
        return value

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "losses over a whole batch cannot be differentiated twice: their gradient is computed block by block "
                "in the forward pass; call backward() or torch.autograd.grad() without create_graph=True"
            )
        found = [
            None if gradient is None else (gradient * gradients[0]).to(dtype)
            for gradient, dtype in zip(ctx.saved_tensors, ctx.types, strict=True)
        ]
        return (None,) * 6 + tuple(found)


class _Side:
    """One tensor of embeddings: what enters the products, and the gradient that comes back."""

    def __init__(self, embeddings: Tensor, normalize: bool, with_gradient: bool) -> None:
        self.values = working(embeddings.detach())
        self.norm_inverse = None
        if normalize:
            self.norm_inverse = inverse_norms(self.values)
            self.values = self.values * self.norm_inverse
        self.gradient = torch.zeros_like(self.values) if with_gradient else None

    def finished_gradient(self) -> Tensor | None:
        """The gradient by the embeddings as they came in; frees what the products needed."""
        values, gradient = self.values, self.gradient
        del self.values
        if gradient is None or self.norm_inverse is None:
            return gradient
        # d/dx of f(x / |x|): what points along x changes nothing. A piece at a time keeps the products small.
        for some, unit, length in zip(*(t.split(4096) for t in (gradient, values, self.norm_inverse)), strict=True):
            some.addcmul_(unit, (some * unit).sum(dim=1, keepdim=True), value=-1).mul_(length)
        return gradient


def _run_blocks(
    sides: list[_Side], terms: Sequence[tuple[int, int]], block_loss: BlockLoss, *, scale: float, weight: float
) -> Tensor:
    first = sides[terms[0][0]].values
    edges = [0]
    for _, c in terms:
        edges.append(edges[-1] + len(sides[c].values))
    elements = BLOCK_ELEMENTS["cpu" if first.device.type == "cpu" else "cuda"]
    step = max(1, min(len(first), max(elements // max(edges[-1], 1), MIN_BLOCK_ROWS)))
    buffer = first.new_empty(step, edges[-1])
    with_gradient = any(side.gradient is not None for side in sides)
    value = first.new_zeros(())
    for start in range(0, len(first), step):
        stop = min(start + step, len(first))
        similarities = buffer[: stop - start]
        for k, (r, c) in enumerate(terms):
            part = similarities[:, edges[k] : edges[k + 1]]
            part.addmm_(sides[r].values[start:stop], sides[c].values.T, beta=0, alpha=scale)
        block_value, slope = block_loss(similarities, start, with_gradient=with_gradient)
        value += weight * block_value
        if slope is None:
            continue
        for k, (r, c) in enumerate(terms):
            part = slope[:, edges[k] : edges[k + 1]]
            if (row_gradient := sides[r].gradient) is not None:
                row_gradient[start:stop].addmm_(part, sides[c].values, alpha=scale * weight)
            if (column_gradient := sides[c].gradient) is not None:
                column_gradient.addmm_(part.T, sides[r].values[start:stop], alpha=scale * weight)
    return value


def full_products(embeddings: Sequence[Tensor]) -> AbstractContextManager[Any]:
    """No autocast; on a GPU, products of embeddings that came in 16 bits run in TF32.

    TF32 keeps 10 bits after the first of every number that enters a product, bf16 keeps 7 and fp16 10: the products are
    at least as close as the embeddings are to what they were before they were rounded.
    """
    device = embeddings[0].device.type
    if device == "cuda" and all(tensor.element_size() <= 2 for tensor in embeddings):
        return _tf32_products()
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()


@contextmanager
def _tf32_products() -> Iterator[None]:
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    try:
        with torch.autocast("cuda", enabled=False):
            yield
    finally:
        torch.backends.cuda.matmul.fp32_precision = before
