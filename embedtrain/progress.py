"""How far a piece of work is: a bar on a terminal, a line every half minute where output goes to a file."""

import logging
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from tqdm.auto import tqdm

logger = logging.getLogger(__name__)

DELAY_SECONDS = 5.0
LINE_SECONDS = 30.0
Item = TypeVar("Item")


class Progress:
    """Work that is done in countable steps.

    On a terminal a bar is drawn on stderr. Elsewhere a bar would fill a file with thousands of its states, so there the
    log gets a line every ``LINE_SECONDS``. Neither appears where the package's logger is set to warnings only.

    Args:
        total: Steps there are.
        what: What is done, such as ``labelling``.
        unit: One step, such as ``block``; the lines count in it, without it they tell shares alone.
        done: Steps done before.
        delay: Seconds before a bar is drawn, so that short work draws none.
        stays: Whether the bar is left on the screen.
        is_shown: False keeps silent, as all but the first of several processes do.
    """

    def __init__(
        self,
        total: float,
        *,
        what: str,
        unit: str = "",
        done: float = 0,
        delay: float = DELAY_SECONDS,
        stays: bool = True,
        is_shown: bool = True,
    ) -> None:
        self.total, self.what, self.unit = total, what, unit
        self.done = self.began_at = done
        self.note = ""
        shown = is_shown and not is_quiet()
        self._bar: tqdm[Any] = tqdm(
            total=total,
            initial=done,
            desc=what,
            unit=unit or "it",
            bar_format=None if unit else "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}",
            delay=delay,
            leave=stays,
            disable=None if shown else True,
        )
        self.is_drawn = not self._bar.disable
        self._logs = shown and not self.is_drawn
        self._began = self._said = time.perf_counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def update(self, steps: float = 1) -> None:
        """Count steps that were done."""
        self.done += steps
        self._bar.update(steps)
        if self._logs:
            now = time.perf_counter()
            if now - self._said >= LINE_SECONDS:
                self._said = now
                logger.info("%s", self.line(now - self._began))

    def say(self, note: str) -> None:
        """Put something behind the figures, such as a speed."""
        self.note = note
        if self.is_drawn:
            self._bar.set_postfix_str(note, refresh=False)

    def close(self) -> None:
        """Take the bar away, or leave it as it is."""
        self._bar.close()

    def line(self, elapsed: float) -> str:
        """How things stand after some seconds, in one line."""
        count = f"{self.done:,.0f} of {self.total:,.0f} {self.unit}s, " if self.unit else ""
        share = f"{100 * self.done / self.total:.0f} %" if self.total else "100 %"
        since = self.done - self.began_at
        left = f", {duration(elapsed * (self.total - self.done) / since)} left" if since > 0 else ""
        return f"{self.what}: {count}{share}{left}{f', {self.note}' if self.note else ''}"


def progress(items: Sequence[Item], *, what: str, unit: str) -> Iterator[Item]:
    """The items one by one, with a bar or lines that tell how many are done."""
    with Progress(len(items), what=what, unit=unit) as counted:
        for item in items:
            yield item
            counted.update()


def is_quiet() -> bool:
    """Whether the package was told to say no more than warnings."""
    return logging.getLogger("embedtrain").level > logging.INFO


def duration(seconds: float) -> str:
    """A span of time to two units, such as ``1 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    return f"{hours // 24} d {hours % 24:02d} h"
