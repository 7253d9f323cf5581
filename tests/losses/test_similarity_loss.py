import math

import pytest
import torch
from helpers import draw, value_and_grads
from hypothesis import given, settings
from hypothesis import strategies as st
from twins import assert_attached_zero, assert_autocast_changes_nothing, assert_equals_twin

from embedtrain.losses import (
    AnglELoss,
    CoSENTLoss,
    CosineSimilarityLoss,
    angle_loss,
    cosent_loss,
    cosine_similarity_loss,
)

LOSSES = [CosineSimilarityLoss, CoSENTLoss, AnglELoss]
ORDER_LOSSES = [CoSENTLoss, AnglELoss]


def cosine(u, v):
    dot = sum(u[k] * v[k] for k in range(len(u)))
    return dot / (sum(x * x for x in u).sqrt() * sum(x * x for x in v).sqrt())


def angle(u, v):
    """|Re + Im| of the complex product u * conj(v), whose first halves are real and second halves imaginary."""
    half = (len(u) + 1) // 2
    u, v = [*u, 0.0][: 2 * half], [*v, 0.0][: 2 * half]
    real = sum(u[k] * v[k] for k in range(2 * half))
    imaginary = sum(u[half + k] * v[k] - u[k] * v[half + k] for k in range(half))
    lengths = sum(x * x for x in u).sqrt() * sum(x * x for x in v).sqrt()
    return ((real + imaginary) / lengths).abs()


def naive_mse(embedding1, embedding2, score):
    """The formula in loops."""
    errors = [(cosine(u, v) - s) ** 2 for u, v, s in zip(embedding1, embedding2, score.tolist(), strict=True)]
    return sum(errors) / len(errors)


def naive_order(loss, scale=20.0):
    """The formula in loops over all pairs of pairs."""
    similarity = {CoSENTLoss: cosine, AnglELoss: angle}[loss]

    def twin(embedding1, embedding2, score):
        similarities = [similarity(u, v) for u, v in zip(embedding1, embedding2, strict=True)]
        total = 1 + 0 * embedding1.sum() + 0 * embedding2.sum()
        for i, high in enumerate(score.tolist()):
            for j, low in enumerate(score.tolist()):
                if high > low:
                    total = total + (scale * (similarities[j] - similarities[i])).exp()
        return total.log()

    return twin


def twin_of(loss):
    return naive_mse if loss is CosineSimilarityLoss else naive_order(loss)


def pairs(batch, dim, dtype=torch.float32, seed=0, levels=4):
    """Two embeddings a pair, and scores in [0, 1] of which some are equal."""
    score = torch.randint(levels, (batch,), generator=torch.Generator().manual_seed(seed)) / (levels - 1)
    return [draw((batch, dim), seed, dtype), draw((batch, dim), seed + 1, dtype), score]


@settings(max_examples=25)
@given(batch=st.integers(1, 6), dim=st.integers(2, 8), seed=st.integers(0, 10**6))
def test_cosine_similarity_equals_loops_in_value_and_gradient(batch, dim, seed):
    assert_equals_twin(CosineSimilarityLoss(), naive_mse, *pairs(batch, dim, seed=seed))


@pytest.mark.parametrize("loss", ORDER_LOSSES)
@settings(max_examples=40)
@given(
    batch=st.integers(1, 7),
    dim=st.integers(2, 7),
    scale=st.floats(0.5, 30.0),
    levels=st.integers(2, 5),
    seed=st.integers(0, 10**6),
)
def test_order_losses_equal_loops_in_value_and_gradient(loss, batch, dim, scale, levels, seed):
    inputs = pairs(batch, dim, seed=seed, levels=levels)
    assert_equals_twin(loss(scale=scale), naive_order(loss, scale), *inputs, size=scale)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_types_differ_only_by_the_gradient_s_own_rounding(dtype, loss):
    assert_equals_twin(loss(), twin_of(loss), *pairs(6, 9, dtype), size=20.0)


@pytest.mark.parametrize("loss", LOSSES)
def test_autocast_changes_nothing(loss):
    *embeddings, score = pairs(6, 9)
    assert_autocast_changes_nothing(lambda *x: loss()(*x, score), *embeddings)


def test_cosine_similarity_equals_sentence_transformers():
    from sentence_transformers.sentence_transformer.losses import CosineSimilarityLoss as Reference

    *embeddings, score = pairs(7, 12)
    value, grads = value_and_grads(CosineSimilarityLoss(), *embeddings, score)
    expected = Reference(model=torch.nn.Identity()).compute_loss_from_embeddings(embeddings, score)
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=0)
    for grad, expected_grad in zip(grads, torch.autograd.grad(expected, embeddings), strict=True):
        torch.testing.assert_close(grad, expected_grad, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("dim", [12, 13])
@pytest.mark.parametrize("scale", [1.0, 20.0, 50.0])
@pytest.mark.parametrize("loss", ORDER_LOSSES)
def test_order_losses_equal_sentence_transformers(loss, scale, dim):
    from sentence_transformers.sentence_transformer import losses as references

    reference = getattr(references, loss.__name__)(torch.nn.Identity(), scale=scale)
    assert_equals_twin(
        loss(scale=scale),
        lambda *x: reference.compute_loss_from_embeddings([*x[:2]], x[2]),
        *pairs(40, dim, levels=6),
        size=scale,
    )


@pytest.mark.parametrize("loss", LOSSES)
def test_gradient_is_that_of_small_differences(loss):
    *embeddings, score = pairs(6, 5, torch.float64)
    options = {} if loss is CosineSimilarityLoss else {"scale": 3.0}
    assert torch.autograd.gradcheck(lambda *x: loss(**options)(*x, score), embeddings)


def test_known_values():
    embedding1 = torch.tensor([[1.0, 0.0], [2.0, 0.0]])
    embedding2 = torch.tensor([[0.0, 3.0], [5.0, 0.0]])
    score = torch.tensor([0.5, 0.0])
    assert cosine_similarity_loss(embedding1, embedding2, score).item() == pytest.approx((0.5**2 + 1.0**2) / 2)
    # The pair with the higher score has cosine 0, the other 1.
    assert cosent_loss(embedding1, embedding2, score, scale=2.0).item() == pytest.approx(math.log(1 + math.exp(2)))
    # 1 * conj(3i) has real part 0 and imaginary part -3, at length 1 an absolute value of 1, as the other pair has.
    assert angle_loss(embedding1, embedding2, score, scale=2.0).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("loss", ORDER_LOSSES)
def test_the_order_of_scores_alone_counts(loss):
    *embeddings, _ = pairs(5, 6)
    expected = loss()(*embeddings, torch.tensor([0.1, 0.5, 0.5, 0.9, 0.0]))
    for score in (
        torch.tensor([-3, 7, 7, 100, -40]),
        torch.tensor([0.1, 0.5, 0.5, 0.9, 0.0], dtype=torch.float64),
        torch.tensor([0.1, 0.5, 0.5, 0.9, 0.0]).half(),
    ):
        torch.testing.assert_close(loss()(*embeddings, score), expected)


@pytest.mark.parametrize("loss", ORDER_LOSSES)
def test_yes_and_no_are_scores(loss):
    *embeddings, _ = pairs(5, 6)
    score = torch.tensor([True, False, False, True, False])
    torch.testing.assert_close(loss()(*embeddings, score), loss()(*embeddings, score.float()))


@pytest.mark.parametrize("loss", ORDER_LOSSES)
def test_a_large_scale_does_not_overflow(loss):
    *embeddings, score = pairs(8, 6)
    value, grads = value_and_grads(loss(scale=1e4), *embeddings, score)
    measure = {CoSENTLoss: cosine, AnglELoss: angle}[loss]
    similarity = [measure(u, v) for u, v in zip(*embeddings, strict=True)]
    worst = max((similarity[j] - similarity[i]).item() for i in range(8) for j in range(8) if score[i] > score[j])
    assert value.item() == pytest.approx(1e4 * worst, rel=1e-3)
    assert all(grad.isfinite().all() for grad in grads)


def test_labels_of_0_and_1_may_be_integers():
    embedding1, embedding2, _ = pairs(2, 3)
    with_integers = cosine_similarity_loss(embedding1, embedding2, torch.tensor([0, 1]))
    assert with_integers == cosine_similarity_loss(embedding1, embedding2, torch.tensor([0.0, 1.0]))


@pytest.mark.parametrize("loss", LOSSES)
def test_zero_embedding_has_similarity_0_and_a_finite_gradient(loss):
    *embeddings, score = torch.zeros(2, 4, requires_grad=True), torch.ones(2, 4), torch.tensor([1.0, 0.0])
    value = loss()(*embeddings, score)
    value.backward()
    assert value.item() == pytest.approx(0.5 if loss is CosineSimilarityLoss else math.log(2))
    assert embeddings[0].grad.isfinite().all()


@pytest.mark.parametrize("loss", LOSSES)
def test_empty_batch_is_a_zero_attached_to_the_graph(loss):
    weight = torch.ones(4, 3, requires_grad=True)
    embeddings = torch.zeros(0, 4) @ weight
    assert_attached_zero(loss()(embeddings, embeddings, torch.zeros(0)), weight)


@pytest.mark.parametrize("loss", ORDER_LOSSES)
@pytest.mark.parametrize("batch", [1, 4])
def test_no_score_above_another_is_a_zero_attached_to_the_graph(loss, batch):
    inputs = [draw((batch, 4)), draw((batch, 4), seed=1)]
    assert_attached_zero(loss()(*inputs, torch.full((batch,), 0.5)), *inputs)


def test_function_and_module_are_the_same():
    inputs = pairs(5, 6)
    assert cosine_similarity_loss(*inputs) == CosineSimilarityLoss()(*inputs)
    assert cosent_loss(*inputs) == CoSENTLoss()(*inputs)
    assert angle_loss(*inputs) == AnglELoss()(*inputs)
    assert cosent_loss(*inputs, scale=3.0) == CoSENTLoss(scale=3.0)(*inputs)
    assert angle_loss(*inputs, scale=3.0) == AnglELoss(scale=3.0)(*inputs)
    assert "scale=3.0" in repr(AnglELoss(scale=3.0))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    ("embedding1", "embedding2", "score", "message"),
    [
        (torch.ones(4), torch.ones(4), torch.ones(1), r"embedding1 must have shape \(batch, dim\), found \(4,\)"),
        (torch.ones(2, 4), torch.ones(2, 5), torch.ones(2), r"same shape .*found \(2, 4\) and \(2, 5\)"),
        (torch.ones(2, 4), torch.ones(3, 4), torch.ones(2), r"same shape .*found \(2, 4\) and \(3, 4\)"),
        (torch.ones(2, 4).long(), torch.ones(2, 4), torch.ones(2), r"embedding1 must be floating-point.*torch.int64"),
        (torch.ones(2, 4), torch.ones(2, 4), torch.ones(2, 1), r"score .*\(batch,\) = \(2,\), found \(2, 1\)"),
        (torch.ones(2, 4), torch.ones(2, 4), torch.ones(3), r"score .*\(batch,\) = \(2,\), found \(3,\)"),
        (torch.ones(2, 4), torch.ones(2, 4), torch.tensor([1, float("nan")]), r"score .*(?i:nan).* row 1"),
        (torch.ones(2, 4), torch.ones(2, 4, device="meta"), torch.ones(2), r"one device, found cpu and meta"),
        (torch.ones(2, 4), torch.ones(2, 4), torch.ones(2, device="meta"), r"score .*device cpu, found meta"),
    ],
)
def test_wrong_use_is_answered_with_what_was_found(embedding1, embedding2, score, message, loss):
    with pytest.raises(ValueError, match=message):
        loss()(embedding1, embedding2, score)


@pytest.mark.parametrize(
    ("score", "message"),
    [
        ([1, 4.5], r"\[0, 1\], found 4.5 in row 1 \(1 of 2 rows\)"),
        ([-0.5, 2], r"\[0, 1\], found -0.5 in row 0 \(2 of 2 rows\)"),
    ],
)
def test_a_cosine_is_brought_to_a_score_between_0_and_1(score, message):
    with pytest.raises(ValueError, match=message):
        CosineSimilarityLoss()(torch.ones(2, 4), torch.ones(2, 4), torch.tensor(score))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("place", [0, 1])
def test_nan_and_infinity_are_named_unless_switched_off(place, value, loss):
    *embeddings, score = (x.detach() for x in pairs(4, 6))
    embeddings[place][2, 0] = value
    kind = "NaN" if math.isnan(value) else "infinity"
    with pytest.raises(ValueError, match=rf"embedding{place + 1} holds {kind} in row 2 \(1 of 4 rows\)"):
        loss()(*embeddings, score)
    assert not loss(check_finite=False)(*embeddings, score).isfinite()


@pytest.mark.parametrize("scale", [0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize(("loss", "function"), [(CoSENTLoss, cosent_loss), (AnglELoss, angle_loss)])
def test_scale_is_a_finite_number_above_0(loss, function, scale):
    message = f"scale must be a finite number above 0, found {scale}"
    with pytest.raises(ValueError, match=message):
        loss(scale=scale)
    with pytest.raises(ValueError, match=message):
        function(*pairs(3, 4), scale=scale)
