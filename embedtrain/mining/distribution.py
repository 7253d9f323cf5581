"""What is told of labels once they are there: distributions beside gold's, shares by threshold, example pairs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from embedtrain.mining.calibration import score_distance

Counts = NDArray[np.int64]

BINS = 20
# A multiple of BINS. Each bin also keeps the sum of its scores, so that a distance taken from the bins is off by less
# than half a bin's width, 0.00025.
FINE_BINS = 2000
SAMPLED_ROWS = 2000
EXAMPLES = 20
EXAMPLE_COLUMNS = ("sentence1", "sentence2", "score", "sampled_by")


class ScoreCounts:
    """Scores of any number of pairs, counted in fine bins over [0, 1] and one bin for what lies on either side of it.

    Attributes:
        counts: Scores in each bin, (FINE_BINS + 2,); the first and the last one hold what lies below 0 and above 1.
        sums: Sum of the scores in each bin, (FINE_BINS + 2,).
    """

    def __init__(self) -> None:
        self.counts: Counts = np.zeros(FINE_BINS + 2, dtype=np.int64)
        self.sums = np.zeros(FINE_BINS + 2)

    def add(self, scores: ArrayLike) -> None:
        """Count more scores, (n,).

        Raises:
            ValueError: A score is not finite.
        """
        values = np.asarray(scores, dtype=np.float64)
        broken = int(np.count_nonzero(~np.isfinite(values)))
        if broken:
            raise ValueError(f"expected finite scores, found {broken} of {len(values)} that are not")
        inside = np.clip(np.floor(values * FINE_BINS), 0, FINE_BINS - 1).astype(np.int64) + 1
        which = np.where(values < 0, 0, np.where(values > 1, FINE_BINS + 1, inside))
        self.counts += np.bincount(which, minlength=FINE_BINS + 2)
        self.sums += np.bincount(which, weights=values, minlength=FINE_BINS + 2)

    @property
    def pairs(self) -> int:
        """How many scores were counted."""
        return int(self.counts.sum())

    @property
    def outside(self) -> int:
        """How many of them lie outside [0, 1]."""
        return int(self.counts[0] + self.counts[-1])

    @property
    def mean(self) -> float | None:
        """Their mean; None without a score."""
        return float(self.sums.sum()) / self.pairs if self.pairs else None

    def histogram(self) -> list[int]:
        """Counts in ``BINS`` equal bins over [0, 1]; what lies outside is counted in the first and the last one."""
        coarse = self.counts[1:-1].reshape(BINS, -1).sum(axis=1)
        coarse[0] += self.counts[0]
        coarse[-1] += self.counts[-1]
        return coarse.tolist()

    def distance(self, gold: ArrayLike) -> float:
        """Wasserstein distance to gold scores, (n,); each bin's scores stand at their mean.

        Raises:
            ValueError: There is no score on a side.
        """
        filled = self.counts > 0
        counts = self.counts[filled]
        return score_distance(self.sums[filled] / counts, gold, silver_weights=counts)


class LabelSummary:
    """What is told of labelled pairs of any number, in memory that does not grow with them.

    The same pairs give the same summary whatever parts they come in.

    Args:
        positive_threshold: Scores at or above it count as positive; None to count none.
        negative_threshold: Scores at or below it count as negative; None to count none.
    """

    def __init__(self, *, positive_threshold: float | None = None, negative_threshold: float | None = None) -> None:
        self.positive_threshold = positive_threshold
        self.negative_threshold = negative_threshold
        self.scores = ScoreCounts()
        self.positive = 0
        self.negative = 0
        self._sample: pd.DataFrame | None = None
        self._ends: pd.DataFrame | None = None

    def add(self, labelled: pd.DataFrame, *, first_row: int) -> None:
        """Take in a part of the pairs.

        Args:
            labelled: Columns ``sentence1``, ``sentence2`` and ``score``, and ``sampled_by`` where there is one.
            first_row: Number of its first row among all pairs, from 0.

        Raises:
            ValueError: A score is not finite.
        """
        if not len(labelled):
            return
        scores = labelled["score"].to_numpy()
        self.scores.add(scores)
        # Compared in the type of the scores, as hard labels are.
        if self.positive_threshold is not None:
            self.positive += int(np.count_nonzero(scores >= self.positive_threshold))
        if self.negative_threshold is not None:
            self.negative += int(np.count_nonzero(scores <= self.negative_threshold))
        rows = np.arange(first_row, first_row + len(labelled), dtype=np.uint64)
        self._keep_sample(labelled, rows)
        self._keep_ends(labelled, rows)

    def examples(self, count: int = EXAMPLES) -> pd.DataFrame:
        """Pairs evenly spread over the ranks of the score, the lowest and the highest of all among them.

        The ranks are those of a sample of ``SAMPLED_ROWS`` pairs, which is all pairs where there are no more.

        Returns:
            Ascending by score: the columns of the pairs, and ``row``, the pair's number among all pairs.
        """
        if self._sample is None or self._ends is None:
            return pd.DataFrame(columns=["row", "sentence1", "sentence2", "score"])
        known = pd.concat([self._sample, self._ends], ignore_index=True)
        known = known.drop_duplicates("row").sort_values(["score", "row"], kind="stable")
        places = np.unique(np.linspace(0, len(known) - 1, min(count, len(known))).round().astype(int))
        return known.drop(columns="key").iloc[places].reset_index(drop=True)

    def _keep_sample(self, labelled: pd.DataFrame, rows: NDArray[np.uint64]) -> None:
        keys = _shuffled(rows)
        smallest = np.argsort(keys, kind="stable")[:SAMPLED_ROWS]
        if self._sample is not None and len(self._sample) == SAMPLED_ROWS:
            smallest = smallest[keys[smallest] < self._sample["key"].to_numpy().max()]
        taken = _taken(labelled, rows, smallest).assign(key=keys[smallest])
        joined = taken if self._sample is None else pd.concat([self._sample, taken], ignore_index=True)
        self._sample = joined.sort_values("key").head(SAMPLED_ROWS).reset_index(drop=True)

    def _keep_ends(self, labelled: pd.DataFrame, rows: NDArray[np.uint64]) -> None:
        scores = labelled["score"].to_numpy()
        ends = _taken(labelled, rows, np.array([scores.argmin(), scores.argmax()]))
        ends = ends.assign(key=_shuffled(ends["row"].to_numpy()))
        joined = ends if self._ends is None else pd.concat([self._ends, ends], ignore_index=True)
        joined = joined.sort_values("row", kind="stable")
        lowest, highest = joined["score"].idxmin(), joined["score"].idxmax()
        self._ends = joined.loc[[lowest, highest]].reset_index(drop=True)


def build_label_metrics(
    summary: LabelSummary,
    *,
    gold_scores: ArrayLike | None = None,
    teachers: Sequence[Mapping[str, Any]] = (),
    student: Mapping[str, Any] | None = None,
    calibration: Mapping[str, Any] | None = None,
    seconds: float | None = None,
) -> dict[str, Any]:
    """The figures of ``metrics.json`` of labelled pairs, ready for JSON; verdict and warnings are the caller's.

    Args:
        summary: Of the labels, as they were written.
        gold_scores: Scores of the gold pairs that the labels are compared with, in [0, 1], (n,).
        teachers: For each its ``name``, ``kind`` and ``dev`` (what ``score_predictions`` gives, or None).
        student: ``name`` and ``dev`` of the model that shall learn from the labels.
        calibration: ``reliability_before`` and ``reliability_after`` (what ``reliability`` tells of dev, as the teacher
            gives scores and calibrated by other dev pairs), ``error_before`` and ``error_after`` (their
            ``calibration_error``), ``pairs``, and ``applied``: whether the labels are calibrated.
        seconds: Time that the labels took, over all processes and all calls of the command.

    Returns:
        ``pairs``, ``seconds``, ``pairs_per_second``, ``teachers``, ``student``, ``calibration``, ``distribution``
        (``edges``, ``silver_hist``, ``silver_mean``, ``silver_pairs``, ``outside``, and, None without gold,
        ``gold_hist``, ``gold_mean``, ``gold_pairs``, ``wasserstein``), and ``thresholds`` (``positive``, ``negative``,
        ``positive_share``, ``negative_share``, ``dropped_share``; None unless both are given).
    """
    silver = summary.scores
    gold = ScoreCounts()
    if gold_scores is not None:
        gold.add(gold_scores)
    compared = gold.pairs > 0
    return {
        "pairs": silver.pairs,
        "seconds": seconds,
        "pairs_per_second": silver.pairs / seconds if seconds else None,
        "teachers": [dict(teacher) for teacher in teachers],
        "student": None if student is None else dict(student),
        "calibration": None if calibration is None else dict(calibration),
        "distribution": {
            "edges": [number / BINS for number in range(BINS + 1)],
            "silver_hist": silver.histogram(),
            "silver_mean": silver.mean,
            "silver_pairs": silver.pairs,
            "outside": silver.outside,
            "gold_hist": gold.histogram() if compared else None,
            "gold_mean": gold.mean,
            "gold_pairs": gold.pairs if compared else None,
            "wasserstein": silver.distance(np.asarray(gold_scores)) if compared and silver.pairs else None,
        },
        "thresholds": _shares(summary),
    }


def _shares(summary: LabelSummary) -> dict[str, float] | None:
    positive, negative, pairs = summary.positive_threshold, summary.negative_threshold, summary.scores.pairs
    if positive is None or negative is None or not pairs:
        return None
    return {
        "positive": positive,
        "negative": negative,
        "positive_share": summary.positive / pairs,
        "negative_share": summary.negative / pairs,
        "dropped_share": (pairs - summary.positive - summary.negative) / pairs,
    }


def _taken(labelled: pd.DataFrame, rows: NDArray[np.uint64], places: NDArray[np.int64]) -> pd.DataFrame:
    columns = [column for column in EXAMPLE_COLUMNS if column in labelled.columns]
    taken = labelled[columns].iloc[places].reset_index(drop=True)
    taken.insert(0, "row", rows[places].astype(np.int64))
    return taken


def _shuffled(rows: NDArray[Any]) -> NDArray[np.uint64]:
    """A fixed shuffle of row numbers, so that a row's place in a sample does not depend on the part it came in.

    Source: the output function of SplitMix64, Steele, Lea & Flood 2014, Fast splittable pseudorandom number generators.
    """
    mixed = rows.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
