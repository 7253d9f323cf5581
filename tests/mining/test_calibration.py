import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from embedtrain.mining.calibration import (
    Calibration,
    calibration_error,
    fit_isotonic,
    reliability,
    score_distance,
)

# Few different values, so that ties are common.
TIED = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0])
PAIRS = st.lists(st.tuples(TIED, TIED), min_size=2, max_size=40)


@pytest.fixture
def random():
    return np.random.default_rng(5)


def overconfident(count):
    """A teacher that exaggerates, and the gold scores."""
    random = np.random.default_rng(count)
    gold = random.random(count)
    return 1 / (1 + np.exp(-(9 * gold - 6.5 + random.normal(0, 0.7, count)))), gold


def naive_isotonic(scores, gold):
    """Value of each distinct score: over all starts the largest of, over all ends, the smallest mean between them."""
    distinct = sorted(set(scores))
    fitted = []
    for place in range(len(distinct)):
        lowest_means = []
        for start in range(place + 1):
            means = []
            for end in range(place, len(distinct)):
                inside = [g for s, g in zip(scores, gold, strict=True) if distinct[start] <= s <= distinct[end]]
                means.append(sum(inside) / len(inside))
            lowest_means.append(min(means))
        fitted.append(max(lowest_means))
    return distinct, fitted


@given(PAIRS)
def test_isotonic_regression_is_the_max_min_of_means(pairs):
    scores, gold = map(list, zip(*pairs, strict=True))
    distinct, expected = naive_isotonic(scores, gold)
    np.testing.assert_allclose(fit_isotonic(scores, gold).apply(distinct), expected, atol=1e-6)


@given(PAIRS)
def test_a_calibration_never_falls_and_stays_on_golds_scale(pairs):
    scores, gold = map(list, zip(*pairs, strict=True))
    calibrated = fit_isotonic(scores, gold).apply(np.linspace(-1, 2, 301))
    assert (np.diff(calibrated) >= 0).all()
    assert calibrated.min() >= np.float32(min(gold)) - 1e-6
    assert calibrated.max() <= np.float32(max(gold)) + 1e-6


def test_between_knots_it_is_a_line_and_outside_it_is_level():
    calibration = fit_isotonic([0.2, 0.4, 0.8], [0.1, 0.5, 0.9])
    np.testing.assert_allclose(calibration.apply([0.3, 0.6]), [0.3, 0.7], atol=1e-6)
    np.testing.assert_allclose(calibration.apply([-5, 0.2, 0.8, 5]), [0.1, 0.1, 0.9, 0.9], atol=1e-6)
    assert calibration.apply([0.3]).dtype == np.float32
    assert calibration.apply(np.zeros((2, 3))).shape == (2, 3)


def test_a_level_stretch_keeps_its_ends_alone():
    # 0.5 and 0.3 are out of order with 0.4: one stretch of three knots, of which the middle is not needed.
    calibration = fit_isotonic([0.1, 0.2, 0.3, 0.4], [0.0, 0.5, 0.4, 0.3])
    np.testing.assert_allclose(calibration.scores, [0.1, 0.2, 0.4])
    np.testing.assert_allclose(calibration.values, [0.0, 0.4, 0.4])


def test_one_score_for_all_becomes_the_mean():
    calibration = fit_isotonic([0.7] * 4, [0.0, 0.2, 0.4, 1.0])
    np.testing.assert_allclose(calibration.apply([0.0, 0.7, 1.0]), [0.4] * 3, atol=1e-6)


def test_logits_come_onto_golds_scale():
    scores, gold = overconfident(800)
    logits = np.log(scores / (1 - scores))
    np.testing.assert_array_equal(fit_isotonic(logits, gold).apply(logits), fit_isotonic(scores, gold).apply(scores))


def test_json_keeps_every_bit():
    scores, gold = overconfident(300)
    calibration = fit_isotonic(scores.astype(np.float32), gold)
    back = Calibration.from_dict(json.loads(json.dumps(calibration.as_dict())))
    np.testing.assert_array_equal(back.scores, calibration.scores)
    np.testing.assert_array_equal(back.values, calibration.values)
    np.testing.assert_array_equal(back.apply(scores), calibration.apply(scores))


@pytest.mark.parametrize(
    ("scores", "values", "message"),
    [
        ([], [], "at least one"),
        ([0.1, 0.2], [0.1], "as many scores"),
        ([0.2, 0.1], [0.1, 0.2], "ascending"),
        ([0.1, 0.1], [0.1, 0.2], "ascending"),
        ([0.1, 0.2], [0.2, 0.1], "never fall"),
        ([0.1, np.nan], [0.1, 0.2], "finite"),
    ],
)
def test_knots_that_make_no_rising_function_are_refused(scores, values, message):
    with pytest.raises(ValueError, match=message):
        Calibration(np.array(scores), np.array(values))


@pytest.mark.parametrize(
    ("scores", "gold", "message"),
    [
        ([0.1], [0.2], "at least 2 pairs"),
        ([0.1, 0.2], [0.2], "one gold score a pair"),
        ([[0.1, 0.2]], [[0.2, 0.3]], "one gold score a pair"),
        ([0.1, np.inf], [0.2, 0.3], "finite"),
        ([0.1, 0.2], [0.2, np.nan], "finite"),
        ([0.1, 0.2], [2.0, 5.0], r"in \[0, 1\], found 2 to 5"),
    ],
)
@pytest.mark.parametrize("function", [fit_isotonic, reliability, calibration_error])
def test_series_that_do_not_fit_are_refused(function, scores, gold, message):
    with pytest.raises(ValueError, match=message):
        function(scores, gold)


def test_bins_hold_as_many_pairs_each_from_the_lowest_up():
    scores, gold = overconfident(1003)
    bins = reliability(scores, gold, bins=10)
    assert sorted({one["count"] for one in bins}) == [100, 101]
    assert sum(one["count"] for one in bins) == 1003
    order = np.argsort(scores)
    start = 0
    for one in bins:
        inside = order[start : start + one["count"]]
        assert one["score"] == pytest.approx(scores[inside].mean())
        assert one["gold"] == pytest.approx(gold[inside].mean())
        assert one["low"] <= one["gold"] <= one["high"]
        start += one["count"]
    assert json.loads(json.dumps(bins, allow_nan=False)) == bins


@given(PAIRS, st.integers(1, 12), st.randoms(use_true_random=False))
def test_equal_scores_share_a_bin_whatever_the_order_of_the_pairs(pairs, bins, shuffling):
    told = reliability(*zip(*pairs, strict=True), bins=bins)
    assert len(told) <= bins
    assert sum(one["count"] for one in told) == len(pairs)
    assert all(before["score"] < after["score"] for before, after in itertools.pairwise(told))
    mixed = list(pairs)
    shuffling.shuffle(mixed)
    for one, other in zip(told, reliability(*zip(*mixed, strict=True), bins=bins), strict=True):
        assert one["count"] == other["count"]
        assert one["gold"] == pytest.approx(other["gold"])


def test_the_interval_of_soft_gold_covers_the_mean_as_often_as_it_says(random):
    covered = 0
    for _ in range(400):
        (one,) = reliability(np.zeros(40), random.beta(2, 3, 40), bins=1)
        covered += one["low"] <= 0.4 <= one["high"]
    assert 0.92 <= covered / 400 <= 0.985


@pytest.mark.parametrize(("ones", "pairs"), [(0, 7), (1, 2), (16, 40), (40, 40), (999, 3000)])
def test_the_interval_of_hard_gold_is_wilsons(ones, pairs):
    (one,) = reliability(np.zeros(pairs), [1.0] * ones + [0.0] * (pairs - ones), bins=1)
    known = binomtest(ones, pairs).proportion_ci(confidence_level=0.95, method="wilson")
    assert (one["low"], one["high"]) == pytest.approx((known.low, known.high), abs=1e-9)


def test_a_single_soft_pair_has_no_interval():
    soft = reliability([0.1, 0.9], [0.2, 0.7], bins=2)
    assert [(one["low"], one["high"]) for one in soft] == [(None, None), (None, None)]


def test_calibration_error_is_the_mean_distance_of_the_bins(random):
    assert calibration_error([0.2, 0.2, 0.8, 0.8], [0.1, 0.3, 0.4, 0.6], bins=2) == pytest.approx(0.15)
    exact = random.random(50)
    assert calibration_error(exact, exact) == pytest.approx(0, abs=1e-12)
    scores, gold = overconfident(2000)
    told = reliability(scores, gold, bins=7)
    expected = sum(one["count"] * abs(one["score"] - one["gold"]) for one in told) / 2000
    assert calibration_error(scores, gold, bins=7) == pytest.approx(expected)
    with pytest.raises(ValueError, match="bins must be at least 1"):
        calibration_error(scores, gold, bins=0)


def test_distance_of_two_sets_of_scores(random):
    """Of sets of one size it is the mean distance of the sorted scores."""
    silver, gold = random.beta(4, 2, 500), random.beta(2, 2, 500)
    assert score_distance(silver, gold) == pytest.approx(np.abs(np.sort(silver) - np.sort(gold)).mean())
    assert score_distance(silver, silver[::-1]) == pytest.approx(0)
    assert score_distance([0.0], [1.0, 1.0]) == 1
    assert score_distance([0.0, 1.0], [0.0], silver_weights=[3, 1]) == pytest.approx(0.25)
    for sets in (([], [0.1]), ([0.1], []), ([np.nan], [0.1])):
        with pytest.raises(ValueError, match="finite scores on both sides"):
            score_distance(*sets)
