"""The plot of ``mining.py``: how time and memory grow with the number of sentences and of pairs."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from figures import Row
from matplotlib.axes import Axes

# Names of the cases in the rows, with what they are called in the plot; sampled ones continue the same line.
BY_SENTENCES = {
    "encode": "encoding",
    "search": "exact top-10 of all",
    "bm25": "BM25 top-10 of all",
}
SAMPLED = " sampled"


def plot_growth(rows: Sequence[Row], output: Path) -> None:
    """Write a PNG beside the JSON file, as far as there is something to show."""
    points = _points(rows)
    if not points:
        return
    figure, panels = plt.subplots(1, 3, figsize=(13.5, 4.2), layout="constrained")
    for case, name in BY_SENTENCES.items():
        _line(panels[0], points, case, "seconds", name)
    _line(panels[1], points, "small teacher", "seconds", "labelling, very small teacher")
    for case, name in (*list(BY_SENTENCES.items())[1:], ("small teacher", "labelling, by pairs")):
        _line(panels[2], points, case, "peak_mb", name)
    for axes, title, label in zip(
        panels,
        ("Time by sentences", "Time by pairs", "Peak memory"),
        ("sentences", "pairs", "sentences or pairs"),
        strict=True,
    ):
        axes.set(xscale="log", yscale="log", title=title, xlabel=label)
        axes.grid(alpha=0.3, which="both", lw=0.5)
        if axes.lines:
            axes.legend(frameon=False, fontsize=9)
    panels[0].set_ylabel("seconds (hollow: some queries measured, scaled up)")
    panels[1].set_ylabel("seconds")
    panels[2].set_ylabel("MB of the process")
    figure.savefig(output.with_suffix(".png"), dpi=130)
    plt.close(figure)


Points = dict[tuple[str, str], list[tuple[int, float]]]


def _points(rows: Sequence[Row]) -> Points:
    """(size, value) by case and figure; the part ``bm25`` is one more point of the case of that name."""
    found: Points = {}
    for row in rows:
        if row["part"] not in ("growth", "memory", "bm25") or row["value"] is None:
            continue
        case = "bm25" if row["part"] == "bm25" else row["case"]
        found.setdefault((case, row["figure"]), []).append((row["round"], row["value"]))
    return {key: sorted(values) for key, values in found.items()}


def _line(axes: Axes, points: Points, case: str, figure: str, name: str) -> None:
    measured, sampled = points.get((case, figure), []), points.get((case + SAMPLED, figure), [])
    if not measured:
        return
    (line,) = axes.plot(*zip(*(measured + sampled), strict=True), lw=1.4, label=name)
    axes.plot(*zip(*measured, strict=True), "o", color=line.get_color(), ms=5)
    if sampled:
        axes.plot(*zip(*sampled, strict=True), "o", color=line.get_color(), ms=5, mfc="white")
