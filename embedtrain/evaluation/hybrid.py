"""Searches beside that of embeddings: by words (BM25), by both (reciprocal rank fusion), and a cross-encoder behind."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from embedtrain.evaluation.retrieval import RetrievalTask
from embedtrain.mining.bm25 import tokenize
from embedtrain.progress import progress

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

Ranked = NDArray[np.int64]


def bm25_search(task: RetrievalTask, *, depth: int) -> Ranked:
    """Each query's best documents by BM25 (bm25s' Lucene variant with k1 = 1.5 and b = 0.75).

    Documents that share no term with the query are not found; those of equal score are ranked by the lower row.

    Args:
        task: What is searched.
        depth: Documents wanted.

    Returns:
        Rows of the corpus from the best down, (queries, depth); -1 where fewer were found.

    Source: Robertson & Zaragoza 2009, The Probabilistic Relevance Framework: BM25 and Beyond.
    """
    import bm25s

    # Importing bm25s sets its logger to DEBUG, and its notes on each index would reach the user.
    logging.getLogger("bm25s").setLevel(logging.WARNING)
    number_of: dict[str, int] = {}
    documents = [[number_of.setdefault(term, len(number_of)) for term in tokenize(text)] for text in task.documents]
    ranked = np.full((len(task.queries), depth), -1, dtype=np.int64)
    if not number_of:
        return ranked
    index = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
    index.index((documents, number_of), show_progress=False)
    own = dict(task.own.tolist())
    for row, query in enumerate(progress(task.queries, what="BM25", unit="query")):
        terms = [number_of[term] for term in tokenize(query) if term in number_of]
        if not terms:
            continue
        scores = index.get_scores_from_ids(terms)
        if row in own:
            scores[own[row]] = 0.0
        found = np.flatnonzero(scores > 0)
        best = found[np.argsort(-scores[found], kind="stable")][:depth]
        ranked[row, : len(best)] = best
    return ranked


def fuse(rankings: Sequence[Ranked], *, offset: int = 60) -> Ranked:
    """Reciprocal rank fusion: ``score(d) = sum over rankings of 1 / (offset + rank of d)``, ranks from 1.

    A ranking adds nothing for documents that it does not hold. Documents of equal score are ranked by the lower row.

    Args:
        rankings: Each (queries, its own depth), rows of the corpus from the best down, -1 where there are no more.
        offset: The larger, the less the very first ranks decide.

    Returns:
        Every document of any ranking, (queries, sum of the depths); -1 where there are no more.

    Raises:
        ValueError: The numbers of queries differ.

    Source: Cormack, Clarke & Buettcher 2009, Reciprocal rank fusion outperforms Condorcet and individual rank learning
    methods (offset 60).
    """
    if len({len(ranked) for ranked in rankings}) != 1:
        raise ValueError(f"expected rankings of the same queries, found {[len(ranked) for ranked in rankings]}")
    queries, depth = len(rankings[0]), sum(ranked.shape[1] for ranked in rankings)
    fused = np.full((queries, depth), -1, dtype=np.int64)
    shares = np.concatenate([1.0 / (offset + 1 + np.arange(ranked.shape[1])) for ranked in rankings])
    for row, found in enumerate(np.concatenate(list(rankings), axis=1)):
        documents, which = np.unique(found[found >= 0], return_inverse=True)
        scores = np.bincount(which, weights=shares[found >= 0], minlength=len(documents))
        # Sums of the same shares may differ in their last bit by the order in which they were added.
        fused[row, : len(documents)] = documents[np.argsort(-scores.round(12), kind="stable")]
    return fused


class Reranker:
    """A cross-encoder behind searches; a pair of query and document is scored once, however many rankings hold it.

    Scores are taken before any sigmoid, which would make those of sure pairs equal.

    Args:
        model: Scores pairs of query and document, the higher, the better.
        task: What was searched.
        batch_size: Pairs scored at a time.
    """

    def __init__(self, model: CrossEncoder, task: RetrievalTask, *, batch_size: int = 64) -> None:
        self.model = model
        self.task = task
        self.batch_size = batch_size
        self._scores: dict[tuple[int, int], float] = {}

    def rerank(self, ranked: Ranked, *, depth: int) -> Ranked:
        """Put the best documents of each query in the order of their scores; the others stay behind them.

        Args:
            ranked: Rows of the corpus from the best down, (queries, documents), -1 where there are no more.
            depth: How many of each query's documents are scored; those of equal score keep their order.

        Returns:
            As ``ranked``.
        """
        head = ranked[:, :depth]
        pairs = [(row, int(head[row, at])) for row, at in np.argwhere(head >= 0).tolist()]
        self._score([pair for pair in pairs if pair not in self._scores])
        scores = np.full(head.shape, -np.inf)
        scores[head >= 0] = [self._scores[pair] for pair in pairs]
        order = np.argsort(-scores, axis=1, kind="stable")
        return np.concatenate([np.take_along_axis(head, order, axis=1), ranked[:, depth:]], axis=1)

    def _score(self, pairs: Sequence[tuple[int, int]]) -> None:
        import torch

        if not pairs:
            return
        texts = [(self.task.queries[query], self.task.documents[document]) for query, document in pairs]
        scores = self.model.predict(
            texts, batch_size=self.batch_size, activation_fn=torch.nn.Identity(), show_progress_bar=False
        )
        self._scores.update(zip(pairs, np.asarray(scores, dtype=np.float64).tolist(), strict=True))
