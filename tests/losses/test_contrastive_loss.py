from functools import partial

import pytest
import torch
from helpers import draw, value_and_grads
from hypothesis import given, settings
from hypothesis import strategies as st
from twins import assert_attached_zero, assert_autocast_changes_nothing, assert_equals_twin

from embedtrain.losses import (
    ContrastiveLoss,
    OnlineContrastiveLoss,
    TripletLoss,
    contrastive_loss,
    online_contrastive_loss,
    triplet_loss,
)

# Cosine distances with margins of any size.
pytestmark = pytest.mark.filterwarnings("ignore:margin .* can never be met")

DISTANCES = ("cosine", "euclidean", "manhattan")
# How large the numbers are that the losses take differences of.
SIZES = {"cosine": 1.0, "euclidean": 10.0, "manhattan": 10.0}
# About as wide as two random embeddings of 12 numbers are apart, so that some pairs lie within.
MARGINS = {"cosine": 1.0, "euclidean": 5.0, "manhattan": 14.0}
PAIR_LOSSES = (ContrastiveLoss, OnlineContrastiveLoss)


def naive_distance(u, v, distance):
    def length(x):
        return sum(number**2 for number in x).sqrt()

    if distance == "cosine":
        return 1 - sum(a * b for a, b in zip(u, v, strict=True)) / (length(u) * length(v))
    differences = [a - b for a, b in zip(u, v, strict=True)]
    return length(differences) if distance == "euclidean" else sum(number.abs() for number in differences)


def naive_contrastive(embedding1, embedding2, label, *, distance, margin):
    """The formula in loops."""
    total = 0
    for u, v, match in zip(embedding1, embedding2, label.tolist(), strict=True):
        d = naive_distance(u, v, distance)
        total = total + (d**2 if match == 1 else (margin - d).clamp(min=0) ** 2) / 2
    return total / len(label)


def naive_online_contrastive(embedding1, embedding2, label, *, distance, margin):
    """The definition in loops: split by label, choose the hard ones, add up."""
    pairs = [naive_distance(u, v, distance) for u, v in zip(embedding1, embedding2, strict=True)]
    matches = [d for d, match in zip(pairs, label.tolist(), strict=True) if match == 1]
    others = [d for d, match in zip(pairs, label.tolist(), strict=True) if match == 0]
    mean = sum(pairs) / len(pairs)
    nearest, farthest = min(others, default=mean), max(matches, default=mean)
    total = 0 * mean
    for d in matches:
        total = total + (d**2 if d > nearest else 0)
    for d in others:
        total = total + ((margin - d).clamp(min=0) ** 2 if d < farthest else 0)
    return total


def naive_triplet(anchor, positive, negative, *, distance, margin):
    """The formula in loops."""
    total = 0
    for a, p, n in zip(anchor, positive, negative, strict=True):
        total = total + (naive_distance(a, p, distance) - naive_distance(a, n, distance) + margin).clamp(min=0)
    return total / len(anchor)


LOSSES_AND_TWINS = [
    (ContrastiveLoss, naive_contrastive),
    (OnlineContrastiveLoss, naive_online_contrastive),
    (TripletLoss, naive_triplet),
]


def arguments(loss, batch, dim, seed=0, dtype=torch.float32):
    """Three columns of embeddings for triplets, else two and labels."""
    if loss is TripletLoss:
        return [draw((batch, dim), seed + column, dtype) for column in range(3)]
    label = torch.randint(2, (batch,), generator=torch.Generator().manual_seed(seed))
    return [draw((batch, dim), seed, dtype), draw((batch, dim), seed + 1, dtype), label]


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize(("loss", "naive"), LOSSES_AND_TWINS)
@settings(max_examples=15)
@given(batch=st.integers(1, 7), dim=st.integers(2, 8), margin=st.floats(0.1, 8.0), seed=st.integers(0, 10**6))
def test_equals_loops_in_value_and_gradient(loss, naive, distance, batch, dim, margin, seed):
    options = {"distance": distance, "margin": margin}
    assert_equals_twin(
        loss(**options), partial(naive, **options), *arguments(loss, batch, dim, seed), size=SIZES[distance]
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize(("loss", "naive"), LOSSES_AND_TWINS)
def test_other_types_differ_only_by_the_gradient_s_own_rounding(loss, naive, distance, dtype):
    options = {"distance": distance, "margin": MARGINS[distance]}
    inputs = arguments(loss, 6, 12, dtype=dtype)
    assert_equals_twin(loss(**options), partial(naive, **options), *inputs, size=SIZES[distance])


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("loss", [ContrastiveLoss, OnlineContrastiveLoss, TripletLoss])
def test_equals_sentence_transformers(loss, distance):
    from sentence_transformers.sentence_transformer import losses as reference

    margin = MARGINS[distance]
    inputs = arguments(loss, 9, 12)
    embeddings, label = [x for x in inputs if x.requires_grad], inputs[-1]
    if loss is TripletLoss:
        metric = getattr(reference.TripletDistanceMetric, distance.upper())
        expected_loss = reference.TripletLoss(model=None, distance_metric=metric, triplet_margin=margin)
    else:
        metric = getattr(reference.SiameseDistanceMetric, {"cosine": "COSINE_DISTANCE"}.get(distance, distance.upper()))
        expected_loss = getattr(reference, loss.__name__)(model=None, distance_metric=metric, margin=margin)
    value, grads = value_and_grads(loss(distance=distance, margin=margin), *inputs)
    expected = expected_loss.compute_loss_from_embeddings(embeddings, label)
    assert value > 0
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=0)
    # For pairs, theirs adds 1e-6 to each number of a difference before it takes its length.
    atol = 1e-6 if distance == "cosine" else 1e-5
    for grad, expected_grad in zip(grads, torch.autograd.grad(expected, embeddings), strict=True):
        torch.testing.assert_close(grad, expected_grad, rtol=1e-5, atol=atol)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("loss", [ContrastiveLoss, OnlineContrastiveLoss, TripletLoss])
def test_gradient_equals_finite_differences(loss, distance):
    *embeddings, last = arguments(loss, 5, 12, dtype=torch.float64)
    module = loss(distance=distance, margin=MARGINS[distance])
    if loss is TripletLoss:
        assert torch.autograd.gradcheck(module, (*embeddings, last))
    else:
        assert torch.autograd.gradcheck(lambda *x: module(*x, last), tuple(embeddings))


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("loss", [ContrastiveLoss, OnlineContrastiveLoss, TripletLoss])
def test_autocast_changes_nothing(loss, distance):
    *embeddings, last = arguments(loss, 5, 12)
    module = loss(distance=distance, margin=MARGINS[distance])
    if loss is TripletLoss:
        assert_autocast_changes_nothing(module, *embeddings, last)
    else:
        assert_autocast_changes_nothing(lambda *x: module(*x, last), *embeddings)


# Distances of 5, 5 and 1 from the first tensor.
ORIGIN = torch.zeros(3, 2)
POINTS = torch.tensor([[3.0, 4.0], [0.0, 5.0], [1.0, 0.0]])


def test_known_value_of_the_contrastive_loss():
    loss = contrastive_loss(ORIGIN, POINTS, torch.tensor([1, 0, 0]), distance="euclidean", margin=6.0)
    assert loss.item() == pytest.approx((5**2 + (6 - 5) ** 2 + (6 - 1) ** 2) / 2 / 3)


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        # The match is farther than the nearest other pair (1); only that one is nearer than the match (5).
        ([1, 0, 0], 5**2 + (6 - 1) ** 2),
        # The match is nearer than all others.
        ([0, 0, 1], 0),
        # Without other pairs: matches beyond the mean distance of 11/3. Without matches: others below it.
        ([1, 1, 1], 5**2 + 5**2),
        ([0, 0, 0], (6 - 1) ** 2),
    ],
)
def test_known_values_of_the_online_contrastive_loss(label, expected):
    loss = online_contrastive_loss(ORIGIN, POINTS, torch.tensor(label), distance="euclidean", margin=6.0)
    assert loss.item() == pytest.approx(expected)


def test_known_value_of_the_triplet_loss():
    anchor, positive, negative = ORIGIN, POINTS, POINTS[[2, 2, 0]]
    assert triplet_loss(anchor, positive, negative, margin=1.0).item() == pytest.approx((5 + 5 + 0) / 3)


@pytest.mark.parametrize("as_type", [torch.int64, torch.float32, torch.bool, torch.uint8])
@pytest.mark.parametrize("loss", PAIR_LOSSES)
def test_labels_may_have_any_type(loss, as_type):
    label = torch.tensor([1, 0, 0])
    module = loss(distance="euclidean", margin=6.0)
    assert module(ORIGIN, POINTS, label.to(as_type)) == module(ORIGIN, POINTS, label) > 0


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("loss", [ContrastiveLoss, OnlineContrastiveLoss, TripletLoss])
def test_equal_embeddings_have_a_finite_gradient(loss, distance):
    embeddings = [torch.ones(2, 4, requires_grad=True) for _ in range(3 if loss is TripletLoss else 2)]
    label = [] if loss is TripletLoss else [torch.tensor([1, 0])]
    loss(distance=distance)(*embeddings, *label).backward()
    assert all(x.grad.isfinite().all() for x in embeddings)


@pytest.mark.parametrize(
    "loss", [ContrastiveLoss(), OnlineContrastiveLoss(), OnlineContrastiveLoss(gather=True), TripletLoss()]
)
def test_empty_batch_is_a_zero_attached_to_the_graph(loss):
    weight = torch.ones(4, 3, requires_grad=True)
    embeddings = torch.zeros(0, 4) @ weight
    last = embeddings if isinstance(loss, TripletLoss) else torch.zeros(0)
    assert_attached_zero(loss(embeddings, embeddings, last), weight)


def test_no_hard_pair_is_a_zero_attached_to_the_graph():
    weight = torch.eye(2, requires_grad=True)
    loss = OnlineContrastiveLoss(distance="euclidean", margin=6.0)
    assert_attached_zero(loss(ORIGIN @ weight, POINTS @ weight, torch.tensor([0, 0, 1])), weight)


ONES = torch.ones(2, 4)


@pytest.mark.parametrize("loss", PAIR_LOSSES)
@pytest.mark.parametrize(
    ("embedding1", "embedding2", "label", "message"),
    [
        (torch.ones(4), torch.ones(4), torch.ones(1), r"embedding1 must have shape \(batch, dim\), found \(4,\)"),
        (ONES, torch.ones(2, 5), torch.ones(2), r"embedding1 and embedding2 .*found \(2, 4\) and \(2, 5\)"),
        (ONES, torch.ones(3, 4), torch.ones(2), r"embedding1 and embedding2 .*found \(2, 4\) and \(3, 4\)"),
        (ONES, ONES.int(), torch.ones(2), r"embedding2 must be floating-point .*torch.int32"),
        (ONES, ONES.to("meta"), torch.ones(2), r"embedding1 and embedding2 must be on one device, found cpu and meta"),
        (ONES, ONES, torch.ones(2, 1), r"label must have shape \(batch,\) = \(2,\), found \(2, 1\)"),
        (ONES, ONES, torch.ones(3), r"label must have shape \(batch,\) = \(2,\), found \(3,\)"),
        (ONES, ONES, torch.ones(2, device="meta"), r"label must be on the embeddings' device cpu, found meta"),
        (ONES, ONES, torch.tensor([1, 0.5]), r"label must be 0 or 1, found 0.5 in row 1 \(1 of 2 rows\)"),
        (ONES, ONES, torch.tensor([-1, 2]), r"label must be 0 or 1, found -1 in row 0 \(2 of 2 rows\)"),
        (ONES, ONES, torch.tensor([1, float("nan")]), r"label must be 0 or 1, found nan in row 1"),
    ],
)
def test_wrong_pairs_are_answered_with_what_was_found(loss, embedding1, embedding2, label, message):
    with pytest.raises(ValueError, match=message):
        loss()(embedding1, embedding2, label)


@pytest.mark.parametrize(
    ("anchor", "positive", "negative", "message"),
    [
        (torch.ones(4), torch.ones(4), torch.ones(4), r"anchor must have shape \(batch, dim\), found \(4,\)"),
        (ONES, torch.ones(2, 5), ONES, r"anchor and positive .*found \(2, 4\) and \(2, 5\)"),
        (ONES, ONES, torch.ones(3, 4), r"anchor and negative .*found \(2, 4\) and \(3, 4\)"),
        (ONES, ONES, torch.ones(2, 1, 4), r"negative must have shape \(batch, dim\), found \(2, 1, 4\)"),
        (ONES, ONES.long(), ONES, r"positive must be floating-point .*torch.int64"),
        (ONES, ONES, ONES.to("meta"), r"anchor and negative must be on one device, found cpu and meta"),
    ],
)
def test_wrong_triplets_are_answered_with_what_was_found(anchor, positive, negative, message):
    with pytest.raises(ValueError, match=message):
        TripletLoss()(anchor, positive, negative)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize(("number", "found"), [(float("nan"), "NaN"), (float("inf"), "infinity")])
@pytest.mark.parametrize("loss", [ContrastiveLoss, OnlineContrastiveLoss, TripletLoss])
def test_nan_and_infinity_are_named_also_where_the_margin_would_hide_them(loss, number, found, distance):
    *embeddings, last = arguments(loss, 4, 12)
    # In a pair without a match, or the negative of a triplet.
    last = last if loss is TripletLoss else torch.tensor([1, 1, 0, 1])
    broken = (last if loss is TripletLoss else embeddings[1]).detach().clone()
    broken[2, 5] = number
    first = embeddings[0]
    inputs = (first, embeddings[1], broken) if loss is TripletLoss else (first, broken, last)
    name = "negative" if loss is TripletLoss else "embedding2"
    with pytest.raises(ValueError, match=rf"{name} holds {found} in row 2 \(1 of 4 rows\)"):
        loss(distance=distance)(*inputs)
    assert loss(distance=distance, check_finite=False)(*inputs).shape == ()


@pytest.mark.parametrize(
    ("loss", "functional"),
    [
        (ContrastiveLoss, contrastive_loss),
        (OnlineContrastiveLoss, online_contrastive_loss),
        (TripletLoss, triplet_loss),
    ],
)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"distance": "l2"}, "distance must be one of 'cosine', 'euclidean', 'manhattan', found 'l2'"),
        ({"margin": 0}, "margin must be a finite number above 0, found 0"),
        ({"margin": float("nan")}, "margin must be a finite number above 0, found nan"),
    ],
)
def test_wrong_options_are_refused_before_the_first_batch(loss, functional, options, message):
    with pytest.raises(ValueError, match=message):
        loss(**options)
    with pytest.raises(ValueError, match=message):
        functional(*arguments(loss, 2, 4), **options)


def test_options_show_when_printed():
    assert repr(ContrastiveLoss()) == "ContrastiveLoss(distance='cosine', margin=0.5, check_finite=True)"
    shown = "OnlineContrastiveLoss(distance='cosine', margin=0.5, gather=False, check_finite=True)"
    assert repr(OnlineContrastiveLoss()) == shown
    assert repr(TripletLoss()) == "TripletLoss(distance='euclidean', margin=5.0, check_finite=True)"
