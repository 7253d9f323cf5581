"""Plots of models and of their training. No user text goes into a plot: its width cannot be known in advance."""

from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from embedtrain.report.drawing import COLOR, MARKER, MAX_POINTS, inlined, new_figure, style
from embedtrain.report.wording import points

# Role, name, score as a fraction and its interval.
Dot = tuple[str, str, float, tuple[float, float] | None]


def model_intervals(
    rows: list[Dot], *, axis: str = "Spearman on test", name: str = "intervals", differences: bool = False
) -> Markup:
    """Score of each model with its interval.

    Args:
        rows: Role, name, score as a fraction and its interval, from the top row to the bottom row.
        axis: What the score is.
        name: Begins the plot's ids.
        differences: Whether the scores are differences: drawn with a line at zero, and named with their sign.
    """
    named = [points(value, plus=differences) for _, _, value, _ in rows]
    with style():
        figure = new_figure(340, 42 * len(rows) + 56)
        axes = figure.subplots()
        if differences:
            axes.axvline(0, color=COLOR["ink"], lw=1, zorder=1)
        for height, (role, _, value, bounds) in enumerate(rows):
            color = COLOR[role]
            if bounds is not None:
                axes.plot([100 * bounds[0], 100 * bounds[1]], [height] * 2, color=color, lw=2.2, solid_capstyle="round")
            axes.plot([100 * value], [height], MARKER[role], color=color, ms=8.5, mec=COLOR["paper"], mew=1.4)
            label = axes.annotate(named[height], (100 * value, height), (0, 8), textcoords="offset points", ha="center")
            if differences:
                # The line at zero would strike through it.
                label.set_bbox({"fc": COLOR["paper"], "ec": "none", "pad": 0.8})
        axes.set_yticks(range(len(rows)), [label for _, label, _, _ in rows], color=COLOR["ink"], fontsize=10.5)
        axes.set_ylim(len(rows) - 0.5, -0.7)
        axes.margins(x=0.1)
        axes.spines["left"].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.grid(axis="x")
        axes.set_xlabel(f"{axis} × 100")
        said = (f"{model} {score}" for (_, model, *_), score in zip(rows, named, strict=True))
        alt = f"{axis}, times 100: {', '.join(said)}."
        return inlined(figure, name=name, alt=alt)


def smoothing_window(logged_steps: int) -> int:
    """Over how many logged steps the loss is averaged: about a fifteenth of them, an odd number."""
    return max(1, logged_steps // 15) | 1


def training_curve(
    history: dict[str, Any],
    *,
    role: str,
    name: str,
    metric: str = "spearman",
    label: str = "Spearman",
    zero_shot: float | None = None,
    dev_limits: tuple[float, float] | None = None,
    width: float = 300,
    where: str = "dev",
    key: str | None = None,
) -> Markup:
    """Loss above dev score, over optimiser steps, with the kept checkpoint ringed.

    Args:
        history: ``steps`` (step, loss), ``evaluations`` (step and the metric) and ``best_step``.
        role: Whose colour to draw in.
        name: Of the model, for the alternative text.
        metric: Key of the dev score in ``evaluations``.
        label: How that score is called.
        zero_shot: Dev score of the untrained bi-encoder, a fraction, drawn as a dotted line.
        dev_limits: Smallest and largest dev score (fractions) of the plots that this one is to be compared with.
        width: Of the plot, in CSS pixels.
        where: What it is a score on.
        key: Tells the plot from others in its colour on the same page; by default the role.
    """
    steps = pd.DataFrame(history.get("steps", []), columns=["step", "loss"]).dropna()
    evaluations = pd.DataFrame(history.get("evaluations", []), columns=["step", metric]).dropna()
    best = evaluations[evaluations["step"] == history.get("best_step")].head(1)
    color = COLOR[role]
    with style():
        figure = new_figure(width, 300)
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[2, 3])
        if len(steps):
            _loss(upper, steps, color)
        upper.set_ylabel("training loss")
        dev = 100 * evaluations[metric].to_numpy(float)
        lower.plot(evaluations["step"], dev, color=color, lw=1.8, marker="o", ms=3.2)
        if zero_shot is not None:
            lower.axhline(100 * zero_shot, color=COLOR["zero_shot"], lw=1.2, ls=(0, (1.5, 2)))
        shown = [*dev, *([100 * zero_shot] if zero_shot is not None else []), *(100 * np.array(dev_limits or ()))]
        if shown:
            room = max(max(shown) - min(shown), 0.5)
            lower.set_ylim(min(shown) - 0.12 * room, max(shown) + 0.2 * room)
        alt = f"Training loss and {label} on {where} of the {name} over the steps."
        for step, score in best.itertuples(index=False):
            lower.plot([step], [100 * score], "o", ms=10, mfc="none", mec=COLOR["ink"], mew=1.3)
            lower.axvline(step, color=COLOR["muted"], lw=0.6, zorder=0)
            upper.axvline(step, color=COLOR["muted"], lw=0.6, zorder=0)
            alt += f" Best on {where} at step {step:.0f}: {100 * score:.2f}."
        lower.set_ylabel(f"{label}{' ' if len(label + where) <= 15 else chr(10)}on {where} × 100")
        lower.set_xlabel("optimiser step")
        lower.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        for axes in (upper, lower):
            axes.yaxis.set_major_locator(MaxNLocator(4))
            axes.grid(axis="y")
        figure.align_ylabels()
        return inlined(figure, name=f"curve-{(key or role).replace('_', '-')}", alt=alt)


def curve_facts(history: dict[str, Any], *, metric: str) -> dict[str, Any]:
    """What the caption of a training curve says: the best step, the last one, and how fast it went."""
    evaluations = history.get("evaluations", [])
    best = [entry for entry in evaluations if entry["step"] == history.get("best_step")]
    last = max((entry["step"] for entry in [*history.get("steps", []), *evaluations]), default=None)
    return {
        "best": {"step": best[0]["step"], "score": best[0].get(metric)} if best else None,
        "last_step": last,
        "window": smoothing_window(len(history.get("steps", []))),
        **{
            key: history.get(key)
            for key in (
                "train_pairs", "max_steps", "stopped_early", "seconds", "pairs_per_second", "tokens_per_second",
                "padding_share",
            )
        },
    }  # fmt: skip


def _thinned(length: int) -> np.ndarray:
    return np.unique(np.linspace(0, length - 1, min(length, MAX_POINTS)).astype(int))


def _loss(axes: Axes, steps: pd.DataFrame, color: str) -> None:
    smooth = steps["loss"].rolling(smoothing_window(len(steps)), center=True, min_periods=1).mean()
    kept = _thinned(len(steps))
    at = steps["step"].to_numpy()[kept]
    axes.plot(at, steps["loss"].to_numpy()[kept], color=color, lw=0.7, alpha=0.35)
    axes.plot(at, smooth.to_numpy()[kept], color=color, lw=1.8)
