import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from embedtrain.losses import CosineSimilarityLoss, cosine_similarity_loss


def naive(embedding1, embedding2, score):
    """The formula in loops, double precision."""
    total = torch.zeros((), dtype=torch.float64)
    for u, v, wanted in zip(embedding1.double(), embedding2.double(), score.double(), strict=True):
        dot = sum(u[k] * v[k] for k in range(len(u)))
        lengths = sum(x * x for x in u).sqrt() * sum(x * x for x in v).sqrt()
        total = total + (dot / lengths - wanted) ** 2
    return total / len(score)


def pairs(batch, dim, dtype=torch.float32, seed=0):
    draw = torch.Generator().manual_seed(seed)
    embeddings = [torch.randn(batch, dim, generator=draw).to(dtype).requires_grad_() for _ in range(2)]
    return [*embeddings, torch.rand(batch, generator=draw)]


def value_and_grads(loss, *inputs):
    value = loss(*inputs)
    return value, torch.autograd.grad(value, [x for x in inputs if x.requires_grad])


def assert_equals_naive(*inputs, rtol):
    """Gradients are compared per unit of the embedding's length: they grow without bound as it shrinks."""
    value, grads = value_and_grads(CosineSimilarityLoss(), *inputs)
    expected, expected_grads = value_and_grads(naive, *inputs)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-6)
    for embedding, grad, expected_grad in zip(inputs, grads, expected_grads, strict=False):
        length = embedding.detach().double().norm(dim=-1, keepdim=True)
        torch.testing.assert_close(grad.double() * length, expected_grad.double() * length, rtol=rtol, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(batch=st.integers(1, 6), dim=st.integers(1, 8), seed=st.integers(0, 10**6))
def test_equals_loops_in_value_and_gradient(batch, dim, seed):
    assert_equals_naive(*pairs(batch, dim, seed=seed), rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_types_differ_only_by_the_gradient_s_own_rounding(dtype):
    # One rounding to bf16 is at most 2^-9 of the number, to fp16 2^-12.
    assert_equals_naive(*pairs(6, 9, dtype), rtol=2**-8)


def test_autocast_changes_nothing():
    inputs = pairs(6, 9)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = CosineSimilarityLoss()(*inputs)
    torch.testing.assert_close(under_autocast, CosineSimilarityLoss()(*inputs), rtol=1e-6, atol=0)


def test_equals_sentence_transformers():
    from sentence_transformers.sentence_transformer.losses import CosineSimilarityLoss as Reference

    *embeddings, score = pairs(7, 12)
    value, grads = value_and_grads(CosineSimilarityLoss(), *embeddings, score)
    expected = Reference(model=None).compute_loss_from_embeddings(embeddings, score)
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=0)
    for grad, expected_grad in zip(grads, torch.autograd.grad(expected, embeddings), strict=True):
        torch.testing.assert_close(grad, expected_grad, rtol=1e-5, atol=1e-7)


def test_known_value():
    embedding1 = torch.tensor([[1.0, 0.0], [2.0, 0.0]])
    embedding2 = torch.tensor([[0.0, 3.0], [5.0, 0.0]])
    loss = cosine_similarity_loss(embedding1, embedding2, torch.tensor([0.5, 0.0]))
    assert loss.item() == pytest.approx((0.5**2 + 1.0**2) / 2)


def test_labels_of_0_and_1_may_be_integers():
    embedding1, embedding2, _ = pairs(2, 3)
    with_integers = cosine_similarity_loss(embedding1, embedding2, torch.tensor([0, 1]))
    assert with_integers == cosine_similarity_loss(embedding1, embedding2, torch.tensor([0.0, 1.0]))


def test_zero_embedding_has_cosine_0_and_a_finite_gradient():
    embedding1 = torch.zeros(1, 4, requires_grad=True)
    loss = cosine_similarity_loss(embedding1, torch.ones(1, 4), torch.tensor([0.5]))
    loss.backward()
    assert loss.item() == pytest.approx(0.25)
    assert embedding1.grad.isfinite().all()


def test_empty_batch_is_a_zero_attached_to_the_graph():
    weight = torch.ones(4, 3, requires_grad=True)
    embeddings = torch.zeros(0, 4) @ weight
    loss = CosineSimilarityLoss()(embeddings, embeddings, torch.zeros(0))
    loss.backward()
    assert loss.shape == ()
    assert loss.item() == 0
    assert torch.equal(weight.grad, torch.zeros(4, 3))


@pytest.mark.parametrize(
    ("embedding1", "embedding2", "score", "message"),
    [
        (torch.ones(4), torch.ones(4), torch.ones(1), r"embedding1 must have shape \(batch, dim\), found \(4,\)"),
        (torch.ones(2, 4), torch.ones(2, 5), torch.ones(2), r"same shape .*found \(2, 4\) and \(2, 5\)"),
        (torch.ones(2, 4), torch.ones(3, 4), torch.ones(2), r"same shape .*found \(2, 4\) and \(3, 4\)"),
        (torch.ones(2, 4).long(), torch.ones(2, 4), torch.ones(2), r"embedding1 must be floating-point.*torch.int64"),
        (torch.ones(2, 4), torch.ones(2, 4), torch.ones(2, 1), r"score .*\(batch,\) = \(2,\), found \(2, 1\)"),
        (torch.ones(2, 4), torch.ones(2, 4), torch.ones(3), r"score .*\(batch,\) = \(2,\), found \(3,\)"),
        (torch.ones(2, 4), torch.ones(2, 4), torch.tensor([1, 4.5]), r"\[0, 1\], found 4.5 in row 1 \(1 of 2 rows\)"),
        (torch.ones(2, 4), torch.ones(2, 4), torch.tensor([-0.5, 2]), r"found -0.5 in row 0 \(2 of 2 rows\)"),
        (torch.ones(2, 4), torch.ones(2, 4), torch.tensor([1, float("nan")]), r"\[0, 1\], found nan in row 1"),
    ],
)
def test_wrong_use_is_answered_with_what_was_found(embedding1, embedding2, score, message):
    with pytest.raises(ValueError, match=message):
        CosineSimilarityLoss()(embedding1, embedding2, score)
