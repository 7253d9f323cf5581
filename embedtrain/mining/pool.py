"""What new pairs are sampled from: sentences that differ after folding, and the pairs that must not come out."""

import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from embedtrain.data.folding import fold_text

logger = logging.getLogger(__name__)

Indices = NDArray[np.int64]
Pairs = Iterable[tuple[str, str]]


@dataclass(frozen=True)
class Pool:
    """What a strategy samples from.

    Attributes:
        sentences: The n sentences.
        embeddings: Their vectors, (n, dim), or None.
        known: Pairs of indices never returned, int64 (pairs, 2), each in both directions.
        is_source: Whether a sentence belongs to gold's domain, bool (n,).
        extra: Texts that stand in ready pairs alone; their indices follow those of the sentences.
        ready: Pairs of indices that were given ready made, none of them known, int64 (pairs, 2), or None.
    """

    sentences: list[str]
    embeddings: torch.Tensor | None
    known: torch.Tensor
    is_source: NDArray[np.bool_]
    extra: list[str] = field(default_factory=list)
    ready: Indices | None = None

    @property
    def texts(self) -> list[str]:
        """Every text that an index of a pair may point to."""
        return self.sentences + self.extra

    @property
    def base(self) -> int:
        """``divmod(code, base)`` gives the two indices of a pair, the lower first."""
        return max(1, len(self.sentences) + len(self.extra))

    @property
    def known_codes(self) -> Indices:
        """The known pairs, each once."""
        return np.unique(self.codes(self.known.numpy()))

    def codes(self, pairs: Indices) -> Indices:
        """For each pair of indices, (pairs, 2), the number that stands for it in either order, (pairs,)."""
        return pairs.min(axis=1) * self.base + pairs.max(axis=1)


def make_pool(
    sentences: Sequence[str],
    embeddings: torch.Tensor | None,
    known_pairs: Pairs,
    source_sentences: Collection[str] | None = None,
) -> Pool:
    """The sentences that are left of a list, the first of those that fold to the same form, blank ones left out.

    Args:
        sentences: The texts.
        embeddings: Their vectors, a row each, or None.
        known_pairs: Pairs of texts that are never to be returned, compared after folding.
        source_sentences: What belongs to gold's domain; by default every sentence of a known pair.
    """
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
    known: list[tuple[int, int]] = []
    source: set[int | None] = set()
    for pair in known_pairs:
        first, second = (index_of.get(fold_text(text)) for text in pair)
        source |= {first, second}
        if first is not None and second is not None:
            known += [(first, second), (second, first)]
    if source_sentences is not None:
        source = {index_of.get(fold_text(text)) for text in source_sentences}
    is_source = np.zeros(len(kept), dtype=np.bool_)
    is_source[[index for index in source if index is not None]] = True
    return Pool(
        sentences=[sentences[position] for position in kept],
        embeddings=None if embeddings is None else embeddings[torch.tensor(kept, dtype=torch.int64)],
        known=torch.tensor(known, dtype=torch.int64).reshape(-1, 2),
        is_source=is_source,
    )


def with_ready_pairs(pool: Pool, pairs: Pairs, known_pairs: Pairs) -> Pool:
    """The pool with pairs that were given ready made; known ones, blank ones and those of a text with itself go."""
    known = {frozenset(map(fold_text, pair)) for pair in known_pairs}
    index_of = {fold_text(text): index for index, text in enumerate(pool.sentences)}
    extra: list[str] = []
    ready = []
    for pair in pairs:
        folded = [fold_text(text) for text in pair]
        if not all(folded) or folded[0] == folded[1] or frozenset(folded) in known:
            continue
        for text, form in zip(pair, folded, strict=True):
            if form not in index_of:
                index_of[form] = len(pool.sentences) + len(extra)
                extra.append(text)
        ready.append([index_of[form] for form in folded])
    return replace(pool, extra=extra, ready=np.array(ready, dtype=np.int64).reshape(-1, 2))
