"""How far scores can be taken at their word, and isotonic regression that brings them onto gold's scale."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import isotonic_regression
from scipy.stats import norm, rankdata, t, wasserstein_distance

Floats = NDArray[np.float64]
CONFIDENCE = 0.95
BINS = 10
FEWEST_PAIRS = 2


@dataclass(frozen=True, eq=False)
class Calibration:
    """A rising function from scores to gold's scale: straight between its knots, level outside them.

    Attributes:
        scores: Score of each knot, ascending, (knots,).
        values: What that score becomes, never falling, (knots,).
    """

    scores: Floats
    values: Floats

    def __post_init__(self) -> None:
        scores, values = (np.asarray(knots, dtype=np.float64) for knots in (self.scores, self.values))
        if scores.ndim != 1 or scores.shape != values.shape or not len(scores):
            raise ValueError(
                f"expected as many scores as values and at least one, found shapes {scores.shape} and {values.shape}"
            )
        if not (np.isfinite(scores).all() and np.isfinite(values).all()):
            raise ValueError("expected finite knots")
        if (np.diff(scores) <= 0).any() or (np.diff(values) < 0).any():
            raise ValueError("expected ascending scores whose values never fall")
        object.__setattr__(self, "scores", scores)
        object.__setattr__(self, "values", values)

    def apply(self, scores: ArrayLike) -> NDArray[np.float32]:
        """Scores on gold's scale, float32 of the shape given; a level stretch makes different scores equal."""
        return np.interp(np.asarray(scores, dtype=np.float64), self.scores, self.values).astype(np.float32)

    def as_dict(self) -> dict[str, list[float]]:
        """The knots as plain values for JSON; ``from_dict`` reads them back without loss."""
        return {"scores": self.scores.tolist(), "values": self.values.tolist()}

    @classmethod
    def from_dict(cls, knots: Mapping[str, Sequence[float]]) -> Self:
        """The calibration that ``as_dict`` was asked of."""
        return cls(np.array(knots["scores"], dtype=np.float64), np.array(knots["values"], dtype=np.float64))


def fit_isotonic(scores: ArrayLike, gold: ArrayLike) -> Calibration:
    """The rising function of the scores that is nearest to gold by squared error.

    Pairs of equal score enter as one, with their mean gold and their number as weight. Between two level stretches the
    function is a straight line, so that scores that differ there keep their order.

    Args:
        scores: What the teacher says of each pair, (pairs,), on any scale.
        gold: What people say of each pair, (pairs,), in [0, 1].

    Raises:
        ValueError: Lengths differ, there are fewer than 2 pairs, a number is not finite, or gold leaves [0, 1].

    Source: Zadrozny & Elkan 2002, Transforming classifier scores into accurate multiclass probability estimates.
    """
    predicted, wanted = _checked(scores, gold)
    distinct, place, counts = np.unique(predicted, return_inverse=True, return_counts=True)
    means = np.bincount(place, weights=wanted) / counts
    fitted = isotonic_regression(means, weights=counts)
    # The middle of a level stretch lies on the line between its ends.
    ends = np.unique(np.concatenate([fitted.blocks[:-1], fitted.blocks[1:] - 1]))
    # Means of numbers in [0, 1] leave it by a rounding error at most, and blocks of equal means may meet.
    values = np.maximum.accumulate(np.clip(fitted.x[ends], 0.0, 1.0))
    return Calibration(distinct[ends], values)


def reliability(scores: ArrayLike, gold: ArrayLike, *, bins: int = BINS) -> list[dict[str, Any]]:
    """Mean gold beside mean score, in bins that hold as many pairs each.

    Pairs of equal score are never parted, so bins may be fewer than asked for and unlike in size where scores repeat.

    Args:
        scores: What the teacher says of each pair, (pairs,).
        gold: What people say of each pair, (pairs,), in [0, 1].
        bins: Most bins to make.

    Returns:
        For each bin, from the lowest scores up: ``score`` and ``gold`` (means), ``count``, and ``low`` and ``high``,
        the 95 % interval of the mean gold: Wilson's where gold is only 0 and 1, else Student's, cut at 0 and 1; None
        where a single pair leaves it unknown.

    Raises:
        ValueError: See :func:`fit_isotonic`; or ``bins`` is below 1.

    Source: reliability diagram, DeGroot & Fienberg 1983; bins of equal mass as in Nguyen & O'Connor 2015
    (arXiv:1508.05154).
    """
    predicted, wanted = _checked(scores, gold)
    if bins < 1:
        raise ValueError(f"bins must be at least 1, found {bins}")
    # The middle of the ranks that equal scores share decides for all of them.
    which = ((rankdata(predicted) - 0.5) * bins / len(predicted)).astype(int)
    hard = bool(np.isin(wanted, (0.0, 1.0)).all())
    told = []
    for number in np.unique(which):
        inside = which == number
        low, high = _interval_of_mean(wanted[inside], hard=hard)
        told.append(
            {
                "score": float(predicted[inside].mean()),
                "gold": float(wanted[inside].mean()),
                "count": int(inside.sum()),
                "low": low,
                "high": high,
            }
        )
    return told


def calibration_error(scores: ArrayLike, gold: ArrayLike, *, bins: int = BINS) -> float:
    """Mean distance between mean score and mean gold over bins of equal mass, each weighted by its pairs.

    0 for scores that mean what they say; above 0 by chance alone with few pairs in a bin.

    Raises:
        ValueError: See :func:`reliability`.

    Source: expected calibration error, Naeini, Cooper & Hauskrecht 2015, Obtaining well calibrated probabilities using
    Bayesian binning, here over bins of equal mass.
    """
    told = reliability(scores, gold, bins=bins)
    pairs = sum(entry["count"] for entry in told)
    return float(sum(entry["count"] * abs(entry["score"] - entry["gold"]) for entry in told) / pairs)


def score_distance(silver: ArrayLike, gold: ArrayLike, *, silver_weights: ArrayLike | None = None) -> float:
    """Wasserstein distance of two sets of scores: how far a score has to move on average until the sets are alike.

    Args:
        silver: Scores, (m,).
        gold: Scores, (n,), on the same scale.
        silver_weights: How many pairs each silver score stands for, (m,); one each by default.

    Raises:
        ValueError: A set is empty or holds a number that is not finite.
    """
    sets = [np.asarray(scores, dtype=np.float64) for scores in (silver, gold)]
    if any(not len(scores) or not np.isfinite(scores).all() for scores in sets):
        raise ValueError("expected finite scores on both sides, at least one each")
    return float(wasserstein_distance(*sets, u_weights=silver_weights))


def _interval_of_mean(gold: Floats, *, hard: bool) -> tuple[float | None, float | None]:
    count, mean = len(gold), float(gold.mean())
    if hard:
        z = float(norm.ppf((1 + CONFIDENCE) / 2))
        centre = (mean + z * z / (2 * count)) / (1 + z * z / count)
        half = z / (1 + z * z / count) * np.sqrt(mean * (1 - mean) / count + z * z / (4 * count * count))
    elif count < 2:
        return None, None
    else:
        centre = mean
        half = t.ppf((1 + CONFIDENCE) / 2, count - 1) * gold.std(ddof=1) / np.sqrt(count)
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def _checked(scores: ArrayLike, gold: ArrayLike) -> tuple[Floats, Floats]:
    predicted, wanted = (np.asarray(values, dtype=np.float64) for values in (scores, gold))
    if predicted.ndim != 1 or predicted.shape != wanted.shape:
        raise ValueError(f"expected one score and one gold score a pair, found {predicted.shape} and {wanted.shape}")
    if len(predicted) < FEWEST_PAIRS:
        raise ValueError(f"expected at least {FEWEST_PAIRS} pairs, found {len(predicted)}")
    if not (np.isfinite(predicted).all() and np.isfinite(wanted).all()):
        raise ValueError("expected finite scores and gold scores")
    if wanted.min() < 0 or wanted.max() > 1:
        raise ValueError(f"expected gold scores in [0, 1], found {wanted.min():g} to {wanted.max():g}")
    return predicted, wanted
