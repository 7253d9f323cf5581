"""Several teachers' scores as one: brought onto one scale, averaged, and how far they disagree."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from embedtrain.mining.calibration import Calibration, fit_isotonic
from embedtrain.mining.strict_calibration import fit_centred_isotonic, fit_logistic
from embedtrain.mining.teachers import Averaged, Calibrated, Scorer

Average = Literal["scores", "ranks"]
Method = Literal["isotonic", "centred", "logistic"]
Floats = NDArray[np.float32]

BINS = 10
FOLDS = 5
FIT: Mapping[Method, Callable[[ArrayLike, ArrayLike], Calibration]] = {
    "isotonic": fit_isotonic,
    "centred": fit_centred_isotonic,
    "logistic": fit_logistic,
}


@dataclass(frozen=True, eq=False)
class Combination:
    """From the scores of several teachers to one score: each goes through its map, then the mean through the last one.

    Attributes:
        maps: One a teacher; None leaves its scores as they are.
        final: Applied to the mean; None leaves it as it is.
    """

    maps: tuple[Calibration | None, ...]
    final: Calibration | None = None

    def mapped(self, scores: Sequence[ArrayLike]) -> Floats:
        """Each teacher's scores, (teachers, n), on the scale on which they are averaged, float32.

        Raises:
            ValueError: There are more or fewer teachers than maps.
        """
        parts = [
            np.asarray(given, dtype=np.float32) if step is None else step.apply(given)
            for step, given in zip(self.maps, scores, strict=True)
        ]
        return np.stack(parts)

    def apply(self, scores: Sequence[ArrayLike]) -> Floats:
        """The one score of each pair, float32 (n,), from each teacher's, (teachers, n)."""
        mean = self.mapped(scores).mean(axis=0, dtype=np.float64).astype(np.float32)
        return mean if self.final is None else self.final.apply(mean)

    def scorer(self, scorers: Sequence[Scorer]) -> Scorer:
        """The same as one scorer of texts.

        Args:
            scorers: One a map.
        """
        parts: list[Scorer] = [
            scorer if step is None else Calibrated(scorer, step)
            for step, scorer in zip(self.maps, scorers, strict=True)
        ]
        together = parts[0] if len(parts) == 1 else Averaged(parts)
        return together if self.final is None else Calibrated(together, self.final)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; ``from_dict`` reads them back without loss."""
        return {
            "maps": [None if step is None else step.as_dict() for step in self.maps],
            "final": None if self.final is None else self.final.as_dict(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The combination that ``as_dict`` was asked of."""

        def read(knots: Mapping[str, Any] | None) -> Calibration | None:
            return None if knots is None else Calibration.from_dict(knots)

        return cls(tuple(read(knots) for knots in values["maps"]), read(values["final"]))


def fit_combination(
    scores: Sequence[ArrayLike],
    gold: ArrayLike,
    *,
    average: Average = "scores",
    method: Method = "isotonic",
    calibrated: bool = True,
) -> Combination:
    """Find the maps that bring the teachers onto one scale.

    Args:
        scores: Each teacher's scores of the same pairs, (teachers, n), on any scale of its own.
        gold: People's scores of those pairs, (n,), in [0, 1].
        average: ``scores`` calibrates each teacher and averages what comes out. ``ranks`` turns each score into the
            share of these pairs that lie below it, averages that, and calibrates the mean.
        method: How to calibrate: ``isotonic`` regression, the same through the centres of its level stretches
            (``centred``), or a ``logistic`` curve.
        calibrated: False averages the scores as they are, but for what lies outside 0 ... 1, such as a cosine below
            0: labels are scores from 0 to 1.

    Raises:
        ValueError: Ranks without a calibration, which would be on no scale of scores; see also ``fit_isotonic``.
    """
    if not calibrated:
        if average == "ranks":
            raise ValueError("averaged ranks are no scores until they are calibrated")
        return Combination(tuple(Calibration(np.array([0.0, 1.0]), np.array([0.0, 1.0])) for _ in scores))
    if average == "scores":
        return Combination(tuple(FIT[method](given, gold) for given in scores))
    shares = Combination(tuple(rank_shares(given) for given in scores))
    return Combination(shares.maps, FIT[method](shares.apply(scores), gold))


def rank_shares(scores: ArrayLike) -> Calibration:
    """From a score to the share of these scores, (n,), that lie below it; half of those that equal it count.

    The shares rise from 1 / (2 n) to 1 - 1 / (2 n) where no score repeats, and stay there outside.
    """
    values = np.asarray(scores, dtype=np.float64)
    distinct, place = np.unique(values, return_index=True)
    return Calibration(distinct, ((rankdata(values) - 0.5) / len(values))[place])


def cross_fitted_combination(
    scores: Sequence[ArrayLike],
    gold: ArrayLike,
    *,
    average: Average = "scores",
    method: Method = "isotonic",
    calibrated: bool = True,
    folds: int = FOLDS,
    seed: int = 0,
) -> Floats:
    """What the combination makes of each pair when its maps are fitted on the other folds alone, float32 (n,).

    A combination judged by the pairs that it was fitted on would look better than it is. What is left of the error is
    on the other side: each part is scored by maps of its own, which differ, and that blurs the ranking of all pairs.
    Without calibration nothing is fitted, and nothing is split.

    Args:
        scores: As for ``fit_combination``.
        gold: As for ``fit_combination``.
        average: As for ``fit_combination``.
        method: As for ``fit_combination``.
        calibrated: As for ``fit_combination``.
        folds: Parts of like size; no more than there are pairs.
        seed: Of the draw of the parts.
    """
    given = [np.asarray(each, dtype=np.float64) for each in scores]
    wanted = np.asarray(gold, dtype=np.float64)
    if not calibrated:
        return fit_combination(given, wanted, average=average, calibrated=False).apply(given)
    combined = np.empty(len(wanted), dtype=np.float32)
    order = np.random.default_rng(seed).permutation(len(wanted))
    for part in np.array_split(order, min(folds, len(wanted))):
        others = np.setdiff1d(order, part)
        fitted = fit_combination([each[others] for each in given], wanted[others], average=average, method=method)
        combined[part] = fitted.apply([each[part] for each in given])
    return combined


def disagreement(mapped: ArrayLike) -> Floats:
    """Standard deviation over the teachers of each pair's score, float32 (n,), from (teachers, n) on one scale."""
    return np.asarray(mapped, dtype=np.float64).std(axis=0).astype(np.float32)


def most_agreed(scores: ArrayLike, differing: ArrayLike, *, share: float, bins: int = BINS) -> NDArray[np.bool_]:
    """Which pairs to keep: in each tenth of the scores the share on which the teachers agree most.

    Teachers agree most on what is plainly alike or plainly different. Taken from all pairs at once, the share would
    empty the middle of the scale; taken from each tenth, the spread of the scores stays.

    Args:
        scores: The labels, (n,).
        differing: How far the teachers differ, (n,); see ``disagreement``.
        share: Of the pairs to keep, above 0 and at most 1.
        bins: Parts of like size.

    Returns:
        (n,), True for pairs to keep; of equal disagreement the earlier pair is kept.
    """
    values, spread = np.asarray(scores), np.asarray(differing)
    kept = np.zeros(len(values), dtype=bool)
    for part in np.array_split(np.argsort(values, kind="stable"), bins):
        places = np.sort(part)
        ranked = places[np.argsort(spread[places], kind="stable")]
        kept[ranked[: round(share * len(ranked))]] = True
    return kept
