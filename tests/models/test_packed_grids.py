"""Causal attention of packed texts is that of each text alone, however the texts are grouped."""

import pytest
import torch

from embedtrain.models import packed_grids
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


def test_the_softmax_of_half_precision_is_computed_in_full():
    torch.manual_seed(0)
    logits = (torch.randn(3, 5, 7) * 4).bfloat16().requires_grad_()
    exact = logits.detach().float().requires_grad_()
    weights = torch.randn(3, 5, 7).bfloat16()
    found, expected = packed_grids._softmax(logits), torch.softmax(exact, dim=-1)
    assert torch.equal(found, expected.bfloat16())
    (found * weights).sum().backward()
    (expected * weights.float()).sum().backward()
    torch.testing.assert_close(logits.grad.float(), exact.grad, rtol=2e-2, atol=2e-3)


@pytest.mark.parametrize("width", [1, 2, 15, 16, 17])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_softmax_and_its_gradient_are_torchs_for_narrow_rows_and_wide_ones(width, dtype):
    torch.manual_seed(0)
    mine, theirs = (torch.randn(3, 2, 5, width, dtype=dtype) * 30 for _ in range(2))
    theirs.copy_(mine)
    # Places that are not seen: the largest number must not overflow, nor rows of nothing else turn NaN.
    hidden = torch.finfo(dtype).min / 2
    for logits in (mine, theirs):
        logits[0, :, :, width // 2 :] = hidden
        logits[1, 0, 0] = hidden
        logits.requires_grad_()
    weights = torch.randn(3, 2, 5, width, dtype=dtype)
    for logits, softmax in ((mine, packed_grids._softmax), (theirs, lambda x: torch.softmax(x, dim=-1))):
        (softmax(logits) * weights).sum().backward()
    tolerance = {"rtol": 2e-2, "atol": 2e-2} if dtype == torch.bfloat16 else {"rtol": 1e-4, "atol": 1e-6}
    with torch.no_grad():
        torch.testing.assert_close(packed_grids._softmax(mine), torch.softmax(theirs, dim=-1), **tolerance)
    torch.testing.assert_close(mine.grad, theirs.grad, **tolerance)
