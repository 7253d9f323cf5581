"""Every loss with every kind of table: accepted, or refused with those that fit."""

import pandas as pd
import pytest
import torch

import embedtrain.losses
from embedtrain.data import (
    CLASSIFIED_PAIRS,
    LABELLED_PAIRS,
    LABELLED_SENTENCES,
    POSITIVE_PAIRS,
    SCORED_PAIRS,
    TRIPLETS,
    read_table_of,
)
from embedtrain.errors import UserError
from embedtrain.losses import GradCache, MatryoshkaLoss
from embedtrain.losses.module import call_loss
from embedtrain.training.loss_choice import (
    DISTILLATION,
    LOSSES,
    TRAINING_KINDS,
    build_loss,
    choose_loss,
    find_loss,
    fitting_losses,
    likely_kinds,
)

# Written down a second time, from the table in docs/losses.md, so that a slip in the registry is seen.
FITTING = {
    SCORED_PAIRS: ["cosine", "cosent", "angle"],
    LABELLED_PAIRS: ["online-contrastive", "contrastive", "softmax"],
    CLASSIFIED_PAIRS: ["softmax"],
    POSITIVE_PAIRS: ["mnrl", "gist", "sigmoid"],
    TRIPLETS: ["mnrl", "gist", "sigmoid", "triplet"],
    LABELLED_SENTENCES: ["supcon", "batch-all", "batch-hard", "batch-semi-hard"],
}
BATCHES = {
    "mnrl": "unique",
    "gist": "unique",
    "sigmoid": "unique",
    **dict.fromkeys(FITTING[LABELLED_SENTENCES], "grouped"),
}


@pytest.mark.parametrize("kind", FITTING, ids=lambda kind: kind.name)
@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_with_every_kind(kind, name):
    if name in FITTING[kind]:
        assert choose_loss(name, kind=kind, columns=kind.columns, source="x.tsv") == name
        return
    with pytest.raises(UserError) as error:
        choose_loss(name, kind=kind, columns=kind.columns, source="x.tsv")
    assert str(error.value) == (
        f"--loss {name} does not fit {kind.name} (x.tsv: {', '.join(kind.columns)}); "
        f"these do: {', '.join(FITTING[kind])}"
    )


def test_the_first_of_the_fitting_losses_is_taken_where_none_is_asked_for():
    for kind, names in FITTING.items():
        assert choose_loss(None, kind=kind, columns=kind.columns, source="x") == names[0]
        assert fitting_losses(kind) == names
    assert set(TRAINING_KINDS) == set(FITTING)


def test_the_triplet_loss_takes_one_negative():
    columns = ["anchor", "positive", "negative_1", "negative_2"]
    with pytest.raises(UserError, match="2 negatives a row where it takes one; these do: mnrl, gist, sigmoid"):
        choose_loss("triplet", kind=TRIPLETS, columns=columns, source="x")
    assert choose_loss("mnrl", kind=TRIPLETS, columns=columns, source="x") == "mnrl"


@pytest.mark.parametrize("name", DISTILLATION)
def test_distillation_is_referred_to_python(name):
    with pytest.raises(UserError, match=rf"--loss {name} learns from a teacher's .*docs/losses.md"):
        find_loss(name)


@pytest.mark.parametrize(("typed", "meant"), [("mnr", "mnrl"), ("cosin", "cosine"), ("tripplet", "triplet")])
def test_a_misspelt_loss_gets_the_nearest_one(typed, meant):
    with pytest.raises(UserError, match=f"--loss {typed}: unknown loss; did you mean '{meant}'"):
        find_loss(typed)


def test_every_loss_of_the_package_has_a_name():
    losses = {name for name in embedtrain.losses.__all__ if name.endswith("Loss")} - {"MatryoshkaLoss"}
    teachers = {"MSELoss", "MarginMSELoss", "DistillKLDivLoss", "SimilarityDistillationLoss"}
    # That of raw text has a command of its own.
    assert {choice.loss.__name__ for choice in LOSSES.values()} == losses - teachers - {"DenoisingLoss"}
    assert len(DISTILLATION) == len(teachers)


def test_batches_are_made_as_the_losses_need_them():
    assert {name: choice.batches for name, choice in LOSSES.items()} == {
        name: BATCHES.get(name, "like_length") for name in LOSSES
    }


@pytest.mark.parametrize("name", LOSSES)
def test_a_built_loss_takes_the_columns_of_its_kinds(name):
    torch.manual_seed(0)
    for kind in LOSSES[name].kinds:
        texts = len(kind.columns) - (kind.number_column is not None)
        columns = [torch.randn(4, 8, requires_grad=True) for _ in range(texts)]
        targets = [torch.tensor([0, 1, 1, 0]) if kind.number_column == "label" else torch.rand(4)]
        guide = {f"guide_{side}": torch.randn(4, 8) for side in ("anchor", "positive")} if name == "gist" else {}
        if name == "gist" and kind is TRIPLETS:
            guide["guide_negatives"] = torch.randn(4, 1, 8)
        loss = call_loss(build_loss(name, dim=8), columns, targets if kind.number_column else [], **guide)
        loss.backward()
        assert all(column.grad is not None for column in columns)
        assert loss.item() > 0


@pytest.mark.parametrize("name", [name for name, choice in LOSSES.items() if choice.compares_rows])
def test_losses_that_compare_rows_do_so_over_all_devices(name):
    assert build_loss(name, dim=8).gather is True


def test_what_goes_around_a_loss():
    loss = build_loss("mnrl", dim=32, matryoshka=[8, 16, 32], chunk_size=4)
    assert isinstance(loss, GradCache)
    assert loss.chunk_size == 4
    assert isinstance(loss.loss, MatryoshkaLoss)
    assert loss.loss.dims == (32, 16, 8)
    assert not isinstance(build_loss("mnrl", dim=32, matryoshka=[32]), MatryoshkaLoss)
    assert build_loss("softmax", dim=8, num_labels=5).classifier.out_features == 5


def frame(**columns):
    return pd.DataFrame({name: values * 2 for name, values in columns.items()})


@pytest.mark.parametrize(
    ("columns", "loss", "kind"),
    [
        ({"sentence1": ["a"], "sentence2": ["b"], "score": [0.5]}, None, SCORED_PAIRS),
        ({"sentence1": ["a"], "sentence2": ["b"], "label": [1]}, "contrastive", LABELLED_PAIRS),
        ({"sentence1": ["a"], "sentence2": ["b"], "label": [2]}, "softmax", CLASSIFIED_PAIRS),
        ({"sentence1": ["a"], "sentence2": ["b"], "label": [2]}, None, CLASSIFIED_PAIRS),
        ({"positive": ["a"], "anchor": ["b"]}, None, POSITIVE_PAIRS),
        ({"anchor": ["a"], "positive": ["b"], "negative": ["c"]}, None, TRIPLETS),
        ({"anchor": ["a"], "positive": ["b"], "negative_1": ["c"], "negative_2": ["d"]}, "mnrl", TRIPLETS),
        ({"text": ["a"], "label": ["weather"]}, None, LABELLED_SENTENCES),
        ({"text": ["a"], "label": [3], "anchor": ["x"]}, "mnrl", LABELLED_SENTENCES),
        # Columns of two kinds: the loss decides, and without one the first.
        ({"sentence1": ["a"], "sentence2": ["b"], "score": [0.5], "label": [1]}, "contrastive", LABELLED_PAIRS),
        ({"sentence1": ["a"], "sentence2": ["b"], "score": [0.5], "label": [1]}, None, SCORED_PAIRS),
    ],
)
def test_the_columns_tell_what_a_table_holds(columns, loss, kind):
    table, found = read_table_of(frame(**columns), kinds=likely_kinds(loss))
    assert found is kind
    assert set(table.columns) == set(kind.columns_for(columns))


def test_a_label_that_is_neither_0_nor_1_is_a_mistake_where_the_loss_wants_one():
    pairs = pd.DataFrame({"sentence1": ["a", "b"], "sentence2": ["c", "d"], "label": [1, 2]})
    with pytest.raises(UserError, match=r"'label' must be 0 or 1.*row 2 2"):
        read_table_of(pairs, kinds=likely_kinds("contrastive"))
