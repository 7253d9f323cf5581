"""Batches without a text twice, so that no negative of a batch is false."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import chain
from random import Random

import numpy as np


def unique_batches(columns: Sequence[Sequence[Hashable]], *, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Cut rows 0 ... n-1 into batches in which no text stands in two rows, in an order that is new in every epoch.

    For losses that take the other rows of a batch as negatives: a text that stands in two rows of it would be pushed
    away from its own match. Texts are compared across all columns. Every row stands in exactly one batch, so the number
    of batches is known beforehand, and no table keeps the search for the next batch going for ever. Where texts repeat
    so often that full batches are impossible, there are more and smaller ones.

    Rows whose texts repeat most are placed first, each into a random batch that has room and none of its texts; where
    there is none, a row of another batch is moved to make room. Rows whose texts stand nowhere else fill what is left.

    Args:
        columns: The text columns, each (n,), such as anchors and positives; or numbers that stand for the texts.
        batch_size: Rows in a batch, of all ranks together; without repeats all but one batch have that many.
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
    repeats = np.bincount(codes.ravel())[codes]
    commonest = np.take_along_axis(codes, repeats.argmax(axis=1)[:, None], axis=1).ravel()
    most = repeats.max(axis=1)
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(codes))
    order = order[np.argsort(-most[order], kind="stable")]
    repeated, single = np.split(order, [np.count_nonzero(most > 1)])
    # One number at a time, Python's own generator is quicker than numpy's.
    places = _Places(codes, batch_size, Random(int(random.integers(2**63))).random)
    for row, texts, text in zip(repeated.tolist(), codes[repeated].tolist(), commonest[repeated].tolist(), strict=True):
        places.put(row, texts, text)
    places.fill_up(single, random)
    batches = [batch for batch in places.batches if batch]
    return [batches[place] for place in random.permutation(len(batches))]


# Random batches looked at for a row before a search in order.
_TRIES = 8
# Batches looked at in that search, at either end, so that no table takes much longer than others.
_LOOKS = 128


class _Places:
    """Batches being filled, and which of them have room."""

    def __init__(self, codes: np.ndarray, batch_size: int, draw: Callable[[], float]) -> None:
        full, rest = divmod(len(codes), batch_size)
        self.codes = codes
        self.batch_size = batch_size
        self.draw = draw
        self.room = [batch_size] * full + [rest] * (rest > 0)
        self.batches: list[list[int]] = [[] for _ in self.room]
        self.texts: list[set[int]] = [set() for _ in self.room]
        self.open = list(range(len(self.room)))
        # Where in `open` each batch stands.
        self.at = list(range(len(self.room)))
        # From a text to the first batch that may have room and not have it: neither comes back, but for an exchange.
        self.first: dict[int, int] = {}

    def put(self, row: int, texts: list[int], commonest: int) -> None:
        """Put a row where there is room and none of its texts; into a new batch where none such is found."""
        if self.open:
            for _ in range(_TRIES):
                batch = self.open[int(self.draw() * len(self.open))]
                if self.texts[batch].isdisjoint(texts):
                    return self._add(batch, row, texts)
        for batch in self._candidates(commonest):
            if self.room[batch] and self.texts[batch].isdisjoint(texts):
                return self._add(batch, row, texts)
        if self.open and self._exchange(row, texts):
            return None
        self.at.append(len(self.open))
        self.open.append(len(self.room))
        self.room.append(self.batch_size)
        self.batches.append([])
        self.texts.append(set())
        return self._add(len(self.room) - 1, row, texts)

    def fill_up(self, rows: np.ndarray, random: np.random.Generator) -> None:
        """Share out rows, (n,), whose texts stand nowhere else, evenly over the room that is left."""
        if not len(rows):
            return
        room = np.array(self.room)
        shares = room * len(rows) // room.sum()
        missing = len(rows) - shares.sum()
        shares[random.permutation(np.flatnonzero(shares < room))[:missing]] += 1
        for batch, part in zip(self.batches, np.split(rows, np.cumsum(shares)[:-1]), strict=True):
            batch.extend(part.tolist())

    def _candidates(self, text: int) -> Iterable[int]:
        """The batches to search after bad luck for a place without this text: every open one while they are few."""
        if len(self.open) <= _LOOKS:
            return self.open
        start, end = self.first.get(text, 0), len(self.room)
        while start < end and (not self.room[start] or text in self.texts[start]):
            start += 1
        self.first[text] = start
        # The newest as well: where texts repeat too often for full batches, the old ones are as full as they get.
        oldest = range(start, min(start + _LOOKS, end))
        return chain(oldest, range(end - 1, max(oldest.stop, end - _LOOKS) - 1, -1))

    def _exchange(self, row: int, texts: list[int]) -> bool:
        """Put a row in the place of another, which goes where there is room: true if luck finds two such places."""
        for _ in range(_TRIES):
            batch, target = int(self.draw() * len(self.batches)), self.open[int(self.draw() * len(self.open))]
            members = self.batches[batch]
            if batch == target or not members or not self.texts[batch].isdisjoint(texts):
                continue
            place = int(self.draw() * len(members))
            moved = self.codes[members[place]].tolist()
            if self.texts[target].isdisjoint(moved):
                self._add(target, members[place], moved)
                members[place] = row
                self.texts[batch].difference_update(moved)
                self.texts[batch].update(texts)
                return True
        return False

    def _add(self, batch: int, row: int, texts: list[int]) -> None:
        self.batches[batch].append(row)
        self.texts[batch].update(texts)
        self.room[batch] -= 1
        if not self.room[batch]:
            last = self.open.pop()
            if last != batch:
                self.open[self.at[batch]] = last
                self.at[last] = self.at[batch]


def _codes(columns: Sequence[Sequence[Hashable]]) -> np.ndarray:
    """(n, columns): a whole number for each text, equal where texts are."""
    code_of: dict[Hashable, int] = {}
    return np.array([[code_of.setdefault(text, len(code_of)) for text in column] for column in columns]).T
