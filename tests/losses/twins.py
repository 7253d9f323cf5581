"""How the tests compare a loss with its slow twin, and what they ask of every loss computed in blocks."""

from contextlib import contextmanager

import pytest
import torch
from helpers import value_and_grads

from embedtrain.losses import blockwise

# Half the distance between neighbouring numbers, relative to them: what storing a gradient in this type may change.
ROUNDING = {torch.bfloat16: 2**-8, torch.float16: 2**-11}


def assert_equals_twin(loss, twin, *inputs, size=1.0):
    """A loss equals its twin, which is given the same numbers in double precision, in value and gradient.

    Values agree to 1e-5 of the number, gradients to 1e-5 of the largest number among them (1e-9 for inputs in double
    precision), next to the one rounding that a gradient in half precision goes through. ``size`` is how large the
    numbers are that the loss takes differences of (its scale): a tenth of the tolerance for each unit of it is allowed
    on top. Gradients are compared per unit of the embedding's length: they grow without bound as it shrinks.
    """
    doubles = [x.detach().double().requires_grad_() if x.requires_grad else x for x in inputs]
    value, grads = value_and_grads(loss, *inputs)
    expected, expected_grads = value_and_grads(twin, *doubles)
    exact = inputs[0].dtype == torch.float64
    assert value.shape == ()
    assert value.dtype == (torch.float64 if exact else torch.float32)
    tolerance = 1e-9 if exact else 1e-5
    torch.testing.assert_close(value.double(), expected, rtol=tolerance, atol=tolerance * size / 10)
    leaves = [x for x in inputs if x.requires_grad]
    for embedding, grad, expected_grad in zip(leaves, grads, expected_grads, strict=True):
        assert grad.dtype == embedding.dtype
        length = embedding.detach().double().norm(dim=-1, keepdim=True)
        found, wanted = grad.double() * length, expected_grad * length
        largest = wanted.abs().max().item() if wanted.numel() else 0.0
        rtol = ROUNDING.get(embedding.dtype, 0.0)
        torch.testing.assert_close(found, wanted, rtol=rtol, atol=tolerance * (largest + size / 10))


@contextmanager
def blocks_of(elements):
    """Let losses hold at most so many similarities at once (but a row's at least); None leaves it as it is.

    Whatever the number, small batches are computed in blocks too, unless it is None.
    """
    with pytest.MonkeyPatch.context() as patch:
        if elements is not None:
            patch.setattr(blockwise, "BLOCK_ELEMENTS", {"cpu": elements, "cuda": elements})
            patch.setattr(blockwise, "MIN_BLOCK_ROWS", 1)
            patch.setattr(blockwise, "PLAIN_ELEMENTS", 0)
        yield


def assert_blocks_do_not_matter(loss, *inputs):
    """One block, blocks of one row, and of some rows with a last one that is not full; inputs in double precision."""
    expected, expected_grads = value_and_grads(loss, *inputs)
    for elements in (1, 256, 1000):
        with blocks_of(elements):
            value, grads = value_and_grads(loss, *inputs)
        torch.testing.assert_close(value, expected, rtol=1e-10, atol=0)
        for grad, expected_grad in zip(grads, expected_grads, strict=True):
            largest = expected_grad.abs().max().item()
            torch.testing.assert_close(grad, expected_grad, rtol=0, atol=1e-10 * largest)


def assert_backward_is_like_any_other(loss, *inputs):
    """The gradient follows a factor on the loss, again and again; inputs without gradient change nothing for others."""
    _, expected = value_and_grads(loss, *inputs)
    value = loss(*inputs)
    for factor in (3.0, 0.5):
        grads = torch.autograd.grad(factor * value, inputs, retain_graph=True)
        for grad, expected_grad in zip(grads, expected, strict=True):
            torch.testing.assert_close(grad, factor * expected_grad)
    for kept, expected_grad in enumerate(expected):
        alone = [x if i == kept else x.detach() for i, x in enumerate(inputs)]
        torch.testing.assert_close(value_and_grads(loss, *alone)[1][0], expected_grad)
    with torch.no_grad():
        without = loss(*inputs)
    assert not without.requires_grad
    torch.testing.assert_close(without, value.detach())
    with pytest.raises(RuntimeError, match="differentiated twice"):
        loss(*inputs).backward(create_graph=True)


def assert_autocast_changes_nothing(loss, *inputs):
    expected, expected_grads = value_and_grads(loss, *inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = loss(*inputs)
    assert under_autocast == expected
    for grad, expected_grad in zip(torch.autograd.grad(under_autocast, inputs), expected_grads, strict=True):
        assert torch.equal(grad, expected_grad)


def assert_attached_zero(loss, *weights):
    """The loss is a scalar 0 whose gradient reaches the weights that made its embeddings, as zeros."""
    assert loss.shape == ()
    assert loss.item() == 0
    for grad in torch.autograd.grad(loss, weights, retain_graph=True):
        assert torch.equal(grad, torch.zeros_like(grad))
