import pytest
import torch
from helpers import draw, value_and_grads
from hypothesis import given, settings
from hypothesis import strategies as st
from twins import (
    assert_attached_zero,
    assert_autocast_changes_nothing,
    assert_backward_is_like_any_other,
    assert_blocks_do_not_matter,
    assert_equals_twin,
)

from embedtrain.losses import (
    GradCache,
    MatryoshkaLoss,
    SimilarityDistillationLoss,
    WeightedSum,
    similarity_distillation_loss,
)
from embedtrain.losses.module import call_loss

TYPES = (torch.bfloat16, torch.float16, torch.float64)


def naive(embedding, target):
    """The formula in loops."""

    def cosine(u, v):
        return (u @ v) / (u.norm() * v.norm())

    total, pairs = 0, 0
    for i in range(len(embedding)):
        for j in range(len(embedding)):
            if i != j:
                taught = cosine(target[i].double(), target[j].double())
                total = total + (cosine(embedding[i], embedding[j]) - taught) ** 2
                pairs += 1
    return total / pairs


def taught(batch, dim, teacher_dim, seed=0, dtype=torch.float32):
    return draw((batch, dim), seed, dtype), draw((batch, teacher_dim), seed + 1, dtype).detach()


@settings(max_examples=25)
@given(batch=st.integers(2, 7), dim=st.integers(1, 8), teacher_dim=st.integers(1, 8), seed=st.integers(0, 10**6))
def test_it_equals_loops_in_value_and_gradient(batch, dim, teacher_dim, seed):
    assert_equals_twin(SimilarityDistillationLoss(), naive, *taught(batch, dim, teacher_dim, seed), size=10)


@pytest.mark.parametrize("dtype", TYPES)
def test_other_types_differ_only_by_the_gradient_s_own_rounding(dtype):
    assert_equals_twin(SimilarityDistillationLoss(), naive, *taught(6, 9, 5, dtype=dtype), size=10)


def test_the_teacher_s_type_need_not_be_the_student_s():
    embedding, target = taught(6, 8, 5)
    for given_target in (target.double(), target.bfloat16()):
        value, (gradient,) = value_and_grads(SimilarityDistillationLoss(), embedding, given_target)
        expected, (expected_gradient,) = value_and_grads(naive, embedding.double(), given_target.double())
        assert value.dtype == torch.float32
        torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=0)
        torch.testing.assert_close(gradient, expected_gradient.float(), rtol=1e-4, atol=1e-6)


def test_autocast_and_blocks_change_nothing():
    embedding, target = taught(40, 9, 5, dtype=torch.float64)
    assert_blocks_do_not_matter(lambda x: similarity_distillation_loss(x, target), embedding)
    embedding, target = taught(12, 9, 5)
    assert_autocast_changes_nothing(lambda x: similarity_distillation_loss(x, target), embedding)
    assert_backward_is_like_any_other(lambda x: similarity_distillation_loss(x, target), embedding)


def test_gradient_equals_finite_differences():
    embedding, target = taught(4, 5, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: similarity_distillation_loss(x, target), (embedding,))


def test_known_value():
    # The student finds the two at right angles, the teacher equal but for their length.
    loss = similarity_distillation_loss(torch.tensor([[3.0, 0.0], [0.0, 2.0]]), torch.tensor([[1.0], [5.0]]))
    assert loss.item() == pytest.approx(1.0)


def test_a_student_that_is_the_teacher_turned_around_has_nothing_to_learn():
    embedding, _ = taught(9, 6, 6, dtype=torch.float64)
    turned = embedding.detach() @ torch.linalg.qr(draw((6, 6), 3, torch.float64).detach()).Q * 4
    value, (gradient,) = value_and_grads(SimilarityDistillationLoss(), embedding, turned)
    assert value.item() == pytest.approx(0, abs=1e-20)
    assert gradient.abs().max() < 1e-10


def test_no_gradient_reaches_the_teacher():
    embedding, target = draw((4, 5), 0), draw((4, 3), 1)
    learned, of_teacher = value_and_grads(SimilarityDistillationLoss(), embedding, target)[1]
    assert learned.any()
    assert not of_teacher.any()


@pytest.mark.parametrize("batch", [0, 1])
def test_fewer_than_two_texts_are_a_zero_attached_to_the_graph(batch):
    weight = torch.ones(4, 3, requires_grad=True)
    embedding = torch.ones(batch, 4) @ weight
    assert_attached_zero(SimilarityDistillationLoss()(embedding, torch.ones(batch, 2)), weight)


def test_an_all_zero_embedding_has_cosine_zero_and_no_gradient():
    embedding = torch.tensor([[0.0, 0.0], [1.0, 0.0]], requires_grad=True)
    value, (gradient,) = value_and_grads(SimilarityDistillationLoss(), embedding, torch.tensor([[1.0], [1.0]]))
    assert value.item() == pytest.approx(1.0)
    assert torch.equal(gradient[0], torch.zeros(2))


ONES = torch.ones(2, 4)


@pytest.mark.parametrize(
    ("embedding", "target", "message"),
    [
        (torch.ones(4), ONES, r"embedding must have shape \(batch, dim\), found \(4,\)"),
        (ONES, torch.ones(2, 1, 4), r"target must have shape \(batch, teacher_dim\), found \(2, 1, 4\)"),
        (ONES, torch.ones(3, 4), r"one number of rows, found \(2, 4\) and \(3, 4\)"),
        (ONES, ONES.int(), r"target must be floating-point .*torch.int32"),
        (ONES, ONES.to("meta"), r"embedding and target must be on one device, found cpu and meta"),
        (ONES, ONES * torch.inf, r"target holds infinity in row 0 \(2 of 2 rows\)"),
        (ONES * torch.nan, ONES, r"embedding holds NaN in row 0 \(2 of 2 rows\)"),
    ],
)
def test_wrong_input_is_answered_with_what_was_found(embedding, target, message):
    with pytest.raises(ValueError, match=message):
        SimilarityDistillationLoss()(embedding, target)


@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "GradCache"])
def test_several_text_columns_are_one_batch(wrapped):
    first, second, targets = draw((5, 6), 0), draw((5, 6), 1), draw((5, 2, 3), 2).detach()
    joined = torch.cat([first, second]), torch.cat([targets[:, 0], targets[:, 1]])
    expected, (expected_gradient,) = value_and_grads(
        similarity_distillation_loss, joined[0].detach().requires_grad_(), joined[1]
    )
    weight = torch.eye(6, requires_grad=True)
    if wrapped:
        found = GradCache(SimilarityDistillationLoss(), chunk_size=2)(
            lambda rows: rows @ weight, [first.detach(), second.detach()], targets
        )
    else:
        found = call_loss(SimilarityDistillationLoss(), [first.detach() @ weight, second.detach() @ weight], [targets])
    found.backward()
    torch.testing.assert_close(found.detach(), expected.detach())
    torch.testing.assert_close(weight.grad, joined[0].detach().T @ expected_gradient)


@pytest.mark.parametrize("shape", [(5, 3), (5, 3, 3), (5,), (4, 2, 3)])
def test_several_text_columns_with_targets_of_another_number_are_a_mistake(shape):
    message = rf"takes target of shape \(batch, columns, ...\) = \(5, 2, ...\) .* found \({shape[0]},"
    with pytest.raises(ValueError, match=message):
        call_loss(SimilarityDistillationLoss(), [draw((5, 6), 0), draw((5, 6), 1)], [torch.ones(shape)])


def test_a_text_that_is_there_twice_teaches_nothing_by_itself():
    embedding, target = taught(4, 5, 3, dtype=torch.float64)
    twice = embedding.detach()[[0, 0]].requires_grad_()
    value, (gradient,) = value_and_grads(SimilarityDistillationLoss(), twice, target[[0, 0]])
    assert value.item() == pytest.approx(0, abs=1e-20)
    assert gradient.abs().max() < 1e-10


def test_it_works_inside_what_goes_around_losses():
    columns, targets = [draw((5, 6), 0), draw((5, 6), 1)], draw((5, 2, 3), 2).detach()
    whole = call_loss(SimilarityDistillationLoss(), columns, [targets])
    short = call_loss(SimilarityDistillationLoss(), [column[:, :4] for column in columns], [targets])
    # The teacher's embeddings are not cut: they need not be as long as the student's.
    both = call_loss(MatryoshkaLoss(SimilarityDistillationLoss(), dims=[6, 4]), columns, [targets])
    torch.testing.assert_close(both, whole + short)
    weighted = call_loss(WeightedSum([(SimilarityDistillationLoss(), 0.5)]), columns, [targets])
    torch.testing.assert_close(weighted, 0.5 * whole)
