import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from embedtrain.evaluation import (
    Interval,
    bootstrap_correlation,
    correlations,
    paired_bootstrap_difference,
    paired_bootstrap_over_seeds,
    pearson,
    resampling,
    spearman,
)

OURS = {"spearman": spearman, "pearson": pearson}


def scipy_correlation(a, b, method):
    """What scipy says, with its NaN for a constant series read as 0."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.ConstantInputWarning)
        result = stats.spearmanr(a, b) if method == "spearman" else stats.pearsonr(a, b)
    return 0.0 if math.isnan(result.statistic) else float(result.statistic)


def tied_pairs(pairs, seed, levels=6):
    generator = np.random.default_rng(seed)
    gold = generator.integers(0, levels, pairs) / 5
    return np.round(gold + generator.normal(size=pairs), 1), gold


@pytest.mark.parametrize("method", ["spearman", "pearson"])
@settings(max_examples=40, deadline=None)
@given(
    pairs=st.lists(st.tuples(st.integers(-4, 4), st.floats(-100, 100, width=16)), min_size=3, max_size=30),
)
def test_correlations_equal_scipy(method, pairs):
    a, b = np.array(pairs, dtype=float).T
    assert OURS[method](a, b) == pytest.approx(scipy_correlation(a, b, method), abs=1e-9)


@pytest.mark.parametrize("method", ["spearman", "pearson"])
@pytest.mark.parametrize("pairs", [3, 8, 200])
def test_every_resample_equals_scipy(method, pairs):
    prediction, gold = tied_pairs(pairs, seed=pairs)
    resampled = correlations.resampled_correlations([prediction], gold, method=method, samples=100, seed=7)[0]
    drawn = np.random.default_rng(7).integers(0, pairs, size=(100, pairs))
    expected = [scipy_correlation(prediction[rows], gold[rows], method) for rows in drawn]
    np.testing.assert_allclose(resampled, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", ["spearman", "pearson"])
def test_interval_holds_the_quantiles_of_the_resamples(method):
    prediction, gold = tied_pairs(60, seed=1)
    interval = bootstrap_correlation(prediction, gold, method=method, samples=300, confidence=0.9, seed=5)
    drawn = np.random.default_rng(5).integers(0, 60, size=(300, 60))
    low, high = np.quantile([scipy_correlation(prediction[r], gold[r], method) for r in drawn], [0.05, 0.95])
    value = scipy_correlation(prediction, gold, method)
    assert (interval.value, interval.low, interval.high) == pytest.approx((value, low, high), abs=1e-12)
    assert interval.confidence == 0.9


def test_difference_takes_the_same_resamples_for_both():
    generator = np.random.default_rng(0)
    gold = generator.normal(size=80)
    a, b = gold + 0.5 * generator.normal(size=80), gold + generator.normal(size=80)
    interval = paired_bootstrap_difference(a, b, gold, samples=200, seed=3)
    drawn = np.random.default_rng(3).integers(0, 80, size=(200, 80))
    expected = [stats.spearmanr(a[r], gold[r])[0] - stats.spearmanr(b[r], gold[r])[0] for r in drawn]
    assert interval.value == pytest.approx(spearman(a, gold) - spearman(b, gold))
    assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(expected, [0.025, 0.975])), abs=1e-12)


def test_a_model_does_not_differ_from_itself():
    prediction, gold = tied_pairs(50, seed=2)
    assert paired_bootstrap_difference(prediction, prediction, gold) == Interval(0.0, 0.0, 0.0, 0.95)


def noisy_runs(gold, *, noise, seeds=3, seed=0):
    """What models of several training seeds might say of the same pairs."""
    generator = np.random.default_rng(seed)
    return np.stack([gold + noise * generator.standard_normal(len(gold)) for _ in range(seeds)])


def test_over_seeds_equals_a_resampling_written_out():
    gold = np.random.default_rng(1).standard_normal(60)
    better, worse = noisy_runs(gold, noise=0.5), noisy_runs(gold, noise=1.0, seed=5)
    found = paired_bootstrap_over_seeds(better, worse, gold, samples=200, seed=3)
    drawn_seeds = np.random.default_rng([3, 3]).integers(0, 3, size=(3, 200))
    drawn_pairs = np.random.default_rng(3).integers(0, 60, size=(200, 60))
    means = [
        np.mean(
            [
                scipy_correlation(better[run][pairs], gold[pairs], "spearman")
                - scipy_correlation(worse[run][pairs], gold[pairs], "spearman")
                for run in runs
            ]
        )
        for runs, pairs in zip(drawn_seeds.T, drawn_pairs, strict=True)
    ]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))
    each = [spearman(a, gold) - spearman(b, gold) for a, b in zip(better, worse, strict=True)]
    assert found.value == pytest.approx(np.mean(each))


def test_over_seeds_is_wider_when_the_seeds_disagree():
    gold = np.random.default_rng(1).standard_normal(400)
    worse = noisy_runs(gold, noise=1.0)
    alike = paired_bootstrap_over_seeds(noisy_runs(gold, noise=0.8, seed=7), worse, gold)
    apart = np.stack([noisy_runs(gold, noise=level, seeds=1, seed=7)[0] for level in (0.4, 0.8, 1.2)])
    unlike = paired_bootstrap_over_seeds(apart, worse, gold)
    assert unlike.high - unlike.low > 2 * (alike.high - alike.low)
    same = paired_bootstrap_over_seeds(worse, worse, gold)
    assert (same.value, same.low, same.high) == (0, 0, 0)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (np.zeros((1, 5)), np.zeros((1, 5)), "2 seeds or more"),
        (np.zeros((2, 5)), np.zeros((3, 5)), r"\(2, 5\), \(3, 5\)"),
        (np.zeros(5), np.zeros(5), "seeds, pairs"),
        (np.full((2, 5), np.nan), np.zeros((2, 5)), r"predictions_a\[0\] must be finite"),
        (np.zeros((2, 4)), np.zeros((2, 4)), "equal length"),
    ],
)
def test_over_seeds_refuses_what_does_not_fit(first, second, message):
    with pytest.raises(ValueError, match=message):
        paired_bootstrap_over_seeds(first, second, np.arange(5.0))


def test_same_seed_same_numbers_whatever_the_block_size(monkeypatch):
    prediction, gold = tied_pairs(50, seed=3)
    once = bootstrap_correlation(prediction, gold, samples=101, seed=4)
    monkeypatch.setattr(resampling, "BLOCK_NUMBERS", 7 * 50)
    assert bootstrap_correlation(prediction, gold, samples=101, seed=4) == once
    assert bootstrap_correlation(prediction, gold, samples=101, seed=5) != once


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    generator = np.random.default_rng(0)
    rho, repeats, covered = 0.8, 200, 0
    truth = 6 / math.pi * math.asin(rho / 2)
    for repeat in range(repeats):
        a, noise = generator.normal(size=(2, 150))
        b = rho * a + math.sqrt(1 - rho**2) * noise
        interval = bootstrap_correlation(a, b, samples=300, seed=repeat)
        covered += interval.low <= truth <= interval.high
    # Four standard errors of a share of 0.95 in 200 repeats are 0.06.
    assert 0.89 <= covered / repeats < 1.0


@pytest.mark.parametrize("method", ["spearman", "pearson"])
def test_a_constant_series_ranks_nothing(method):
    assert OURS[method]([0.1] * 7, range(7)) == 0.0
    assert OURS[method](range(7), [0.1] * 7) == 0.0
    assert bootstrap_correlation([0.1] * 7, range(7), method=method) == Interval(0.0, 0.0, 0.0, 0.95)


@pytest.mark.parametrize("method", ["spearman", "pearson"])
def test_a_resample_of_one_pair_drawn_again_and_again_ranks_nothing(method):
    series = np.array([0.1, 0.7, 1.0])  # the mean of three times 0.1 is not 0.1 in floats
    resampled = correlations.resampled_correlations([series], series, method=method, samples=200, seed=0)[0]
    drawn = np.random.default_rng(0).integers(0, 3, size=(200, 3))
    same = (drawn == drawn[:, :1]).all(axis=1)
    assert same.any()
    np.testing.assert_array_equal(resampled[same], 0.0)
    np.testing.assert_allclose(resampled[~same], 1.0)


def test_numbers_near_the_limits_of_floats_keep_their_correlation():
    assert pearson([0.0, 1e-300, 3e-300], [1e300, 2e300, 4e300]) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("prediction", "gold", "options", "message"),
    [
        ([1, 2, 3], [1, 2], {}, r"equal length, found prediction \(3,\), gold \(2,\)"),
        ([[1], [2], [3]], [1, 2, 3], {}, r"one-dimensional .*found prediction \(3, 1\), gold \(3,\)"),
        ([1, 2], [1, 2], {}, "at least 3 pairs, found 2"),
        ([1, 2, math.nan], [1, 2, 3], {}, r"prediction must be finite, found nan in row 2 \(1 of 3 rows\)"),
        ([1, 2, 3], [math.inf, 2, 3], {}, "gold must be finite, found inf in row 0"),
        ([1, 2, 3], [1, 2, 3], {"method": "spearmen"}, "found 'spearmen'; did you mean 'spearman'?"),
        ([1, 2, 3], [1, 2, 3], {"samples": 0}, "samples must be at least 1, found 0"),
        ([1, 2, 3], [1, 2, 3], {"confidence": 95}, "confidence must lie between 0 and 1, found 95"),
    ],
)
def test_wrong_use_is_answered_with_what_was_found(prediction, gold, options, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_correlation(prediction, gold, **options)
