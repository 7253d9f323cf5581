"""The kinds of table."""

import pytest

from embedtrain.data import KINDS, SCORED_PAIRS, SENTENCES, TRIPLETS


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("sentences", ("text",)),
        ("scored pairs", ("sentence1", "sentence2", "score")),
        ("labelled pairs", ("sentence1", "sentence2", "label")),
        ("classified pairs", ("sentence1", "sentence2", "label")),
        ("labelled sentences", ("text", "label")),
        ("positive pairs", ("anchor", "positive")),
        ("triplets", ("anchor", "positive", "negative")),
    ],
)
def test_the_columns_of_each_kind(name, columns):
    assert KINDS[name].columns == columns


def test_numbered_negatives_replace_the_single_one_in_their_order():
    offered = ["negative_10", *(f"negative_{number}" for number in range(1, 10)), "positive", "anchor"]
    wanted = ("anchor", "positive", *(f"negative_{number}" for number in range(1, 11)))
    assert TRIPLETS.columns_for(offered) == wanted


def test_kinds_without_negatives_pay_them_no_heed():
    assert SENTENCES.columns_for(["text", "negative_1", "negative"]) == ("text",)


@pytest.mark.parametrize("column", ["negative", "negative_7", "anchor"])
def test_triplets_may_hold_numbered_negatives(column):
    assert TRIPLETS.may_hold(column)
    assert not SCORED_PAIRS.may_hold(column)
