import math

import pytest
import torch
from helpers import draw
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import functional_call
from twins import (
    assert_attached_zero,
    assert_autocast_changes_nothing,
    assert_backward_is_like_any_other,
    assert_blocks_do_not_matter,
    assert_equals_twin,
    blocks_of,
)

from embedtrain.losses import SigmoidContrastiveLoss, sigmoid_contrastive_loss


def naive(anchor, positive, negatives=None, *, scale, bias, known_positives="ignore", known=None):
    """The definition, one question at a time; ``known[i][c]`` says that a candidate matches."""
    candidates = list(positive)
    for row in [] if negatives is None else negatives:
        candidates.extend(row)
    total = 0
    for i, u in enumerate(anchor):
        for c, v in enumerate(candidates):
            is_known = c != i and known is not None and bool(known[i, c])
            if is_known and known_positives == "ignore":
                continue
            z = 1 if c == i or is_known else -1
            logit = scale * (u @ v / (u.norm() * v.norm())) + bias
            total = total + (1 + (-z * logit).exp()).log()
    return total / len(anchor)


def columns(batch, dim, n=None, dtype=torch.float32, seed=0):
    shapes = [(batch, dim), (batch, dim)] + ([] if n is None else [(batch, n, dim)])
    return [draw(shape, seed + place, dtype) for place, shape in enumerate(shapes)]


def known_by(kind, batch, n, seed=0):
    """Arguments that say which candidates match, and the same as a matrix."""
    generator = torch.Generator().manual_seed(seed)
    width = n or 0
    if kind == "nothing":
        return {}, None
    if kind == "mask":
        mask = torch.rand(batch, batch * (1 + width), generator=generator) < 0.3
        return {"mask": mask}, mask
    ids = torch.randint(3, (batch,), generator=generator)
    negative_ids = torch.randint(4, (batch, width), generator=generator)
    given = {"ids": ids} if n is None else {"ids": ids, "negative_ids": negative_ids}
    return given, ids[:, None] == torch.cat([ids, negative_ids.flatten()])


def assert_equals_naive(inputs, given=None, known=None, *, scale=10.0, bias=-10.0, known_positives="ignore"):
    """Also in the gradient of the scale's logarithm and of the bias."""
    loss = SigmoidContrastiveLoss(scale=scale, bias=bias, known_positives=known_positives)
    names = ["log_scale", "bias"]
    # As (1,) so that the comparison can take them for embeddings of one number.
    parameters = [torch.tensor([math.log(scale)], requires_grad=True), torch.tensor([bias], requires_grad=True)]
    count = len(inputs)

    def module(*x):
        values = {name: value[0] for name, value in zip(names, x[count:], strict=True)}
        return functional_call(loss, values, tuple(x[:count]), given or {})

    def twin(*x):
        log_scale, offset = x[count:]
        options = {"scale": log_scale[0].exp(), "bias": offset[0], "known_positives": known_positives}
        return naive(*x[:count], known=known, **options)

    assert_equals_twin(module, twin, *inputs, *parameters, size=scale + abs(bias))


@settings(max_examples=50)
@given(
    batch=st.integers(1, 5),
    dim=st.integers(2, 6),
    n=st.none() | st.integers(0, 2),
    kind=st.sampled_from(["nothing", "ids", "mask"]),
    known_positives=st.sampled_from(["ignore", "positive"]),
    scale=st.floats(0.5, 15.0),
    bias=st.floats(-10.0, 5.0),
    elements=st.sampled_from([None, 1, 20]),
    seed=st.integers(0, 10**6),
)
def test_equals_loops_in_value_and_gradient(batch, dim, n, kind, known_positives, scale, bias, elements, seed):
    given, known = known_by(kind, batch, n, seed)
    options = {"scale": scale, "bias": bias, "known_positives": known_positives}
    with blocks_of(elements):
        assert_equals_naive(columns(batch, dim, n, seed=seed), given, known, **options)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types_differ_only_by_the_gradient_s_own_rounding(dtype):
    assert_equals_naive(columns(4, 6, 2, dtype))


def test_double_precision():
    scale, bias = 4.0, -1.0
    assert_equals_twin(
        lambda *x: sigmoid_contrastive_loss(*x, scale=scale, bias=bias),
        lambda *x: naive(*x, scale=scale, bias=bias),
        *columns(4, 6, 2, torch.float64),
    )


def test_known_value():
    # Of two orthogonal pairs each anchor meets its match at cosine 1 and the other positive at cosine 0.
    eye = torch.eye(2)
    expected = math.log(1 + math.exp(-(3 - 1))) + math.log(1 + math.exp(0 - 1))
    assert sigmoid_contrastive_loss(eye, eye, scale=3.0, bias=-1.0).item() == pytest.approx(expected)


@pytest.mark.parametrize("known_positives", ["ignore", "positive"])
@pytest.mark.parametrize("kind", ["nothing", "ids", "mask"])
def test_gradient_is_that_of_small_differences(kind, known_positives):
    given, _ = known_by(kind, 4, 2)
    loss = SigmoidContrastiveLoss(scale=2.0, bias=-1.0, known_positives=known_positives).double()
    parameters = [x.detach().clone().requires_grad_() for x in (loss.log_scale, loss.bias)]

    def function(anchor, positive, negatives, log_scale, bias):
        return functional_call(loss, {"log_scale": log_scale, "bias": bias}, (anchor, positive, negatives), given)

    with blocks_of(20):
        assert torch.autograd.gradcheck(function, [*columns(4, 3, 2, torch.float64), *parameters])


@pytest.mark.parametrize("kind", ["nothing", "ids"])
def test_the_size_of_blocks_does_not_matter(kind):
    given, _ = known_by(kind, 23, 2)
    assert_blocks_do_not_matter(lambda *x: SigmoidContrastiveLoss()(*x, **given), *columns(23, 6, 2, torch.float64))


def test_backward_is_like_any_other_but_runs_once():
    assert_backward_is_like_any_other(SigmoidContrastiveLoss(), *columns(5, 6, 2))


def test_autocast_changes_nothing():
    assert_autocast_changes_nothing(SigmoidContrastiveLoss(), *columns(6, 9, 2))


def test_far_logits_do_not_overflow():
    loss = sigmoid_contrastive_loss(*columns(4, 6), scale=1e4, bias=-1e3)
    assert loss.isfinite()


def test_scale_and_bias_are_parameters_unless_fixed():
    inputs = columns(5, 6, 1)
    loss = SigmoidContrastiveLoss(scale=5.0, bias=-2.0)
    assert {name for name, _ in loss.named_parameters()} == {"log_scale", "bias"}
    assert loss.log_scale.exp().item() == pytest.approx(5.0)
    assert loss.bias.item() == -2.0
    fixed = SigmoidContrastiveLoss(scale=5.0, bias=-2.0, learnable=False)
    assert not any(parameter.requires_grad for parameter in fixed.parameters())
    torch.testing.assert_close(fixed(*inputs), loss(*inputs))
    torch.testing.assert_close(sigmoid_contrastive_loss(*inputs, scale=5.0, bias=-2.0), loss(*inputs))


def test_training_moves_scale_and_bias():
    loss = SigmoidContrastiveLoss()
    optimizer = torch.optim.SGD(loss.parameters(), lr=0.01)
    inputs = [x.detach() for x in columns(8, 6)]
    before = loss(*inputs)
    before.backward()
    optimizer.step()
    assert loss(*inputs) < before


@pytest.mark.parametrize("n", [None, 2])
def test_empty_batch_is_a_zero_attached_to_the_graph(n):
    weight = torch.ones(4, 3, requires_grad=True)
    embeddings = torch.zeros(0, 4) @ weight
    negatives = None if n is None else torch.zeros(0, n, 4) @ weight
    loss = SigmoidContrastiveLoss()
    # The parameters too: a data-parallel process without rows exchanges their gradients like any other.
    assert_attached_zero(loss(embeddings, embeddings, negatives), weight, *loss.parameters())


@pytest.mark.parametrize(
    ("anchor", "positive", "negatives", "message"),
    [
        (torch.ones(4), torch.ones(4), None, r"anchor must have shape \(batch, dim\), found \(4,\)"),
        (torch.ones(2, 4), torch.ones(3, 4), None, r"anchor and positive .*found \(2, 4\) and \(3, 4\)"),
        (torch.ones(2, 4), torch.ones(2, 4).int(), None, r"positive must be floating-point .*torch.int32"),
        (torch.ones(2, 4), torch.ones(2, 4), torch.ones(2, 1, 5), r"\(2, n, 4\) beside .*found \(2, 1, 5\)"),
    ],
)
def test_wrong_use_is_answered_with_what_was_found(anchor, positive, negatives, message):
    with pytest.raises(ValueError, match=message):
        SigmoidContrastiveLoss()(anchor, positive, negatives)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ids": torch.arange(2)}, r"ids must have shape \(batch,\) = \(3,\), found \(2,\)"),
        ({"ids": torch.ones(3)}, r"ids must be whole numbers, found torch.float32"),
        ({"ids": torch.arange(3), "negative_ids": torch.arange(3)}, r"negative_ids .*\(3, 2\).*found \(3,\)"),
        ({"mask": torch.zeros(3, 3, dtype=torch.bool)}, r"mask .*\(3, 9\), found \(3, 3\)"),
        ({"mask": torch.zeros(3, 9)}, r"mask .*bool.*found torch.float32"),
    ],
)
def test_known_positives_that_do_not_fit_are_answered_with_what_was_found(given, message):
    with pytest.raises(ValueError, match=message):
        SigmoidContrastiveLoss()(torch.ones(3, 4), torch.ones(3, 4), torch.ones(3, 2, 4), **given)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_nan_and_infinity_are_named_unless_switched_off(place, value):
    inputs = [x.detach() for x in columns(4, 5, 2)]
    inputs[place][2, ..., 0] = value
    name = ["anchor", "positive", "negatives"][place]
    kind = "NaN" if math.isnan(value) else "infinity"
    with pytest.raises(ValueError, match=rf"{name} holds {kind} in row 2 \(1 of 4 rows\)"):
        SigmoidContrastiveLoss()(*inputs)
    assert not SigmoidContrastiveLoss(check_finite=False)(*inputs).isfinite()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 0}, "scale must be a finite number above 0, found 0"),
        ({"scale": float("nan")}, "scale must be a finite number above 0, found nan"),
        ({"known_positives": "drop"}, "known_positives must be one of 'ignore', 'positive', found 'drop'"),
    ],
)
def test_wrong_options_are_refused_by_module_and_function(options, message):
    with pytest.raises(ValueError, match=message):
        SigmoidContrastiveLoss(**options)
    with pytest.raises(ValueError, match=message):
        sigmoid_contrastive_loss(torch.ones(2, 4), torch.ones(2, 4), **options)
