"""Kept copies of weights in bf16 compute what autocast computes, and follow the weights."""

import copy

import pytest
import torch
from torch import nn

from embedtrain.training import bf16_weights as module
from embedtrain.training.bf16_weights import bf16_weights


@pytest.fixture(autouse=True)
def small_layers_count(monkeypatch):
    monkeypatch.setattr(module, "MIN_ELEMENTS", 1)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 4))


def step(model, x, *, passes=1):
    for part in x.chunk(passes):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(part).float().pow(2).sum()
        loss.backward()
    return loss.detach(), [p.grad.clone() for p in model.parameters()]


def same(first, second, **tolerance):
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one, other, **tolerance)


def test_losses_and_gradients_are_those_of_autocast_over_several_steps():
    kept, plain = network(), network()
    optimizers = [torch.optim.AdamW(model.parameters(), lr=0.05, fused=True) for model in (kept, plain)]
    with bf16_weights(kept) as stepped:
        optimizers[0].register_step_post_hook(lambda *_: stepped())
        for number in range(4):
            x = torch.randn(6, 8, generator=torch.Generator().manual_seed(number))
            found, expected = step(kept, x), step(plain, x)
            same([found[0]], [expected[0]], rtol=0, atol=0)
            same(found[1], expected[1], rtol=0, atol=0)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
    same(kept.parameters(), plain.parameters(), rtol=0, atol=0)


def test_gradients_of_several_passes_are_summed():
    kept, plain = network(), network()
    x = torch.randn(6, 8)
    with bf16_weights(kept):
        same(step(kept, x, passes=3)[1], step(plain, x, passes=3)[1], rtol=0, atol=0)


def test_the_memory_of_a_gradient_stays():
    model = network()
    with bf16_weights(model):
        step(model, torch.randn(6, 8))
        first = model[0].weight.grad.data_ptr()
        model.zero_grad()
        step(model, torch.randn(6, 8))
        assert model[0].weight.grad.data_ptr() == first


def test_weights_that_are_loaded_or_replaced_are_seen():
    model, other = network(), network()
    with torch.no_grad():
        other[0].weight.mul_(2)
    x = torch.randn(2, 8)
    with bf16_weights(model), torch.autocast("cpu", dtype=torch.bfloat16):
        model(x)
        model.load_state_dict(copy.deepcopy(other.state_dict()))
        assert torch.equal(model(x), other(x))
        model[2].weight.data = torch.zeros_like(model[2].weight)
        assert torch.equal(model(x), model[2].bias.to(torch.bfloat16).expand(2, 4))


def test_without_autocast_layers_are_what_they_were():
    model = network()
    x = torch.randn(2, 8)
    expected = model(x)
    with bf16_weights(model):
        assert torch.equal(model(x), expected)


def test_frozen_weights_get_no_gradient_and_pass_it_on():
    model = network()
    model[2].weight.requires_grad_(False)
    with bf16_weights(model):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            model(torch.randn(2, 8)).float().sum().backward()
        assert model[2].weight.grad is None
        assert model[0].weight.grad is not None


def test_nothing_is_left_afterwards():
    model = network()
    with bf16_weights(model):
        assert "forward" in vars(model[0])
    assert not any("forward" in vars(layer) for layer in model)


class Attention(nn.Module):
    """Names as in BERT; what it computes does not matter here."""

    def __init__(self, bias=True):
        super().__init__()
        torch.manual_seed(0)
        self.query, self.key, self.value = (nn.Linear(32, 16, bias=bias) for _ in range(3))

    def forward(self, x, other=None):
        memory = x if other is None else other
        return torch.sigmoid(self.query(x) * self.key(memory)) * self.value(memory)


@pytest.fixture
def products(monkeypatch):
    """The shapes of the weights that inputs are multiplied by."""
    seen = []
    linear = module.F.linear
    monkeypatch.setattr(module.F, "linear", lambda x, w, b: (seen.append(tuple(w.shape)), linear(x, w, b))[1])
    return seen


@pytest.mark.parametrize("bias", [True, False])
def test_queries_keys_and_values_are_one_product_that_gives_what_three_give(products, bias):
    kept, plain = Attention(bias), Attention(bias)
    x, y = (torch.randn(6, 32, generator=torch.Generator().manual_seed(1)).requires_grad_() for _ in range(2))
    with bf16_weights(kept):
        for _ in range(2):
            found, expected = step(kept, x), step(plain, y)
    assert products.count((48, 32)) == 2
    same([found[0], *found[1], x.grad], [expected[0], *expected[1], y.grad], rtol=2e-2, atol=2e-3)


def test_keys_and_values_of_another_input_are_those_of_that_input(products):
    kept, plain = Attention(), Attention()
    x, other = torch.randn(2, 6, 32)
    with bf16_weights(kept), torch.autocast("cpu", dtype=torch.bfloat16):
        for _ in range(2):
            torch.testing.assert_close(kept(x, other), plain(x, other), rtol=2e-2, atol=2e-3)
    assert (16, 32) in products
    assert not torch.equal(plain(x, other), plain(x))


def test_a_value_without_query_and_a_second_call_are_computed_alone():
    kept = Attention()
    x = torch.randn(6, 32)
    with bf16_weights(kept), torch.autocast("cpu", dtype=torch.bfloat16):
        value = kept.value(x)
        kept.query(x)
        first, second = kept.key(x), kept.key(x)
    torch.testing.assert_close(first, second)
    torch.testing.assert_close(value.float(), Attention().value(x), rtol=2e-2, atol=2e-2)


def test_one_frozen_projection_of_three_stays_and_the_others_learn():
    model = Attention()
    model.key.weight.requires_grad_(False)
    with bf16_weights(model), torch.autocast("cpu", dtype=torch.bfloat16):
        model(torch.randn(6, 32)).float().sum().backward()
    assert model.key.weight.grad is None
    assert model.query.weight.grad.abs().sum() > 0
    assert model.value.weight.grad.abs().sum() > 0


def test_gradient_checkpointing_gives_the_same_gradients():
    checkpointed, plain = Attention(), Attention()
    x = torch.randn(6, 32)
    with bf16_weights(checkpointed), torch.autocast("cpu", dtype=torch.bfloat16):
        loss = torch.utils.checkpoint.checkpoint(checkpointed, x, use_reentrant=False).float().sum()
        loss.backward()
    with bf16_weights(plain), torch.autocast("cpu", dtype=torch.bfloat16):
        plain(x).float().sum().backward()
    same((p.grad for p in checkpointed.parameters()), (p.grad for p in plain.parameters()), rtol=0, atol=0)


def test_a_layer_under_two_names_is_not_put_together_with_itself():
    model = Attention()
    model.key = model.query
    x = torch.randn(6, 32)
    with bf16_weights(model):
        found = step(model, x)
    plain = Attention()
    plain.key = plain.query
    same(found[1], step(plain, x)[1], rtol=2e-2, atol=2e-3)


def gradient_of_parts(lay):
    """What comes back for parts of 2, 3 and 4 columns whose gradients are what a function makes of a table of 9."""
    whole = torch.zeros(5, 9, requires_grad=True)
    given = torch.arange(45.0).view(5, 9)
    gradients = lay(given)
    seen = {}
    whole.register_hook(lambda gradient: seen.update(place=gradient.data_ptr()))
    torch.autograd.backward(module._Parts.apply(whole, [2, 3, 4]), gradients)
    return whole.grad, torch.cat(gradients, dim=1), seen["place"] == given.data_ptr()


@pytest.mark.parametrize(
    ("lay", "taken_as_it_lies"),
    [
        (lambda table: table.split([2, 3, 4], dim=1), True),
        (lambda table: [table[:, 2:4], table[:, 4:7], table[:, 5:9]], False),
        (lambda table: [part.clone() for part in table.split([2, 3, 4], dim=1)], False),
        (lambda table: [table[:, :2], table[:, 2:5].clone(), table[:, 5:]], False),
        (lambda table: [part.t().contiguous().t() for part in table.split([2, 3, 4], dim=1)], False),
    ],
)
def test_gradients_that_lie_side_by_side_are_not_put_together(lay, taken_as_it_lies):
    found, expected, as_it_lies = gradient_of_parts(lay)
    assert torch.equal(found, expected)
    assert as_it_lies == taken_as_it_lies


def test_a_part_that_nothing_asks_has_no_gradient():
    whole = torch.zeros(1, 5, 9, requires_grad=True)
    _, used, _ = module._Parts.apply(whole, [2, 3, 4])
    used.sum().backward()
    assert whole.grad.sum(dim=(0, 1)).tolist() == [0, 0, 5, 5, 5, 0, 0, 0, 0]


def test_the_parts_of_a_single_row_have_gradients():
    whole = torch.zeros(9, requires_grad=True)
    first, _, last = module._Parts.apply(whole, [2, 3, 4])
    (first.sum() + 2 * last.sum()).backward()
    assert whole.grad.tolist() == [1, 1, 0, 0, 0, 2, 2, 2, 2]
