"""Dropout with fast random bits on a CPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn


class FastDropout(nn.Module):
    """Dropout with four 16-bit thresholds out of each random 64-bit word.

    ``torch.nn.Dropout`` draws one number an element from a serial generator on the CPU, which costs as much as a
    tenth of a small encoder's step. Drawing from the same generator, this keeps runs reproducible from their seed.

    Args:
        p: Probability of dropping an element, rounded to a multiple of 2**-16.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """``x`` with dropped elements at 0 and the kept ones divided by the kept share; any shape."""
        return dropped(x, self.p) if self.training else x

    def extra_repr(self) -> str:
        """The options, for ``print(model)``."""
        return f"p={self.p}"


def dropped(x: Tensor, p: float) -> Tensor:
    """``x`` with elements at 0 that are drawn with probability ``p``, and the others divided by the share kept."""
    levels_dropped = round(p * 2**16)
    if levels_dropped == 0:
        return x
    words = torch.randint(-(2**63), 2**63 - 1, (x.numel() // 4 + 1,), device=x.device)
    levels = words.view(torch.int16)[: x.numel()].view(x.shape)
    lowest_kept = levels_dropped - 2**15
    # 0 or -1, by arithmetic: comparing and turning truth values into numbers each take several times as long.
    kept = (lowest_kept - 1 - levels.clamp(lowest_kept - 1, lowest_kept)).to(torch.int8)
    return cast(Tensor, _Dropped.apply(x, kept, 1 / (1 - levels_dropped / 2**16)))


class _Dropped(torch.autograd.Function):
    """Keeps a byte an element for the backward pass, where the factors themselves would take two or four.

    ``kept`` is -1 on elements that are kept and 0 on the others, int8, of the shape of ``x``.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, kept: Tensor, factor: float) -> Tensor:
        ctx.save_for_backward(kept)
        ctx.factor = factor
        return _scaled(x, kept, factor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (kept,) = ctx.saved_tensors
        return _scaled(gradients[0], kept, ctx.factor), None, None


def _scaled(x: Tensor, kept: Tensor, factor: float) -> Tensor:
    return kept.to(x.dtype).mul_(-factor).mul_(x)


@contextmanager
def fast_dropout(model: nn.Module) -> Iterator[None]:
    """Swap a model's dropout layers for ``FastDropout`` while the context lasts."""
    swapped: list[tuple[nn.Module, str, nn.Module]] = []
    for parent in model.modules():
        for name, child in parent.named_children():
            if isinstance(child, nn.Dropout) and 0 < child.p < 1:
                swapped.append((parent, name, child))
                setattr(parent, name, FastDropout(child.p).train(child.training))
    try:
        yield
    finally:
        for parent, name, child in swapped:
            setattr(parent, name, child)
