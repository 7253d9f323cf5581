"""New sentence pairs worth labelling, found among sentences by one or more strategies (Augmented SBERT)."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray

from embedtrain.errors import Problems, UserError
from embedtrain.mining.bm25 import bm25_top_k
from embedtrain.mining.names import SearchName
from embedtrain.mining.pool import Indices, Pairs, Pool, make_pool, with_ready_pairs
from embedtrain.mining.search import pair_similarity
from embedtrain.mining.shares import check_strategies, pairs_for_shares, strategy_names
from embedtrain.mining.strategies import (
    MADE_ON_DEMAND,
    STRATEGIES,
    LexicalSearch,
    Request,
    Score,
    check_needs,
)

logger = logging.getLogger(__name__)

WHY_FEWER = {
    "random": "there are no more of them",
    "kde": "too few of the random pairs score as gold's do; more labelled pairs give more",
}


def sample_pairs(
    sentences: Sequence[str],
    embeddings: torch.Tensor | None,
    *,
    strategies: Sequence[str] | Mapping[str, float] = ("semantic",),
    top_k: int = 3,
    known_pairs: Pairs,
    limit: int | None = None,
    seed: int = 42,
    score: Score | None = None,
    gold_scores: ArrayLike | None = None,
    unlabeled_pairs: Pairs | None = None,
    source_sentences: Collection[str] | None = None,
    labelled_pairs: int | None = None,
    search: SearchName = "auto",
    lexical: LexicalSearch = bm25_top_k,
) -> pd.DataFrame:
    """Pairs of sentences to be labelled, each unordered pair once (Thakur et al. 2021, section 3.1).

    Texts that fold to the same form count as one sentence, represented by the first of them; blank texts are left out.
    Known pairs are left out inside the search, in either order and after folding, so that each sentence gets its
    ``top_k`` partners as long as so many are left.

    Args:
        sentences: The n sentences, unlabelled and gold alike.
        embeddings: Their vectors, shape (n, dim); needed by ``semantic``, and by ``cross-domain`` without ready pairs.
        strategies: Names out of ``STRATEGIES``, or several joined by ``+``: everything that one of them finds. Or a
            mapping of such names to shares of ``limit`` that add up to 1: what one entry has given, the next do not
            give again, and an entry that finds fewer pairs than its share is not filled up by the others.
        top_k: Partners sought for each sentence by each strategy; without ``limit`` also the random pairs a sentence.
        known_pairs: Gold, dev and test pairs, which are never returned.
        limit: Pairs wanted at most; of more, as many are drawn at random.
        seed: Of everything that is drawn.
        score: The teacher's scores of pairs, from their first and their second texts; needed by ``kde``.
        gold_scores: Scores of gold's pairs, on the teacher's scale; needed by ``kde``.
        unlabeled_pairs: Pairs of texts for ``cross-domain``, which searches for none then.
        source_sentences: Sentences of gold's domain, which ``cross-domain`` leaves out where it searches; by default
            every sentence of a known pair.
        labelled_pairs: Random pairs that ``kde`` has scored; by default eight for each one wanted.
        search: How ``semantic`` and ``cross-domain`` search; see ``nearest_neighbours``.
        lexical: What finds neighbours by BM25, such as ``bm25_candidates`` for many sentences.

    Returns:
        Columns ``sentence1`` and ``sentence2`` (the earlier in ``sentences`` first), ``sampled_by`` (names joined by
        ``+`` in the order of ``STRATEGIES``) and ``similarity`` (cosine of the two embeddings whichever strategy found
        the pair, NaN without embeddings), sorted by the positions of the two sentences.

    Raises:
        UserError: A strategy is unknown or none is given, shares make no sense, ``top_k`` or ``limit`` is below 1, or
            ``cross-domain`` is left without sentences.
        ValueError: Something is missing that a strategy needs, or ``embeddings`` has another number of rows.
    """
    _check_options(strategies, partners=top_k, limit=limit)
    names = strategy_names(strategies)
    given = {"embeddings": embeddings, "score": score, "gold_scores": gold_scores}
    check_needs(
        names, [name for name, value in given.items() if value is not None], ready_pairs=unlabeled_pairs is not None
    )
    if embeddings is not None and len(embeddings) != len(sentences):
        raise ValueError(f"expected one embedding per sentence, found {len(embeddings)} for {len(sentences)} sentences")
    known_pairs = list(known_pairs)
    pool = make_pool(sentences, embeddings, known_pairs, source_sentences)
    if unlabeled_pairs is not None:
        if "cross-domain" in names:
            pool = with_ready_pairs(pool, unlabeled_pairs, known_pairs)
        else:
            logger.warning("sampling: ready pairs have no effect without the strategy cross-domain")
    elif "cross-domain" in names:
        _check_target(pool)
    sampler = _Sampler(
        pool,
        Request(
            partners=_possible_partners(pool, top_k, names),
            count=limit,
            taken=np.empty(0, dtype=np.int64),
            rng=np.random.default_rng(seed),
            score=score,
            gold_scores=None if gold_scores is None else np.asarray(gold_scores, dtype=np.float64),
            labelled=labelled_pairs,
            search=search,
            lexical=lexical,
        ),
        seed=seed,
    )
    if isinstance(strategies, Mapping):
        assert limit is not None  # _check_options has checked it
        return sampler.frame(sampler.by_shares(strategies, limit))
    frame = sampler.frame(sampler.union(names))
    if limit is not None and len(frame) > limit:
        logger.info("sampling: %d of %d pairs drawn", limit, len(frame))
        frame = frame.sample(limit, random_state=seed).sort_index().reset_index(drop=True)
    return frame


class _Sampler:
    """Runs strategies on one pool and keeps what each has found.

    Pairs are handled as codes, see ``Pool.codes``.
    """

    def __init__(self, pool: Pool, request: Request, *, seed: int) -> None:
        self.pool = pool
        self.request = request
        self.seed = seed
        self.found: dict[str, Indices] = {}

    def union(self, names: Sequence[str]) -> Indices:
        """Every pair that one of the strategies finds."""
        found = {name: self._ask(name, self.request) for name in names}
        wanted = self.request.count
        for name in MADE_ON_DEMAND.intersection(names):
            if wanted is not None and len(found[name]) < wanted:
                logger.warning("sampling: %s gives %d of %d pairs: %s", name, len(found[name]), wanted, WHY_FEWER[name])
        return np.unique(np.concatenate(list(found.values())))

    def by_shares(self, shares: Mapping[str, float], limit: int) -> Indices:
        """As many pairs of each entry as its share says, none of them twice.

        What makes pairs on demand comes last: it can go round what the others have given.
        """
        counts = pairs_for_shares(shares, limit)
        drawn = np.empty(0, dtype=np.int64)
        for entry in sorted(shares, key=lambda entry: bool(MADE_ON_DEMAND.intersection(entry.split("+")))):
            wanted = counts[entry]
            request = replace(self.request, count=wanted, taken=drawn)
            found = np.unique(np.concatenate([self._ask(name, request) for name in entry.split("+")]))
            new = np.setdiff1d(found, drawn)
            if len(new) < wanted:
                logger.warning(
                    "sampling: %s gives %d of the %d pairs that are its share; a higher top_k or more sentences give "
                    "more",
                    entry,
                    len(new),
                    wanted,
                )
            else:
                new = self._rng(f"of {entry}").permutation(new)[:wanted]
            drawn = np.union1d(drawn, new)
        return drawn

    def frame(self, codes: Indices) -> pd.DataFrame:
        """The pairs as a table."""
        names = [name for name in STRATEGIES if name in self.found]
        hits = np.stack([np.isin(codes, self.found[name]) for name in names], axis=1)
        labels = {row: "+".join(name for name, hit in zip(names, row, strict=True) if hit) for row in map(tuple, hits)}
        first, second = np.divmod(codes, self.pool.base)
        texts = np.array(self.pool.texts, dtype=object)
        return pd.DataFrame(
            {
                "sentence1": pd.Series(texts[first], dtype="str"),
                "sentence2": pd.Series(texts[second], dtype="str"),
                "sampled_by": pd.Series([labels[tuple(row)] for row in hits], dtype="str"),
                "similarity": self._similarity(first, second),
            }
        )

    def _ask(self, name: str, request: Request) -> Indices:
        """What a strategy finds; one that gives the same whatever is asked is not asked twice."""
        if name in self.found and name not in MADE_ON_DEMAND:
            return self.found[name]
        empty = len(self.pool.sentences) < 2 and self.pool.ready is None
        pairs = np.empty((0, 2), dtype=np.int64)
        if not empty:
            pairs = STRATEGIES[name](self.pool, replace(request, rng=self._rng(name)))
        codes = np.unique(self.pool.codes(pairs))
        logger.info("sampled %d pairs by %s among %d sentences", len(codes), name, len(self.pool.sentences))
        self.found[name] = np.union1d(self.found.get(name, codes), codes)
        return codes

    def _rng(self, name: str) -> np.random.Generator:
        # What one strategy draws does not depend on which others are asked.
        return np.random.default_rng([self.seed, *name.encode()])

    def _similarity(self, first: Indices, second: Indices) -> NDArray[np.float32]:
        embeddings = self.pool.embeddings
        similarity = np.full(len(first), np.nan, dtype=np.float32)
        if embeddings is not None:
            inside = second < len(embeddings)
            rows = [torch.from_numpy(part[inside]).to(embeddings.device) for part in (first, second)]
            similarity[inside] = pair_similarity(embeddings, *rows).cpu().numpy()
        return similarity


def _check_options(strategies: Sequence[str] | Mapping[str, float], *, partners: int, limit: int | None) -> None:
    problems = Problems()
    check_strategies(strategies, problems, limit=limit)
    if partners < 1:
        problems.add(f"top_k {partners}: expected 1 or more partners for each sentence")
    if limit is not None and limit < 1:
        problems.add(f"limit {limit}: expected 1 or more pairs")
    problems.raise_if_any()


def _check_target(pool: Pool) -> None:
    target = int((~pool.is_source).sum())
    if target < 2:
        raise UserError(
            f"cross-domain pairs up sentences that gold does not have, and of {len(pool.sentences)} sentences "
            f"{target or 'none'} is such a one; give sentences or pairs of the other domain"
        )


def _possible_partners(pool: Pool, wanted: int, names: Sequence[str]) -> int:
    """Partners for each sentence, as many as there can be; that they are fewer than asked for is said."""
    possible = len(pool.sentences) - 1
    if wanted > possible >= 1 and any(name not in MADE_ON_DEMAND for name in names):
        logger.warning(
            "sampling: %d partners for each sentence are asked for, and %d sentences have %d others; all are taken",
            wanted,
            len(pool.sentences),
            possible,
        )
    return max(1, min(wanted, possible))
