"""Dropout with fast random bits on a CPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

# A drawn byte is one of so many levels.
LEVELS = 256


class FastDropout(nn.Module):
    """Dropout that decides eight elements by each random 64-bit word.

    ``torch.nn.Dropout`` draws one number an element from a serial generator on the CPU, which costs as much as a
    tenth of a small encoder's step. Drawing from the same generator, this keeps runs reproducible from their seed.

    Args:
        p: Probability of dropping an element.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """``x`` with dropped elements at 0 and the others divided by the share kept; any shape."""
        return dropped(x, self.p) if self.training else x

    def extra_repr(self) -> str:
        """The options, for ``print(model)``."""
        return f"p={self.p}"


def dropped(x: Tensor, p: float) -> Tensor:
    """``x`` with elements at 0 that are drawn with probability ``p``, and the others divided by the share kept."""
    kept, factor = drawn(x.shape, p, x.device)
    return x if kept is None else cast(Tensor, _Dropped.apply(x, kept, factor))


def drawn(shape: torch.Size, p: float, device: torch.device) -> tuple[Tensor | None, float]:
    """Which elements of a tensor dropout keeps, and what those are multiplied by; see ``scaled``.

    A byte is drawn for each element. Where ``p`` is no multiple of 1/256, each call takes one of the two next to it,
    drawn too, so that every element is dropped with probability ``p`` and every call keeps the mean.

    Returns:
        1 on elements that are kept and 0 on the others, int8, of that shape, or None where all are; and the factor.
    """
    if p == 0:
        return None, 1.0
    elements = shape.numel()
    words = torch.randint(-(2**63), 2**63 - 1, (elements // 8 + 2,), device=device)
    lower, between = divmod(p * LEVELS, 1)
    levels_dropped = int(lower) + int((int(words[-1]) + 2**63) / 2**64 < between)
    if levels_dropped in (0, LEVELS):
        return (None, 1.0) if levels_dropped == 0 else (torch.zeros(shape, dtype=torch.int8, device=device), 1.0)
    levels = words.view(torch.int8)[:elements].view(shape)
    lowest_kept = levels_dropped - LEVELS // 2
    # 0 or 1, by arithmetic: comparing and turning truth values into numbers each take several times as long.
    return levels.clamp(lowest_kept - 1, lowest_kept).sub_(lowest_kept - 1), LEVELS / (LEVELS - levels_dropped)


def scaled(x: Tensor, kept: Tensor | None, factor: float) -> Tensor:
    """``x`` after dropout, or a gradient before it, by what ``drawn`` gave."""
    if kept is None:
        return x
    # A product of three in one pass over memory, which PyTorch has only as something added.
    return torch.addcmul(x.new_zeros(()), x, kept.to(x.dtype), value=factor)


class _Dropped(torch.autograd.Function):
    """Keeps a byte an element for the backward pass, where the factors themselves would take two or four."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kept: Tensor, factor: float) -> Tensor:
        ctx.save_for_backward(kept)
        ctx.factor = factor
        return scaled(x, kept, factor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (kept,) = ctx.saved_tensors
        return scaled(gradients[0], kept, ctx.factor), None, None


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
