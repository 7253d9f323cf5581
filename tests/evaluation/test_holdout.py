"""Metrics on rows held out of training data, against the definitions written out, and the draw of those rows."""

from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

from embedtrain.data import CLASSIFIED_PAIRS, LABELLED_PAIRS, LABELLED_SENTENCES, POSITIVE_PAIRS, SCORED_PAIRS, TRIPLETS
from embedtrain.errors import UserError
from embedtrain.evaluation.holdout import (
    DEV_SETS,
    LabelledPairsDev,
    NeighbourDev,
    RetrievalDev,
    ScoredPairsDev,
)
from embedtrain.evaluation.splitting import dev_rows, hold_out, hold_out_test


class Angles:
    """A model whose texts are angles in degrees."""

    def encode(self, texts, **options):
        angles = np.radians([float(text) for text in texts])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def test_retrieval_counts_the_rank_of_the_first_right_positive():
    table = pd.DataFrame({"anchor": ["0", "40", "80"], "positive": ["10", "20", "85"]})
    measured = RetrievalDev(table).measure(Angles())
    # 40 finds 20 first (20 degrees off); 10 is 30 off and 85 is 45 off.
    assert measured.predictions.tolist() == [1, 1, 1]
    table = pd.DataFrame({"anchor": ["0", "50", "80"], "positive": ["10", "5", "85"]})
    measured = RetrievalDev(table).measure(Angles())
    # 0 finds 5 before 10; 50 finds 85, then 10, then 5.
    assert measured.predictions.tolist() == [1 / 2, 1 / 3, 1]
    assert measured.scores["mrr"] == pytest.approx((1 / 2 + 1 / 3 + 1) / 3)
    assert measured.scores["accuracy_at_1"] == pytest.approx(1 / 3)


def test_other_positives_of_an_anchor_are_right_and_its_own_text_is_no_candidate():
    table = pd.DataFrame({"anchor": ["0", "0", "3"], "positive": ["10", "40", "0"]})
    dev = RetrievalDev(table)
    # For the anchor 0, the candidate 0 is itself; 10 and 40 are both right.
    assert dev.measure(Angles()).predictions.tolist() == [1, 1]


def test_retrieval_of_a_model_that_says_nothing_is_at_the_bottom():
    table = pd.DataFrame({"anchor": ["1", "2", "3"], "positive": ["4", "5", "6"]})

    class Constant:
        def encode(self, texts, **options):
            return np.ones((len(texts), 2))

    assert RetrievalDev(table).measure(Constant()).predictions.tolist() == [1 / 3] * 3


def test_anchors_search_with_the_models_prompts():
    table = pd.DataFrame({"anchor": ["0", "40", "80"], "positive": ["10", "20", "85"]})

    class Asked(Angles):
        prompts: ClassVar = {"query": "query: ", "document": "passage: "}

        def encode(self, texts, *, prompt, **options):
            asked.append((prompt, sorted(texts)))
            return super().encode(texts)

    asked = []
    assert RetrievalDev(table).measure(Asked()).predictions.tolist() == [1, 1, 1]
    assert asked == [("query: ", ["0", "40", "80"]), ("passage: ", ["10", "20", "85"])]


def test_the_nearest_neighbour_counts_where_a_class_has_another():
    table = pd.DataFrame({"text": ["0", "5", "90", "100", "8", "170"], "label": [0, 0, 1, 1, 1, 2]})
    measured = NeighbourDev(table).measure(Angles())
    # 0 finds 5; 5 finds 8 (another class); 90 and 100 find each other; 8 finds 5; 170 is alone in its class.
    assert measured.predictions.tolist() == [1, 0, 1, 1, 0]
    assert measured.scores == {"neighbour_accuracy": 3 / 5}


def test_pairs_are_measured_by_their_cosines():
    table = pd.DataFrame({"sentence1": ["0"] * 4, "sentence2": ["10", "20", "70", "90"]})
    measured = ScoredPairsDev(table.assign(score=[1.0, 0.8, 0.1, 0.0])).measure(Angles())
    assert measured.scores["spearman"] == pytest.approx(1)
    assert measured.predictions == pytest.approx(np.cos(np.radians([10, 20, 70, 90])))
    labelled = LabelledPairsDev(table.assign(label=[1, 0, 1, 0])).measure(Angles())
    assert labelled.scores["average_precision"] == pytest.approx((1 + 2 / 3) / 2)


@pytest.mark.parametrize(
    "kind", [SCORED_PAIRS, LABELLED_PAIRS, POSITIVE_PAIRS, LABELLED_SENTENCES], ids=lambda k: k.name
)
def test_summaries_hold_their_interval_and_a_difference_with_oneself_is_nothing(kind):
    random = np.random.default_rng(0)
    texts = [[str(angle) for angle in random.uniform(0, 180, 80)] for _ in range(2)]
    table = pd.DataFrame(dict(zip(kind.text_columns, texts, strict=False)))
    if kind.number_column:
        table[kind.number_column] = random.integers(0, 2, 80)
    dev = DEV_SETS[kind](table)
    predictions = dev.measure(Angles()).predictions
    summary = dev.summary(predictions, samples=200, seed=1)
    low, high = summary["ci95"]
    assert low <= summary[dev.metric] <= high
    assert low < high
    assert dev.summary(predictions, samples=200, seed=1) == summary
    itself = dev.difference(predictions, predictions, samples=200, seed=1)
    assert (itself.value, itself.low, itself.high) == (0, 0, 0)


def test_a_difference_is_taken_on_the_same_resamples():
    dev = NeighbourDev(pd.DataFrame({"text": ["0", "1", "90", "91"], "label": [0, 0, 1, 1]}))
    better, worse = np.ones(100), np.ones(100)
    worse[:10] = 0
    interval = dev.difference(better, worse, samples=2000, seed=0)
    assert interval.value == pytest.approx(0.1)
    # A binomial share of 0.1 over 100 rows: 0.1 +- 1.96 * 0.03.
    assert interval.low == pytest.approx(0.04, abs=0.015)
    assert interval.high == pytest.approx(0.16, abs=0.015)
    # As many mistakes on other rows: the difference has twice that variance, about 0.
    interval = dev.difference(worse[::-1], worse, samples=2000, seed=0)
    assert (interval.value, interval.high) == (0, pytest.approx(1.96 * 0.02**0.5 * 0.1**0.5, abs=0.02))


@pytest.mark.parametrize(("rows", "dev"), [(20, 10), (100, 50), (200, 50), (2_000, 100), (50_000, 1_000)])
def test_the_share_that_is_held_out(rows, dev):
    assert dev_rows(rows) == dev


def table_of(kind, rows, repeats=1):
    texts = {
        name: [f"{name} {row // repeats if name == 'anchor' else row}" for row in range(rows)] for name in kind.columns
    }
    frame = pd.DataFrame(texts)
    if kind.number_column == "score":
        frame["score"] = np.linspace(0, 1, rows)
    elif kind.number_column == "label":
        frame["label"] = np.arange(rows) % (2 if kind is LABELLED_PAIRS else 12)
    return frame.rename_axis("row")


EVERY = [SCORED_PAIRS, LABELLED_PAIRS, CLASSIFIED_PAIRS, POSITIVE_PAIRS, TRIPLETS, LABELLED_SENTENCES]


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.name)
def test_held_out_rows_are_part_of_the_table_and_the_same_for_a_seed(kind):
    table = table_of(kind, 300)
    train, dev = hold_out(table, kind=kind, name="x", seed=3)
    assert len(dev) == 50
    assert sorted([*train.index, *dev.index]) == list(table.index)
    again = hold_out(table, kind=kind, name="x", seed=3)
    pd.testing.assert_frame_equal(again[1], dev)
    assert hold_out(table, kind=kind, name="x", seed=4)[1].index.tolist() != dev.index.tolist()


def test_rows_of_one_anchor_stay_together():
    train, dev = hold_out(table_of(POSITIVE_PAIRS, 300, repeats=7), kind=POSITIVE_PAIRS, name="x", seed=0)
    assert not set(train["anchor"]) & set(dev["anchor"])
    assert 43 < len(dev) <= 50


def test_every_class_that_is_held_out_has_two_rows_and_leaves_two():
    table = table_of(LABELLED_SENTENCES, 300).assign(label=[*range(100), *range(100), *range(100)])
    with pytest.raises(UserError, match=r"few classes have 4 rows.*--dev"):
        hold_out(table, kind=LABELLED_SENTENCES, name="x", seed=0)
    table["label"] = [row % 60 for row in range(300)]
    train, dev = hold_out(table, kind=LABELLED_SENTENCES, name="x", seed=0)
    assert dev["label"].value_counts().min() >= 2
    assert train["label"].value_counts().min() >= 2


def test_labelled_pairs_keep_their_share_of_matches():
    table = table_of(LABELLED_PAIRS, 1_000).assign(label=[1] * 100 + [0] * 900)
    dev = hold_out(table, kind=LABELLED_PAIRS, name="x", seed=0)[1]
    assert dev["label"].sum() == 5


@pytest.mark.parametrize(
    ("kind", "change", "expected"),
    [
        (SCORED_PAIRS, lambda table: table.head(19), "19 rows are too few"),
        (SCORED_PAIRS, lambda table: table.assign(score=1.0), "the same score"),
        (LABELLED_PAIRS, lambda table: table.assign(label=1), "every label is 1"),
        (POSITIVE_PAIRS, lambda table: table.assign(anchor="a"), "the same anchor"),
        (POSITIVE_PAIRS, lambda table: table.assign(positive=table["anchor"]), "the anchor itself"),
    ],
)
def test_what_cannot_be_measured_is_refused_with_a_way_out(kind, change, expected):
    with pytest.raises(UserError, match=f"x: .*{expected}.*--dev"):
        hold_out(change(table_of(kind, 100)), kind=kind, name="x", seed=0)


def test_a_test_set_is_a_fifth_and_keeps_the_rows_of_a_pair_together():
    table = table_of(SCORED_PAIRS, 400)
    # Every pair once more, turned round and spelt otherwise.
    turned = table.rename(columns={"sentence1": "sentence2", "sentence2": "sentence1"})
    turned["sentence1"] = turned["sentence1"].str.upper() + " "
    table = pd.concat([table, turned], ignore_index=True)
    train, test = hold_out_test(table, name="x", seed=0)
    assert len(test) == 160
    assert sorted([*train.index, *test.index]) == list(table.index)
    assert {row % 400 for row in train.index}.isdisjoint(row % 400 for row in test.index)
    pd.testing.assert_frame_equal(hold_out_test(table, name="x", seed=0)[1], test)
    assert not hold_out_test(table, name="x", seed=1)[1].equals(test)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (table_of(SCORED_PAIRS, 19), "19 rows are too few"),
        (table_of(SCORED_PAIRS, 100).assign(score=0.5), "the same score"),
    ],
)
def test_a_test_set_that_would_tell_nothing_is_refused(table, expected):
    with pytest.raises(UserError, match=rf"x: .*{expected}.*--test"):
        hold_out_test(table, name="x", seed=0)
