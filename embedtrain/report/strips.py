"""Dot-and-interval strips: a plot as wide as the table cell that it stands in, without any text of a user's."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape
from matplotlib.ticker import MaxNLocator

from embedtrain.report import wording

ROW_HEIGHT = 22
# Room at both ends for marks and for the figures of an axis, per cent of the width.
_INSET = 5.0
# Outlines of marks around the origin, by role.
_MARKS = {
    "augmented": "M-4.2 0a4.2 4.2 0 1 0 8.4 0a4.2 4.2 0 1 0-8.4 0z",
    "zero_shot": "M0-5.2L5.2 0 0 5.2-5.2 0z",
    "teacher": "M0-5L4.8 3.6-4.8 3.6z",
    "gold_only": "M-3.8-3.8h7.6v7.6h-7.6z",
    "simcse": "M0 5L4.8-3.6-4.8-3.6z",
}


@dataclass(frozen=True)
class Dot:
    """A score in a strip.

    Attributes:
        role: Whose colour and mark it has.
        name: What the alternative text calls it.
        value: A fraction.
        bounds: Its interval, or None.
    """

    role: str
    name: str
    value: float
    bounds: tuple[float, float] | None


@dataclass(frozen=True)
class Scale:
    """What the strips of a table share: from where to where they reach, fractions, and where lines stand."""

    low: float
    high: float
    ticks: tuple[float, ...]

    @classmethod
    def of(cls, dots: Sequence[Dot], *, around_zero: bool = False) -> "Scale":
        """A scale on which all dots and intervals have room."""
        ends = [end for dot in dots for end in (dot.value, *(dot.bounds or ()))] + ([0.0] if around_zero else [])
        ticks = [float(tick) / 100 for tick in MaxNLocator(4).tick_values(100 * min(ends), 100 * max(ends))]
        return cls(ticks[0], ticks[-1], tuple(ticks))

    def place(self, value: float) -> str:
        """Where a value stands, per cent of the width."""
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return f"{_INSET + (100 - 2 * _INSET) * share:.2f}%"


def strip(dots: Sequence[Dot | None], scale: Scale, *, label: str, differences: bool = False) -> Markup:
    """Scores below each other, a row each; None leaves a row empty.

    Args:
        dots: From the top row down.
        scale: Of the whole table.
        label: What the scores are, for the alternative text.
        differences: Whether they are differences: with a line at zero, and named with their sign.
    """
    height = ROW_HEIGHT * len(dots)
    drawn = [_line(scale.place(tick), 0, height, "rule") for tick in scale.ticks]
    if differences:
        drawn.append(_line(scale.place(0.0), 0, height, "ink"))
    for row, dot in enumerate(dots):
        if dot is not None:
            drawn.append(_dot(dot, scale, ROW_HEIGHT * row + ROW_HEIGHT // 2))
    said = ", ".join(f"{dot.name} {wording.points(dot.value, plus=differences)}" for dot in dots if dot is not None)
    return _svg(drawn, height, f"{label}, times 100: {said}.")


def axis(scale: Scale, *, label: str, differences: bool = False) -> Markup:
    """The figures of a scale, to stand above its strips."""
    decimals = 0 if all(abs(100 * tick - round(100 * tick)) < 1e-6 for tick in scale.ticks) else 1
    texts = [
        f'<text x="{scale.place(tick)}" y="11" text-anchor="middle">'
        f"{wording.points(tick, decimals=decimals, plus=differences)}</text>"
        for tick in scale.ticks
    ]
    ends = [wording.points(end, decimals=decimals) for end in (scale.low, scale.high)]
    return _svg(texts, 14, f"Scale of {label}, times 100, from {ends[0]} to {ends[1]}.")


def _dot(dot: Dot, scale: Scale, height: int) -> str:
    color, drawn = f"var(--{dot.role.replace('_', '-')})", ""
    if dot.bounds is not None:
        left, right = (scale.place(end) for end in dot.bounds)
        drawn = f'<line x1="{left}" x2="{right}" y1="{height}" y2="{height}" style="stroke:{color};stroke-width:2.2"/>'
    place = f"transform:translate({scale.place(dot.value)},{height}px)"
    return f'{drawn}<path d="{_MARKS[dot.role]}" style="{place};fill:{color};stroke:var(--paper);stroke-width:1"/>'


def _line(place: str, top: int, bottom: int, role: str) -> str:
    return f'<line x1="{place}" x2="{place}" y1="{top}" y2="{bottom}" style="stroke:var(--{role});stroke-width:1"/>'


def _svg(parts: Sequence[str], height: int, alt: str) -> Markup:
    opening = f'<svg class="strip" height="{height}" role="img" aria-label="{escape(alt)}">'
    return Markup(opening + "".join(parts) + "</svg>")
