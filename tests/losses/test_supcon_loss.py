import math

import pytest
import torch
from helpers import draw
from hypothesis import given, settings
from hypothesis import strategies as st
from twins import (
    assert_attached_zero,
    assert_autocast_changes_nothing,
    assert_backward_is_like_any_other,
    assert_blocks_do_not_matter,
    assert_equals_twin,
    blocks_of,
)

from embedtrain.losses import SupConLoss, sup_con_loss


def naive(labels, scale=10.0):
    """The definition, one anchor and positive at a time."""

    def loss(embeddings):
        rows = [row / row.norm() for row in embeddings]
        anchors = []
        for i, label in enumerate(labels.tolist()):
            logits = {a: scale * (rows[i] @ rows[a]) for a in range(len(rows)) if a != i}
            positives = [a for a in logits if labels[a] == label]
            if positives:
                log_partition = torch.stack(list(logits.values())).logsumexp(0)
                anchors.append(sum(log_partition - logits[p] for p in positives) / len(positives))
        return sum(anchors) / len(anchors) if anchors else 0 * embeddings.sum()

    return loss


def classes(batch, count, seed=0):
    return torch.randint(count, (batch,), generator=torch.Generator().manual_seed(seed))


@settings(max_examples=40)
@given(
    batch=st.integers(1, 9),
    dim=st.integers(2, 6),
    count=st.integers(1, 6),
    scale=st.floats(0.5, 20.0),
    elements=st.sampled_from([None, 1, 20]),
    seed=st.integers(0, 10**6),
)
def test_equals_loops_in_value_and_gradient(batch, dim, count, scale, elements, seed):
    labels = classes(batch, count, seed)
    with blocks_of(elements):
        assert_equals_twin(
            lambda x: SupConLoss(scale=scale)(x, labels),
            naive(labels, scale),
            draw((batch, dim), seed),
            size=scale,
        )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_types_differ_only_by_the_gradient_s_own_rounding(dtype):
    labels = torch.tensor([3, 1, 3, 3, 1, 0, 7])
    assert_equals_twin(lambda x: SupConLoss()(x, labels), naive(labels), draw((7, 6), dtype=dtype), size=10.0)


def test_equal_embeddings_give_the_logarithm_of_the_number_of_others():
    labels = torch.tensor([5, 5, 9, 5, -2])
    assert sup_con_loss(torch.ones(5, 3), labels).item() == pytest.approx(math.log(4))


def test_rows_alone_in_their_class_are_negatives_and_no_anchors():
    # The anchors are rows 0 and 1 alone: each sees the other at cosine 1 and row 2 at cosine 0.
    embeddings = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    loss = sup_con_loss(embeddings, torch.tensor([0, 0, 1]), scale=2.0)
    assert loss.item() == pytest.approx(math.log(math.exp(2) + 1) - 2)


def test_gradient_is_that_of_small_differences():
    labels = classes(9, 4)
    with blocks_of(30):
        assert torch.autograd.gradcheck(lambda x: SupConLoss(scale=2.0)(x, labels), draw((9, 4), dtype=torch.float64))


def test_the_size_of_blocks_does_not_matter():
    labels = classes(41, 9)
    assert_blocks_do_not_matter(lambda x: SupConLoss()(x, labels), draw((41, 6), dtype=torch.float64))


def test_backward_is_like_any_other_but_runs_once():
    labels = classes(9, 4)
    assert_backward_is_like_any_other(lambda x: SupConLoss()(x, labels), draw((9, 4)))


def test_autocast_changes_nothing():
    labels = classes(9, 4)
    assert_autocast_changes_nothing(lambda x: SupConLoss()(x, labels), draw((9, 4)))


@pytest.mark.parametrize("batch", [0, 1, 5])
def test_a_batch_without_a_pair_is_a_zero_attached_to_the_graph(batch):
    weight = draw((4, 3))
    embeddings = draw((batch, 4), seed=1) @ weight
    assert_attached_zero(SupConLoss()(embeddings, torch.arange(batch)), weight)


def test_function_and_module_are_the_same():
    embeddings, labels = draw((6, 4)), classes(6, 3)
    assert sup_con_loss(embeddings, labels) == SupConLoss()(embeddings, labels)
    assert sup_con_loss(embeddings, labels, scale=3.0) == SupConLoss(scale=3.0)(embeddings, labels)
    assert "scale=3.0" in repr(SupConLoss(scale=3.0))


@pytest.mark.parametrize(
    ("embeddings", "labels", "message"),
    [
        (torch.ones(4), torch.arange(4), r"embeddings must have shape \(batch, dim\), found \(4,\)"),
        (torch.ones(3, 4).long(), torch.arange(3), r"embeddings must be floating-point .*torch.int64"),
        (torch.ones(3, 4), torch.arange(2), r"labels must have shape \(batch,\) = \(3,\), found \(2,\)"),
        (torch.ones(3, 4), torch.arange(3.0), r"labels must be whole numbers, found torch.float32"),
        (torch.ones(3, 4), torch.arange(3, device="meta"), r"labels must be on the embeddings' device cpu, found meta"),
    ],
)
def test_wrong_use_is_answered_with_what_was_found(embeddings, labels, message):
    with pytest.raises(ValueError, match=message):
        SupConLoss()(embeddings, labels)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_and_infinity_are_named_unless_switched_off(value):
    embeddings, labels = draw((4, 5)).detach(), torch.tensor([0, 0, 1, 1])
    embeddings[2, 1] = value
    kind = "NaN" if math.isnan(value) else "infinity"
    with pytest.raises(ValueError, match=rf"embeddings holds {kind} in row 2 \(1 of 4 rows\)"):
        SupConLoss()(embeddings, labels)
    assert not SupConLoss(check_finite=False)(embeddings, labels).isfinite()


@pytest.mark.parametrize("scale", [0, -1.0, float("nan"), float("inf")])
def test_scale_is_a_finite_number_above_0(scale):
    message = f"scale must be a finite number above 0, found {scale}"
    with pytest.raises(ValueError, match=message):
        SupConLoss(scale=scale)
    with pytest.raises(ValueError, match=message):
        sup_con_loss(torch.ones(2, 4), torch.arange(2), scale=scale)
