"""Fast dropout drops the stated share, keeps the mean, and leaves no trace in the model."""

import math

import pytest
import torch
from torch import nn

from embedtrain.models.dropout import LEVELS, FastDropout, dropped, fast_dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_the_stated_share_is_dropped_and_the_mean_kept(p):
    torch.manual_seed(0)
    out = FastDropout(p)(torch.ones(400_001))
    assert (out == 0).float().mean().item() == pytest.approx(p, abs=0.005)
    assert out.mean().item() == pytest.approx(1, abs=0.02)
    around = [LEVELS / (LEVELS - levels) for levels in (math.floor(p * LEVELS), math.ceil(p * LEVELS))]
    (factor,) = out[out != 0].unique().tolist()
    assert any(factor == pytest.approx(expected) for expected in around)


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


@pytest.mark.parametrize("levels_dropped", [1, 25, 128, 255])
def test_an_element_is_kept_where_its_byte_is_not_among_those_dropped(monkeypatch, levels_dropped):
    every = torch.arange(-128, 128, dtype=torch.int8)
    monkeypatch.setattr(torch, "randint", lambda *_, **__: every.repeat(2).view(torch.int64))
    out = dropped(torch.ones(LEVELS), levels_dropped / LEVELS)
    assert torch.equal(out != 0, torch.arange(LEVELS) >= levels_dropped)


def test_between_two_levels_every_element_is_dropped_as_often_as_stated_and_every_call_keeps_the_mean():
    torch.manual_seed(0)
    p = 25.25 / LEVELS
    calls = torch.stack([dropped(torch.ones(4096), p) for _ in range(4000)])
    factors = calls.amax(dim=1)
    of_25, of_26 = (LEVELS / (LEVELS - levels) for levels in (25, 26))
    assert factors.unique().tolist() == pytest.approx([of_25, of_26])
    assert (factors == factors.max()).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert (calls == 0).float().mean().item() == pytest.approx(p, abs=1e-4)
    for factor in factors.unique():
        assert calls[factors == factor].mean().item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("p", [1e-4, 1 - 1e-4])
def test_a_probability_beyond_the_outermost_levels_is_kept_to_over_many_calls(p):
    torch.manual_seed(1)
    zeros = torch.stack([dropped(torch.ones(16), p) == 0 for _ in range(20_000)])
    assert zeros.float().mean().item() == pytest.approx(p, abs=2e-4 if p < 0.5 else 3e-3)
