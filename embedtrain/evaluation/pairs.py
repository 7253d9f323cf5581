"""Labelled pairs: how well a model's cosines tell pairs that match from pairs that do not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from embedtrain.errors import UserError
from embedtrain.evaluation.resampling import Floats, bootstrap_means, percentile_interval, resample_counts
from embedtrain.evaluation.sts import cosine_of_pairs

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def evaluate_pairs(
    model: SentenceTransformer, pairs: pd.DataFrame, *, samples: int = 1000, seed: int = 0, batch_size: int = 64
) -> dict[str, Any]:
    """Measure a model's cosines on labelled pairs; see ``score_pairs``.

    Args:
        model: Anything with SentenceTransformer's ``encode``.
        pairs: ``sentence1``, ``sentence2`` and ``label`` (1 where they match, else 0).
        samples: Number of bootstrap resamples.
        seed: Seed of the resampling.
        batch_size: Sentences encoded at a time.

    Raises:
        UserError: There are no pairs, or all of them have the same label. It is raised before anything is encoded.
    """
    if pairs["label"].nunique() < 2:
        found = f"every label is {pairs['label'].iloc[0]}" if len(pairs) else "there are no pairs"
        raise UserError(f"labelled pairs: {found}, which leaves nothing to measure; expected pairs of label 0 and of 1")
    cosines = cosine_of_pairs(model, pairs["sentence1"].tolist(), pairs["sentence2"].tolist(), batch_size=batch_size)
    return score_pairs(pairs["label"], cosines, samples=samples, seed=seed)


def score_pairs(labels: ArrayLike, scores: ArrayLike, *, samples: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Average precision, best F1 and best accuracy, each with a 95 % bootstrap interval over pairs, ready for JSON.

    F1 and accuracy choose their threshold on the pairs that they measure, so they flatter. Their intervals keep that
    threshold in every resample: chosen anew in each, it would flatter twice and the interval lie too high.

    Args:
        labels: 1 where a pair matches, else 0, (pairs,).
        scores: The higher, the likelier a match, on any scale, (pairs,).
        samples: Number of bootstrap resamples.
        seed: Seed of the resampling.

    Returns:
        ``average_precision`` with ``ci95``; ``f1`` with ``f1_ci95``, ``f1_threshold``, and the ``precision`` and
        ``recall`` there; ``accuracy`` with ``accuracy_ci95`` and ``accuracy_threshold``; ``pairs`` and ``matches``,
        their numbers. A pair whose score is a threshold or more is taken for a match.

    Raises:
        ValueError: As ``average_precision``.
    """
    matches, values = _checked(labels, scores)
    f1, f1_threshold = best_f1(matches, values)
    accuracy, accuracy_threshold = best_accuracy(matches, values)
    ranked = percentile_interval(
        average_precision(matches, values), resampled_average_precision(matches, values, samples=samples, seed=seed)
    )
    taken = values >= f1_threshold
    hits = int((taken & matches).sum())
    resampled_f1 = _resampled_f1(matches, taken, samples=samples, seed=seed)
    f1_interval = percentile_interval(f1, resampled_f1)
    right = (values >= accuracy_threshold) == matches
    accuracy_interval = bootstrap_means(right[None], samples=samples, seed=seed)[0]
    return {
        "average_precision": ranked.value,
        "ci95": [ranked.low, ranked.high],
        "f1": f1,
        "f1_ci95": [f1_interval.low, f1_interval.high],
        "f1_threshold": f1_threshold,
        "precision": hits / max(1, int(taken.sum())),
        "recall": hits / max(1, int(matches.sum())),
        "accuracy": accuracy,
        "accuracy_ci95": [accuracy_interval.low, accuracy_interval.high],
        "accuracy_threshold": accuracy_threshold,
        "pairs": len(matches),
        "matches": int(matches.sum()),
    }


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Average precision: ``sum_n (R_n - R_{n-1}) P_n`` over the thresholds n from the highest score down.

    P is precision and R recall; pairs of equal score pass a threshold together. Scores that say nothing get the share
    of matches.

    Args:
        labels: 1 or True where a pair matches, else 0, (pairs,).
        scores: The higher, the likelier a match, (pairs,).

    Returns:
        A number in [0, 1]; 0.0 where no pair matches.

    Raises:
        ValueError: If lengths differ, there are no pairs, a label is not 0 or 1, or a score is not finite.
    """
    matches, values = _checked(labels, scores)
    return float(_Sweep(matches, values).average_precision(np.ones((1, len(values))))[0])


def best_f1(labels: ArrayLike, scores: ArrayLike) -> tuple[float, float]:
    """The highest F1 that a threshold on the scores reaches, and that threshold.

    Args:
        labels: As for ``average_precision``.
        scores: As for ``average_precision``.

    Returns:
        F1 (0.0 where no pair matches) and the threshold: half way between the scores it parts, the highest of equally
        good ones. A pair with the threshold's score or more is taken for a match.

    Raises:
        ValueError: As ``average_precision``.
    """
    matches, values = _checked(labels, scores)
    sweep = _Sweep(matches, values)
    taken, hits = sweep.taken_and_hits(np.ones((1, len(values))))
    f1 = 2 * hits[0] / (taken[0] + matches.sum())
    best = int(f1.argmax())
    return float(f1[best]), sweep.threshold(best)


def best_accuracy(labels: ArrayLike, scores: ArrayLike) -> tuple[float, float]:
    """The highest share of pairs that a threshold on the scores puts on the right side, and that threshold.

    Args:
        labels: As for ``average_precision``.
        scores: As for ``average_precision``.

    Returns:
        Accuracy and the threshold, as for ``best_f1``; where it is best to take no pair for a match, a threshold just
        above the highest score.

    Raises:
        ValueError: As ``average_precision``.
    """
    matches, values = _checked(labels, scores)
    sweep = _Sweep(matches, values)
    taken, hits = sweep.taken_and_hits(np.ones((1, len(values))))
    # A match that is taken is won; any other pair that is taken is lost. In front, the case that none is taken.
    right = (~matches).sum() + np.concatenate([[0], 2 * hits[0] - taken[0]])
    best = int(right.argmax())
    return float(right[best] / len(values)), sweep.threshold(best - 1)


def resampled_average_precision(
    matches: NDArray[np.bool_], scores: Floats, *, samples: int, seed: int
) -> NDArray[np.float64]:
    """Average precision of pairs drawn with replacement, as many as there are, (samples,); 0.0 where none matches.

    Args:
        matches: Whether each pair matches, (pairs,).
        scores: Finite scores, (pairs,).
        samples: Number of resamples.
        seed: Seed of the resampling; two models' resamples with the same seed hold the same pairs.
    """
    sweep = _Sweep(matches, scores)
    counts = resample_counts(len(scores), samples=samples, seed=seed)
    return np.concatenate([sweep.average_precision(drawn) for drawn in counts])


def _resampled_f1(matches: NDArray[np.bool_], taken: NDArray[np.bool_], *, samples: int, seed: int) -> Floats:
    # F1 = 2 * hits / (taken + matches), each a sum over the pairs that were drawn.
    parts = np.stack([2.0 * (taken & matches), taken.astype(np.float64) + matches], axis=1)
    counts = resample_counts(len(matches), samples=samples, seed=seed)
    above, below = np.concatenate([drawn @ parts for drawn in counts]).T
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


class _Sweep:
    """The thresholds that part some pairs, from the highest down, for any number of times each pair was drawn.

    Scores are sorted once, whatever number of resamples is measured. A threshold lets all pairs of equal score pass.
    """

    def __init__(self, matches: NDArray[np.bool_], scores: Floats) -> None:
        self.order = np.argsort(-scores, kind="stable")
        ordered = scores[self.order]
        self.matches = matches[self.order].astype(np.float64)
        self.ends = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
        self.scores = ordered[self.ends]

    def taken_and_hits(self, counts: Floats) -> tuple[Floats, Floats]:
        """Pairs that pass each threshold, and matches among them, each (resamples, thresholds)."""
        drawn = counts[:, self.order]
        taken = np.cumsum(drawn, axis=1)[:, self.ends]
        return taken, np.cumsum(drawn * self.matches, axis=1)[:, self.ends]

    def average_precision(self, counts: Floats) -> Floats:
        """Average precision of each row of counts (resamples, pairs); 0.0 where no match was drawn."""
        taken, hits = self.taken_and_hits(counts)
        # Before the first pair that was drawn nothing passes, and recall does not rise.
        precision = np.divide(hits, taken, out=np.zeros_like(hits), where=taken > 0)
        return (np.diff(hits, prepend=0.0, axis=1) * precision).sum(axis=1) / np.maximum(hits[:, -1], 1)

    def threshold(self, place: int) -> float:
        """A number between the score at a place among the thresholds and the next lower one; above all for -1."""
        if place < 0:
            return float(np.nextafter(self.scores[0], np.inf))
        upper = self.scores[place]
        if place + 1 == len(self.scores):
            return float(upper)
        middle = upper / 2 + self.scores[place + 1] / 2
        # Between neighbouring floats there is no middle: rounding gives one of the two.
        return float(middle if self.scores[place + 1] < middle <= upper else upper)


def _checked(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.bool_], Floats]:
    marks, values = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if marks.ndim != 1 or marks.shape != values.shape or len(marks) == 0:
        raise ValueError(
            f"expected as many labels as scores, at least 1, in one dimension, found {marks.shape} and {values.shape}"
        )
    other = np.flatnonzero(~np.isin(marks, [0, 1]))
    if len(other):
        raise ValueError(f"labels must be 0 or 1, found {marks[other[0]]!r} in row {other[0]}")
    broken = np.flatnonzero(~np.isfinite(values))
    if len(broken):
        raise ValueError(f"scores must be finite, found {values[broken[0]]} in row {broken[0]}")
    return marks == 1, values
