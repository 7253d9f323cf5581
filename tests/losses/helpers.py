"""What the tests of the losses share."""

import torch


def draw(shape, seed=0, dtype=torch.float32):
    """Normal numbers that take a gradient; the same for the same seed, up to the type's rounding."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator).to(dtype).requires_grad_()


def value_and_grads(loss, *inputs):
    """The loss, and its gradient in each input that takes one: zeros where the loss does not depend on it."""
    value = loss(*inputs)
    return value, torch.autograd.grad(value, [x for x in inputs if x.requires_grad], materialize_grads=True)
