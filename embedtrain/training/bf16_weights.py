"""Weights in bf16 and their gradients in memory that stays, for training on a CPU.

Autocast turns each weight to bf16 for a step's products and its gradient back to fp32, every time in new memory. The
gradients alone are larger than a processor's cache, and writing to memory that was not used lately costs several times
the conversion itself.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import accumulate
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Smaller matrices stay in the cache whatever is done.
MIN_ELEMENTS = 2**16
# The projections of attention to queries, keys and values, as the encoder families call them. Those of DeBERTa are not
# among them: it projects distances to keys, too.
SAME_INPUT = (("query", "key", "value"), ("q", "k", "v"), ("q_lin", "k_lin", "v_lin"), ("q_proj", "k_proj", "v_proj"))


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
    copies: list[_Kept] = []
    for group in _groups(model, layers):
        together = _Together(group)
        copies += together.copies
        for place, layer in enumerate(group):
            vars(layer)["forward"] = partial(together.forward, place)

    def stepped() -> None:
        for kept in copies:
            kept.copied = None

    try:
        yield stepped
    finally:
        for layer in layers:
            del vars(layer)["forward"]


def _groups(model: nn.Module, layers: list[nn.Linear]) -> Iterator[list[nn.Linear]]:
    """The layers, those that turn one input into queries, keys and values side by side."""
    kept = set(layers)
    grouped: set[nn.Linear] = set()
    for parent in model.modules():
        for names in SAME_INPUT:
            found = [getattr(parent, name, None) for name in names]
            group = [layer for layer in found if isinstance(layer, nn.Linear) and layer in kept - grouped]
            alike = {(layer.in_features, layer.bias is None) for layer in group}
            if len(set(group)) == len(names) and len(alike) == 1:  # a layer may stand in two places
                grouped.update(group)
                yield group
    yield from ([layer] for layer in layers if layer not in grouped)


class _Together:
    """Layers that are called on one input, one after the other: a single product makes the outputs of all of them.

    So the input is converted once, and its gradient is one product in place of three that are added up.

    Args:
        layers: In the order in which they are called. Where one is called on another input, or out of turn, its output
            is still right.
    """

    def __init__(self, layers: list[nn.Linear]) -> None:
        self.layers = layers
        sizes = [layer.out_features for layer in layers]
        self.copy = layers[0].weight.new_empty((sum(sizes), layers[0].in_features), dtype=torch.bfloat16)
        parts = self.copy.split(sizes)
        self.copies = [_Kept(layer.weight, part) for layer, part in zip(layers, parts, strict=True)]
        self.sizes = sizes
        self.input: Tensor | None = None
        self.outputs: dict[int, Tensor] = {}

    def forward(self, place: int, x: Tensor) -> Tensor:
        """The output of one of the layers."""
        layer = self.layers[place]
        if not torch.is_autocast_enabled("cpu"):
            return F.linear(x, layer.weight, layer.bias)
        if len(self.layers) == 1:
            return _product(x, self.layers, self.copies, self.copy)
        if place == 0:
            outputs = _Parts.apply(_product(x, self.layers, self.copies, self.copy), self.sizes)
            self.input, self.outputs = x, dict(enumerate(cast(tuple[Tensor, ...], outputs)))
        if x is not self.input or place not in self.outputs:
            return _product(x, [layer], [self.copies[place]], self.copies[place].copy)
        output = self.outputs.pop(place)
        if not self.outputs:
            self.input = None
        return output


class _Kept:
    """A weight's copy in bf16 and the memory of its gradient."""

    def __init__(self, weight: Tensor, copy: Tensor) -> None:
        self.weight = weight
        self.copy = copy
        self.copied: tuple[int, int] | None = None
        self.gradient: Tensor | None = None

    def refresh(self) -> None:
        """Make the copy again when the weight was written to."""
        seen = (self.weight.data_ptr(), self.weight._version)
        if seen != self.copied:
            self.copy.copy_(self.weight.detach())
            self.copied = seen

    def add_gradient(self, gradient: Tensor) -> None:
        """Add to the weight's gradient as autograd does."""
        if self.weight.grad is not None:
            self.weight.grad.add_(gradient)
            return
        if self.gradient is None:
            self.gradient = torch.empty_like(self.weight)
        self.weight.grad = self.gradient.copy_(gradient)


class _Copies(torch.autograd.Function):
    """The weights of layers as their copy, one below the other; the gradients go to the weights past autograd."""

    @staticmethod
    def forward(ctx: Any, copy: Tensor, copies: list[_Kept], *weights: Tensor) -> Tensor:
        ctx.copies = copies
        for kept in copies:
            kept.refresh()
        return copy.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, ...]:
        parts = gradients[0].split([len(kept.weight) for kept in ctx.copies])
        for kept, part, needed in zip(ctx.copies, parts, ctx.needs_input_grad[2:], strict=True):
            if needed:
                kept.add_gradient(part)
        return (None,) * (2 + len(parts))


class _Parts(torch.autograd.Function):
    """A product cut along its last axis; gradients that lie side by side, as attention's do, are not put together."""

    @staticmethod
    def forward(ctx: Any, whole: Tensor, sizes: list[int]) -> tuple[Tensor, ...]:
        ctx.shape = whole.shape
        return whole.split(sizes, dim=-1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        first, width = gradients[0], ctx.shape[-1]
        starts = [0, *accumulate(gradient.shape[-1] for gradient in gradients)][:-1]
        if (
            first.dim() >= 2
            and first.numel() == first.shape[-2] * first.shape[-1]
            and len({gradient.untyped_storage().data_ptr() for gradient in gradients}) == 1
            and {gradient.stride()[-2:] for gradient in gradients} == {(width, 1)}
            and starts == [gradient.storage_offset() - first.storage_offset() for gradient in gradients]
        ):
            return first.as_strided((first.shape[-2], width), (width, 1)).view(ctx.shape), None
        return torch.cat(gradients, dim=-1), None


def _product(x: Tensor, layers: list[nn.Linear], copies: list[_Kept], copy: Tensor) -> Tensor:
    weight = cast(Tensor, _Copies.apply(copy, copies, *(layer.weight for layer in layers)))
    biases: list[Tensor] = [layer.bias for layer in layers if layer.bias is not None]
    return F.linear(x, weight, torch.cat(biases) if len(biases) > 1 else next(iter(biases), None))
