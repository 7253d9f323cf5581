"""Gradients of token embeddings in one place are those that autograd adds up."""

import pytest
import torch
from torch import nn

from embedtrain.models.token_gradients import as_output_weight, token_gradients_in_place

IDS = torch.tensor([[3, 1, 3], [0, 2, 5]])


def table(**options):
    torch.manual_seed(0)
    return nn.Embedding(7, 4, **options)


def run(embedding, times=1):
    embedding.weight.grad = None
    for _ in range(times):
        hidden = embedding(IDS).tanh() + embedding(IDS.flip(0))
        logits = hidden @ as_output_weight(embedding).T
        logits.logsumexp(-1).sum().backward()
    return embedding.weight.grad


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("padding", [None, 0])
def test_equals_autograd(times, padding):
    embedding = table(padding_idx=padding)
    expected = run(embedding, times)
    with token_gradients_in_place(embedding):
        found = run(embedding, times)
    torch.testing.assert_close(found, expected)


def test_lookups_alone():
    embedding = table(padding_idx=0)
    embedding(IDS).square().sum().backward()
    expected = embedding.weight.grad
    embedding.weight.grad = None
    with token_gradients_in_place(embedding):
        embedding(IDS).square().sum().backward()
    torch.testing.assert_close(embedding.weight.grad, expected)


def test_the_output_layers_gradient_is_taken_over():
    embedding = table()
    kept = torch.randn(7, 4)
    with token_gradients_in_place(embedding):
        as_output_weight(embedding).backward(kept)
    assert embedding.weight.grad.data_ptr() == kept.data_ptr()


def test_everything_is_as_it_was_also_after_an_exception():
    embedding = table()
    with pytest.raises(KeyboardInterrupt), token_gradients_in_place(embedding), token_gradients_in_place(embedding):
        assert as_output_weight(embedding) is not embedding.weight
        with torch.no_grad():
            assert as_output_weight(embedding) is embedding.weight
        raise KeyboardInterrupt
    assert "forward" not in vars(embedding)
    assert as_output_weight(embedding) is embedding.weight


def test_what_is_frozen_stays_without_a_gradient():
    embedding = table().requires_grad_(False)
    with token_gradients_in_place(embedding):
        scale = torch.ones(1, requires_grad=True)
        (embedding(IDS) @ as_output_weight(embedding).T * scale).sum().backward()
    assert embedding.weight.grad is None
    assert scale.grad is not None
