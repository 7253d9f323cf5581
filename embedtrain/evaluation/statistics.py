"""Correlations with bootstrap confidence intervals, and the interval of a difference between two models."""

from typing import get_args

import numpy as np
from numpy.typing import ArrayLike

from embedtrain.errors import did_you_mean
from embedtrain.evaluation.correlations import Method, correlation, resampled_correlations
from embedtrain.evaluation.resampling import Floats, Interval, check_resampling, percentile_interval


def pearson(a: ArrayLike, b: ArrayLike) -> float:
    """Pearson's correlation of two equally long series of at least 3 finite numbers.

    Returns:
        A number in [-1, 1]; 0.0 when a series is constant, because a constant prediction says nothing about the other.

    Raises:
        ValueError: If lengths differ, there are fewer than 3 numbers, or one is not finite.
    """
    return correlation(*_checked(a=a, b=b), method="pearson")


def spearman(a: ArrayLike, b: ArrayLike) -> float:
    """Spearman's rank correlation, ties given their average rank, of two equally long series of 3 or more numbers.

    Returns:
        A number in [-1, 1]; 0.0 when a series is constant, because a constant prediction ranks nothing.

    Raises:
        ValueError: If lengths differ, there are fewer than 3 numbers, or one is not finite.
    """
    return correlation(*_checked(a=a, b=b), method="spearman")


def bootstrap_correlation(
    prediction: ArrayLike,
    gold: ArrayLike,
    *,
    method: Method = "spearman",
    samples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of a correlation: pairs are drawn with replacement, as many as there are.

    Ranks are taken anew inside each resample. A resample in which a series is constant (likely only with a handful of
    pairs) counts as correlation 0.0. The same seed gives the same numbers.

    Args:
        prediction: What the model says of each pair, (pairs,).
        gold: What people say of each pair, (pairs,).
        method: ``"spearman"`` or ``"pearson"``.
        samples: Number of resamples.
        confidence: Share in (0, 1) that the interval is meant to cover.
        seed: Seed of the resampling.

    Raises:
        ValueError: If lengths differ, there are fewer than 3 pairs, a number is not finite, or an option is wrong.

    Source: Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 13 (percentile interval).
    """
    predicted, wanted = _checked(prediction=prediction, gold=gold)
    _check_options(method=method, samples=samples, confidence=confidence)
    value = correlation(predicted, wanted, method=method)
    resampled = resampled_correlations([predicted], wanted, method=method, samples=samples, seed=seed)
    return percentile_interval(value, resampled[0], confidence=confidence)


def paired_bootstrap_difference(
    prediction_a: ArrayLike,
    prediction_b: ArrayLike,
    gold: ArrayLike,
    *,
    method: Method = "spearman",
    samples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of ``correlation(a, gold) - correlation(b, gold)``, both on the same resamples.

    Drawing the same pairs for both models takes out what makes a test set hard or easy for the two alike, so the
    interval is narrower than two separate ones suggest. An interval that excludes 0 speaks for a real difference on
    this kind of pairs; it knows nothing of the variation between training seeds.

    Args:
        prediction_a: What the first model says of each pair, (pairs,).
        prediction_b: What the second model says of each pair, (pairs,).
        gold: What people say of each pair, (pairs,).
        method: ``"spearman"`` or ``"pearson"``.
        samples: Number of resamples.
        confidence: Share in (0, 1) that the interval is meant to cover.
        seed: Seed of the resampling.

    Raises:
        ValueError: If lengths differ, there are fewer than 3 pairs, a number is not finite, or an option is wrong.

    Source: Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 13 (percentile interval).
    """
    first, second, wanted = _checked(prediction_a=prediction_a, prediction_b=prediction_b, gold=gold)
    _check_options(method=method, samples=samples, confidence=confidence)
    value = correlation(first, wanted, method=method) - correlation(second, wanted, method=method)
    resampled = resampled_correlations([first, second], wanted, method=method, samples=samples, seed=seed)
    return percentile_interval(value, resampled[0] - resampled[1], confidence=confidence)


def paired_bootstrap_over_seeds(
    predictions_a: ArrayLike,
    predictions_b: ArrayLike,
    gold: ArrayLike,
    *,
    method: Method = "spearman",
    samples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of the mean difference between two ways of training, each run with several seeds.

    Each resample draws pairs with replacement, the same for every run, and seeds with replacement, the same for both
    ways: what is said holds for other pairs of this kind and for other seeds. With few seeds their share of the spread
    is told too small, by a factor of (seeds - 1) / seeds of its variance.

    Args:
        predictions_a: What the first way's models say, (seeds, pairs).
        predictions_b: What the second way's models say, (seeds, pairs); row i has the seed of row i of the first.
        gold: What people say of each pair, (pairs,).
        method: ``"spearman"`` or ``"pearson"``.
        samples: Number of resamples.
        confidence: Share in (0, 1) that the interval is meant to cover.
        seed: Seed of the resampling.

    Raises:
        ValueError: If shapes do not fit, there are fewer than 2 seeds or 3 pairs, a number is not finite, or an option
            is wrong.

    Source: Davison & Hinkley 1997, Bootstrap Methods and their Application, section 3.8 (hierarchical data).
    """
    first, second = (np.asarray(values, dtype=np.float64) for values in (predictions_a, predictions_b))
    if first.ndim != 2 or first.shape != second.shape or len(first) < 2:
        raise ValueError(
            f"expected two arrays (seeds, pairs) of one shape with 2 seeds or more, found {first.shape}, {second.shape}"
        )
    named = {
        f"predictions_{way}[{run}]": row for way, rows in (("a", first), ("b", second)) for run, row in enumerate(rows)
    }
    *runs, wanted = _checked(**named, gold=gold)
    _check_options(method=method, samples=samples, confidence=confidence)
    seeds = len(first)
    values = np.array([correlation(run, wanted, method=method) for run in runs])
    resampled = resampled_correlations(runs, wanted, method=method, samples=samples, seed=seed)
    differences = resampled[:seeds] - resampled[seeds:]
    drawn = np.random.default_rng([seed, seeds]).integers(0, seeds, size=(seeds, samples))
    means = np.take_along_axis(differences, drawn, axis=0).mean(axis=0)
    return percentile_interval(float((values[:seeds] - values[seeds:]).mean()), means, confidence=confidence)


def _checked(**series: ArrayLike) -> list[Floats]:
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in series.items()}
    shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
    if any(array.ndim != 1 for array in arrays.values()) or len({len(array) for array in arrays.values()}) > 1:
        raise ValueError(f"a correlation needs one-dimensional series of equal length, found {shapes}")
    for name, array in arrays.items():
        if len(array) < 3:
            raise ValueError(f"a correlation needs at least 3 pairs, found {len(array)}")
        broken = np.flatnonzero(~np.isfinite(array))
        if len(broken):
            raise ValueError(
                f"{name} must be finite, found {array[broken[0]]} in row {broken[0]} "
                f"({len(broken)} of {len(array)} rows)"
            )
    return list(arrays.values())


def _check_options(*, method: str, samples: int, confidence: float) -> None:
    known = get_args(Method)
    if method not in known:
        raise ValueError(f"method must be one of {', '.join(known)}, found '{method}'{did_you_mean(method, known)}")
    check_resampling(samples=samples, confidence=confidence)
