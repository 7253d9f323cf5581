import math

import pytest
import torch
from helpers import draw, value_and_grads
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from twins import assert_attached_zero, assert_autocast_changes_nothing, assert_equals_twin

from embedtrain.losses import SoftmaxLoss, softmax_loss


def naive(embedding1, embedding2, labels, weight, bias=None):
    """The formula in loops."""
    total = 0
    for u, v, label in zip(embedding1, embedding2, labels.tolist(), strict=True):
        features = [*u, *v, *((a - b).abs() for a, b in zip(u, v, strict=True))]
        logits = [sum(w * x for w, x in zip(row, features, strict=True)) for row in weight]
        if bias is not None:
            logits = [logit + b for logit, b in zip(logits, bias, strict=True)]
        total = total - logits[label] + sum(logit.exp() for logit in logits).log()
    return total / len(labels)


def classified(batch, dim, num_labels, seed=0, dtype=torch.float32):
    """Two columns of embeddings, a class for each pair, and a classifier's weight and bias."""
    labels = torch.randint(num_labels, (batch,), generator=torch.Generator().manual_seed(seed))
    columns = [draw((batch, dim), seed, dtype), draw((batch, dim), seed + 1, dtype)]
    return [*columns, labels, draw((num_labels, 3 * dim), seed + 2, dtype), draw((num_labels,), seed + 3, dtype)]


@pytest.mark.parametrize("with_bias", [True, False])
@settings(max_examples=20)
@given(batch=st.integers(1, 5), dim=st.integers(1, 6), num_labels=st.integers(2, 4), seed=st.integers(0, 10**6))
def test_equals_loops_in_value_and_gradient(with_bias, batch, dim, num_labels, seed):
    inputs = classified(batch, dim, num_labels, seed)
    assert_equals_twin(softmax_loss, naive, *(inputs if with_bias else inputs[:-1]), size=10)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_types_differ_only_by_the_gradient_s_own_rounding(dtype):
    assert_equals_twin(softmax_loss, naive, *classified(5, 6, 3, dtype=dtype), size=10)


@pytest.mark.parametrize("embedding_type", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("classifier_type", [torch.bfloat16, torch.float32, torch.float64])
def test_classifier_may_have_another_type_than_the_embeddings(embedding_type, classifier_type):
    *pair, labels, weight, bias = classified(5, 6, 3)
    pair = [x.detach().to(embedding_type).requires_grad_() for x in pair]
    classifier = [x.detach().to(classifier_type).requires_grad_() for x in (weight, bias)]
    value, grads = value_and_grads(softmax_loss, *pair, labels, *classifier)
    assert value.dtype == (torch.float64 if embedding_type == torch.float64 else torch.float32)
    assert [grad.dtype for grad in grads] == [embedding_type] * 2 + [classifier_type] * 2
    expected = naive(*(x.double() for x in pair), labels, *(x.double() for x in classifier))
    torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-6)


def test_autocast_changes_nothing():
    embedding1, embedding2, labels, weight, bias = classified(5, 6, 3)
    assert_autocast_changes_nothing(
        lambda u, v, *classifier: softmax_loss(u, v, labels, *classifier), embedding1, embedding2, weight, bias
    )


class PassThrough(nn.Module):
    """A model whose features are already embeddings."""

    device = torch.device("cpu")

    def forward(self, features):
        return features


def test_equals_sentence_transformers():
    from sentence_transformers.sentence_transformer.losses import SoftmaxLoss as Reference

    embedding1, embedding2, labels, *_ = classified(7, 12, 3)
    loss = SoftmaxLoss(dim=12, num_labels=3)
    reference = Reference(model=PassThrough(), embedding_dimension=12, num_labels=3)
    reference.classifier.load_state_dict(loss.classifier.state_dict())
    value = loss(embedding1, embedding2, labels)
    expected = reference([{"sentence_embedding": embedding1}, {"sentence_embedding": embedding2}], labels)
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=0)
    grads = torch.autograd.grad(value, [embedding1, embedding2, *loss.parameters()])
    expected_grads = torch.autograd.grad(expected, [embedding1, embedding2, *reference.classifier.parameters()])
    for grad, expected_grad in zip(grads, expected_grads, strict=True):
        torch.testing.assert_close(grad, expected_grad, rtol=1e-5, atol=1e-6)


def test_gradient_equals_finite_differences():
    embedding1, embedding2, labels, weight, bias = classified(3, 4, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda u, v, *classifier: softmax_loss(u, v, labels, *classifier), (embedding1, embedding2, weight, bias)
    )


def test_known_value():
    # Features 1, 3, 2; logits 1 and 2 * 2.
    loss = softmax_loss(
        torch.tensor([[1.0]]), torch.tensor([[3.0]]), torch.tensor([1]), torch.tensor([[1.0, 0, 0], [0, 0, 2]])
    )
    assert loss.item() == pytest.approx(math.log(1 + math.exp(1 - 4)))


def test_module_is_the_function_with_its_own_classifier():
    embedding1, embedding2, labels, *_ = classified(5, 6, 3)
    loss = SoftmaxLoss(dim=6, num_labels=3)
    assert [tuple(x.shape) for x in loss.parameters()] == [(3, 18), (3,)]
    expected = softmax_loss(embedding1, embedding2, labels, loss.classifier.weight, loss.classifier.bias)
    assert loss(embedding1, embedding2, labels) == expected


def test_classifier_learns():
    embedding1, embedding2, labels, *_ = classified(12, 6, 3)
    loss = SoftmaxLoss(dim=6, num_labels=3)
    optimizer = torch.optim.SGD(loss.parameters(), lr=0.1)
    first = loss(embedding1, embedding2, labels).item()
    for _ in range(20):
        optimizer.zero_grad()
        loss(embedding1, embedding2, labels).backward()
        optimizer.step()
    assert loss(embedding1, embedding2, labels).item() < first


def test_equal_embeddings_have_a_finite_gradient():
    embedding1, labels = draw((3, 4)), torch.tensor([0, 1, 2])
    _, grads = value_and_grads(
        SoftmaxLoss(dim=4, num_labels=3), embedding1, embedding1.detach().clone().requires_grad_(), labels
    )
    assert all(grad.isfinite().all() for grad in grads)


def test_empty_batch_is_a_zero_attached_to_the_graph_of_embeddings_and_classifier():
    weight = torch.ones(4, 3, requires_grad=True)
    embeddings = torch.zeros(0, 4) @ weight
    loss = SoftmaxLoss(dim=3, num_labels=2)
    zero = loss(embeddings, embeddings, torch.zeros(0, dtype=torch.int64))
    assert_attached_zero(zero, weight, *loss.parameters())


ONES, WEIGHT, BIAS = torch.ones(2, 4), torch.ones(3, 12), torch.ones(3)
LABELS = torch.tensor([0, 2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.ones(4), torch.ones(4), LABELS, WEIGHT), r"embedding1 must have shape \(batch, dim\), found \(4,\)"),
        ((ONES, torch.ones(3, 4), LABELS, WEIGHT), r"embedding1 and embedding2 .*found \(2, 4\) and \(3, 4\)"),
        ((ONES, ONES.int(), LABELS, WEIGHT), r"embedding2 must be floating-point .*torch.int32"),
        ((ONES, ONES.to("meta"), LABELS, WEIGHT), r"embedding1 and embedding2 must be on one device, .*cpu and meta"),
        ((ONES, ONES, torch.tensor([0, 1, 2]), WEIGHT), r"labels must have shape \(batch,\) = \(2,\), found \(3,\)"),
        ((ONES, ONES, LABELS.float(), WEIGHT), r"labels must be whole numbers, found torch.float32"),
        ((ONES, ONES, torch.tensor([0, 3]), WEIGHT), r"labels must lie in \[0, 2\], found 3 in row 1 \(1 of 2 rows\)"),
        (
            (ONES, ONES, torch.tensor([-1, 3]), WEIGHT),
            r"labels must lie in \[0, 2\], found -1 in row 0 \(2 of 2",
        ),
        ((ONES, ONES, LABELS.to("meta"), WEIGHT), r"labels must be on the embeddings' device cpu, found meta"),
        ((ONES, ONES, LABELS, torch.ones(3, 8)), r"\(num_labels, 12\) beside .*shape \(2, 4\), found \(3, 8\)"),
        ((ONES, ONES, LABELS, torch.ones(12)), r"weight must have shape \(num_labels, 3 \* dim\).*found \(12,\)"),
        ((ONES, ONES, LABELS, WEIGHT.to("meta")), r"embedding1 and weight must be on one device, found cpu and meta"),
        ((ONES, ONES, LABELS, WEIGHT, torch.ones(2)), r"bias must have shape \(num_labels,\) = \(3,\).*found \(2,\)"),
        ((ONES, ONES, LABELS, WEIGHT, BIAS.to("meta")), r"embedding1 and bias must be on one device"),
        ((ONES, ONES * torch.inf, LABELS, WEIGHT), r"embedding2 holds infinity in row 0 \(2 of 2 rows\)"),
        ((ONES * torch.nan, ONES, LABELS, WEIGHT), r"embedding1 holds NaN in row 0 \(2 of 2 rows\)"),
        ((ONES, ONES, LABELS, WEIGHT * torch.nan), r"weight holds NaN in row 0 \(3 of 3 rows\)"),
    ],
)
def test_wrong_use_is_answered_with_what_was_found(arguments, message):
    with pytest.raises(ValueError, match=message):
        softmax_loss(*arguments)


def test_check_for_numbers_can_be_left_out():
    assert SoftmaxLoss(dim=4, num_labels=3, check_finite=False)(ONES * torch.nan, ONES, LABELS).isnan()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 0, "num_labels": 3}, "dim must be a whole number of at least 1, found 0"),
        ({"dim": 4, "num_labels": 1}, "num_labels must be a whole number of at least 2, found 1"),
    ],
)
def test_classifier_needs_a_size(options, message):
    with pytest.raises(ValueError, match=message):
        SoftmaxLoss(**options)


def test_options_show_when_printed():
    assert "dim=4, num_labels=3, check_finite=True" in repr(SoftmaxLoss(dim=4, num_labels=3))
