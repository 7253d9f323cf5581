"""Weights in bf16 and their gradients in memory that stays, for training on a CPU.

Autocast turns each weight to bf16 for a step's products and its gradient back to fp32, every time in new memory. The
gradients alone are larger than a processor's cache, and writing to memory that was not used lately costs several times
the conversion itself.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Smaller matrices stay in the cache whatever is done.
MIN_ELEMENTS = 2**16


@contextmanager
def bf16_weights(model: nn.Module) -> Iterator[Callable[[], None]]:
    """Let a model's linear layers multiply by copies of their weights in bf16, kept while the context lasts.

    The copies follow weights that are loaded or assigned. Fused optimisers write to weights without a trace, so this
    yields what is to be called after each of their steps. Gradients are put straight into ``weight.grad``: hooks on the
    weights and wrappers that wait for their gradients, such as for distribution, do not see them.

    Args:
        model: On a CPU, with weights in fp32, to be called under bf16 autocast.
    """
    layers = [
        module
        for module in model.modules()
        # Not subclasses, which may do anything with their weights.
        if type(module) is nn.Linear
        and module.weight.dtype == torch.float32
        and module.weight.numel() >= MIN_ELEMENTS
        and "forward" not in vars(module)
    ]
    copies = [_Kept(layer.weight) for layer in layers]
    for layer, kept in zip(layers, copies, strict=True):
        vars(layer)["forward"] = partial(_linear, layer, kept)

    def stepped() -> None:
        for kept in copies:
            kept.copied = None

    try:
        yield stepped
    finally:
        for layer in layers:
            del vars(layer)["forward"]


class _Kept:
    """A weight's copy in bf16 and the memory of its gradient."""

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight
        self.copy = torch.empty_like(weight, dtype=torch.bfloat16)
        self.copied: tuple[int, int] | None = None
        self.gradient: Tensor | None = None

    def current(self) -> Tensor:
        """The copy, made again when the weight was written to."""
        seen = (self.weight.data_ptr(), self.weight._version)
        if seen != self.copied:
            self.copy.copy_(self.weight.detach())
            self.copied = seen
        return self.copy.detach()

    def add_gradient(self, gradient: Tensor) -> None:
        """Add to the weight's gradient as autograd does."""
        if self.weight.grad is not None:
            self.weight.grad.add_(gradient)
            return
        if self.gradient is None:
            self.gradient = torch.empty_like(self.weight)
        self.weight.grad = self.gradient.copy_(gradient)


class _Copy(torch.autograd.Function):
    """A weight as its copy; the gradient goes to the weight past autograd."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, kept: _Kept) -> Tensor:
        ctx.kept = kept
        return kept.current()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None]:
        ctx.kept.add_gradient(gradients[0])
        return None, None


def _linear(layer: nn.Linear, kept: _Kept, x: Tensor) -> Tensor:
    if not torch.is_autocast_enabled("cpu"):
        return F.linear(x, layer.weight, layer.bias)
    return F.linear(x, cast(Tensor, _Copy.apply(layer.weight, kept)), layer.bias)
