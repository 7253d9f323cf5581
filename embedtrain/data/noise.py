"""Noise on sentences for a denoising auto-encoder: words deleted, shuffled, masked, replaced or inserted.

It works on the token numbers of a whole batch at once, with whole words as the unit (``words.word_starts``). What
happens to a row depends on the seed, the epoch and the row's number alone, not on its batch or the number of processes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from embedtrain.data.counted_random import below, below_number, draw, drawn_share, thresholds
from embedtrain.data.noise_kinds import NOISE_KINDS, parse_noise
from embedtrain.data.ragged import Ragged, span_indices
from embedtrain.data.word_batch import WordBatch

__all__ = ["NOISE_KINDS", "Noise", "Ragged", "parse_noise"]

# What draws are for.
_KIND, _TOUCHED, _SURVIVOR, _ORDER, _SIDE, _TOKEN = range(6)
# Words are put in order by their row, then by the upper bits of their draw.
_ROW_SHIFT, _DRAW_SHIFT = np.uint64(40), np.uint64(24)


@dataclass(frozen=True, eq=False)
class Noise:
    """One kind of noise, or a mixture in which each row gets one kind.

    - ``delete``: each word is left out with the chance ``delete_ratio`` (Wang, Reimers, Gurevych 2021, section 3.1).
    - ``shuffle``: the words stand in a random order.
    - ``mask``: each word has all its tokens masked, with the chance ``change_ratio``.
    - ``replace``: each word gives way to one random token, with the chance ``change_ratio``.
    - ``insert``: each word gets a random token before or after it, with the chance ``change_ratio``.

    Of a row's words at least one stays as it was, a random one where the draws would touch them all; with ``shuffle``
    and ``insert`` all of them stay.

    Attributes:
        kinds: The kinds with their shares of the rows, 1 together.
        delete_ratio: The chance that a word is **deleted**, 0 to 1; the paper deletes 60 %. The ``del_ratio`` in the
            example scripts of sentence-transformers is the chance that a word is kept: their 0.6 is 0.4 here.
        change_ratio: The chance that a word is masked, is replaced or gets a neighbour, 0 to 1.
        mask_id: The mask token, for ``mask``.
        vocabulary: The tokens to replace with and to insert, integers (ids,), for ``replace`` and ``insert``; see
            ``token_spelling.replacement_ids``.

    Raises:
        ValueError: A kind is unknown, a share or ratio is out of range, or what a kind needs is missing.
    """

    kinds: Mapping[str, float] = field(default_factory=lambda: {"delete": 1.0})
    delete_ratio: float = 0.6
    change_ratio: float = 0.15
    mask_id: int | None = None
    vocabulary: np.ndarray | None = None

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.kinds if kind not in NOISE_KINDS]
        if unknown or not self.kinds:
            raise ValueError(f"kinds must be of {', '.join(NOISE_KINDS)}, found {', '.join(unknown) or 'none'}")
        if min(self.kinds.values()) <= 0 or abs(sum(self.kinds.values()) - 1) > 1e-6:
            raise ValueError(f"shares must be above 0 and 1 together, found {dict(self.kinds)}")
        for name in ("delete_ratio", "change_ratio"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be between 0 and 1, found {getattr(self, name)}")
        if "mask" in self.kinds and self.mask_id is None:
            raise ValueError("mask needs a mask_id")
        if not {"replace", "insert"}.isdisjoint(self.kinds) and (self.vocabulary is None or not len(self.vocabulary)):
            raise ValueError("replace and insert need a vocabulary")

    def apply(self, ids: Ragged, word_start: np.ndarray, rows: np.ndarray, *, seed: int, epoch: int) -> Ragged:
        """The rows of a batch with noise.

        Args:
            ids: Their tokens, without special tokens; an empty row stays empty.
            word_start: Whether each token begins a word, bool (tokens,); the first token of a row does.
            rows: Their numbers in the whole table, integers (rows,).
            seed: The run's seed, 0 or more.
            epoch: Number of the epoch, 0 or more.

        Returns:
            New rows in the same order; ``ids`` is left as it is.

        Raises:
            ValueError: The shapes do not fit together, or a row begins within a word.
        """
        words = WordBatch.of(ids, word_start, rows, seed=seed, epoch=epoch)
        kind = self._kind_of_rows(words)
        touched = self._touched(words, kind)

        def of_kind(name: str) -> np.ndarray:
            return np.repeat(kind == list(self.kinds).index(name), words.counts)

        values = ids.values.copy()
        dropped = np.zeros(len(values), dtype=bool)
        if "shuffle" in self.kinds:
            _shuffle(values, words, np.flatnonzero(of_kind("shuffle")))
        if "mask" in self.kinds:
            values[words.tokens(touched & of_kind("mask"))] = self.mask_id
        if "replace" in self.kinds:
            replaced = touched & of_kind("replace")
            dropped |= words.tokens(replaced)
            dropped[words.first[replaced]] = False
            values[words.first[replaced]] = self._random_tokens(words, np.flatnonzero(replaced))
        if "delete" in self.kinds:
            dropped |= words.tokens(touched & of_kind("delete"))
        kept = ~dropped
        # The place that each token, and the end, has among those that are kept.
        place = np.concatenate([[0], np.cumsum(kept)])
        values, starts = values[kept], place[ids.starts]
        if "insert" in self.kinds:
            beside = np.flatnonzero(touched & of_kind("insert"))
            after = draw(words.keys[words.row[beside]], purpose=_SIDE, number=words.number[beside]) & np.uint64(1)
            at = place[words.first[beside] + after.astype(np.int64) * words.lengths[beside]]
            values = np.insert(values, at, self._random_tokens(words, beside))
            starts = starts + np.concatenate([[0], np.cumsum(np.bincount(words.row[beside], minlength=len(ids)))])
        return Ragged(values, starts)

    def _kind_of_rows(self, words: WordBatch) -> np.ndarray:
        """Which of this noise's kinds each row gets, counted from 0, (rows,)."""
        if len(self.kinds) == 1:
            return np.zeros(len(words.keys), dtype=np.int64)
        return drawn_share(draw(words.keys, purpose=_KIND), list(self.kinds.values()))

    def _touched(self, words: WordBatch, kind: np.ndarray) -> np.ndarray:
        """The words that the noise falls on, bool (words,): all draws below the chance, but for one word of a row."""
        chances = {"delete": self.delete_ratio, "shuffle": 0.0}
        chance = thresholds([chances.get(name, self.change_ratio) for name in self.kinds])
        draws = draw(words.keys[words.row], purpose=_TOUCHED, number=words.number)
        touched = below(draws, np.repeat(chance[kind], words.counts))
        touched_before = np.concatenate([[0], np.cumsum(touched)])[words.before]
        nothing_stays = (np.diff(touched_before) == words.counts) & (words.counts > 0)
        if "insert" in self.kinds:
            nothing_stays &= kind != list(self.kinds).index("insert")
        bare = np.flatnonzero(nothing_stays)
        survivor = below_number(draw(words.keys[bare], purpose=_SURVIVOR), words.counts[bare])
        touched[words.before[bare] + survivor] = False
        return touched

    def _random_tokens(self, words: WordBatch, which: np.ndarray) -> np.ndarray:
        """A token of the vocabulary for each of some words, (which,)."""
        vocabulary = np.asarray(self.vocabulary)
        draws = draw(words.keys[words.row[which]], purpose=_TOKEN, number=words.number[which])
        return vocabulary[below_number(draws, len(vocabulary))]


def _shuffle(values: np.ndarray, words: WordBatch, which: np.ndarray) -> None:
    """Put some words, all those of their rows, in a random order within each row; ``values`` is overwritten."""
    draws = draw(words.keys[words.row[which]], purpose=_ORDER, number=words.number[which])
    keys = (words.row[which].astype(np.uint64) << _ROW_SHIFT) | (draws >> _DRAW_SHIFT)
    # Stable, as equal draws must not be told apart by what else is in the batch.
    order = which[np.argsort(keys, kind="stable")]
    taken = values[span_indices(words.first[order], words.lengths[order])]
    # Rows have as many tokens as before, so the rows' places stay.
    values[span_indices(words.first[which], words.lengths[which])] = taken
