"""Cross-entropy over a vocabulary, from the output layer's input to its gradients, without ever holding all logits."""

from collections.abc import Callable
from typing import Any, Literal, cast

import torch
from torch import Tensor

from embedtrain.losses.checks import check_at_least, check_choice, check_embeddings, check_rows, zero_loss

# What the logits of a chunk of tokens may take, all vocabulary counted.
CHUNK_BYTES = {"cpu": 1 << 25, "cuda": 1 << 28}
# Each chunk adds to the gradient of the whole output layer: with fewer tokens than this, that is most of the work.
MIN_CHUNK_TOKENS = 256
# Logits in fp32 at once: on a CPU they should stay in its caches, on a GPU they should keep it busy.
SOFTMAX_ELEMENTS = {"cpu": 1 << 19, "cuda": 1 << 26}
UNLIKELY = 1e-30

Reduction = Literal["mean", "sum"]


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    chunk_tokens: int | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """``cross_entropy(hidden @ weight.T + bias, targets)`` without ever holding all logits.

    The gradients are computed along with the loss, so that nothing is computed twice and what is kept for the backward
    pass has the size of the arguments. Under bf16 autocast the products are in bf16; the softmax, the loss and the sums
    over chunks are in fp32 in any case.

    Args:
        hidden: Input of the output layer, (tokens, dim).
        weight: (vocabulary, dim).
        targets: The right word of each token, (tokens,) whole numbers.
        bias: (vocabulary,), or None.
        chunk_tokens: Tokens whose logits are held at once; by default what 32 MB hold (256 MB on a GPU), but not fewer
            than 256.
        reduction: ``mean`` or ``sum`` over the tokens.

    Returns:
        A scalar in fp32, or fp64 where ``hidden`` is. No tokens give a zero attached to the graph.

    Raises:
        ValueError: If the shapes do not belong together, or an option is out of range.
        RuntimeError: From ``backward(create_graph=True)``: there is no second derivative.
    """
    check_embeddings("hidden", hidden, layout="(tokens, dim)")
    check_embeddings("weight", weight, layout="(vocabulary, dim)")
    check_rows("targets", targets, hidden)
    check_choice("reduction", reduction, ("mean", "sum"))
    if hidden.shape[1] != weight.shape[1]:
        raise ValueError(
            f"hidden and weight must have the same number of columns, found {tuple(hidden.shape)} and "
            f"{tuple(weight.shape)}"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias must have shape (vocabulary,) = ({len(weight)},), found {tuple(bias.shape)}")
    if len(hidden) == 0:
        return zero_loss(*(tensor for tensor in (hidden, weight, bias) if tensor is not None))
    if chunk_tokens is None:
        of_one = len(weight) * _product_type(hidden).itemsize
        chunk_tokens = max(CHUNK_BYTES[_kind(hidden)] // of_one, MIN_CHUNK_TOKENS)
    check_at_least("chunk_tokens", chunk_tokens, 1)
    factor = 1 / len(hidden) if reduction == "mean" else 1.0
    with_gradient = torch.is_grad_enabled()
    return cast(Tensor, _LinearCrossEntropy.apply(hidden, weight, bias, targets, chunk_tokens, factor, with_gradient))


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        chunk_tokens: int,
        factor: float,
        with_gradient: bool,
    ) -> Tensor:
        wanted = [with_gradient and needed for needed in ctx.needs_input_grad[:3]]
        dtype = _product_type(hidden)
        chunks = -(-len(hidden) // chunk_tokens)
        with torch.autocast(hidden.device.type, enabled=False):
            run = _Run(weight, bias, wanted=wanted, factor=factor, dtype=dtype)
            # Chunks of one size, rather than a last one of a few tokens.
            parts = zip(hidden.tensor_split(chunks), targets.tensor_split(chunks), strict=True)
            losses, gradients = zip(*(run.chunk(*part) for part in parts), strict=True)
            ctx.gradients = [
                torch.cat(gradients).to(hidden.dtype) if wanted[0] else None,
                run.weight_gradient,
                run.bias_gradient,
            ]
            return torch.cat(losses).sum() * factor

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "linear_cross_entropy cannot be differentiated twice: its gradient is computed in the forward pass; "
                "call backward() or torch.autograd.grad() without create_graph=True"
            )
        if ctx.gradients is None:
            raise RuntimeError("linear_cross_entropy: backward() was called a second time, and its gradient is gone")
        # Handed over rather than kept: the gradient of the output layer then becomes ``weight.grad`` without a copy.
        found, ctx.gradients = ctx.gradients, None
        outer = gradients[0]
        if outer.device.type != "cpu" or outer.item() != 1:
            found = [None if gradient is None else gradient.mul_(outer) for gradient in found]
        return (*found, None, None, None, None)


class _Run:
    """The pass over all chunks of tokens, and the output layer's gradient that they add to."""

    def __init__(
        self, weight: Tensor, bias: Tensor | None, *, wanted: list[bool], factor: float, dtype: torch.dtype
    ) -> None:
        self.weight = weight.detach().to(dtype)
        self.full = torch.float64 if dtype == torch.float64 else torch.float32
        self.bias = None if bias is None else bias.detach().to(self.full)
        self.wanted, self.factor, self.dtype = wanted, factor, dtype
        self.weight_gradient = torch.empty_like(weight, dtype=self.full) if wanted[1] else None
        self.bias_gradient = torch.empty_like(bias, dtype=self.full) if wanted[2] and bias is not None else None
        self.first = True

    def chunk(self, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor | None]:
        """The losses of some tokens, (tokens,), and their sum's gradient by ``hidden`` times the factor."""
        rows = hidden.detach().to(self.dtype)
        logits = rows @ self.weight.T
        step = max(SOFTMAX_ELEMENTS[_kind(rows)] // logits.shape[1], 1)
        losses = torch.cat(
            [self._softmax(*part) for part in zip(logits.split(step), targets[:, None].split(step), strict=True)]
        )
        # The derivative by the logits now stands in their place.
        by_hidden = (logits @ self.weight).to(self.full).mul_(self.factor) if self.wanted[0] else None
        self._add(self.weight_gradient, lambda: logits.T @ (rows.to(self.full) * self.factor).to(self.dtype))
        self._add(self.bias_gradient, lambda: (logits.new_ones(1, len(rows)) @ logits)[0].to(self.full) * self.factor)
        self.first = False
        return losses, by_hidden

    def _softmax(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The losses of a few tokens, (tokens,); in the place of their logits comes the derivative if one is wanted."""
        exact = logits.to(self.full) if self.bias is None else logits + self.bias
        likelihood = torch.softmax(exact, dim=1)
        right = likelihood.gather(1, targets)
        losses = -right.log()
        # Less than this has few digits or none: take the long way.
        if bool((right < UNLIKELY).any()):
            losses = exact.logsumexp(dim=1, keepdim=True) - exact.gather(1, targets)
        if any(self.wanted):
            logits.copy_(likelihood.scatter_(1, targets, right - 1))
        return losses.squeeze(1)

    def _add(self, gradient: Tensor | None, part: Callable[[], Tensor]) -> None:
        if gradient is not None:
            _ = gradient.copy_(part()) if self.first else gradient.add_(part())


def _product_type(hidden: Tensor) -> torch.dtype:
    """bf16 where autocast asks for it or ``hidden`` already is, and else fp32 or fp64."""
    device = hidden.device.type
    if torch.is_autocast_enabled(device) and hidden.dtype != torch.float64:
        return torch.bfloat16 if torch.get_autocast_dtype(device) == torch.bfloat16 else torch.float32
    return hidden.dtype if hidden.dtype in (torch.bfloat16, torch.float64) else torch.float32


def _kind(tensor: Tensor) -> str:
    return "cpu" if tensor.device.type == "cpu" else "cuda"
