"""Retrieval: whether a model's nearest documents are those that answer a query."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from embedtrain.errors import UserError
from embedtrain.evaluation.ranking import RECALL_DEPTHS, Judgements, RankingScores, depth_needed, score_rankings
from embedtrain.mining.search import top_k

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RetrievalTask:
    """Documents, queries and judgements in the order in which rankings name them.

    Of documents that a search finds equally good, the one whose id comes last in alphabetical order is ranked first, as
    trec_eval does, so that the order of a file decides nothing.

    Attributes:
        corpus_ids: The id of each row of a ranking.
        documents: Text of each of them.
        queries: Text of each judged query.
        judgements: Of these queries, in this order.
        own: Query row and corpus row of the same id, (pairs, 2): never found.
    """

    corpus_ids: Sequence[str]
    documents: Sequence[str]
    queries: Sequence[str]
    judgements: Judgements
    own: NDArray[np.int64]

    @classmethod
    def of(
        cls, corpus: Mapping[str, str], queries: Mapping[str, str], qrels: pd.DataFrame, *, skip_own_id: bool = False
    ) -> Self:
        """Put a retrieval set in order.

        Args:
            corpus: Text of each document by its id.
            queries: Text of each query by its id; those that are not judged are left out.
            qrels: ``query-id``, ``corpus-id`` and ``score``: 0 is not relevant, more is more relevant.
            skip_own_id: Leave the document out whose id is the query's, for sets whose queries stand in the corpus.

        Raises:
            UserError: The judgements name queries or documents that are not there, or contradict each other.
        """
        if not corpus or not queries:
            raise UserError(f"retrieval: there are no {'documents' if not corpus else 'queries'}")
        # An exact search ranks equal cosines by the lower row.
        corpus_ids = sorted(corpus, reverse=True)
        judgements = Judgements(qrels, queries=queries, corpus_ids=corpus_ids)
        if judgements.unanswered:
            logger.warning(
                "%d of %d judged queries have no relevant document and score 0, as trec_eval has it",
                judgements.unanswered,
                len(judgements.query_ids),
            )
        own = _own_documents(judgements.query_ids, corpus_ids) if skip_own_id else np.empty((0, 2), dtype=np.int64)
        return cls(
            corpus_ids,
            [corpus[document] for document in corpus_ids],
            [queries[query] for query in judgements.query_ids],
            judgements,
            own,
        )

    def search(
        self, model: SentenceTransformer, *, depth: int, batch_size: int = 64, show_progress: bool = False
    ) -> NDArray[np.int64]:
        """Each query's nearest documents by cosine, exactly; a model that has prompts gets them.

        Args:
            model: Anything with SentenceTransformer's ``encode_query`` and ``encode_document``.
            depth: Documents wanted.
            batch_size: Texts encoded at a time.
            show_progress: Draw progress bars of the encoding.

        Returns:
            Rows of the corpus from near to far, (queries, depth); -1 where there are no more.
        """
        options = {"batch_size": batch_size, "show_progress_bar": show_progress}
        asked = _embeddings(model.encode_query, self.queries, options)
        documents = _embeddings(model.encode_document, self.documents, options)
        own = torch.from_numpy(self.own).to(asked.device) if len(self.own) else None
        ranked, _ = top_k(asked, documents, k=depth, exclude=own)
        return ranked.cpu().numpy()


def evaluate_retrieval(
    model: SentenceTransformer,
    corpus: Mapping[str, str],
    queries: Mapping[str, str],
    qrels: pd.DataFrame,
    *,
    recall_depths: Sequence[int] = RECALL_DEPTHS,
    skip_own_id: bool = False,
    batch_size: int = 64,
    show_progress: bool = False,
) -> RankingScores:
    """Search every judged query's nearest documents by cosine, exactly, and score them; see ``RetrievalTask``.

    Args:
        model: As for ``RetrievalTask.search``.
        corpus: As for ``RetrievalTask.of``.
        queries: As for ``RetrievalTask.of``.
        qrels: As for ``RetrievalTask.of``.
        recall_depths: Each k of ``recall_at_k``.
        skip_own_id: As for ``RetrievalTask.of``.
        batch_size: Texts encoded at a time.
        show_progress: Draw progress bars of the encoding.

    Returns:
        The metrics of each judged query; ``summary()`` has their means and intervals.

    Raises:
        UserError: As ``RetrievalTask.of``, before anything is encoded.
        ValueError: A depth is below 1.
    """
    if min(recall_depths, default=1) < 1:
        raise ValueError(f"recall depths must be at least 1, found {min(recall_depths)}")
    task = RetrievalTask.of(corpus, queries, qrels, skip_own_id=skip_own_id)
    ranked = task.search(model, depth=depth_needed(recall_depths), batch_size=batch_size, show_progress=show_progress)
    return score_rankings(ranked, task.judgements, recall_depths=recall_depths)


def _embeddings(encode: Callable[..., Any], texts: Sequence[str], options: Mapping[str, Any]) -> torch.Tensor:
    """Embeddings, (texts, dim); a text that repeats is encoded once."""
    row_of = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    encoded = encode(list(row_of), convert_to_tensor=True, **options)
    if len(row_of) == len(texts):
        return encoded
    return encoded[torch.tensor([row_of[text] for text in texts], device=encoded.device)]


def _own_documents(query_ids: Sequence[str], corpus_ids: Sequence[str]) -> NDArray[np.int64]:
    """Pairs (query row, corpus row) of the same id, (pairs, 2)."""
    row_of = {document: row for row, document in enumerate(corpus_ids)}
    pairs = [(row, row_of[query]) for row, query in enumerate(query_ids) if query in row_of]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)
