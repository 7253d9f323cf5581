"""What is said while labels are made: pairs a second, time left, and how the scores are spread so far."""

import logging
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedtrain.mining.names import LOG_SECONDS
from embedtrain.progress import duration

logger = logging.getLogger(__name__)

BINS = 20
# A pair's special tokens and its way through the model, in bytes of text that cost as much.
PAIR_BYTES = 12
LEVELS = "▁▂▃▄▅▆▇█"


class LabelProgress:
    """Speed and time left of a labelling, logged every so often.

    What is left is counted in bytes of text and not in pairs, so that a file whose long pairs come last does not look
    almost done when half of the work is ahead.

    Args:
        work: Cost of each part that has to be labelled, in bytes of text, by its number.
        pairs: Pairs of each of these parts.
        log_seconds: Least time between two lines in the log.
        clock: Where the time comes from, in seconds.
    """

    def __init__(
        self,
        work: dict[int, float],
        pairs: dict[int, int],
        *,
        log_seconds: float = LOG_SECONDS,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.work = work
        self.pairs = pairs
        self.log_seconds = log_seconds
        self.clock = clock
        self.total_work = sum(work.values())
        self.total_pairs = sum(pairs.values())
        self.started = self.logged = clock()
        self.pairs_done = 0
        self.work_done = 0.0
        self.histogram: NDArray[np.int64] = np.zeros(BINS, dtype=np.int64)

    def add(self, part: int, scores: ArrayLike) -> None:
        """Note that a part is labelled, and say how things stand when it is time or nothing is left."""
        values = np.asarray(scores, dtype=np.float64)
        self.pairs_done += self.pairs[part]
        self.work_done += self.work[part]
        self.histogram += np.histogram(np.clip(values, 0, 1), bins=BINS, range=(0, 1))[0]
        now = self.clock()
        if self.pairs_done == self.total_pairs or now - self.logged >= self.log_seconds:
            self.logged = now
            logger.info("%s", self.line())

    @property
    def pairs_per_second(self) -> float:
        """Pairs labelled a second, from the first one on."""
        return self.pairs_done / max(self.clock() - self.started, 1e-9)

    @property
    def seconds_left(self) -> float:
        """Time that is left when a byte of text goes on costing what it has cost so far."""
        elapsed = self.clock() - self.started
        left = self.total_work - self.work_done
        return elapsed * left / self.work_done if self.work_done else float("inf")

    def line(self) -> str:
        """How things stand, in one line."""
        left = f", {duration(self.seconds_left)} left" if self.pairs_done < self.total_pairs else ""
        return (
            f"labelled {self.pairs_done:,} of {self.total_pairs:,} pairs, {self.pairs_per_second:,.0f} pairs/s{left}; "
            f"scores 0 {sparkline(self.histogram)} 1"
        )


def sparkline(counts: ArrayLike) -> str:
    """Counts as a row of bars, the highest one full; an empty bin is a blank."""
    values = np.asarray(counts, dtype=np.float64)
    if not values.any():
        return " " * len(values)
    heights = np.ceil(values / values.max() * len(LEVELS)).astype(int)
    return "".join(LEVELS[height - 1] if height else " " for height in heights)
