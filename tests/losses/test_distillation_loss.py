import math
from functools import partial

import pytest
import torch
from helpers import draw, value_and_grads
from hypothesis import given, settings
from hypothesis import strategies as st
from twins import assert_attached_zero, assert_autocast_changes_nothing, assert_equals_twin

from embedtrain.losses import (
    DistillKLDivLoss,
    MarginMSELoss,
    MSELoss,
    distill_kl_div_loss,
    margin_mse_loss,
    mse_loss,
)

SIMILARITIES = ("dot", "cosine")
RANKING_LOSSES = (MarginMSELoss, DistillKLDivLoss)
TYPES = (torch.bfloat16, torch.float16, torch.float64)


def naive_mse(embedding, target):
    """The formula in loops."""
    total = 0
    for u, v in zip(embedding, target, strict=True):
        for k in range(len(u)):
            total = total + (u[k] - v[k].double()) ** 2
    return total / embedding.numel()


def naive_similarity(u, v, similarity):
    def dot(a, b):
        return sum(x * y for x, y in zip(a, b, strict=True))

    return dot(u, v) if similarity == "dot" else dot(u, v) / (dot(u, u).sqrt() * dot(v, v).sqrt())


def naive_margin_mse(anchor, positive, negatives, teacher_scores, *, similarity="dot"):
    """The formula in loops."""
    total = 0
    for i, row in enumerate(teacher_scores.tolist()):
        for j, negative in enumerate(negatives[i]):
            margin = naive_similarity(anchor[i], positive[i], similarity)
            margin = margin - naive_similarity(anchor[i], negative, similarity)
            total = total + (margin - (row[0] - row[1 + j])) ** 2
    return total / (negatives.shape[0] * negatives.shape[1])


def naive_distill_kl_div(
    anchor, positive, negatives, teacher_scores, *, similarity="dot", temperature=1.0, teacher_temperature=None
):
    """The formula in loops."""
    teacher_temperature = temperature if teacher_temperature is None else teacher_temperature
    total = 0
    for i, row in enumerate(teacher_scores.tolist()):
        candidates = [positive[i], *negatives[i]]
        student = [(naive_similarity(anchor[i], c, similarity) / temperature).exp() for c in candidates]
        teacher = [math.exp(score / teacher_temperature) for score in row]
        for q, p in zip(student, teacher, strict=True):
            share = p / sum(teacher)
            total = total + share * (math.log(share) - (q / sum(student)).log())
    return temperature**2 * total / len(anchor)


def ranked(batch, dim, n, seed=0, dtype=torch.float32):
    """Anchors, positives, negatives, and a teacher's scores of the positive and the negatives."""
    columns = [draw((batch, dim), seed, dtype), draw((batch, dim), seed + 1, dtype)]
    return [*columns, draw((batch, n, dim), seed + 2, dtype), draw((batch, 1 + n), seed + 3).detach()]


@settings(max_examples=25)
@given(batch=st.integers(1, 6), dim=st.integers(1, 8), seed=st.integers(0, 10**6))
def test_mse_equals_loops_in_value_and_gradient(batch, dim, seed):
    assert_equals_twin(MSELoss(), naive_mse, draw((batch, dim), seed), draw((batch, dim), seed + 1).detach(), size=10)


@pytest.mark.parametrize("similarity", SIMILARITIES)
@settings(max_examples=20)
@given(batch=st.integers(1, 4), dim=st.integers(1, 6), n=st.integers(1, 3), seed=st.integers(0, 10**6))
def test_margin_mse_equals_loops_in_value_and_gradient(similarity, batch, dim, n, seed):
    inputs = ranked(batch, dim, n, seed)
    assert_equals_twin(
        MarginMSELoss(similarity=similarity), partial(naive_margin_mse, similarity=similarity), *inputs, size=10
    )


@pytest.mark.parametrize("similarity", SIMILARITIES)
@settings(max_examples=20)
@given(
    batch=st.integers(1, 4),
    dim=st.integers(1, 6),
    n=st.integers(0, 3),
    temperature=st.floats(0.5, 2.0),
    teacher_temperature=st.none() | st.floats(0.5, 2.0),
    seed=st.integers(0, 10**6),
)
def test_distill_kl_div_equals_loops_in_value_and_gradient(
    similarity, batch, dim, n, temperature, teacher_temperature, seed
):
    options = {"similarity": similarity, "temperature": temperature, "teacher_temperature": teacher_temperature}
    inputs = ranked(batch, dim, n, seed)
    assert_equals_twin(DistillKLDivLoss(**options), partial(naive_distill_kl_div, **options), *inputs, size=10)


@pytest.mark.parametrize("dtype", TYPES)
def test_mse_of_other_types_differs_only_by_the_gradient_s_own_rounding(dtype):
    assert_equals_twin(MSELoss(), naive_mse, draw((5, 9), 0, dtype), draw((5, 9), 1, dtype).detach(), size=10)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize(
    ("loss", "naive"), [(MarginMSELoss, naive_margin_mse), (DistillKLDivLoss, naive_distill_kl_div)]
)
def test_ranking_in_other_types_differs_only_by_the_gradient_s_own_rounding(loss, naive, similarity, dtype):
    inputs = ranked(4, 6, 2, dtype=dtype)
    assert_equals_twin(loss(similarity=similarity), partial(naive, similarity=similarity), *inputs, size=10)


@pytest.mark.parametrize("loss", RANKING_LOSSES)
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_autocast_changes_nothing(loss, similarity):
    *embeddings, teacher_scores = ranked(4, 9, 2)
    assert_autocast_changes_nothing(lambda *x: loss(similarity=similarity)(*x, teacher_scores), *embeddings)


def reference_similarity(similarity):
    from sentence_transformers.util import pairwise_cos_sim, pairwise_dot_score

    return {"dot": pairwise_dot_score, "cosine": pairwise_cos_sim}[similarity]


def assert_equals_reference(loss, expected, inputs):
    """Gradients to 1e-5 of the largest number among them."""
    value, grads = value_and_grads(loss, *inputs)
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=0)
    expected_grads = torch.autograd.grad(expected, [x for x in inputs if x.requires_grad])
    for grad, expected_grad in zip(grads, expected_grads, strict=True):
        torch.testing.assert_close(grad, expected_grad, rtol=0, atol=1e-5 * expected_grad.abs().max().item())


def test_mse_equals_sentence_transformers():
    from sentence_transformers.sentence_transformer.losses import MSELoss as Reference

    embedding, target = draw((7, 12), 0), draw((7, 12), 1).detach()
    expected = Reference(model=None).compute_loss_from_embeddings([embedding], [target])
    assert_equals_reference(MSELoss(), expected, [embedding, target])


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("form", ["scores", "margins"])
def test_margin_mse_equals_sentence_transformers(form, similarity, n):
    from sentence_transformers.sentence_transformer.losses import MarginMSELoss as Reference

    anchor, positive, negatives, scores = ranked(7, 12, n)
    teacher_scores = scores if form == "scores" else scores[:, :1] - scores[:, 1:]
    reference = Reference(model=None, similarity_fct=reference_similarity(similarity))
    expected = reference.compute_loss_from_embeddings([anchor, positive, *negatives.unbind(1)], teacher_scores)
    inputs = [anchor, positive, negatives, teacher_scores]
    assert_equals_reference(MarginMSELoss(similarity=similarity), expected, inputs)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("teacher_temperature", [None, 0.7])
def test_distill_kl_div_equals_sentence_transformers(teacher_temperature, similarity, n):
    from sentence_transformers.sentence_transformer.losses import DistillKLDivLoss as Reference

    anchor, positive, negatives, teacher_scores = inputs = ranked(7, 12, n)
    options = {"temperature": 1.5, "teacher_temperature": teacher_temperature}
    reference = Reference(model=None, similarity_fct=reference_similarity(similarity), **options)
    expected = reference.compute_loss_from_embeddings([anchor, positive, *negatives.unbind(1)], teacher_scores)
    assert_equals_reference(DistillKLDivLoss(similarity=similarity, **options), expected, inputs)


def test_gradient_of_mse_equals_finite_differences():
    embedding, target = draw((4, 5), 0, torch.float64), draw((4, 5), 1, torch.float64).detach()
    assert torch.autograd.gradcheck(lambda x: mse_loss(x, target), (embedding,))


@pytest.mark.parametrize("loss", RANKING_LOSSES)
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_gradient_of_rankings_equals_finite_differences(loss, similarity):
    *embeddings, teacher_scores = ranked(3, 5, 2, dtype=torch.float64)
    module = loss(similarity=similarity)
    assert torch.autograd.gradcheck(lambda *x: module(*x, teacher_scores), tuple(embeddings))


def test_known_value_of_mse():
    assert mse_loss(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 4.0]])).item() == (1 + 4) / 2


ANCHOR, POSITIVE = torch.tensor([[1.0, 0.0]]), torch.tensor([[5.0, 1.0]])
NEGATIVES = torch.tensor([[[2.0, 0.0], [4.0, 0.0]]])


@pytest.mark.parametrize("teacher_scores", [[[9.0, 8.0, 5.0]], [[1.0, 4.0]]])
def test_known_value_of_margin_mse_from_scores_and_from_margins(teacher_scores):
    # The student's margins are 5 - 2 and 5 - 4, the teacher's 1 and 4.
    loss = margin_mse_loss(ANCHOR, POSITIVE, NEGATIVES, torch.tensor(teacher_scores))
    assert loss.item() == (2**2 + 3**2) / 2


def test_one_margin_a_row_needs_no_second_axis():
    anchor, positive, negatives, scores = ranked(4, 6, 1)
    margins = scores[:, 0] - scores[:, 1]
    assert margin_mse_loss(anchor, positive, negatives, margins) == margin_mse_loss(anchor, positive, negatives, scores)


@pytest.mark.parametrize(
    "teacher_scores",
    [torch.tensor([[512.0, 1.0]], dtype=torch.bfloat16), torch.tensor([[1, 200]], dtype=torch.uint8)],
)
def test_margins_of_the_teacher_are_not_rounded_to_the_type_of_its_scores(teacher_scores):
    # bfloat16 has no 511, and an unsigned byte nothing below 0.
    expected = (teacher_scores[0, 0].item() - teacher_scores[0, 1].item()) ** 2
    zeros = torch.zeros(1, 3)
    assert margin_mse_loss(zeros, zeros, torch.zeros(1, 1, 3), teacher_scores).item() == expected


def test_known_value_of_distill_kl_div():
    # Student: softmax(5/2, 2/2, 4/2); teacher: softmax(log 1, log 2, log 3).
    loss = distill_kl_div_loss(
        ANCHOR,
        POSITIVE,
        NEGATIVES,
        torch.tensor([[1.0, 2.0, 3.0]]).log(),
        temperature=2.0,
        teacher_temperature=1.0,
    )
    partition = sum(math.exp(score / 2) for score in (5, 2, 4))
    student = [math.exp(score / 2) / partition for score in (5, 2, 4)]
    expected = sum(p * math.log(p / q) for p, q in zip((1 / 6, 2 / 6, 3 / 6), student, strict=True))
    assert loss.item() == pytest.approx(2**2 * expected, rel=1e-5)


def test_a_student_that_ranks_like_the_teacher_has_nothing_to_learn():
    anchor, positive, negatives, _ = ranked(5, 6, 2)
    candidates = torch.cat([positive.unsqueeze(1), negatives], dim=1)
    scores = (anchor.unsqueeze(1) * candidates).sum(-1).detach()
    # A softmax does not see what is added to all scores of a row.
    value, grads = value_and_grads(DistillKLDivLoss(), anchor, positive, negatives, scores + 3.0)
    assert value.item() == pytest.approx(0, abs=1e-5)
    assert all(grad.abs().max() < 1e-5 for grad in grads)


def test_score_of_minus_infinity_takes_a_candidate_out_of_the_teacher_s_ranking():
    teacher_scores = torch.tensor([[3.0, -torch.inf, -torch.inf]])
    loss = distill_kl_div_loss(ANCHOR, POSITIVE, NEGATIVES, teacher_scores)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(2 - 5) + math.exp(4 - 5)))


def test_no_gradient_reaches_the_teacher():
    embedding, target = draw((4, 5), 0), draw((4, 5), 1)
    *embeddings, teacher_scores = ranked(4, 5, 2)
    teacher_scores.requires_grad_()
    taught = [(MSELoss(), [embedding, target])]
    taught += [(loss(), [*embeddings, teacher_scores]) for loss in RANKING_LOSSES]
    for loss, inputs in taught:
        *learned, of_teacher = value_and_grads(loss, *inputs)[1]
        assert not of_teacher.any()
        assert all(grad.any() for grad in learned)


def test_empty_batch_of_mse_is_a_zero_attached_to_the_graph():
    weight = torch.ones(4, 3, requires_grad=True)
    assert_attached_zero(MSELoss()(torch.zeros(0, 4) @ weight, torch.zeros(0, 3)), weight)


@pytest.mark.parametrize("loss", RANKING_LOSSES)
@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize(("batch", "n"), [(0, 2), (0, 0), (3, 0)])
def test_batch_without_a_negative_is_a_zero_attached_to_the_graph(loss, similarity, batch, n):
    weight = torch.eye(4, requires_grad=True)
    embeddings = torch.arange(1.0, 4 * batch + 1).view(batch, 4) @ weight
    negatives = torch.ones(batch, n, 4) @ weight
    zero = loss(similarity=similarity)(embeddings, embeddings, negatives, torch.zeros(batch, 1 + n))
    assert_attached_zero(zero, weight)


ONES, ROW = torch.ones(2, 4), torch.ones(2, 1, 4)


@pytest.mark.parametrize(
    ("embedding", "target", "message"),
    [
        (torch.ones(4), torch.ones(4), r"embedding must have shape \(batch, dim\), found \(4,\)"),
        (ONES, torch.ones(2, 5), r"embedding and target .*found \(2, 4\) and \(2, 5\)"),
        (ONES, torch.ones(3, 4), r"embedding and target .*found \(2, 4\) and \(3, 4\)"),
        (ONES, ONES.int(), r"target must be floating-point .*torch.int32"),
        (ONES, ONES.to("meta"), r"embedding and target must be on one device, found cpu and meta"),
        (ONES, ONES * torch.inf, r"target holds infinity in row 0 \(2 of 2 rows\)"),
        (ONES * torch.nan, ONES, r"embedding holds NaN in row 0 \(2 of 2 rows\)"),
    ],
)
def test_wrong_targets_are_answered_with_what_was_found(embedding, target, message):
    with pytest.raises(ValueError, match=message):
        MSELoss()(embedding, target)


@pytest.mark.parametrize("loss", RANKING_LOSSES)
@pytest.mark.parametrize(
    ("anchor", "positive", "negatives", "teacher_scores", "message"),
    [
        (torch.ones(4), torch.ones(4), ROW, ONES, r"anchor must have shape \(batch, dim\), found \(4,\)"),
        (ONES, torch.ones(2, 5), ROW, ONES, r"anchor and positive .*found \(2, 4\) and \(2, 5\)"),
        (ONES, ONES.long(), ROW, ONES, r"positive must be floating-point .*torch.int64"),
        (ONES, ONES, ONES, ONES, r"negatives must have shape \(batch, n, dim\), found \(2, 4\)"),
        (ONES, ONES, torch.ones(3, 1, 4), ONES, r"\(2, n, 4\) beside .*found \(3, 1, 4\)"),
        (ONES, ONES, ROW.to("meta"), ONES, r"anchor and negatives must be on one device, found cpu and meta"),
        (ONES, ONES, ROW, torch.ones(2, 3), r"teacher_scores must have shape \(batch, .*2\).*, found \(2, 3\)"),
        (ONES, ONES, ROW, torch.ones(3, 2), r"teacher_scores must have shape \(batch, .*2\).*, found \(3, 2\)"),
        (ONES, ONES, ROW, torch.ones(2, 2, device="meta"), r"teacher_scores must be on .* cpu.* meta"),
        (ONES, ONES, ROW, torch.tensor([[1, 2], [torch.nan, 1]]), r"teacher_scores holds NaN in row 1 \(1 of 2 rows\)"),
        (ONES, ONES, ROW, torch.tensor([[torch.inf, 2], [2, 1]]), r"teacher_scores holds infinity in row 0"),
        (ONES, ONES * torch.nan, ROW, torch.ones(2, 2), r"positive holds NaN in row 0 \(2 of 2 rows\)"),
        (ONES, ONES, ROW * torch.inf, torch.ones(2, 2), r"negatives holds infinity in row 0 \(2 of 2 rows\)"),
    ],
)
def test_wrong_rankings_are_answered_with_what_was_found(loss, anchor, positive, negatives, teacher_scores, message):
    with pytest.raises(ValueError, match=message):
        loss()(anchor, positive, negatives, teacher_scores)


def test_shape_of_wrong_margins_is_answered_with_both_that_would_do():
    message = r"\(batch, 1 \+ n\) = \(2, 4\), or \(batch, n\) = \(2, 3\) for margins, found \(2,\)"
    with pytest.raises(ValueError, match=message):
        margin_mse_loss(ONES, ONES, torch.ones(2, 3, 4), torch.ones(2))


@pytest.mark.parametrize("loss", RANKING_LOSSES)
def test_check_for_numbers_can_be_left_out(loss):
    assert loss(check_finite=False)(ONES * torch.nan, ONES, ROW, torch.ones(2, 2)).isnan()
    assert MSELoss(check_finite=False)(ONES * torch.nan, ONES).isnan()


@pytest.mark.parametrize(
    ("loss", "functional", "options", "message"),
    [
        (MarginMSELoss, margin_mse_loss, {"similarity": "l2"}, "similarity must be one of 'dot', 'cosine', found 'l2'"),
        (DistillKLDivLoss, distill_kl_div_loss, {"similarity": None}, "similarity must be one of .*found None"),
        (DistillKLDivLoss, distill_kl_div_loss, {"temperature": 0}, "temperature must be a finite .*above 0, found 0"),
        (DistillKLDivLoss, distill_kl_div_loss, {"teacher_temperature": -1}, "teacher_temperature must .*found -1"),
    ],
)
def test_wrong_options_are_refused_before_the_first_batch(loss, functional, options, message):
    with pytest.raises(ValueError, match=message):
        loss(**options)
    with pytest.raises(ValueError, match=message):
        functional(*ranked(2, 4, 1), **options)


def test_options_show_when_printed():
    assert repr(MSELoss()) == "MSELoss(check_finite=True)"
    assert repr(MarginMSELoss()) == "MarginMSELoss(similarity='dot', check_finite=True)"
    shown = "DistillKLDivLoss(temperature=1.0, teacher_temperature=None, similarity='dot', check_finite=True)"
    assert repr(DistillKLDivLoss()) == shown
