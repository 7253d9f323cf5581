"""Measuring a model by a search: queries with judged answers over a corpus, for choosing weights while training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from embedtrain.data.retrieval import RetrievalSet
from embedtrain.evaluation.holdout import DevSet
from embedtrain.evaluation.ranking import MAIN_METRIC, RankingScores, depth_needed, score_rankings
from embedtrain.evaluation.resampling import Floats
from embedtrain.evaluation.retrieval import RetrievalTask

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

METRICS = (MAIN_METRIC, "map_at_100", "mrr_at_10")


class SearchDev(DevSet):
    """A retrieval set: how far up each query's nearest documents by cosine hold its answers, by nDCG@10.

    The whole corpus is encoded each time; a model that has prompts gets them. Definitions are those of
    ``ranking.score_rankings``.

    Args:
        found: The set.
        batch_size: Texts encoded at a time.
    """

    metric = MAIN_METRIC
    label = "nDCG@10"

    def __init__(self, found: RetrievalSet, *, batch_size: int = 64) -> None:
        self.task = RetrievalTask.of(found.corpus, found.queries, found.qrels)
        self.batch_size = batch_size

    def predict(self, model: SentenceTransformer) -> Floats:
        """nDCG@10 of each query, then MAP@100 of each, then MRR@10, (3 x queries,)."""
        ranked = self.task.search(model, depth=depth_needed(()), batch_size=self.batch_size)
        scores = score_rankings(ranked, self.task.judgements, recall_depths=())
        return np.concatenate([scores.per_query[metric] for metric in METRICS])

    def scores(self, predictions: Floats) -> dict[str, float]:
        """``ndcg_at_10``, ``map_at_100`` and ``mrr_at_10``, means over the queries."""
        return {metric: float(values.mean()) for metric, values in self._by_metric(predictions).items()}

    def summary(self, predictions: Floats, *, samples: int, seed: int) -> dict[str, Any]:
        """As ``RankingScores.summary``, ``ci95`` being the interval of nDCG@10."""
        return RankingScores(self.task.judgements.query_ids, self._by_metric(predictions)).summary(
            samples=samples, seed=seed
        )

    def resampled(self, predictions: Floats, *, samples: int, seed: int) -> Floats:
        """nDCG@10 on queries drawn with replacement, (samples,)."""
        return super().resampled(self._by_metric(predictions)[MAIN_METRIC], samples=samples, seed=seed)

    def _by_metric(self, predictions: Floats) -> dict[str, Floats]:
        return dict(zip(METRICS, predictions.reshape(len(METRICS), -1), strict=True))
