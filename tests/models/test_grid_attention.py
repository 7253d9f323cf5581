"""Attention of packed texts on a CPU is that of each text alone, however the texts are grouped."""

import pytest
import torch

from embedtrain.models import grid_attention, packed_grids
from embedtrain.models.packed_attention import Packing, causal_attention

LENGTHS = (9, 1, 23, 4, 22)


def alone(query, key, value, added):
    """Every text by itself, (heads, length, head dim)."""
    length = query.shape[1]
    logits = query @ key.transpose(1, 2) * query.shape[2] ** -0.5
    if added is not None:
        logits = logits + added[:, :length, :length]
    later = torch.ones(length, length, dtype=torch.bool).triu(1)
    return logits.masked_fill(later, float("-inf")).softmax(-1) @ value


@pytest.mark.parametrize("with_added", [False, True])
@pytest.mark.parametrize("group_cost", [0, 10**9])
def test_causal_attention_equals_each_text_alone(monkeypatch, group_cost, with_added):
    monkeypatch.setattr(packed_grids, "GROUP_COST", group_cost)
    packing = Packing.of_mask(torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None])
    assert (len(packing.grids.groups) == 1) == (group_cost > 0)
    torch.manual_seed(0)
    inputs = [torch.randn(sum(LENGTHS), 2, 8, requires_grad=True) for _ in range(3)]
    added = torch.randn(2, 23, 23, requires_grad=True) if with_added else None
    found = causal_attention(*inputs, packing, added=added)
    texts = zip(*(x.split(LENGTHS) for x in inputs), strict=True)
    expected = torch.cat([alone(*(x.transpose(0, 1) for x in text), added).transpose(0, 1) for text in texts])
    torch.testing.assert_close(found, expected)
    wanted = [*inputs, added] if with_added else inputs
    weights = torch.randn(found.shape)
    torch.testing.assert_close(
        torch.autograd.grad((found * weights).sum(), wanted), torch.autograd.grad((expected * weights).sum(), wanted)
    )


def gradient_of_softmax(logits, weights):
    """What autograd says, for the sum of the softmax times the weights."""
    logits = logits.clone().requires_grad_()
    (torch.softmax(logits, dim=-1) * weights).sum().backward()
    return logits.grad


@pytest.mark.parametrize("width", [1, 2, 15, 16, 17])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_softmax_and_its_gradient_are_torchs_for_narrow_rows_and_wide_ones(width, dtype):
    torch.manual_seed(0)
    logits = torch.randn(3, 2, 5, width, dtype=dtype) * 30
    # Places that are not seen: the largest number must not overflow, nor rows of nothing else turn NaN.
    hidden = torch.finfo(dtype).min / 2
    logits[0, :, :, width // 2 :] = hidden
    logits[1, 0, 0] = hidden
    weights = torch.randn(3, 2, 5, width, dtype=dtype)
    found = grid_attention._softmax_(logits.clone())
    torch.testing.assert_close(found, torch.softmax(logits, dim=-1), rtol=1e-4, atol=1e-6)
    gradient = grid_attention._softmax_gradient(found, weights)
    torch.testing.assert_close(gradient, gradient_of_softmax(logits, weights), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("width", [7, 20])
def test_the_gradient_of_half_precision_is_computed_in_full(width):
    torch.manual_seed(0)
    logits, weights = torch.randn(2, 3, 5, width).unbind()
    softmax = torch.softmax(logits, dim=-1).bfloat16()
    found = grid_attention._softmax_gradient(softmax, weights.bfloat16())
    assert found.dtype == torch.float32
    exact = grid_attention._softmax_gradient(softmax.double(), weights.bfloat16().double())
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-6)


def inputs_of(joint, heads, dim):
    """Queries, keys and values as a model gives them: of one product side by side, or of one each."""
    parts = joint.split(heads * dim, dim=-1)
    return [part.view(1, -1, heads, dim).transpose(1, 2) for part in parts]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_parts_of_one_product_are_taken_as_they_lie(dtype):
    torch.manual_seed(0)
    heads, dim = 3, 8
    grids = Packing.of_mask(torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]).grids
    joint = torch.randn(sum(LENGTHS), 3 * heads * dim, dtype=dtype)
    together, apart = joint.clone().requires_grad_(), joint.clone().requires_grad_()
    lying = inputs_of(together, heads, dim)
    assert grid_attention._side_by_side(*lying).data_ptr() == together.data_ptr()
    copied = [x.clone() for x in inputs_of(apart, heads, dim)]
    torch.testing.assert_close(grid_attention._side_by_side(*copied), grid_attention._side_by_side(*lying))
    turned = [lying[1], lying[0], lying[2]]
    assert grid_attention._side_by_side(*turned).data_ptr() != together.data_ptr()
    weights = torch.randn(1, sum(LENGTHS), heads, dim, dtype=dtype)
    for inputs in (lying, copied):
        out = grid_attention.grid_attention(*inputs, grids, scaling=0.3, dropout=0.0)
        (out * weights).sum().backward()
    assert torch.equal(together.grad, apart.grad)


def test_dropped_weights_have_no_gradient_and_the_others_are_scaled(monkeypatch):
    """Against each text alone with the same weights dropped."""
    torch.manual_seed(0)
    heads, dim = 2, 8
    grids = Packing.of_mask(torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]).grids
    kept = []

    def drawn(shape, p, device):
        kept.append(torch.randint(0, 2, shape, dtype=torch.int8))
        return kept[-1], 1 / (1 - p)

    monkeypatch.setattr(grid_attention, "drawn", drawn)
    inputs = [torch.randn(1, heads, sum(LENGTHS), dim, requires_grad=True) for _ in range(3)]
    found = grid_attention.grid_attention(*inputs, grids, scaling=0.3, dropout=0.4)
    order = iter(sorted(range(len(LENGTHS)), key=lambda text: LENGTHS[text]))
    texts = [[x[0] for x in text] for text in zip(*(x.split(LENGTHS, dim=2) for x in inputs), strict=True)]
    expected = [None] * len(LENGTHS)
    for grid, of_grid in zip(grids.groups, kept, strict=True):
        for elements in of_grid.view(-1, heads, grid.width, grid.width):
            text = next(order)
            query, key, value = texts[text]
            weights = (query @ key.mT * 0.3).softmax(-1) * elements[:, : LENGTHS[text], : LENGTHS[text]] / 0.6
            expected[text] = weights @ value
    expected = torch.cat(expected, dim=1).transpose(0, 1)[None]
    torch.testing.assert_close(found, expected)
    weights = torch.randn(found.shape)
    torch.testing.assert_close(
        torch.autograd.grad((found * weights).sum(), inputs), torch.autograd.grad((expected * weights).sum(), inputs)
    )


@pytest.mark.parametrize("reach", [None, 2])
def test_texts_in_float64_are_attended_to_as_in_float32(reach):
    starts = torch.tensor([0, *LENGTHS]).cumsum(0)
    torch.manual_seed(0)
    inputs = torch.randn(3, 1, 2, sum(LENGTHS), 8, dtype=torch.float64)
    grids = packed_grids.Grids(starts)
    found = grid_attention.grid_attention(*inputs, grids, scaling=0.3, dropout=0.0, reach=reach)
    assert found.dtype == torch.float64
    same = grid_attention.grid_attention(*inputs.float(), grids, scaling=0.3, dropout=0.0, reach=reach)
    torch.testing.assert_close(found.float(), same)


def test_a_second_derivative_is_refused():
    packing = Packing.of_mask(torch.ones(2, 3))
    query = torch.randn(6, 1, 4, requires_grad=True)
    attended = causal_attention(query, query, query, packing)
    with pytest.raises(RuntimeError, match="cannot be differentiated twice"):
        torch.autograd.grad(attended.sum(), query, create_graph=True)


def test_nothing_is_kept_where_nothing_asks_for_gradients():
    kept = []
    packing = Packing.of_mask(torch.ones(2, 3))
    query = torch.randn(6, 1, 4, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.shape) or x, lambda x: x):
        with torch.no_grad():
            assert not causal_attention(query, query, query, packing).requires_grad
        assert not kept
        causal_attention(query, query, query, packing)
    assert kept


@pytest.mark.parametrize("broken", range(len(LENGTHS)))
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_text_that_is_not_finite_breaks_no_other(monkeypatch, broken, value):
    monkeypatch.setattr(packed_grids, "GROUP_COST", 10**9)
    packing = Packing.of_mask(torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None])
    torch.manual_seed(0)
    inputs = torch.randn(3, sum(LENGTHS), 2, 8)
    inputs.split(LENGTHS, dim=1)[broken].fill_(value)
    inputs.requires_grad_()
    attended = causal_attention(*inputs, packing)
    attended.nansum().backward()
    for text, (out, gradient) in enumerate(
        zip(attended.split(LENGTHS), inputs.grad.split(LENGTHS, dim=1), strict=True)
    ):
        assert out.isfinite().all() == (text != broken)
        assert gradient.isfinite().all() or text == broken
