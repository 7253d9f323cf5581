"""Drawing items with replacement, and the confidence intervals that come of it."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

# Resamples are handled in blocks of about this many numbers, so that memory stays flat however many items there are.
BLOCK_NUMBERS = 2**18


@dataclass(frozen=True)
class Interval:
    """An estimate and its confidence interval.

    Attributes:
        value: The estimate on all items.
        low: Lower end of the interval.
        high: Upper end of the interval.
        confidence: Share of repeated experiments whose interval is meant to cover the truth, such as 0.95.
    """

    value: float
    low: float
    high: float
    confidence: float


def resample_counts(items: int, *, samples: int, seed: int) -> Iterator[Floats]:
    """How often each item was drawn in each resample, (resamples of the block, items), block after block."""
    generator = np.random.default_rng(seed)
    block = max(1, BLOCK_NUMBERS // items)
    for start in range(0, samples, block):
        rows = min(block, samples - start)
        drawn = generator.integers(0, items, size=(rows, items))
        flat = (drawn + np.arange(rows)[:, None] * items).ravel()
        yield np.bincount(flat, minlength=rows * items).reshape(rows, items).astype(np.float64)


def percentile_interval(value: float, resampled: Floats, *, confidence: float = 0.95) -> Interval:
    """The interval between the percentiles of an estimate's resamples, (samples,)."""
    low, high = np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(value=value, low=float(low), high=float(high), confidence=confidence)


def bootstrap_means(
    values: ArrayLike, *, samples: int = 1000, confidence: float = 0.95, seed: int = 0
) -> list[Interval]:
    """Percentile bootstrap intervals of the means of several series over the same items, such as queries.

    Every series is drawn with the same items. The interval of a difference between two means is that of the mean of the
    items' differences, so ``a - b`` as a series makes it a paired comparison. The same seed gives the same numbers.

    Args:
        values: What was measured, (series, items).
        samples: Number of resamples.
        confidence: Share in (0, 1) that the intervals are meant to cover.
        seed: Seed of the resampling.

    Returns:
        An interval for each series.

    Raises:
        ValueError: If there are no items, a value is not finite, or an option is wrong.

    Source: Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 13 (percentile interval).
    """
    series = np.asarray(values, dtype=np.float64)
    if series.ndim != 2 or series.shape[1] == 0 or not np.isfinite(series).all():
        raise ValueError(f"expected finite values (series, items) of at least 1 item, found the shape {series.shape}")
    check_resampling(samples=samples, confidence=confidence)
    items = series.shape[1]
    counts = resample_counts(items, samples=samples, seed=seed)
    means = np.concatenate([drawn @ series.T for drawn in counts]) / items
    return [
        percentile_interval(float(one.mean()), resampled, confidence=confidence)
        for one, resampled in zip(series, means.T, strict=True)
    ]


def check_resampling(*, samples: int, confidence: float) -> None:
    """Raise ValueError unless there is a resample to draw and the confidence lies between 0 and 1."""
    if samples < 1:
        raise ValueError(f"samples must be at least 1, found {samples}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, found {confidence}")
