"""Intervals of means, against resamples drawn one by one."""

import numpy as np
import pytest

from embedtrain.evaluation import resampling
from embedtrain.evaluation.resampling import bootstrap_means, resample_counts


def drawn_one_by_one(items, samples, seed):
    generator = np.random.default_rng(seed)
    return [generator.integers(0, items, size=items) for _ in range(samples)]


def test_intervals_are_the_quantiles_of_the_means_of_drawn_items():
    values = np.random.default_rng(0).normal(size=(3, 37))
    intervals = bootstrap_means(values, samples=200, confidence=0.9, seed=5)
    for series, interval in zip(values, intervals, strict=True):
        means = [series[drawn].mean() for drawn in drawn_one_by_one(37, 200, 5)]
        assert interval.value == pytest.approx(series.mean())
        assert [interval.low, interval.high] == pytest.approx(np.quantile(means, [0.05, 0.95]))
        assert interval.confidence == 0.9


def test_a_difference_of_means_is_the_mean_of_differences_on_the_same_resamples():
    a, b = np.random.default_rng(1).normal(size=(2, 25))
    means = [a[drawn].mean() - b[drawn].mean() for drawn in drawn_one_by_one(25, 100, 2)]
    interval = bootstrap_means((a - b)[None], samples=100, seed=2)[0]
    assert [interval.low, interval.high] == pytest.approx(np.quantile(means, [0.025, 0.975]))


def test_counts_are_the_same_in_blocks_of_any_size(monkeypatch):
    whole = np.concatenate(list(resample_counts(10, samples=23, seed=0)))
    monkeypatch.setattr(resampling, "BLOCK_NUMBERS", 40)
    blocks = list(resample_counts(10, samples=23, seed=0))
    assert [len(block) for block in blocks] == [4, 4, 4, 4, 4, 3]
    np.testing.assert_array_equal(np.concatenate(blocks), whole)
    expected = [np.bincount(drawn, minlength=10) for drawn in drawn_one_by_one(10, 23, 0)]
    np.testing.assert_array_equal(whole, expected)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (np.zeros((2, 0)), {}, "at least 1 item"),
        ([1.0, 2.0], {}, r"\(series, items\)"),
        ([[1.0, np.nan]], {}, "finite"),
        ([[1.0, 2.0]], {"samples": 0}, "samples must be at least 1"),
        ([[1.0, 2.0]], {"confidence": 1.0}, "between 0 and 1"),
    ],
)
def test_what_has_no_interval_is_refused(values, options, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_means(values, **options)
