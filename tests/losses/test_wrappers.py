"""Losses made of losses: lengths cut and summed, several losses on one batch, and how they are called by columns."""

import math

import pytest
import torch
from helpers import draw, value_and_grads
from torch import nn
from torch.nn import functional as F

from embedtrain import losses
from embedtrain.losses import (
    CoSENTLoss,
    DistillKLDivLoss,
    GradCache,
    MarginMSELoss,
    MatryoshkaLoss,
    MSELoss,
    MultipleNegativesRankingLoss,
    SoftmaxLoss,
    SupConLoss,
    TripletLoss,
    WeightedSum,
)
from embedtrain.losses.module import Loss, call_loss

MNRL = MultipleNegativesRankingLoss()


def cut(tensor, dim):
    return F.normalize(tensor[..., :dim], dim=-1)


@pytest.mark.parametrize("weights", [None, [1.0, 0.5, 0.0]])
def test_matryoshka_is_the_weighted_sum_over_lengths(weights):
    inputs = [draw((5, 8), 0), draw((5, 8), 1), draw((5, 2, 8), 2)]
    loss = MatryoshkaLoss(MNRL, dims=[8, 4, 3], weights=weights)
    value, grads = value_and_grads(loss, *inputs)
    expected, expected_grads = value_and_grads(
        lambda *x: sum(w * MNRL(*(cut(t, d) for t in x)) for d, w in zip([8, 4, 3], weights or [1, 1, 1], strict=True)),
        *inputs,
    )
    torch.testing.assert_close((value, grads), (expected, expected_grads))


def test_matryoshka_equals_sentence_transformers():
    from sentence_transformers.sentence_transformer import losses as library

    class Given(nn.Module):
        """A model whose output is its input."""

        def forward(self, features):
            return dict(features)

        def get_embedding_dimension(self):
            return 8

    model = Given()
    theirs = library.MatryoshkaLoss(model, library.MultipleNegativesRankingLoss(model), [8, 4], [1.0, 0.3])
    inputs = [draw((6, 8), 0), draw((6, 8), 1)]
    value, grads = value_and_grads(MatryoshkaLoss(MNRL, dims=[8, 4], weights=[1.0, 0.3]), *inputs)
    expected, expected_grads = value_and_grads(
        lambda *x: theirs([{"sentence_embedding": t} for t in x], torch.zeros(6)), *inputs
    )
    torch.testing.assert_close((value, grads), (expected, expected_grads), rtol=1e-5, atol=1e-6)


def test_matryoshka_may_keep_lengths_and_cuts_a_target_as_wide():
    embedding, target = draw((4, 6), 0), draw((4, 6), 1).detach()
    value = MatryoshkaLoss(MSELoss(), dims=[6, 2], normalize=False)(embedding, target)
    torch.testing.assert_close(value, F.mse_loss(embedding, target) + F.mse_loss(embedding[:, :2], target[:, :2]))


def test_matryoshka_of_a_matryoshka_and_of_a_sum_cuts_too():
    inputs = [draw((4, 8), 0), draw((4, 8), 1)]
    nested = MatryoshkaLoss(MatryoshkaLoss(MNRL, dims=[4, 2]), dims=[8, 4])
    # Cosines do not see the length, so cutting to 8 and then to 4 is cutting to 4.
    torch.testing.assert_close(
        nested(*inputs), 2 * (MNRL(*(cut(x, 4) for x in inputs)) + MNRL(*(x[:, :2] for x in inputs)))
    )
    summed = MatryoshkaLoss(WeightedSum([(MNRL, 2.0)]), dims=[3])
    torch.testing.assert_close(summed(*inputs), 2 * MNRL(*(x[:, :3] for x in inputs)))


def test_dims_per_step_draws_the_same_lengths_everywhere():
    inputs = [draw((4, 8), 0), draw((4, 8), 1)]
    first, second = (MatryoshkaLoss(MNRL, dims=[8, 4, 2], dims_per_step=1) for _ in range(2))
    drawn = []
    for _ in range(12):
        torch.manual_seed(len(drawn))
        value = first(*inputs).item()
        assert value == second(*inputs).item()
        drawn.append(value)
    assert len(set(drawn)) == 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MatryoshkaLoss(MNRL, dims=32), "dims must be a list of different whole numbers, found 32"),
        (lambda: MatryoshkaLoss(MNRL, dims=[]), r"dims must .*found \[\]"),
        (lambda: MatryoshkaLoss(MNRL, dims=[4, 4]), r"dims must .*found \[4, 4\]"),
        (lambda: MatryoshkaLoss(MNRL, dims=[0]), "each of dims must be a whole number of at least 1, found 0"),
        (lambda: MatryoshkaLoss(MNRL, dims=[4.0]), "each of dims must be a whole number .*found 4.0"),
        (lambda: MatryoshkaLoss(MNRL, dims=[4, 2], weights={4: 1.0, 2: 0.5}), "weights must be a list of 2 finite"),
        (lambda: MatryoshkaLoss(MNRL, dims=[4], weights=[math.nan]), r"weights must .*found \[nan\]"),
        (lambda: MatryoshkaLoss(MNRL, dims=[4], weights=["1"]), r"weights must .*found \['1'\]"),
        (lambda: MatryoshkaLoss(MNRL, dims=[4], weights=[1, 1]), "weights must be a list of 1 finite"),
        (lambda: MatryoshkaLoss(MNRL, dims=[4], dims_per_step=2), "dims_per_step must be between 1 and 1, found 2"),
        (lambda: MatryoshkaLoss(nn.MSELoss(), dims=[4]), "MSELoss does not say which of its arguments are embeddings"),
        (lambda: MatryoshkaLoss(SoftmaxLoss(dim=4, num_labels=2), dims=[4]), "SoftmaxLoss reads embeddings of one"),
        (lambda: MatryoshkaLoss(MNRL, dims=[9])(draw((2, 8)), draw((2, 8))), r"dims holds 9, .*anchor has only 8"),
        (lambda: WeightedSum([]), "at least one pair"),
        (lambda: WeightedSum([MNRL]), "pairs of a loss and its weight, found MultipleNegativesRankingLoss"),
        (lambda: WeightedSum([(MNRL, math.inf)]), "weight of MultipleNegativesRankingLoss .*found inf"),
        (lambda: WeightedSum([(MNRL, "1")]), "weight of MultipleNegativesRankingLoss .*found '1'"),
        (lambda: GradCache(MNRL, chunk_size="8"), "chunk_size must be a whole number of at least 1, found '8'"),
        (lambda: MultipleNegativesRankingLoss(scale="20"), "scale must be a finite number above 0, found '20'"),
    ],
)
def test_wrong_options_are_answered_with_what_was_found(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_sum_gives_each_loss_what_it_names():
    anchor, positive, negatives = draw((4, 6), 0), draw((4, 6), 1), draw((4, 2, 6), 2)
    scores = torch.rand(4, 3)
    distill = DistillKLDivLoss(similarity="cosine", temperature=0.1)
    loss = WeightedSum([(distill, 1.0), (MNRL, 0.25)])
    expected = distill(anchor, positive, negatives, scores) + 0.25 * MNRL(anchor, positive, negatives)
    torch.testing.assert_close(loss(anchor, positive, negatives, teacher_scores=scores), expected)
    torch.testing.assert_close(loss(anchor, positive, negatives, scores), expected)
    assert [value.requires_grad for value in loss.values] == [False, False]
    torch.testing.assert_close(loss.values[1], MNRL(anchor, positive, negatives).detach())


def test_a_sum_refuses_what_no_loss_takes():
    with pytest.raises(TypeError, match="no loss of the sum takes labels; they take anchor, ids, mask"):
        WeightedSum([(MNRL, 1.0)])(draw((2, 4)), draw((2, 4)), labels=torch.zeros(2))
    with pytest.raises(TypeError, match=r"takes 6 arguments .*found 7"):
        WeightedSum([(MNRL, 1.0)])(*[draw((2, 4))] * 7)


def test_columns_go_to_each_loss_of_a_sum_under_its_own_names():
    first, second, score = draw((5, 4), 0), draw((5, 4), 1), torch.rand(5)
    loss = WeightedSum([(CoSENTLoss(), 1.0), (MNRL, 0.2)])
    expected = CoSENTLoss()(first, second, score) + 0.2 * MNRL(first, second)
    torch.testing.assert_close(call_loss(loss, [first, second], [score]), expected)
    loss = WeightedSum([(MNRL, 1.0), (TripletLoss(), 1.0)])
    third = draw((5, 4), 2)
    expected = MNRL(first, second, third.unsqueeze(1)) + TripletLoss()(first, second, third)
    torch.testing.assert_close(call_loss(loss, [first, second, third], []), expected)


def test_columns_after_the_positive_are_negatives():
    columns = [draw((3, 4), seed) for seed in range(4)]
    expected = MNRL(columns[0], columns[1], torch.stack(columns[2:], dim=1))
    torch.testing.assert_close(call_loss(MNRL, columns, []), expected)
    scores = torch.rand(3, 3)
    expected = MarginMSELoss()(columns[0], columns[1], torch.stack(columns[2:], dim=1), scores)
    torch.testing.assert_close(call_loss(MarginMSELoss(), columns, [scores]), expected)


@pytest.mark.parametrize(
    ("loss", "columns", "targets", "message"),
    [
        (MNRL, 1, 0, "takes anchor, positive and any number of negatives, found 1 text columns"),
        (MNRL, 2, 1, "MultipleNegativesRankingLoss takes no labels or scores, found 1 label columns"),
        (CoSENTLoss(), 2, 0, "CoSENTLoss takes score beside the embeddings, found 0 label columns"),
        (CoSENTLoss(), 3, 1, "CoSENTLoss takes embedding1, embedding2, found 3 text columns"),
        (SupConLoss(), 2, 1, "SupConLoss takes embeddings, found 2 text columns"),
    ],
)
def test_wrong_columns_are_answered_with_what_the_loss_takes(loss, columns, targets, message):
    with pytest.raises(ValueError, match=message):
        call_loss(loss, [draw((3, 4))] * columns, [torch.rand(3)] * targets)


@pytest.mark.parametrize(
    "name", [name for name in losses.__all__ if name.endswith("Loss") and name != "MatryoshkaLoss"]
)
def test_every_loss_says_what_it_takes_and_shows_its_options(name):
    kind = getattr(losses, name)
    needed = {"SoftmaxLoss": {"dim": 4, "num_labels": 3}, "DenoisingLoss": {"decoder": torch.nn.Identity()}}
    loss = kind(**needed.get(name, {}))
    assert isinstance(loss, Loss)
    assert loss.embeddings
    assert "check_finite=True" in repr(loss)
    # What a user or a library hangs on a module is no option.
    loss.forward = loss.forward
    loss.note = 1
    assert "note" not in loss.options
    assert "forward" not in loss.options


@pytest.mark.parametrize("wrong", [[0, 1, 2], None, "labels"])
def test_what_is_no_tensor_is_named(wrong):
    with pytest.raises(TypeError, match=f"labels must be a torch tensor, found {type(wrong).__name__}"):
        SupConLoss()(draw((3, 4)), wrong)
    with pytest.raises(TypeError, match=f"positive must be a torch tensor of embeddings, found {type(wrong).__name__}"):
        MNRL(draw((3, 4)), wrong)


def test_a_margin_that_can_never_be_met_is_warned_of():
    with pytest.warns(UserWarning, match=r"margin 5.0 can never be met"):
        TripletLoss(distance="cosine")
