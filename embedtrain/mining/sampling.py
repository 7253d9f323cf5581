"""New sentence pairs worth labelling, found among sentences by one or more strategies (Augmented SBERT)."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from embedtrain.data.folding import fold_text
from embedtrain.errors import Problems, did_you_mean
from embedtrain.mining.bm25 import bm25_top_k
from embedtrain.mining.search import pair_similarity, top_k

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pool:
    """What a strategy samples from: sentences that differ after folding, and the pairs it must not return."""

    sentences: list[str]
    embeddings: torch.Tensor | None  # (n, dim), row i belongs to sentence i
    known: torch.Tensor  # int64 (pairs, 2), each known pair in both directions


# From a pool and the number of partners wanted for each sentence to pairs of its indices, int64 (pairs, 2), in any
# order and direction, never a known pair or a sentence with itself; sample_pairs merges what repeats.
Strategy = Callable[[Pool, int], torch.Tensor]


def _semantic(pool: Pool, partners: int) -> torch.Tensor:
    assert pool.embeddings is not None  # sample_pairs has checked it
    found, _ = top_k(pool.embeddings, k=partners, exclude=pool.known)
    return _as_pairs(found.cpu())


def _bm25(pool: Pool, partners: int) -> torch.Tensor:
    found, _ = bm25_top_k(pool.sentences, k=partners, exclude=pool.known)
    return _as_pairs(found)


STRATEGIES: dict[str, Strategy] = {"semantic": _semantic, "bm25": _bm25}
NEED_EMBEDDINGS = frozenset({"semantic"})


def sample_pairs(
    sentences: Sequence[str],
    embeddings: torch.Tensor | None,
    *,
    strategies: Sequence[str] = ("semantic",),
    top_k: int = 3,
    known_pairs: Iterable[tuple[str, str]],
) -> pd.DataFrame:
    """Pairs of sentences to be labelled, each unordered pair once (Thakur et al. 2021, section 3.1).

    Texts that fold to the same form count as one sentence, represented by the first of them; blank texts are left out.
    Known pairs are left out inside the search, in either order and after folding, so that each sentence gets its
    ``top_k`` partners as long as so many are left.

    Args:
        sentences: The n sentences, unlabelled and gold alike.
        embeddings: Their vectors, shape (n, dim); needed by ``semantic``.
        strategies: Names out of ``STRATEGIES``; what several find is one pair.
        top_k: Partners sought for each sentence by each strategy.
        known_pairs: Gold, dev and test pairs, which are never returned.

    Returns:
        Columns ``sentence1`` and ``sentence2`` (the earlier in ``sentences`` first), ``sampled_by`` (names joined by
        ``+`` in the order of ``STRATEGIES``) and ``similarity`` (cosine of the two embeddings whichever strategy found
        the pair, NaN without embeddings), sorted by the positions of the two sentences.

    Raises:
        UserError: A strategy is unknown or none is given, or ``top_k`` is below 1.
        ValueError: ``embeddings`` is missing for a strategy that needs it, or has another number of rows.
    """
    _check_options(strategies, partners=top_k)
    if embeddings is None and (needy := NEED_EMBEDDINGS.intersection(strategies)):
        raise ValueError(f"sampling by {', '.join(sorted(needy))} needs embeddings")
    if embeddings is not None and len(embeddings) != len(sentences):
        raise ValueError(f"expected one embedding per sentence, found {len(embeddings)} for {len(sentences)} sentences")
    pool = _make_pool(sentences, embeddings, known_pairs)
    size = len(pool.sentences)
    names = [name for name in STRATEGIES if name in strategies]
    codes_by_name = {}
    for name in names:
        pairs = STRATEGIES[name](pool, top_k).numpy()
        codes_by_name[name] = np.unique(pairs.min(axis=1) * size + pairs.max(axis=1))
        logger.info("sampled %d pairs by %s among %d sentences", len(codes_by_name[name]), name, size)
    codes = np.unique(np.concatenate(list(codes_by_name.values())))
    found_by = np.stack([np.isin(codes, codes_by_name[name]) for name in names], axis=1)
    labels = {row: "+".join(name for name, hit in zip(names, row, strict=True) if hit) for row in map(tuple, found_by)}
    first, second = np.divmod(codes, max(size, 1))
    if pool.embeddings is None:
        similarity = np.full(len(codes), np.nan, dtype=np.float32)
    else:
        rows = [torch.from_numpy(part).to(pool.embeddings.device) for part in (first, second)]
        similarity = pair_similarity(pool.embeddings, *rows).cpu().numpy()
    texts = np.array(pool.sentences, dtype=object)
    return pd.DataFrame(
        {
            "sentence1": pd.Series(texts[first], dtype="str"),
            "sentence2": pd.Series(texts[second], dtype="str"),
            "sampled_by": pd.Series([labels[tuple(row)] for row in found_by], dtype="str"),
            "similarity": similarity,
        }
    )


def _check_options(strategies: Sequence[str], *, partners: int) -> None:
    problems = Problems()
    if not strategies:
        problems.add(f"no sampling strategy given; expected one or more of: {', '.join(STRATEGIES)}")
    for name in strategies:
        if name not in STRATEGIES:
            known = ", ".join(STRATEGIES)
            problems.add(f"unknown sampling strategy '{name}'{did_you_mean(name, STRATEGIES)} (known: {known})")
    if partners < 1:
        problems.add(f"top_k {partners}: expected 1 or more partners for each sentence")
    problems.raise_if_any()


def _make_pool(
    sentences: Sequence[str], embeddings: torch.Tensor | None, known_pairs: Iterable[tuple[str, str]]
) -> Pool:
    index_of: dict[str, int] = {}
    kept: list[int] = []
    for position, folded in enumerate(map(fold_text, sentences)):
        if folded and folded not in index_of:
            index_of[folded] = len(kept)
            kept.append(position)
    if len(kept) < len(sentences):
        logger.info(
            "sampling: %d of %d sentences are blank or equal another one after folding",
            len(sentences) - len(kept),
            len(sentences),
        )
    known = []
    for text1, text2 in known_pairs:
        first, second = index_of.get(fold_text(text1)), index_of.get(fold_text(text2))
        if first is not None and second is not None:
            known += [(first, second), (second, first)]
    return Pool(
        sentences=[sentences[position] for position in kept],
        embeddings=None if embeddings is None else embeddings[torch.tensor(kept, dtype=torch.int64)],
        known=torch.tensor(known, dtype=torch.int64).reshape(-1, 2),
    )


def _as_pairs(found: torch.Tensor) -> torch.Tensor:
    """Neighbour indices (n, k), -1 for none, as pairs (row, neighbour)."""
    rows = torch.arange(len(found)).repeat_interleave(found.shape[1])
    flat = found.flatten()
    return torch.stack([rows, flat], dim=1)[flat >= 0]
