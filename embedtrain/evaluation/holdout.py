"""Measuring a model on rows held out of its own training data, whatever kind of table they come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from embedtrain.data.schema import LABELLED_PAIRS, LABELLED_SENTENCES, POSITIVE_PAIRS, SCORED_PAIRS, TRIPLETS, Kind
from embedtrain.evaluation.correlations import resampled_correlations
from embedtrain.evaluation.pairs import average_precision, resampled_average_precision
from embedtrain.evaluation.resampling import Floats, Interval, percentile_interval, resample_counts
from embedtrain.evaluation.statistics import pearson, spearman
from embedtrain.evaluation.sts import cosine_of_pairs, score_predictions
from embedtrain.models.prompts import prompt_before

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


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
        resampled = self.resampled(predictions, samples=samples, seed=seed)
        interval = percentile_interval(self.scores(predictions)[self.metric], resampled)
        return {**self.scores(predictions), "ci95": [interval.low, interval.high], "rows": len(predictions)}

    def difference(self, first: Floats, second: Floats, *, samples: int, seed: int) -> Interval:
        """First minus second by the metric that decides, both on the same resamples of the rows."""
        value = self.scores(first)[self.metric] - self.scores(second)[self.metric]
        drawn = [self.resampled(predictions, samples=samples, seed=seed) for predictions in (first, second)]
        return percentile_interval(value, drawn[0] - drawn[1])

    def resampled(self, predictions: Floats, *, samples: int, seed: int) -> Floats:
        """The deciding metric on rows drawn with replacement, (samples,); as it stands, for metrics that are means."""
        counts = resample_counts(len(predictions), samples=samples, seed=seed)
        return np.concatenate([drawn @ predictions for drawn in counts]) / len(predictions)


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

    def resampled(self, predictions: Floats, *, samples: int, seed: int) -> Floats:
        """Spearman's correlation on pairs drawn with replacement, (samples,)."""
        return resampled_correlations([predictions], self.gold, method="spearman", samples=samples, seed=seed)[0]


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
        return {"average_precision": average_precision(self.matches, predictions)}

    def resampled(self, predictions: Floats, *, samples: int, seed: int) -> Floats:
        """Average precision on pairs drawn with replacement, (samples,)."""
        return resampled_average_precision(self.matches, predictions, samples=samples, seed=seed)


class RetrievalDev(DevSet):
    """Positive pairs or triplets: each anchor looks for its positive among all that were held out.

    Positives of other rows with the same anchor are right as well, and the anchor's own text is no candidate. Where
    similarities are equal, wrong candidates come first. A model that has prompts for queries and documents gets them.
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
        before_anchor, before_positive = (prompt_before(model, name) for name in ("anchor", "positive"))
        if before_anchor == before_positive:
            embeddings = unit_embeddings(model, [*self.anchors, *self.candidates], prompt=before_anchor)
            anchors, candidates = np.split(embeddings, [len(self.anchors)])
        else:
            anchors = unit_embeddings(model, self.anchors, prompt=before_anchor)
            candidates = unit_embeddings(model, self.candidates, prompt=before_positive)
        similarity = anchors @ candidates.T
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


def unit_embeddings(
    model: SentenceTransformer, texts: list[str], *, batch_size: int = 64, prompt: str | None = None
) -> Floats:
    """Embeddings of length 1 (all zeros stay so), (texts, dim) in fp64; a text that repeats is encoded once.

    Args:
        model: The model.
        texts: The texts.
        batch_size: Texts encoded at a time.
        prompt: What is put before each of them; by default the model's default prompt.
    """
    row_of = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    encoded = model.encode(
        list(row_of), prompt=prompt, batch_size=batch_size, convert_to_numpy=True, show_progress_bar=False
    )
    embeddings = np.asarray(encoded, dtype=np.float64)
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    embeddings = np.divide(embeddings, lengths, out=np.zeros_like(embeddings), where=lengths > 0)
    return embeddings[[row_of[text] for text in texts]]
