"""Paired differences, their p-values and Holm's correction, against plain loops."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedtrain.evaluation.comparing import Estimate, compare_models, holm, mean_estimate, p_value
from embedtrain.evaluation.resampling import bootstrap_means


def naive_holm(p_values):
    """The smallest level at which step-down rejects each hypothesis."""
    adjusted = [0.0] * len(p_values)
    so_far = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda at: p_values[at])):
        so_far = max(so_far, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = so_far
    return adjusted


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_is_the_step_down_procedure(p_values):
    assert holm(p_values) == pytest.approx(naive_holm(p_values))


def test_holm_as_in_a_textbook():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@pytest.mark.parametrize(
    ("resampled", "expected"),
    [
        ([1.0] * 99, 2 / 100),
        ([1.0] * 98 + [-1.0], 4 / 100),
        ([1.0] * 50 + [-1.0] * 49, 1.0),
        ([0.0] * 99, 1.0),
        ([-1.0] * 97 + [0.5, 0.0], 6 / 100),
    ],
)
def test_a_p_value_counts_the_resamples_on_the_other_side(resampled, expected):
    assert p_value(Estimate(0.1, np.array(resampled))) == pytest.approx(expected)


def test_p_values_are_even_where_there_is_no_difference():
    """Without a difference a p-value lies below 0.1 in a tenth of all experiments."""
    generator = np.random.default_rng(1)
    found = [p_value(mean_estimate(generator.normal(size=200), samples=400, seed=seed)) for seed in range(1000)]
    for level in (0.1, 0.5):
        assert np.mean(np.array(found) <= level) == pytest.approx(level, abs=0.04)


def test_a_mean_has_the_interval_of_its_bootstrap():
    values = np.random.default_rng(1).random(40)
    estimate = mean_estimate(values, samples=300, seed=5)
    expected = bootstrap_means(values[None], samples=300, seed=5)[0]
    assert estimate.interval().value == pytest.approx(expected.value)
    assert estimate.interval().low == pytest.approx(expected.low)
    assert estimate.interval().high == pytest.approx(expected.high)


def test_models_are_compared_on_the_same_items_and_corrected_over_the_sets():
    generator = np.random.default_rng(2)
    queries = {"easy": generator.random(80), "hard": generator.random(80)}
    better = {"easy": 0.3, "hard": 0.0}
    estimates = {
        "a": {name: mean_estimate(values + better[name], samples=400, seed=0) for name, values in queries.items()},
        "b": {name: mean_estimate(values, samples=400, seed=0) for name, values in queries.items()},
    }
    easy, hard = compare_models(estimates)
    assert (easy.first, easy.second, easy.data, hard.data) == ("a", "b", "easy", "hard")
    # What makes a query hard is the same for both, so the difference has no spread.
    assert easy.ci95 == pytest.approx((0.3, 0.3))
    assert easy.p_value == pytest.approx(2 / 401)
    assert easy.p_adjusted == pytest.approx(4 / 401)
    assert (easy.is_significant, hard.is_significant) == (True, False)
    assert (hard.difference, hard.p_adjusted) == (0.0, 1.0)
    assert json.loads(json.dumps(easy.as_dict()))["ci95"] == list(easy.ci95)


def test_only_chosen_pairs_and_shared_sets_are_compared():
    one = mean_estimate([0.0, 1.0], samples=50, seed=0)
    estimates = {"a": {"x": one}, "b": {"x": one, "y": one}, "c": {"y": one}}
    assert [(d.first, d.second, d.data) for d in compare_models(estimates)] == [("a", "b", "x"), ("b", "c", "y")]
    assert [(d.first, d.second) for d in compare_models(estimates, [("c", "b")])] == [("c", "b")]
    assert compare_models({"a": {"x": one}}) == []


def test_estimates_of_other_numbers_of_resamples_are_not_compared():
    with pytest.raises(ValueError, match="differ: 50 and 60"):
        mean_estimate([0, 1], samples=50, seed=0).minus(mean_estimate([0, 1], samples=60, seed=0))
