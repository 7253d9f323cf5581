import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from embedtrain.losses import MultipleNegativesRankingLoss, multiple_negatives_ranking_loss


def naive(anchor, positive, negatives=None, *, scale=20.0):
    """The formula in loops, double precision."""

    def cosine(u, v):
        dot = sum(u[k] * v[k] for k in range(len(u)))
        return dot / (sum(x * x for x in u).sqrt() * sum(x * x for x in v).sqrt())

    candidates = list(positive.double())
    for row in [] if negatives is None else negatives.double():
        candidates.extend(row)
    total = torch.zeros((), dtype=torch.float64)
    for i, u in enumerate(anchor.double()):
        partition = sum((scale * cosine(u, c)).exp() for c in candidates)
        total = total - (scale * cosine(u, candidates[i])) + partition.log()
    return total / len(anchor)


def rows(batch, dim, n=None, dtype=torch.float32, seed=0):
    draw = torch.Generator().manual_seed(seed)
    shapes = [(batch, dim), (batch, dim)] + ([] if n is None else [(batch, n, dim)])
    return [torch.randn(shape, generator=draw).to(dtype).requires_grad_() for shape in shapes]


def value_and_grads(loss, *inputs):
    value = loss(*inputs)
    return value, torch.autograd.grad(value, inputs, materialize_grads=True)


def assert_equals_naive(*inputs, rtol, scale=20.0):
    """Absolute tolerances are the scale's share of fp32 rounding.

    Gradients are compared per unit of the embedding's length: they grow without bound as it shrinks.
    """
    value, grads = value_and_grads(MultipleNegativesRankingLoss(scale=scale), *inputs)
    expected, expected_grads = value_and_grads(lambda *x: naive(*x, scale=scale), *inputs)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=3e-7 * scale)
    for embedding, grad, expected_grad in zip(inputs, grads, expected_grads, strict=True):
        assert grad.dtype == embedding.dtype
        length = embedding.detach().double().norm(dim=-1, keepdim=True)
        torch.testing.assert_close(
            grad.double() * length, expected_grad.double() * length, rtol=rtol, atol=3e-7 * scale
        )


@settings(max_examples=15, deadline=None)
@given(
    batch=st.integers(1, 5),
    dim=st.integers(2, 6),
    n=st.none() | st.integers(0, 2),
    scale=st.floats(0.5, 40.0),
    seed=st.integers(0, 10**6),
)
def test_equals_loops_in_value_and_gradient(batch, dim, n, scale, seed):
    assert_equals_naive(*rows(batch, dim, n, seed=seed), rtol=1e-5, scale=scale)


@pytest.mark.parametrize("n", [None, 2])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_types_differ_only_by_the_gradient_s_own_rounding(dtype, n):
    # One rounding to bf16 is at most 2^-9 of the number, to fp16 2^-12.
    assert_equals_naive(*rows(4, 6, n, dtype), rtol=2**-8)


def test_autocast_changes_nothing():
    inputs = rows(6, 9, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = MultipleNegativesRankingLoss()(*inputs)
    expected, expected_grads = value_and_grads(MultipleNegativesRankingLoss(), *inputs)
    assert under_autocast == expected
    for grad, expected_grad in zip(torch.autograd.grad(under_autocast, inputs), expected_grads, strict=True):
        assert torch.equal(grad, expected_grad)


@pytest.mark.parametrize("n", [None, 1, 3])
def test_equals_sentence_transformers(n):
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss as Reference

    inputs = rows(7, 12, n)
    value, grads = value_and_grads(MultipleNegativesRankingLoss(scale=20.0), *inputs)
    columns = inputs[:2] if n is None else [*inputs[:2], *inputs[2].unbind(dim=1)]
    expected = Reference(model=None, scale=20.0).compute_loss_from_embeddings(columns, None)
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=0)
    for grad, expected_grad in zip(grads, torch.autograd.grad(expected, inputs), strict=True):
        torch.testing.assert_close(grad, expected_grad, rtol=1e-5, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(batch=st.integers(1, 9), dim=st.integers(2, 8), n=st.integers(0, 3), seed=st.integers(0, 10**6))
def test_neither_the_order_nor_the_length_of_embeddings_matters(batch, dim, n, seed):
    anchor, positive, negatives = (x.detach() for x in rows(batch, dim, n, seed=seed))
    draw = torch.Generator().manual_seed(seed)
    order = torch.randperm(batch, generator=draw)
    stretch = torch.rand(batch, 1, generator=draw) + 0.5
    loss = MultipleNegativesRankingLoss()
    expected = loss(anchor, positive, negatives)
    torch.testing.assert_close(loss(anchor[order], positive[order], negatives[order]), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(loss(anchor * stretch, positive, negatives), expected, rtol=1e-5, atol=1e-5)


def test_equal_candidates_give_the_logarithm_of_their_number():
    ones = torch.ones(4, 3)
    loss = multiple_negatives_ranking_loss(ones, ones, torch.ones(4, 2, 3))
    assert loss.item() == pytest.approx(math.log(4 * (1 + 2)))


def test_no_negatives_per_row_is_in_batch_negatives_alone():
    anchor, positive = rows(4, 6)
    loss = MultipleNegativesRankingLoss()
    assert loss(anchor, positive, torch.zeros(4, 0, 6)) == loss(anchor, positive)


@pytest.mark.parametrize("n", [None, 2])
def test_empty_batch_is_a_zero_attached_to_the_graph(n):
    weight = torch.ones(4, 3, requires_grad=True)
    embeddings = torch.zeros(0, 4) @ weight
    negatives = None if n is None else torch.zeros(0, n, 4) @ weight
    loss = MultipleNegativesRankingLoss()(embeddings, embeddings, negatives)
    loss.backward()
    assert loss.shape == ()
    assert loss.item() == 0
    assert torch.equal(weight.grad, torch.zeros(4, 3))


@pytest.mark.parametrize(
    ("anchor", "positive", "negatives", "message"),
    [
        (torch.ones(4), torch.ones(4), None, r"anchor must have shape \(batch, dim\), found \(4,\)"),
        (torch.ones(2, 4), torch.ones(2, 5), None, r"anchor and positive .*found \(2, 4\) and \(2, 5\)"),
        (torch.ones(2, 4), torch.ones(3, 4), None, r"anchor and positive .*found \(2, 4\) and \(3, 4\)"),
        (torch.ones(2, 4), torch.ones(2, 4).int(), None, r"positive must be floating-point .*torch.int32"),
        (torch.ones(2, 4), torch.ones(2, 4), torch.ones(2, 4), r"negatives .*\(batch, n, dim\), found \(2, 4\)"),
        (torch.ones(2, 4), torch.ones(2, 4), torch.ones(3, 1, 4), r"\(2, n, 4\) beside .*found \(3, 1, 4\)"),
        (torch.ones(2, 4), torch.ones(2, 4), torch.ones(2, 1, 5), r"\(2, n, 4\) beside .*found \(2, 1, 5\)"),
        (torch.ones(2, 4), torch.ones(2, 4), torch.ones(2, 1, 4).long(), r"negatives must be floating-point"),
    ],
)
def test_wrong_use_is_answered_with_what_was_found(anchor, positive, negatives, message):
    with pytest.raises(ValueError, match=message):
        MultipleNegativesRankingLoss()(anchor, positive, negatives)


@pytest.mark.parametrize("scale", [0, -1.0, float("nan"), float("inf")])
def test_scale_is_a_finite_number_above_0(scale):
    with pytest.raises(ValueError, match=f"scale must be a finite number above 0, found {scale}"):
        MultipleNegativesRankingLoss(scale=scale)
    with pytest.raises(ValueError, match="scale must be"):
        multiple_negatives_ranking_loss(torch.ones(2, 4), torch.ones(2, 4), scale=scale)


def test_options_show_when_printed():
    assert repr(MultipleNegativesRankingLoss(scale=5.0)) == "MultipleNegativesRankingLoss(scale=5.0)"
