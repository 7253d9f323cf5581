"""Fast dropout drops the stated share, keeps the mean, and leaves no trace in the model."""

import pytest
import torch
from torch import nn

from embedtrain.models.dropout import FastDropout, dropped, fast_dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_the_stated_share_is_dropped_and_the_mean_kept(p):
    torch.manual_seed(0)
    out = FastDropout(p)(torch.ones(400_001))
    assert (out == 0).float().mean().item() == pytest.approx(p, abs=0.005)
    assert out.mean().item() == pytest.approx(1, abs=0.02)
    torch.testing.assert_close(out[out != 0].unique(), torch.tensor([1 / (1 - p)]), rtol=1e-3, atol=0)


def test_neighbouring_elements_drop_independently():
    torch.manual_seed(0)
    zeros = (FastDropout(0.5)(torch.ones(100_000)) == 0).float()
    for distance in (1, 2, 3, 4):
        both = (zeros[:-distance] * zeros[distance:]).mean().item()
        assert both == pytest.approx(0.25, abs=0.01)


def test_the_same_seed_gives_the_same_mask():
    torch.manual_seed(3)
    first = FastDropout(0.3)(torch.ones(64, 8))
    torch.manual_seed(3)
    assert torch.equal(first, FastDropout(0.3)(torch.ones(64, 8)))


def test_gradients_pass_the_kept_elements_alone():
    x = torch.ones(1000, requires_grad=True)
    out = FastDropout(0.4)(x)
    out.sum().backward()
    torch.testing.assert_close(x.grad, out.detach())


def test_no_effect_in_evaluation_or_at_zero():
    x = torch.randn(50)
    assert torch.equal(FastDropout(0.4).eval()(x), x)
    assert torch.equal(FastDropout(0.0)(x), x)


def test_the_type_is_kept_in_bf16():
    assert FastDropout(0.1)(torch.ones(10, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_layers_are_swapped_while_the_context_lasts_and_restored_after():
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.2), nn.Sequential(nn.Dropout(0.0), nn.Dropout(0.7)))
    before = [type(module) for module in model.modules()]
    with fast_dropout(model):
        assert isinstance(model[1], FastDropout)
        assert isinstance(model[2][1], FastDropout)
        assert isinstance(model[2][0], nn.Dropout)
    assert [type(module) for module in model.modules()] == before


@pytest.mark.parametrize("p", [2**-16, 0.1, 0.5, 1 - 2**-16])
def test_an_element_is_kept_where_its_16_bits_are_above_the_threshold(monkeypatch, p):
    every = torch.arange(-(2**15), 2**15, dtype=torch.int16)
    monkeypatch.setattr(torch, "randint", lambda *_, **__: every.view(torch.int64))
    out = dropped(torch.ones(2**16 - 4), p)
    assert torch.equal(out != 0, torch.arange(2**16 - 4) >= round(p * 2**16))
