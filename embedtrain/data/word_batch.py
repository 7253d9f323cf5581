"""A batch of rows seen as words: where each begins, whose row it is of, and its own stream of random numbers."""

from dataclasses import dataclass

import numpy as np

from embedtrain.data.counted_random import row_keys
from embedtrain.data.ragged import Ragged


@dataclass(eq=False, slots=True)
class WordBatch:
    """The words of a batch's rows, one after another.

    Attributes:
        first: The place of each word's first token, (words,).
        lengths: Its tokens, (words,).
        row: The row it is of, counted in the batch, (words,).
        number: Which word of its row it is, from 0, (words,).
        before: Words before each row, and all words, (rows + 1,).
        counts: Words of each row, (rows,).
        keys: Each row's stream of random numbers, uint64 (rows,).
    """

    first: np.ndarray
    lengths: np.ndarray
    row: np.ndarray
    number: np.ndarray
    before: np.ndarray
    counts: np.ndarray
    keys: np.ndarray

    @classmethod
    def of(cls, ids: Ragged, word_start: np.ndarray, rows: np.ndarray, *, seed: int, epoch: int) -> "WordBatch":
        """See ``Noise.apply``.

        Raises:
            ValueError: The shapes do not fit together, or a row begins within a word.
        """
        starts = ids.starts
        if len(word_start) != len(ids.values) or len(rows) != len(ids):
            raise ValueError(
                f"expected word_start for {len(ids.values)} tokens and {len(ids)} row numbers, "
                f"found {len(word_start)} and {len(rows)}"
            )
        first = np.flatnonzero(word_start)
        before = np.searchsorted(first, starts)
        counts = before[1:] - before[:-1]
        filled = starts[:-1][starts[1:] > starts[:-1]]
        if not word_start[filled].all():
            raise ValueError("the first token of each row must begin a word")
        row = np.repeat(np.arange(len(counts)), counts)
        return cls(
            first=first,
            lengths=np.diff(first, append=len(word_start)),
            row=row,
            number=np.arange(len(first)) - before[row],
            before=before,
            counts=counts,
            keys=row_keys(rows, seed=seed, epoch=epoch),
        )

    def tokens(self, chosen: np.ndarray) -> np.ndarray:
        """Whether each token is of a chosen word, bool (tokens,), from bool (words,)."""
        return np.repeat(chosen, self.lengths)
