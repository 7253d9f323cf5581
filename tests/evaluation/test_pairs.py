"""Measures of labelled pairs, against their definitions written out, scikit-learn, and resamples drawn one by one."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from embedtrain.errors import UserError
from embedtrain.evaluation import (
    average_precision,
    best_accuracy,
    best_f1,
    cosine_of_pairs,
    evaluate_pairs,
    score_pairs,
)
from embedtrain.evaluation.pairs import resampled_average_precision

PAIRS = st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=1, max_size=30)


def split(pairs):
    return np.array([label for label, _ in pairs]), np.array([float(score) for _, score in pairs])


@given(PAIRS)
def test_average_precision_is_the_sum_over_thresholds(pairs):
    labels, scores = split(pairs)
    expected, recall_before = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        taken = scores >= threshold
        hits = (labels & taken).sum()
        recall = hits / max(1, labels.sum())
        expected += (recall - recall_before) * hits / taken.sum()
        recall_before = recall
    assert average_precision(labels, scores) == pytest.approx(expected)
    if labels.any():
        assert average_precision(labels, scores) == pytest.approx(metrics.average_precision_score(labels, scores))


def test_average_precision_of_a_perfect_order_is_one_and_of_equal_scores_the_share():
    assert average_precision([1, 1, 0], [0.9, 0.8, 0.1]) == 1
    assert average_precision([1, 0, 0, 0], np.zeros(4)) == 0.25


@given(PAIRS)
def test_best_f1_is_the_highest_over_every_threshold_and_its_threshold_reaches_it(pairs):
    labels, scores = split(pairs)
    f1, threshold = best_f1(labels, scores)
    every = [metrics.f1_score(labels, scores >= cut, zero_division=0.0) for cut in set(scores)]
    assert f1 == pytest.approx(max(every))
    assert metrics.f1_score(labels, scores >= threshold, zero_division=0.0) == pytest.approx(f1)


@given(PAIRS)
def test_best_accuracy_is_the_highest_over_every_threshold_and_its_threshold_reaches_it(pairs):
    labels, scores = split(pairs)
    accuracy, threshold = best_accuracy(labels, scores)
    every = [np.mean((scores >= cut) == labels) for cut in {*scores, np.inf}]
    assert accuracy == pytest.approx(max(every))
    assert np.mean((scores >= threshold) == labels) == pytest.approx(accuracy)


def test_a_threshold_lies_half_way_between_the_scores_it_parts():
    assert best_f1([1, 1, 0, 0], [0.9, 0.8, 0.4, 0.1]) == (1.0, pytest.approx(0.6))
    assert best_accuracy([1, 1, 0, 0], [0.9, 0.8, 0.4, 0.1]) == (1.0, pytest.approx(0.6))
    assert best_f1([1, 1], [0.9, 0.8]) == (1.0, 0.8)


def test_a_threshold_parts_even_neighbouring_floats():
    low = 0.7
    high = np.nextafter(low, 1)
    f1, threshold = best_f1([0, 1], [low, high])
    assert (f1, low < threshold <= high) == (1.0, True)


def test_it_may_be_best_to_take_no_pair_for_a_match():
    accuracy, threshold = best_accuracy([0, 0, 0, 1], [0.9, 0.8, 0.7, 0.1])
    assert (accuracy, threshold > 0.9) == (0.75, True)


def test_nothing_matches_nothing_is_won():
    assert average_precision([0, 0], [0.1, 0.2]) == 0.0
    assert best_f1([0, 0], [0.1, 0.2])[0] == 0.0


def some_pairs(seed, rows=60):
    random = np.random.default_rng(seed)
    labels = random.random(rows) < 0.4
    return labels, np.round(random.normal(size=rows) + labels, 1)


def test_every_resample_of_average_precision_equals_the_drawn_pairs_own():
    labels, scores = some_pairs(0, rows=12)
    generator = np.random.default_rng(3)
    resampled = resampled_average_precision(labels, scores, samples=100, seed=3)
    for value in resampled:
        drawn = generator.integers(0, 12, size=12)
        assert value == pytest.approx(average_precision(labels[drawn], scores[drawn]))


def test_intervals_keep_the_threshold_in_every_resample():
    labels, scores = some_pairs(1)
    found = score_pairs(labels, scores, samples=200, seed=7)
    generator = np.random.default_rng(7)
    f1, accuracy, ranked = [], [], []
    for _ in range(200):
        drawn = generator.integers(0, 60, size=60)
        f1.append(metrics.f1_score(labels[drawn], scores[drawn] >= found["f1_threshold"]))
        accuracy.append(np.mean(labels[drawn] == (scores[drawn] >= found["accuracy_threshold"])))
        ranked.append(metrics.average_precision_score(labels[drawn], scores[drawn]))
    for name, resampled in (("f1_ci95", f1), ("accuracy_ci95", accuracy), ("ci95", ranked)):
        assert found[name] == pytest.approx(np.quantile(resampled, [0.025, 0.975]).tolist())


def test_scores_are_plain_numbers_with_precision_and_recall_at_the_threshold():
    labels, scores = some_pairs(2)
    found = score_pairs(labels, scores, samples=50, seed=0)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    taken = scores >= found["f1_threshold"]
    assert found["precision"] == pytest.approx(metrics.precision_score(labels, taken))
    assert found["recall"] == pytest.approx(metrics.recall_score(labels, taken))
    assert found["average_precision"] == average_precision(labels, scores)
    assert (found["f1"], found["f1_threshold"]) == best_f1(labels, scores)
    assert (found["accuracy"], found["accuracy_threshold"]) == best_accuracy(labels, scores)
    assert (found["pairs"], found["matches"]) == (60, labels.sum())


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([], [], "at least 1"),
        ([1, 0], [0.5], "as many labels as scores"),
        ([1, 2], [0.5, 0.1], "labels must be 0 or 1, found .*2.* in row 1"),
        ([1, 0], [0.5, np.nan], "scores must be finite, found nan in row 1"),
    ],
)
def test_what_cannot_be_scored_is_refused(labels, scores, message):
    for measure in (average_precision, best_f1, best_accuracy, score_pairs):
        with pytest.raises(ValueError, match=message):
            measure(labels, scores)


@pytest.fixture(scope="module")
def model(tiny_model):
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(tiny_model), device="cpu")


TABLE = pd.DataFrame(
    {
        "sentence1": ["reset my password", "cancel the order", "重置密码", "where is it?", "refund"],
        "sentence2": ["reset the password", "how do i log in?", "忘记密码", "log in", "refund?"],
        "label": [1, 0, 1, 0, 1],
    }
)


def test_a_model_is_measured_by_its_cosines(model):
    found = evaluate_pairs(model, TABLE, samples=50, seed=3)
    cosines = cosine_of_pairs(model, TABLE["sentence1"].tolist(), TABLE["sentence2"].tolist())
    assert found == score_pairs(TABLE["label"], cosines, samples=50, seed=3)
    assert found["average_precision"] == pytest.approx(metrics.average_precision_score(TABLE["label"], cosines))


@pytest.mark.parametrize(
    ("table", "message"),
    [(TABLE.assign(label=1), "every label is 1"), (TABLE.head(0), "there are no pairs")],
)
def test_pairs_of_one_label_are_refused_before_anything_is_encoded(table, message):
    with pytest.raises(UserError, match=message):
        evaluate_pairs(None, table)
