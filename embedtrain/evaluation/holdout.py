"""Measuring a model on rows held out of its own training data, whatever kind of table they come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from embedtrain.data.schema import LABELLED_PAIRS, LABELLED_SENTENCES, POSITIVE_PAIRS, SCORED_PAIRS, TRIPLETS, Kind
from embedtrain.evaluation.statistics import Interval, paired_bootstrap_difference, pearson, spearman
from embedtrain.evaluation.sts import cosine_of_pairs, score_predictions

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Floats = NDArray[np.float64]
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Measured:
    """What a model scored: fractions by metric, higher is better, and what stands behind them, a number a row."""

    scores: Mapping[str, float]
    predictions: Floats


class DevSet(ABC):
    """Rows that a model is measured on.

    Attributes:
        metric: The one of its metrics that decides.
        label: How tables of results call that metric.
    """

    metric: ClassVar[str]
    label: ClassVar[str]

    def measure(self, model: SentenceTransformer) -> Measured:
        """Every metric of a model, and its predictions."""
        predictions = self.predict(model)
        return Measured(self.scores(predictions), predictions)

    @abstractmethod
    def predict(self, model: SentenceTransformer) -> Floats:
        """One number a row, from which the metrics are computed."""

    @abstractmethod
    def scores(self, predictions: Floats) -> dict[str, float]:
        """Every metric, as a fraction."""

    def summary(self, predictions: Floats, *, samples: int, seed: int) -> dict[str, Any]:
        """The metrics, ``ci95`` = [low, high] of the one that decides, and ``rows``, ready for JSON."""
        resampled = self._resampled(predictions, samples=samples, seed=seed)
        low, high = _percentiles(resampled)
        return {**self.scores(predictions), "ci95": [low, high], "rows": len(predictions)}

    def difference(self, first: Floats, second: Floats, *, samples: int, seed: int) -> Interval:
        """First minus second by the metric that decides, both on the same resamples of the rows."""
        value = self.scores(first)[self.metric] - self.scores(second)[self.metric]
        drawn = [self._resampled(predictions, samples=samples, seed=seed) for predictions in (first, second)]
        low, high = _percentiles(drawn[0] - drawn[1])
        return Interval(value=value, low=low, high=high, confidence=CONFIDENCE)

    def _resampled(self, predictions: Floats, *, samples: int, seed: int) -> Floats:
        """The deciding metric on rows drawn with replacement, (samples,)."""
        random = np.random.default_rng(seed)
        rows = len(predictions)
        score = self._score_of_rows(predictions)
        return np.array([score(random.integers(0, rows, size=rows)) for _ in range(samples)])

    def _score_of_rows(self, predictions: Floats) -> Callable[[NDArray[np.int64]], float]:
        """From row numbers to the deciding metric on those rows; as it stands, for metrics that are means."""
        return lambda drawn: float(predictions[drawn].mean())


class ScoredPairsDev(DevSet):
    """Scored pairs: how well cosines follow the scores, by Spearman's and Pearson's correlation."""

    metric = "spearman"
    label = "Spearman"

    def __init__(self, table: pd.DataFrame) -> None:
        self.pairs = table["sentence1"].tolist(), table["sentence2"].tolist()
        self.gold = table["score"].to_numpy(dtype="float64")

    def predict(self, model: SentenceTransformer) -> Floats:
        """The cosine of each pair, (pairs,)."""
        return cosine_of_pairs(model, *self.pairs)

    def scores(self, predictions: Floats) -> dict[str, float]:
        """``spearman`` and ``pearson``."""
        return {"spearman": spearman(predictions, self.gold), "pearson": pearson(predictions, self.gold)}

    def summary(self, predictions: Floats, *, samples: int, seed: int) -> dict[str, Any]:
        """As ``score_predictions``."""
        return score_predictions(predictions, self.gold, samples=samples, seed=seed)

    def difference(self, first: Floats, second: Floats, *, samples: int, seed: int) -> Interval:
        """As ``paired_bootstrap_difference``."""
        return paired_bootstrap_difference(first, second, self.gold, samples=samples, seed=seed)


class LabelledPairsDev(DevSet):
    """Labelled pairs: how far cosines put those that match above all others, by average precision.

    ``AP = sum_n (R_n - R_{n-1}) P_n`` over the thresholds n from the highest cosine down, P precision and R recall;
    pairs of equal cosine pass together. A cosine that says nothing scores the share of matches.
    """

    metric = "average_precision"
    label = "average precision"

    def __init__(self, table: pd.DataFrame) -> None:
        self.pairs = table["sentence1"].tolist(), table["sentence2"].tolist()
        self.matches = table["label"].to_numpy() == 1

    def predict(self, model: SentenceTransformer) -> Floats:
        """The cosine of each pair, (pairs,)."""
        return cosine_of_pairs(model, *self.pairs)

    def scores(self, predictions: Floats) -> dict[str, float]:
        """``average_precision``; 0 where no pair matches."""
        return {"average_precision": average_precision(predictions, self.matches)}

    def _score_of_rows(self, predictions: Floats) -> Callable[[NDArray[np.int64]], float]:
        return lambda drawn: average_precision(predictions[drawn], self.matches[drawn])


class RetrievalDev(DevSet):
    """Positive pairs or triplets: each anchor looks for its positive among all that were held out.

    Positives of other rows with the same anchor are right as well, and the anchor's own text is no candidate. Where
    similarities are equal, wrong candidates come first.
    """

    metric = "mrr"
    label = "MRR"

    def __init__(self, table: pd.DataFrame) -> None:
        rights: dict[str, set[str]] = {}
        for anchor, positive in zip(table["anchor"], table["positive"], strict=True):
            if anchor != positive:
                rights.setdefault(anchor, set()).add(positive)
        self.anchors = list(rights)
        self.candidates = sorted({positive for found in rights.values() for positive in found})
        place = {text: number for number, text in enumerate(self.candidates)}
        self.right = np.zeros((len(self.anchors), len(self.candidates)), dtype=bool)
        self.itself = np.zeros_like(self.right)
        for row, anchor in enumerate(self.anchors):
            self.right[row, [place[text] for text in rights[anchor]]] = True
            if anchor in place:
                self.itself[row, place[anchor]] = True

    def predict(self, model: SentenceTransformer) -> Floats:
        """1 over the rank of the first right positive, (anchors,)."""
        embeddings = unit_embeddings(model, [*self.anchors, *self.candidates])
        similarity = embeddings[: len(self.anchors)] @ embeddings[len(self.anchors) :].T
        best = np.where(self.right, similarity, -np.inf).max(axis=1, keepdims=True)
        before = (similarity >= best) & ~self.right & ~self.itself
        return 1.0 / (1 + before.sum(axis=1))

    def scores(self, predictions: Floats) -> dict[str, float]:
        """``mrr`` (mean reciprocal rank) and ``accuracy_at_1``."""
        return {"mrr": float(predictions.mean()), "accuracy_at_1": float((predictions == 1).mean())}


class NeighbourDev(DevSet):
    """Labelled sentences: how often the nearest other sentence is of the same class.

    Those that are alone in their class are no question, but may be a wrong answer.
    """

    metric = "neighbour_accuracy"
    label = "accuracy of the nearest neighbour"

    def __init__(self, table: pd.DataFrame) -> None:
        self.texts = table["text"].tolist()
        labels = table["label"]
        self.same = labels.to_numpy()[:, None] == labels.to_numpy()[None, :]
        self.counted = (labels.groupby(labels).transform("size") > 1).to_numpy()

    def predict(self, model: SentenceTransformer) -> Floats:
        """1 where the nearest neighbour by cosine has the same class, else 0, (sentences not alone in their class,)."""
        embeddings = unit_embeddings(model, self.texts)
        similarity = embeddings @ embeddings.T
        np.fill_diagonal(similarity, -np.inf)
        nearest = similarity.argmax(axis=1)
        return self.same[np.arange(len(nearest)), nearest][self.counted].astype(np.float64)

    def scores(self, predictions: Floats) -> dict[str, float]:
        """``neighbour_accuracy``."""
        return {"neighbour_accuracy": float(predictions.mean())}


DEV_SETS: Mapping[Kind, Callable[[pd.DataFrame], DevSet]] = {
    SCORED_PAIRS: ScoredPairsDev,
    LABELLED_PAIRS: LabelledPairsDev,
    POSITIVE_PAIRS: RetrievalDev,
    TRIPLETS: RetrievalDev,
    LABELLED_SENTENCES: NeighbourDev,
}


def average_precision(predictions: Floats, matches: NDArray[np.bool_]) -> float:
    """Average precision of predictions, (rows,), for the rows that match, (rows,); 0.0 where none does."""
    total = int(matches.sum())
    if total == 0:
        return 0.0
    order = np.argsort(-predictions, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(predictions[order])), len(order) - 1)
    hits = np.cumsum(matches[order])[ends]
    return float(np.sum(np.diff(hits, prepend=0) / total * hits / (ends + 1)))


def unit_embeddings(model: SentenceTransformer, texts: list[str], *, batch_size: int = 64) -> Floats:
    """Embeddings of length 1 (all zeros stay so), (texts, dim) in fp64; a text that repeats is encoded once."""
    row_of = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    encoded = model.encode(list(row_of), batch_size=batch_size, convert_to_numpy=True, show_progress_bar=False)
    embeddings = np.asarray(encoded, dtype=np.float64)
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    embeddings = np.divide(embeddings, lengths, out=np.zeros_like(embeddings), where=lengths > 0)
    return embeddings[[row_of[text] for text in texts]]


def _percentiles(resampled: Floats) -> tuple[float, float]:
    low, high = np.quantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
