"""Calibrations that leave the order of scores as it is: no level stretches, on which different scores become equal."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import isotonic_regression, minimize
from scipy.special import expit

from embedtrain.mining.calibration import Calibration

Floats = NDArray[np.float64]
# On pairs they were not fitted on, a logistic curve was nearer to gold up to 100 or 150 pairs, isotonic regression from
# 200 on (cosines of two trained encoders, STS benchmark).
PAIRS_FOR_ISOTONIC = 200

# Straight lines between so many points of a logistic curve are nowhere a thousandth off it.
LOGISTIC_KNOTS = 129
EQUAL_UP_TO = 1e-12
# Keeps the slope finite where gold is only 0 and 1 and the scores part the two; a hundredth of a pair's weight.
SLOPE_PENALTY = 0.01


def fit_centred_isotonic(scores: ArrayLike, gold: ArrayLike) -> Calibration:
    """Isotonic regression through the centre of each level stretch, and straight lines between the centres.

    Isotonic regression itself makes all scores of a stretch equal, and with a few hundred pairs its stretches are wide:
    what it puts on gold's scale it also blurs. This one takes the stretches' values at their mean scores, which is as
    near to gold on pairs it has not seen or nearer, and keeps the order of scores but outside the outer centres.

    Args:
        scores: What the teacher says of each pair, (pairs,), on any scale.
        gold: What people say of each pair, (pairs,), in [0, 1].

    Raises:
        ValueError: Lengths differ, there is no pair, a number is not finite, or gold leaves [0, 1].

    Source: Oron & Flournoy 2017, Centered isotonic regression (arXiv:1701.05964).
    """
    predicted, wanted = _checked(scores, gold)
    distinct, place, counts = np.unique(predicted, return_inverse=True, return_counts=True)
    fitted = isotonic_regression(np.bincount(place, weights=wanted) / counts, weights=counts)
    # Stretches that meet at one value, such as many pairs whose gold is 0, are one.
    starts = fitted.blocks[:-1]
    starts = starts[np.concatenate([[True], np.diff(fitted.x[starts]) > EQUAL_UP_TO])]
    pairs = np.add.reduceat(counts, starts)
    centres = np.add.reduceat(distinct * counts, starts) / pairs
    # Means of numbers in [0, 1] leave it by a rounding error at most.
    values = np.maximum.accumulate(np.clip(fitted.x[starts], 0.0, 1.0))
    return Calibration(centres, values)


def fit_logistic(scores: ArrayLike, gold: ArrayLike) -> Calibration:
    """The rising logistic curve of the scores with the least cross-entropy against gold.

    Two numbers are fitted, so that some tens of pairs are enough, and what it does to the pairs it was fitted on is
    what it does to others. Scores that fall while gold rises give the same value to all.

    Args:
        scores: What the teacher says of each pair, (pairs,), on any scale.
        gold: What people say of each pair, (pairs,), in [0, 1].

    Returns:
        The curve by its knots, from a range of the scores below them to a range above.

    Raises:
        ValueError: See :func:`fit_centred_isotonic`.

    Source: Platt 1999, Probabilistic outputs for support vector machines, here with soft targets.
    """
    predicted, wanted = _checked(scores, gold)
    low, high = float(predicted.min()), float(predicted.max())
    level = Calibration(np.array([low]), np.array([wanted.mean()]))
    spread = float(predicted.std())
    if not spread > 0:
        return level
    standard = (predicted - predicted.mean()) / spread

    def cost(parameters: Floats) -> tuple[float, Floats]:
        offset, slope = parameters
        logits = offset + slope * standard
        wrong = expit(logits) - wanted
        value = np.sum(np.logaddexp(0, logits) - wanted * logits) + SLOPE_PENALTY / 2 * slope**2
        return float(value), np.array([wrong.sum(), wrong @ standard + SLOPE_PENALTY * slope])

    offset, slope = minimize(cost, np.array([0.0, 1.0]), jac=True, method="L-BFGS-B").x
    if slope <= 0:
        return level
    # A spread next to nothing beside the scores themselves cannot be divided so finely.
    knots = np.unique(np.linspace(2 * low - high, 2 * high - low, LOGISTIC_KNOTS))
    return Calibration(knots, expit(offset + slope * (knots - predicted.mean()) / spread))


def _checked(scores: ArrayLike, gold: ArrayLike) -> tuple[Floats, Floats]:
    predicted, wanted = (np.asarray(values, dtype=np.float64) for values in (scores, gold))
    if predicted.ndim != 1 or predicted.shape != wanted.shape or not len(predicted):
        raise ValueError(f"expected one score and one gold score a pair, found {predicted.shape} and {wanted.shape}")
    if not (np.isfinite(predicted).all() and np.isfinite(wanted).all()):
        raise ValueError("expected finite scores and gold scores")
    if wanted.min() < 0 or wanted.max() > 1:
        raise ValueError(f"expected gold scores in [0, 1], found {wanted.min():g} to {wanted.max():g}")
    return predicted, wanted
