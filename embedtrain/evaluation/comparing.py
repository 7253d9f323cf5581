"""Whether one model is really better than another: paired differences on the same items, corrected for many tests."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from embedtrain.evaluation.resampling import Floats, Interval, percentile_interval, resample_counts


@dataclass(frozen=True)
class Estimate:
    """A score of one model on one set of items, and the same score on resamples of the items.

    Two estimates can be compared where the same items were drawn in each resample: same items, samples and seed.

    Attributes:
        value: The score on all items.
        resampled: The score on each resample, (samples,).
    """

    value: float
    resampled: Floats

    def interval(self, *, confidence: float = 0.95) -> Interval:
        """The percentile interval."""
        return percentile_interval(self.value, self.resampled, confidence=confidence)

    def minus(self, other: "Estimate") -> "Estimate":
        """The paired difference.

        Raises:
            ValueError: The numbers of resamples differ.
        """
        if self.resampled.shape != other.resampled.shape:
            raise ValueError(f"the numbers of resamples differ: {len(self.resampled)} and {len(other.resampled)}")
        return Estimate(self.value - other.value, self.resampled - other.resampled)


@dataclass(frozen=True)
class Difference:
    """How much better the first model is than the second on one set of items.

    Attributes:
        first: The first model.
        second: The second model.
        data: The set of items.
        difference: Score of the first minus that of the second, a fraction.
        ci95: Its 95 % interval, paired.
        p_value: See ``p_value``.
        p_adjusted: The same after Holm's correction over the sets of items.
    """

    first: str
    second: str
    data: str
    difference: float
    ci95: tuple[float, float]
    p_value: float
    p_adjusted: float

    @property
    def is_significant(self) -> bool:
        """Whether the difference stands at 5 %, corrected."""
        return self.p_adjusted <= 0.05

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "ci95": list(self.ci95)}


def mean_estimate(values: ArrayLike, *, samples: int, seed: int) -> Estimate:
    """The mean of a number an item, such as a metric of each query.

    Args:
        values: (items,).
        samples: Number of resamples.
        seed: Seed of the resampling.
    """
    items = np.asarray(values, dtype=np.float64)
    counts = resample_counts(len(items), samples=samples, seed=seed)
    return Estimate(float(items.mean()), np.concatenate([drawn @ items for drawn in counts]) / len(items))


def p_value(difference: Estimate) -> float:
    """Two-sided bootstrap p-value of a difference of 0: twice the smaller share of resamples on one side of it.

    One is added to count and number of resamples, so that no number of resamples gives 0.

    Source: Davison & Hinkley 1997, Bootstrap Methods and their Application, section 4.4 (inverting percentile
    intervals).
    """
    samples = len(difference.resampled)
    smaller = min((difference.resampled <= 0).sum(), (difference.resampled >= 0).sum())
    return float(min(1.0, 2 * (smaller + 1) / (samples + 1)))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number, whatever the tests have to do with each other.

    Sorted from the smallest, the i-th of m is multiplied by m - i + 1, and none is smaller than one before it.

    Source: Holm 1979, A simple sequentially rejective multiple test procedure.
    """
    order = np.argsort(p_values, kind="stable")
    factors = len(p_values) - np.arange(len(p_values))
    stepped = np.maximum.accumulate(np.asarray(p_values, dtype=np.float64)[order] * factors)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(stepped, 1.0)
    return [float(value) for value in adjusted]


def compare_models(
    estimates: Mapping[str, Mapping[str, Estimate]], pairs: Iterable[tuple[str, str]] | None = None
) -> list[Difference]:
    """Paired differences between models on every set of items that both were measured on.

    Holm's correction is over the sets of items, for each pair of models by itself.

    Args:
        estimates: By model, then by set of items.
        pairs: Which models to compare; by default each with each, in their order.
    """
    found = []
    for first, second in combinations(estimates, 2) if pairs is None else pairs:
        shared = [data for data in estimates[first] if data in estimates[second]]
        apart = [estimates[first][data].minus(estimates[second][data]) for data in shared]
        p_values = [p_value(difference) for difference in apart]
        for data, difference, p, adjusted in zip(shared, apart, p_values, holm(p_values), strict=True):
            interval = difference.interval()
            bounds = (interval.low, interval.high)
            found.append(Difference(first, second, data, difference.value, bounds, p, adjusted))
    return found
