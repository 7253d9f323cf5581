"""How new pairs are found among sentences: the strategies of Augmented SBERT, from a pool to pairs of its indices."""

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from embedtrain.mining.approximate import nearest_neighbours
from embedtrain.mining.bm25 import bm25_top_k
from embedtrain.mining.kde import draw_like_gold
from embedtrain.mining.names import SearchName
from embedtrain.mining.pool import Indices, Pool

logger = logging.getLogger(__name__)

Score = Callable[[Sequence[str], Sequence[str]], NDArray[np.float32]]


class LexicalSearch(Protocol):
    """What ``bm25_top_k`` does, however it does it."""

    def __call__(
        self, sentences: Sequence[str], *, k: int, exclude: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Indices and scores, (n, k)."""


# Random pairs that are labelled for each one that sampling by density shall give. Hardly any random pair is similar: of
# those of STS benchmark's dev sentences, scored by all-MiniLM-L6-v2, one in seven can stay.
LABELLED_PER_PAIR = 8


@dataclass(frozen=True)
class Request:
    """What is asked of a strategy.

    Attributes:
        partners: Partners wanted for each sentence.
        count: Pairs wanted, by strategies that can make any number; None leaves it to ``partners``.
        taken: Indices of pairs that are drawn already and need not come again.
        rng: Of the strategy's own random choices.
        score: Scores of pairs by the teacher.
        gold_scores: What gold's pairs were scored.
        labelled: Random pairs to label for sampling by density; by default ``LABELLED_PER_PAIR`` for each one wanted.
        search: How neighbours among embeddings are searched.
        lexical: Finds neighbours by BM25.
    """

    partners: int
    count: int | None
    taken: Indices
    rng: np.random.Generator
    score: Score | None = None
    gold_scores: NDArray[np.float64] | None = None
    labelled: int | None = None
    search: SearchName = "auto"
    lexical: LexicalSearch = bm25_top_k


# From a pool to pairs of its indices, int64 (pairs, 2), in any order and direction, never a known pair or a text with
# itself; sample_pairs merges what repeats.
Strategy = Callable[[Pool, Request], Indices]


def semantic(pool: Pool, request: Request) -> Indices:
    """For each sentence the nearest others by cosine of their embeddings."""
    assert pool.embeddings is not None  # sample_pairs has checked it
    found = nearest_neighbours(pool.embeddings, k=request.partners, exclude=pool.known, search=request.search)
    return _as_pairs(found.indices)


def bm25(pool: Pool, request: Request) -> Indices:
    """For each sentence the others that score highest by BM25."""
    found, _ = request.lexical(pool.sentences, k=request.partners, exclude=pool.known)
    return _as_pairs(found)


def random(pool: Pool, request: Request) -> Indices:
    """Any two sentences, every new pair with the same probability; by default ``partners`` pairs a sentence."""
    count = len(pool.sentences) * request.partners if request.count is None else request.count
    return _random_pairs(pool, count, request)


def kde(pool: Pool, request: Request) -> Indices:
    """Random pairs that the teacher scores, drawn so that these scores are spread as gold's are.

    See :func:`~embedtrain.mining.kde.draw_like_gold`. The random pairs that are not drawn were labelled for nothing,
    which is what this strategy costs.
    """
    assert request.score is not None  # sample_pairs has checked them
    assert request.gold_scores is not None
    count = len(pool.sentences) * request.partners if request.count is None else request.count
    labelled = LABELLED_PER_PAIR * count if request.labelled is None else request.labelled
    pairs = _random_pairs(pool, labelled, request)
    texts = [[pool.sentences[index] for index in side] for side in pairs.T]
    scores = np.asarray(request.score(*texts), dtype=np.float64)
    drawn = draw_like_gold(scores, request.gold_scores, count=count, rng=request.rng)
    logger.info("kde: %d of %d random pairs drawn, with scores spread as gold's", len(drawn), len(pairs))
    return pairs[drawn]


def cross_domain(pool: Pool, request: Request) -> Indices:
    """Pairs of another domain than gold's: those given ready made, else neighbours among sentences that gold has not.

    Domain adaptation with Augmented SBERT (Thakur et al. 2021): the teacher learns from gold of a source
    domain and labels pairs of the target domain alone.
    """
    if pool.ready is not None:
        return pool.ready
    assert pool.embeddings is not None  # sample_pairs has checked it
    target = np.flatnonzero(~pool.is_source)
    place = np.full(len(pool.sentences), -1)
    place[target] = np.arange(len(target))
    known = torch.from_numpy(place)[pool.known]
    partners = min(request.partners, max(1, len(target) - 1))
    rows = torch.from_numpy(target).to(pool.embeddings.device)
    known = known[(known >= 0).all(dim=1)]
    found = nearest_neighbours(pool.embeddings[rows], k=partners, exclude=known, search=request.search)
    return target[_as_pairs(found.indices)]


STRATEGIES: dict[str, Strategy] = {
    "semantic": semantic,
    "bm25": bm25,
    "random": random,
    "kde": kde,
    "cross-domain": cross_domain,
}
# What makes any number of pairs on demand; of the others each gives the same pairs whatever their number shall be.
MADE_ON_DEMAND = frozenset({"random", "kde"})
NEED_TEACHER = frozenset({"kde"})


def need_embeddings(names: Sequence[str], *, ready_pairs: bool = False) -> list[str]:
    """Those of the strategies that search among embeddings; with ready pairs, cross-domain has nothing to search."""
    searching = {"semantic"} if ready_pairs else {"semantic", "cross-domain"}
    return [name for name in names if name in searching]


def check_needs(names: Sequence[str], given: Collection[str], *, ready_pairs: bool = False) -> None:
    """Raise ValueError where ``embeddings``, ``score`` or ``gold_scores`` are not given and a strategy needs them."""
    if "embeddings" not in given and (needy := need_embeddings(names, ready_pairs=ready_pairs)):
        raise ValueError(f"sampling by {', '.join(needy)} needs embeddings")
    missing = [name for name in ("score", "gold_scores") if name not in given]
    if missing and (needy := sorted(NEED_TEACHER.intersection(names))):
        raise ValueError(f"sampling by {', '.join(needy)} needs {' and '.join(missing)}")


def _random_pairs(pool: Pool, count: int, request: Request) -> Indices:
    """Pairs drawn without replacement from all that are neither known nor taken; all of those, if they are fewer."""
    size = len(pool.sentences)
    without = np.union1d(pool.known_codes, request.taken)
    first, second = np.divmod(without, pool.base)
    without = without[(first != second) & (second < size)]
    free = size * (size - 1) // 2 - len(without)
    if 2 * count >= free:
        # More than half of them: writing them all down costs no more than what is asked for, up to a factor.
        pairs = np.stack(np.triu_indices(size, 1), axis=1)
        pairs = pairs[~np.isin(pool.codes(pairs), without)]
        return pairs[np.sort(request.rng.permutation(len(pairs))[:count])]
    found = np.empty(0, dtype=np.int64)
    while len(found) < count:
        drawn = request.rng.integers(size, size=(count - len(found) + 16, 2))
        codes = pool.codes(drawn[drawn[:, 0] != drawn[:, 1]])
        # In the order they were drawn in: cutting a sorted list would favour the first sentences.
        found = pd.unique(np.concatenate([found, codes[~np.isin(codes, without)]]))
    return np.stack(np.divmod(np.sort(found[:count]), pool.base), axis=1)


def _as_pairs(found: torch.Tensor) -> Indices:
    """Neighbour indices (n, k), -1 for none, as pairs (row, neighbour)."""
    neighbours = found.cpu().numpy()
    rows, columns = np.nonzero(neighbours >= 0)
    return np.stack([rows, neighbours[rows, columns]], axis=1)
