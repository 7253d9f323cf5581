"""Batches of rows: of like length, so that little is padding, or without a text twice, so that no negative is false."""

from collections import Counter
from collections.abc import Sequence

import numpy as np


def like_length_batches(
    lengths: Sequence[int] | np.ndarray,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    drop_last: bool = False,
    window: int = 50,
) -> list[list[int]]:
    """Cut 0 ... n-1 into batches whose members have similar lengths, in an order that is new in every epoch.

    The indices are shuffled and cut into windows; each window is sorted by length and cut into batches; the batches are
    shuffled. A wider window pads less and mixes less: a small table gets at least four windows, so that the same
    sentences do not meet in every epoch.

    Args:
        lengths: Length of each item in any unit, such as tokens; shape (n,).
        batch_size: Items in a batch.
        seed: The run's seed, 0 or more.
        epoch: Number of the epoch, 0 or more; the same seed and epoch give the same batches.
        drop_last: Leave out a random remainder, so that every batch is full; else one batch is smaller.
        window: Batches that are sorted together, at most.

    Returns:
        The batches as lists of indices; every index stands in exactly one (``drop_last``: at most one).

    Raises:
        ValueError: ``batch_size`` or ``window`` is below 1, or ``lengths`` is not one-dimensional.
    """
    sizes = np.asarray(lengths)
    if batch_size < 1 or window < 1:
        raise ValueError(f"batch_size and window must be at least 1, found {batch_size} and {window}")
    if sizes.ndim != 1:
        raise ValueError(f"lengths must have shape (n,), found {sizes.shape}")
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(sizes))
    if drop_last:
        # Cut before sorting: after it, the remainder would always be the longest sentences of a window.
        order = order[: len(order) // batch_size * batch_size]
    full_batches = len(order) // batch_size
    span = batch_size * max(1, min(window, full_batches // 4))
    batches: list[list[int]] = []
    for start in range(0, len(order), span):
        inside = order[start : start + span]
        ranked = inside[np.argsort(sizes[inside], kind="stable")]
        batches.extend(ranked[cut : cut + batch_size].tolist() for cut in range(0, len(ranked), batch_size))
    return [batches[place] for place in random.permutation(len(batches))]


def unique_batches(columns: Sequence[Sequence[str]], *, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Cut rows 0 ... n-1 into batches in which no text stands in two rows, in an order that is new in every epoch.

    For losses that take the other rows of a batch as negatives: a text that stands in two rows of it would be pushed
    away from its own match. Texts are compared across all columns. Every row stands in exactly one batch, so the number
    of batches is known beforehand, and no table keeps the search for the next batch going for ever. Where texts repeat
    so often that full batches are impossible, there are more and smaller ones.

    Rows whose texts repeat most are placed first, each into a random batch that has room and none of its texts.

    Args:
        columns: The text columns, each (n,), such as anchors and positives.
        batch_size: Rows in a batch; without repeats all but one batch have that many.
        seed: The run's seed, 0 or more.
        epoch: Number of the epoch, 0 or more; the same seed and epoch give the same batches.

    Returns:
        The batches as lists of row numbers, in random order.

    Raises:
        ValueError: ``batch_size`` is below 1, or the columns differ in length.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, found {batch_size}")
    if len({len(column) for column in columns}) > 1:
        raise ValueError(f"columns must be equally long, found {[len(column) for column in columns]} rows")
    if not columns or not len(columns[0]):
        return []
    codes = _codes(columns)
    repeats = np.bincount(codes.ravel())[codes].max(axis=1)
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(codes))
    order = order[np.argsort(-repeats[order], kind="stable")]
    full, rest = divmod(len(codes), batch_size)
    places = _Places([batch_size] * full + [rest] * (rest > 0), batch_size)
    draws = random.random((len(order), _TRIES))
    for row, draw in zip(order.tolist(), draws, strict=True):
        places.put(row, set(codes[row].tolist()), draw)
    batches = [batch for batch in places.batches if batch]
    return [batches[place] for place in random.permutation(len(batches))]


# Random batches looked at for a row before all are, one after the other.
_TRIES = 8


class _Places:
    """Batches being filled, and which of them have room."""

    def __init__(self, room: list[int], batch_size: int) -> None:
        self.batch_size = batch_size
        self.room = room
        self.batches: list[list[int]] = [[] for _ in room]
        self.texts: list[set[int]] = [set() for _ in room]
        self.open = list(range(len(room)))
        # In how many of the open batches each text stands.
        self.standing: Counter[int] = Counter()

    def put(self, row: int, texts: set[int], draws: np.ndarray) -> None:
        """Put a row where there is room and none of its texts; into a new batch where there is no such place."""
        starts = (draws * len(self.open)).astype(int).tolist() if self.open else []
        for at in starts:
            if texts.isdisjoint(self.texts[self.open[at]]):
                return self._fill(at, row, texts)
        # Unlucky so often: look at every batch once, from the last place drawn, unless a text is known to be in all.
        if all(self.standing[text] < len(self.open) for text in texts):
            for step in range(len(self.open)):
                at = (starts[-1] + step) % len(self.open)
                if texts.isdisjoint(self.texts[self.open[at]]):
                    return self._fill(at, row, texts)
        self.room.append(self.batch_size)
        self.batches.append([])
        self.texts.append(set())
        self.open.append(len(self.room) - 1)
        return self._fill(len(self.open) - 1, row, texts)

    def _fill(self, at: int, row: int, texts: set[int]) -> None:
        batch = self.open[at]
        self.batches[batch].append(row)
        self.texts[batch] |= texts
        self.standing.update(texts)
        self.room[batch] -= 1
        if self.room[batch] == 0:
            self.standing.subtract(self.texts[batch])
            self.open[at] = self.open[-1]
            self.open.pop()


def _codes(columns: Sequence[Sequence[str]]) -> np.ndarray:
    """(n, columns): a whole number for each text, equal where texts are."""
    code_of: dict[str, int] = {}
    return np.array([[code_of.setdefault(text, len(code_of)) for text in column] for column in columns]).T
