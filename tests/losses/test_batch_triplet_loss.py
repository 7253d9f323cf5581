import math

import pytest
import torch
from helpers import draw, value_and_grads
from hypothesis import given, settings
from hypothesis import strategies as st
from twins import assert_attached_zero, assert_autocast_changes_nothing, assert_equals_twin, blocks_of

from embedtrain.losses import (
    BatchAllTripletLoss,
    BatchHardTripletLoss,
    BatchSemiHardTripletLoss,
    batch_all_triplet_loss,
    batch_hard_triplet_loss,
    batch_semi_hard_triplet_loss,
)

# Cosine distances with margins of any size.
pytestmark = pytest.mark.filterwarnings("ignore:margin .* can never be met")

FUNCTIONS = {
    BatchHardTripletLoss: batch_hard_triplet_loss,
    BatchSemiHardTripletLoss: batch_semi_hard_triplet_loss,
    BatchAllTripletLoss: batch_all_triplet_loss,
}
LOSSES = list(FUNCTIONS)
every_loss = pytest.mark.parametrize("loss", LOSSES)
every_distance = pytest.mark.parametrize("distance", ["euclidean", "cosine"])


def naive(loss, labels, distance="euclidean", margin=5.0):
    """The definitions, one triplet at a time."""

    def measure(u, v):
        return (u - v).norm() if distance == "euclidean" else 1 - u @ v / (u.norm() * v.norm())

    def twin(embeddings):
        terms = []
        for a, anchor in enumerate(embeddings):
            positives, negatives = [], []
            for other, embedding in enumerate(embeddings):
                if other != a:
                    side = positives if labels[other] == labels[a] else negatives
                    side.append(measure(anchor, embedding))
            if not positives or not negatives:
                continue
            if loss is BatchHardTripletLoss:
                terms.append((max(positives) - min(negatives) + margin).clamp(min=0))
            for p in positives:
                if loss is BatchSemiHardTripletLoss:
                    farther = [n for n in negatives if n > p]
                    terms.append((p - (min(farther) if farther else max(negatives)) + margin).clamp(min=0))
                if loss is BatchAllTripletLoss:
                    terms.extend(p - n + margin for n in negatives if p - n + margin > 0)
        return sum(terms) / len(terms) if terms else 0 * embeddings.sum()

    return twin


def classes(batch, count, seed=0):
    return torch.randint(count, (batch,), generator=torch.Generator().manual_seed(seed))


@every_loss
@settings(max_examples=40)
@given(
    batch=st.integers(1, 8),
    dim=st.integers(2, 6),
    count=st.integers(1, 4),
    distance=st.sampled_from(["euclidean", "cosine"]),
    margin=st.floats(0.05, 5.0),
    elements=st.sampled_from([None, 1, 20]),
    seed=st.integers(0, 10**6),
)
def test_equals_loops_in_value_and_gradient(loss, batch, dim, count, distance, margin, elements, seed):
    labels = classes(batch, count, seed)
    options = {"distance": distance, "margin": margin}
    with blocks_of(elements):
        assert_equals_twin(
            lambda x: loss(**options)(x, labels), naive(loss, labels, **options), draw((batch, dim), seed), size=10.0
        )


@every_loss
@every_distance
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_types_differ_only_by_the_gradient_s_own_rounding(dtype, distance, loss):
    labels, options = classes(8, 3), {"distance": distance, "margin": 0.5}
    assert_equals_twin(
        lambda x: loss(**options)(x, labels), naive(loss, labels, **options), draw((8, 6), dtype=dtype), size=10.0
    )


@every_loss
@every_distance
@pytest.mark.parametrize("margin", [0.2, 1.0, 5.0])
def test_equals_sentence_transformers_where_every_row_has_a_positive_and_a_negative(margin, distance, loss):
    from sentence_transformers.sentence_transformer import losses as references

    distances = references.BatchHardTripletLossDistanceFunction
    metric = {"euclidean": distances.euclidean_distance, "cosine": distances.cosine_distance}[distance]
    reference = getattr(references, loss.__name__)(torch.nn.Identity(), distance_metric=metric, margin=margin)
    labels = torch.tensor([2, 0, 1, 1, 0, 2, 2, 0, 1, 2])
    assert_equals_twin(
        lambda x: loss(distance=distance, margin=margin)(x, labels),
        lambda x: reference.compute_loss_from_embeddings([x], labels),
        draw((10, 7)),
        size=10.0,
    )


def test_known_values():
    # On a line: class 0 at 0 and 1, class 1 at 3 and 7.
    embeddings, labels = torch.tensor([[0.0], [1.0], [3.0], [7.0]]), torch.tensor([0, 0, 1, 1])
    options = {"margin": 2.5}
    # Nearest negatives stand at 3, 2, 2, 6 and the positives at 1, 1, 4, 4.
    hard = [1 - 3 + 2.5, 1 - 2 + 2.5, 4 - 2 + 2.5, 4 - 6 + 2.5]
    assert batch_hard_triplet_loss(embeddings, labels, **options).item() == pytest.approx(sum(hard) / 4)
    # No negative of row 2 is farther than its positive at 4, so that the farthest, at 3, is taken.
    semi_hard = [1 - 3 + 2.5, 1 - 2 + 2.5, 4 - 3 + 2.5, 4 - 6 + 2.5]
    assert batch_semi_hard_triplet_loss(embeddings, labels, **options).item() == pytest.approx(sum(semi_hard) / 4)
    # Rows 0 and 1 with the negative at 7, and row 3 with that at 0, keep the margin; five triplets do not.
    remaining = [1 - 3 + 2.5, 1 - 2 + 2.5, 4 - 3 + 2.5, 4 - 2 + 2.5, 4 - 6 + 2.5]
    assert batch_all_triplet_loss(embeddings, labels, **options).item() == pytest.approx(sum(remaining) / 5)


@every_loss
def test_rows_without_a_positive_are_negatives_and_no_anchors(loss):
    embeddings, labels = torch.tensor([[0.0], [1.0], [1.5]]), torch.tensor([0, 0, 4])
    # Row 0: positive at 1, negative at 1.5; row 1: positive at 1, negative at 0.5; row 2 is no anchor.
    assert loss(margin=2.0)(embeddings, labels).item() == pytest.approx(((1 - 1.5 + 2) + (1 - 0.5 + 2)) / 2)


@every_loss
@every_distance
def test_gradient_is_that_of_small_differences(distance, loss):
    labels, options = classes(9, 3), {"distance": distance, "margin": 0.5}
    with blocks_of(30):
        assert torch.autograd.gradcheck(lambda x: loss(**options)(x, labels), draw((9, 4), dtype=torch.float64))


@every_loss
@every_distance
def test_the_size_of_blocks_does_not_matter(distance, loss):
    embeddings, labels = draw((23, 6), dtype=torch.float64), classes(23, 5)
    expected, expected_grads = value_and_grads(lambda x: loss(distance=distance)(x, labels), embeddings)
    for elements in (1, 64, 230):
        with blocks_of(elements):
            value, grads = value_and_grads(lambda x: loss(distance=distance)(x, labels), embeddings)
        torch.testing.assert_close(value, expected, rtol=1e-10, atol=0)
        torch.testing.assert_close(grads, expected_grads, rtol=1e-8, atol=1e-10)


@every_loss
@every_distance
def test_autocast_changes_nothing(distance, loss):
    labels = classes(9, 3)
    assert_autocast_changes_nothing(lambda x: loss(distance=distance)(x, labels), draw((9, 4)))


@every_loss
@every_distance
def test_equal_embeddings_have_a_finite_gradient(distance, loss):
    embeddings = torch.ones(4, 3, requires_grad=True)
    value = loss(distance=distance, margin=0.5)(embeddings, torch.tensor([0, 0, 1, 1]))
    value.backward()
    assert value.item() == pytest.approx(0.5)
    assert embeddings.grad.isfinite().all()


@every_loss
@every_distance
@pytest.mark.parametrize("labels", [[], [3], [0, 1, 2], [4, 4, 4]], ids=str)
def test_a_batch_without_a_triplet_is_a_zero_attached_to_the_graph(labels, distance, loss):
    weight = draw((4, 3))
    embeddings = draw((len(labels), 4), seed=1) @ weight
    value = loss(distance=distance)(embeddings, torch.tensor(labels, dtype=torch.int64))
    assert_attached_zero(value, weight)


@every_loss
def test_triplets_that_keep_the_margin_cost_nothing(loss):
    embeddings = torch.tensor([[0.0], [0.1], [9.0], [9.1]], requires_grad=True)
    assert_attached_zero(loss(margin=1.0)(embeddings, torch.tensor([0, 0, 1, 1])), embeddings)


@every_loss
def test_function_and_module_are_the_same(loss):
    embeddings, labels = draw((8, 4)), classes(8, 3)
    assert FUNCTIONS[loss](embeddings, labels) == loss()(embeddings, labels)
    options = {"distance": "cosine", "margin": 0.3}
    assert FUNCTIONS[loss](embeddings, labels, **options) == loss(**options)(embeddings, labels)
    assert "distance='cosine', margin=0.3" in repr(loss(**options))


@every_loss
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
def test_wrong_use_is_answered_with_what_was_found(embeddings, labels, message, loss):
    with pytest.raises(ValueError, match=message):
        loss()(embeddings, labels)


@every_loss
@every_distance
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_and_infinity_are_named_unless_switched_off(value, distance, loss):
    embeddings, labels = draw((4, 5)).detach(), torch.tensor([0, 0, 1, 1])
    embeddings[2, 1] = value
    kind = "NaN" if math.isnan(value) else "infinity"
    with pytest.raises(ValueError, match=rf"embeddings holds {kind} in row 2 \(1 of 4 rows\)"):
        loss(distance=distance)(embeddings, labels)
    assert not loss(distance=distance, check_finite=False)(embeddings, labels).isfinite()


@every_loss
def test_an_unknown_distance_is_refused_by_module_and_function(loss):
    message = "distance must be one of 'euclidean', 'cosine', found 'manhattan'"
    with pytest.raises(ValueError, match=message):
        loss(distance="manhattan")
    with pytest.raises(ValueError, match=message):
        FUNCTIONS[loss](torch.ones(2, 4), torch.arange(2), distance="manhattan")
