"""Plots of scores: gold beside silver, a teacher against gold, and how far its scores can be taken at their word."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from embedtrain.report.drawing import COLOR, MARKER, MAX_POINTS, inlined, new_figure, style


@dataclass(frozen=True)
class ScoreSet:
    """Scores of pairs, counted.

    Attributes:
        counts: Scores in each bin between the edges, (bins,).
        mean: Of the scores.
        pairs: How many there are.
    """

    counts: NDArray[np.float64]
    mean: float
    pairs: int

    @classmethod
    def of(cls, scores: NDArray[np.float64], edges: NDArray[np.float64]) -> "ScoreSet | None":
        """Scores, (n,), counted between edges, those outside in the first and last bin; None without a score."""
        if not len(scores):
            return None
        counts, _ = np.histogram(np.clip(scores, edges[0], edges[-1]), bins=edges)
        return cls(counts.astype(np.float64), float(np.mean(scores)), len(scores))


def score_histogram(
    gold: ScoreSet | None,
    silver: ScoreSet | None,
    edges: NDArray[np.float64],
    *,
    dropped: tuple[float, float] | None = None,
) -> Markup:
    """Densities of gold and of silver scores.

    Args:
        gold: Gold scores, or None.
        silver: Silver scores, or None.
        edges: Edges of the bins of both, equally far apart, (bins + 1,).
        dropped: The scores between which a silver pair gets no hard label, marked as a band.
    """
    drawn = [
        (scores, role, name)
        for scores, role, name in ((gold, "gold_only", "gold"), (silver, "augmented", "silver"))
        if scores is not None and scores.counts.sum() > 0
    ]
    with style():
        figure = new_figure(350, 300)
        axes = figure.subplots()
        alt = f"Densities of pair scores from {edges[0]:g} to {edges[-1]:g}. "
        for scores, role, name in drawn:
            density = scores.counts / (scores.counts.sum() * np.diff(edges))
            axes.stairs(density, edges, fill=True, color=COLOR[role], alpha=0.22)
            dashes: Any = "-" if name == "gold" else (0, (4, 1.5))
            axes.stairs(density, edges, color=COLOR[role], lw=1.8, ls=dashes, label=name)
        if dropped is not None:
            _band(axes, dropped)
        axes.set_xlim(edges[0], edges[-1])
        axes.set_xlabel("score of the pair (0 unrelated, 1 same meaning)")
        axes.set_ylabel("density")
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.grid(axis="y")
        if drawn:
            axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2, handlelength=1.8)
        alt += ", ".join(f"{name}: {scores.pairs:,} pairs, mean {scores.mean:.2f}" for scores, _, name in drawn) + "."
        if dropped is not None:
            alt += f" Scores between {dropped[0]:g} and {dropped[1]:g} are marked as dropped from hard labels."
        return inlined(figure, name="scores", alt=alt)


def teacher_scatter(gold: np.ndarray, teacher: np.ndarray, *, spearman: float | None) -> Markup:
    """Teacher score over gold score of each dev pair, at most ``MAX_POINTS`` of them, with the line of equality."""
    kept = np.arange(len(gold))
    if len(gold) > MAX_POINTS:
        kept = np.random.default_rng(0).choice(len(gold), MAX_POINTS, replace=False)
    with style():
        figure = new_figure(350, 300)
        axes = figure.subplots()
        low, high = min(0.0, float(teacher.min())), max(1.0, float(teacher.max()))
        axes.plot([0, 1], [0, 1], color=COLOR["muted"], lw=1, ls=(0, (4, 3)))
        color = COLOR["teacher"]
        axes.plot(gold[kept], teacher[kept], "o", ms=4, color=color, alpha=0.35, mew=0)
        axes.set_xlim(-0.03, 1.03)
        axes.set_ylim(low - 0.03 * (high - low), high + 0.03 * (high - low))
        axes.set_xlabel("gold score of the dev pair")
        axes.set_ylabel("score of the teacher")
        axes.grid()
        alt = f"Score of the teacher over the gold score of {len(gold):,} dev pairs."
        if spearman is not None:
            axes.set_title(f"Spearman {100 * spearman:.2f}", loc="left", fontsize=10.5, color=COLOR["ink"])
            alt += f" Spearman {100 * spearman:.2f}."
        return inlined(figure, name="teacher", alt=alt)


def reliability_diagram(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> Markup:
    """Mean gold score over mean teacher score in each bin, with intervals and the line of equality.

    Args:
        before: The bins of the scores as they are: ``score`` and ``gold`` (means), ``low`` and ``high`` (interval of
            the mean gold score, or None).
        after: The same of the calibrated scores; may be empty.
    """
    with style():
        figure = new_figure(350, 320)
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=COLOR["muted"], lw=1, ls=(0, (4, 3)))
        sets = ((before, "teacher", "as given"), (after, "augmented", "calibrated"))
        for bins, role, name in sets:
            if not bins:
                continue
            color = COLOR[role]
            for one in bins:
                if one.get("low") is not None and one.get("high") is not None:
                    axes.plot([one["score"]] * 2, [one["low"], one["high"]], color=color, lw=1.4, alpha=0.5)
            at, means = [one["score"] for one in bins], [one["gold"] for one in bins]
            dashes: Any = "-" if role == "teacher" else (0, (4, 1.5))
            axes.plot(at, means, color=color, lw=1.6, ls=dashes, marker=MARKER[role], ms=6.5, mec=COLOR["paper"],
                      label=name)  # fmt: skip
        at = [one["score"] for bins, _, _ in sets for one in bins]
        low, high = min([0.0, *at]), max([1.0, *at])
        axes.set_xlim(low - 0.03 * (high - low), high + 0.03 * (high - low))
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel("mean score of the teacher in a bin")
        axes.set_ylabel("mean gold score of those pairs")
        axes.grid()
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2, handlelength=2.4)
        alt = f"Mean gold score over mean score of the teacher in {len(before)} bins of dev pairs"
        return inlined(figure, name="reliability", alt=alt + (", as given and calibrated." if after else "."))


def _band(axes: Axes, dropped: tuple[float, float]) -> None:
    # Room above the densities for the band's name.
    axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
    axes.axvspan(*dropped, color=COLOR["rule"], alpha=0.55, lw=0, zorder=0)
    for threshold in dropped:
        axes.axvline(threshold, color=COLOR["muted"], lw=0.8, ls=(0, (1.5, 2)), zorder=1)
    axes.annotate("no hard label", (sum(dropped) / 2, 1), (0, -4), xycoords=("data", "axes fraction"),
                  textcoords="offset points", ha="center", va="top", fontsize=9, color=COLOR["muted"])  # fmt: skip
