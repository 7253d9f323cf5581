"""Random numbers that are a function of what they are for, so that no order, batch or process can change them.

The step between neighbouring counters and the mixing function are those of SplitMix64 (Steele, Lea, Flood 2014, "Fast
splittable pseudorandom number generators").
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

_WRAP = 2**64
_STEP = 0x9E3779B97F4A7C15
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_BY_30, _BY_27, _BY_31, _BY_11 = (np.uint64(bits) for bits in (30, 27, 31, 11))
# A stream's purposes lie this many counters apart, more than any row has words.
_COUNTERS = 2**32
_FRACTIONS = 2**53


def row_keys(rows: np.ndarray, *, seed: int, epoch: int) -> np.ndarray:
    """A stream for each row of a table.

    Args:
        rows: Row numbers, integers 0 or more, (rows,).
        seed: The run's seed, 0 or more.
        epoch: Number of the epoch, 0 or more.

    Returns:
        uint64 (rows,).
    """
    key = 0
    for number in (seed, epoch):
        key = int(_mixed(np.array([(key + (number + 1) * _STEP) % _WRAP], dtype=np.uint64))[0])
    keys = rows.astype(np.uint64)
    keys *= np.uint64(_STEP)
    keys += np.uint64(key)
    return _mixed(keys)


def draw(keys: np.ndarray, *, purpose: int, number: np.ndarray | None = None) -> np.ndarray:
    """Numbers from streams, uniform over all of 64 bits.

    Args:
        keys: The stream of each, from ``row_keys``, (n,).
        purpose: What they are for: different purposes are independent.
        number: The number in the stream, such as a word's place in its row, 0 to 2^32 - 1; (n,), or all 0.

    Returns:
        uint64 (n,).
    """
    state = keys + np.uint64(purpose * _COUNTERS * _STEP % _WRAP)
    if number is not None:
        state += number.astype(np.uint64) * np.uint64(_STEP)
    return _mixed(state)


def thresholds(chances: ArrayLike) -> np.ndarray:
    """What ``below`` compares draws with for each chance from 0 to 1; uint64, of the same shape."""
    return np.asarray(np.asarray(chances) * _FRACTIONS).astype(np.uint64)


def below(draws: np.ndarray, threshold: np.ndarray) -> np.ndarray:
    """Whether each draw falls below a chance: with a chance of 0 none does, with 1 all do; bool (n,)."""
    return (draws >> _BY_11) < threshold


def below_number(draws: np.ndarray, number: np.ndarray | int) -> np.ndarray:
    """A whole number from 0 to ``number - 1`` from each draw, int64 (n,); uneven by ``number / 2^64`` at most."""
    return (draws % np.asarray(number).astype(np.uint64)).astype(np.int64)


def drawn_share(draws: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """Which of some shares, 1 together, each draw falls into, counted from 0; int64 (n,)."""
    return np.searchsorted(thresholds(np.cumsum(shares)[:-1]), draws >> _BY_11, side="right")


def _mixed(state: np.ndarray) -> np.ndarray:
    """Every bit of the result depends on every bit of the state, which is overwritten."""
    state ^= state >> _BY_30
    state *= _FIRST
    state ^= state >> _BY_27
    state *= _SECOND
    state ^= state >> _BY_31
    return state
