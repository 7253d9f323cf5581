"""What rankings of documents are worth, query by query: nDCG, average precision, reciprocal rank and recall.

Defined as trec_eval does, which BEIR and MTEB use: a document that is not judged is not relevant, and a query none of
whose judged documents is relevant scores 0.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from embedtrain.data.retrieval import check_qrels
from embedtrain.errors import did_you_mean
from embedtrain.evaluation.resampling import Floats, Interval, bootstrap_means

MAIN_METRIC = "ndcg_at_10"
RECALL_DEPTHS = (1, 3, 5, 10, 100)
_NDCG_DEPTH, _MAP_DEPTH, _MRR_DEPTH = 10, 100, 10


@dataclass(frozen=True)
class RankingScores:
    """Every metric of every query, so that two rankings can be compared on the same queries.

    Attributes:
        query_ids: The judged queries.
        per_query: A number for each of them, (queries,), by metric: ``ndcg_at_10``, which decides, ``map_at_100``,
            ``mrr_at_10`` and ``recall_at_k``.
    """

    query_ids: tuple[str, ...]
    per_query: Mapping[str, Floats]

    def summary(self, *, samples: int = 1000, seed: int = 0) -> dict[str, Any]:
        """Means over queries with their 95 % bootstrap intervals, ready for JSON.

        Returns:
            Each metric with ``<metric>_ci95`` = [low, high], ``ci95`` being that of ``ndcg_at_10``, and ``queries``,
            their number.
        """
        intervals = bootstrap_means(np.stack(list(self.per_query.values())), samples=samples, seed=seed)
        found: dict[str, Any] = {}
        for metric, interval in zip(self.per_query, intervals, strict=True):
            found[metric] = interval.value
            found["ci95" if metric == MAIN_METRIC else f"{metric}_ci95"] = [interval.low, interval.high]
        return {**found, "queries": len(self.query_ids)}

    def difference(
        self, other: RankingScores, *, metric: str = MAIN_METRIC, samples: int = 1000, seed: int = 0
    ) -> Interval:
        """This ranking's mean minus another's, with the 95 % interval of a paired bootstrap over queries.

        Raises:
            ValueError: The two were not measured on the same queries, or one of them lacks the metric.
        """
        if self.query_ids != other.query_ids:
            apart = len(set(self.query_ids) ^ set(other.query_ids))
            raise ValueError(f"both must be measured on the same queries in one order; {apart} are in one of them only")
        known = [name for name in self.per_query if name in other.per_query]
        if metric not in known:
            hint = did_you_mean(metric, known)
            raise ValueError(f"metric must be one of {', '.join(known)}, found '{metric}'{hint}")
        apart_by_query = self.per_query[metric] - other.per_query[metric]
        return bootstrap_means(apart_by_query[None], samples=samples, seed=seed)[0]


class Judgements:
    """Which documents answer which queries, and how well.

    Attributes:
        query_ids: The judged queries, in the order of ``queries``.
        unanswered: How many of them have no relevant document.
    """

    def __init__(self, qrels: pd.DataFrame, *, queries: Collection[str], corpus_ids: Sequence[str]) -> None:
        """Look up judgements.

        Args:
            qrels: ``query-id``, ``corpus-id`` and ``score`` (0 or less is not relevant).
            queries: Every query's id.
            corpus_ids: The id of each row of the corpus.

        Raises:
            UserError: See ``check_qrels``.
        """
        qrels = check_qrels(qrels, queries=queries, corpus=corpus_ids)
        judged = set(qrels["query-id"])
        self.query_ids = tuple(query for query in queries if query in judged)
        query = pd.Index(self.query_ids).get_indexer(pd.Index(qrels["query-id"]))
        document = pd.Index(corpus_ids).get_indexer(pd.Index(qrels["corpus-id"]))
        grade = qrels["score"].to_numpy(dtype=np.float64).clip(min=0)
        self._documents = len(corpus_ids)
        keys = query.astype(np.int64) * self._documents + document
        order = np.argsort(keys)
        self._keys, self._grades = keys[order], grade[order]
        self.relevant = np.bincount(query[grade > 0], minlength=len(self.query_ids)).astype(np.float64)
        self.unanswered = int((self.relevant == 0).sum())
        self.ideal = self._ideal_gain(query, grade)

    def grades_of(self, ranked: NDArray[np.int64]) -> Floats:
        """Grade of each ranked document, 0 where it is not judged or the row is -1, (queries, depth)."""
        keys = np.arange(len(ranked))[:, None] * self._documents + ranked
        place = np.searchsorted(self._keys, keys).clip(max=len(self._keys) - 1)
        return np.where((self._keys[place] == keys) & (ranked >= 0), self._grades[place], 0.0)

    def _ideal_gain(self, query: NDArray[np.int64], grade: Floats) -> Floats:
        """Discounted gain of each query's documents in the best order, cut off, (queries,)."""
        order = np.lexsort((-grade, query))
        query, grade = query[order], grade[order]
        rank = np.arange(len(query)) - np.searchsorted(query, query)
        gain = np.where(rank < _NDCG_DEPTH, grade / np.log2(rank + 2), 0.0)
        return np.bincount(query, weights=gain, minlength=len(self.query_ids)).astype(np.float64)


def score_rankings(
    ranked: NDArray[np.int64], judgements: Judgements, *, recall_depths: Sequence[int] = RECALL_DEPTHS
) -> RankingScores:
    """Every metric of the best documents that were found for each judged query.

    ``nDCG = sum_i g_i / log2(i + 1)`` over the ranks i, g the grade itself, divided by the same sum for the best
    order there is. Average precision divides by all relevant documents, also where there are more than were looked at.

    Args:
        ranked: Rows of the corpus from the best down, (judged queries, depth); -1 where fewer were found. The depth is
            that of the deepest metric or more (100 if no recall asks for more), unless the corpus is smaller.
        judgements: Of these queries, in this order, and of this corpus.
        recall_depths: Each k of ``recall_at_k``.

    Raises:
        ValueError: The numbers of queries differ.

    Source: Järvelin & Kekäläinen 2002, Cumulated gain-based evaluation of IR techniques (nDCG; gain and discount as in
    trec_eval).
    """
    if ranked.ndim != 2 or len(ranked) != len(judgements.query_ids):
        raise ValueError(f"expected rows of ({len(judgements.query_ids)} queries, depth), found {ranked.shape}")
    grades = judgements.grades_of(ranked)
    hits = grades > 0
    ranks = np.arange(1, ranked.shape[1] + 1)
    gain = (grades / np.log2(ranks + 1))[:, :_NDCG_DEPTH].sum(axis=1)
    precision = np.cumsum(hits, axis=1) / ranks
    per_query = {
        "ndcg_at_10": _share(gain, judgements.ideal),
        "map_at_100": _share((precision * hits)[:, :_MAP_DEPTH].sum(axis=1), judgements.relevant),
        # Reciprocal ranks fall from left to right, so that the highest is the first hit's.
        "mrr_at_10": (hits / ranks)[:, :_MRR_DEPTH].max(axis=1, initial=0.0),
    }
    for depth in recall_depths:
        per_query[f"recall_at_{depth}"] = _share(hits[:, :depth].sum(axis=1), judgements.relevant)
    return RankingScores(judgements.query_ids, per_query)


def depth_needed(recall_depths: Sequence[int]) -> int:
    """How many documents of each query the metrics look at."""
    return max(_NDCG_DEPTH, _MAP_DEPTH, _MRR_DEPTH, *recall_depths)


def _share(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.zeros_like(whole), where=whole > 0)
