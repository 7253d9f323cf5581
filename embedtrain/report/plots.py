"""Plots of a run as SVG to be inlined: colours are the page's CSS variables, text is text, ids are unique."""

import io
import re
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Each role is drawn in a colour that no plot uses otherwise and that is replaced by a variable of the page afterwards,
# so that one SVG serves light, dark and print. Data colours follow Okabe and Ito's colour-blind safe palette.
ROLES = ("ink", "muted", "rule", "paper", "zero_shot", "cross_encoder", "gold_only", "augmented")
COLOR = {role: f"#0a0b{number:02x}" for number, role in enumerate(ROLES)}
MARKER = {"zero_shot": "D", "cross_encoder": "^", "gold_only": "s", "augmented": "o"}
MAX_POINTS = 2000

_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "embedtrain",
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
    "axes.labelsize": 10.5,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "text.color": COLOR["ink"],
    "axes.labelcolor": COLOR["muted"],
    "axes.edgecolor": COLOR["muted"],
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": COLOR["muted"],
    "ytick.color": COLOR["muted"],
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "grid.color": COLOR["rule"],
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 10,
}


def _figure(width: float, height: float) -> Figure:
    # 72 units an inch: a figure of 5 inches is 360 CSS pixels, a phone's width, where its text keeps its size.
    return Figure(figsize=(width / 72, height / 72), layout="constrained")


def _inlined(figure: Figure, *, name: str, alt: str) -> Markup:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r"\s(xmlns(:xlink)?|version)=\"[^\"]*\"", "", svg).replace("xlink:href", "href")
    svg = re.sub(r"<[^>]+>", lambda tag: re.sub(r"\d+\.\d{3,}", lambda n: f"{float(n[0]):.2f}", tag[0]), svg)
    svg = re.sub(r"(\bid=\"|href=\"#|url\(#)", rf"\1{name}-", svg)
    svg = re.sub(r" font-family: [^;\"]*;", "", svg)
    for role, color in COLOR.items():
        svg = svg.replace(color, f"var(--{role.replace('_', '-')})")
    svg = re.sub(r"\s*\n\s*", "\n", svg)
    return Markup(
        re.sub(r"<svg [^>]*?(viewBox=\"[^\"]*\")[^>]*>", rf'<svg \1 role="img" aria-label="{escape(alt)}">', svg)
    )


def model_intervals(rows: list[tuple[str, str, float, tuple[float, float] | None]]) -> Markup:
    """Test Spearman of each model with its interval.

    Args:
        rows: Role, name, Spearman as a fraction and its interval, from the top row to the bottom row.
    """
    with matplotlib.rc_context(_STYLE):
        figure = _figure(340, 42 * len(rows) + 56)
        axes = figure.subplots()
        for height, (role, _, value, bounds) in enumerate(rows):
            color = COLOR[role]
            if bounds is not None:
                axes.plot([100 * bounds[0], 100 * bounds[1]], [height] * 2, color=color, lw=2.2, solid_capstyle="round")
            axes.plot([100 * value], [height], MARKER[role], color=color, ms=8.5, mec=COLOR["paper"], mew=1.4)
            axes.annotate(f"{100 * value:.2f}", (100 * value, height), (0, 8), textcoords="offset points", ha="center")
        axes.set_yticks(range(len(rows)), [name for _, name, _, _ in rows], color=COLOR["ink"], fontsize=10.5)
        axes.set_ylim(len(rows) - 0.5, -0.7)
        axes.spines["left"].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.grid(axis="x")
        axes.set_xlabel("Spearman on test × 100")
        alt = (
            "Spearman on test, times 100: " + ", ".join(f"{name} {100 * value:.2f}" for _, name, value, _ in rows) + "."
        )
        return _inlined(figure, name="intervals", alt=alt)


def smoothing_window(logged_steps: int) -> int:
    """Over how many logged steps the loss is averaged: about a fifteenth of them, an odd number."""
    return max(1, logged_steps // 15) | 1


def _thinned(length: int) -> np.ndarray:
    return np.unique(np.linspace(0, length - 1, min(length, MAX_POINTS)).astype(int))


def _loss(axes: Axes, steps: pd.DataFrame, color: str) -> None:
    smooth = steps["loss"].rolling(smoothing_window(len(steps)), center=True, min_periods=1).mean()
    kept = _thinned(len(steps))
    at = steps["step"].to_numpy()[kept]
    axes.plot(at, steps["loss"].to_numpy()[kept], color=color, lw=0.7, alpha=0.35)
    axes.plot(at, smooth.to_numpy()[kept], color=color, lw=1.8)


def training_curve(
    history: dict[str, Any],
    *,
    role: str,
    name: str,
    zero_shot: float | None = None,
    dev_limits: tuple[float, float] | None = None,
) -> Markup:
    """Loss above dev Spearman, over optimiser steps, with the kept checkpoint ringed.

    Args:
        history: ``steps`` (step, loss), ``evaluations`` (step, spearman) and ``best_step``.
        role: Whose colour to draw in.
        name: Of the model, for the alternative text.
        zero_shot: Dev Spearman of the untrained bi-encoder, a fraction, drawn as a dotted line.
        dev_limits: Smallest and largest dev Spearman (fractions) of the plots that this one is to be compared with.
    """
    steps = pd.DataFrame(history.get("steps", []), columns=["step", "loss"]).dropna()
    evaluations = pd.DataFrame(history.get("evaluations", []), columns=["step", "spearman"]).dropna()
    best = evaluations[evaluations["step"] == history.get("best_step")].head(1)
    color = COLOR[role]
    with matplotlib.rc_context(_STYLE):
        figure = _figure(300, 300)
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[2, 3])
        if len(steps):
            _loss(upper, steps, color)
        upper.set_ylabel("training loss")
        dev = 100 * evaluations["spearman"].to_numpy(float)
        lower.plot(evaluations["step"], dev, color=color, lw=1.8, marker="o", ms=3.2)
        if zero_shot is not None:
            lower.axhline(100 * zero_shot, color=COLOR["zero_shot"], lw=1.2, ls=(0, (1.5, 2)))
        shown = [*dev, *([100 * zero_shot] if zero_shot is not None else []), *(100 * np.array(dev_limits or ()))]
        if shown:
            room = max(max(shown) - min(shown), 0.5)
            lower.set_ylim(min(shown) - 0.12 * room, max(shown) + 0.2 * room)
        alt = f"Training loss and dev Spearman of the {name} over the steps."
        for step, spearman in best.itertuples(index=False):
            lower.plot([step], [100 * spearman], "o", ms=10, mfc="none", mec=COLOR["ink"], mew=1.3)
            lower.axvline(step, color=COLOR["muted"], lw=0.6, zorder=0)
            upper.axvline(step, color=COLOR["muted"], lw=0.6, zorder=0)
            alt += f" Best on dev at step {step:.0f}: {100 * spearman:.2f}."
        lower.set_ylabel("Spearman on dev × 100")
        lower.set_xlabel("optimiser step")
        lower.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        for axes in (upper, lower):
            axes.yaxis.set_major_locator(MaxNLocator(4))
            axes.grid(axis="y")
        figure.align_ylabels()
        return _inlined(figure, name=f"curve-{role.replace('_', '-')}", alt=alt)


def score_histogram(gold: np.ndarray, silver: np.ndarray) -> Markup:
    """Densities of gold and of silver scores, both in [0, 1], in twenty equal bins."""
    edges = np.linspace(0, 1, 21)
    with matplotlib.rc_context(_STYLE):
        figure = _figure(350, 300)
        axes = figure.subplots()
        for scores, role, name in ((gold, "gold_only", "gold"), (silver, "augmented", "silver")):
            if len(scores):
                density, _ = np.histogram(np.clip(scores, 0, 1), bins=edges, density=True)
                axes.stairs(density, edges, fill=True, color=COLOR[role], alpha=0.22)
                axes.stairs(
                    density, edges, color=COLOR[role], lw=1.8, ls="-" if name == "gold" else (0, (4, 1.5)), label=name
                )
        axes.set_xlim(0, 1)
        axes.set_xlabel("score of the pair (0 unrelated, 1 same meaning)")
        axes.set_ylabel("density")
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.grid(axis="y")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2, handlelength=1.8)
        alt = "Densities of pair scores from 0 to 1. " + ", ".join(
            f"{name}: {len(scores):,} pairs, mean {np.mean(scores):.2f}"
            for name, scores in (("gold", gold), ("silver", silver))
            if len(scores)
        )
        return _inlined(figure, name="scores", alt=alt + ".")


def teacher_scatter(gold: np.ndarray, teacher: np.ndarray, *, spearman: float | None) -> Markup:
    """Teacher score over gold score of each dev pair, at most ``MAX_POINTS`` of them, with the line of equality."""
    kept = np.arange(len(gold))
    if len(gold) > MAX_POINTS:
        kept = np.random.default_rng(0).choice(len(gold), MAX_POINTS, replace=False)
    with matplotlib.rc_context(_STYLE):
        figure = _figure(350, 300)
        axes = figure.subplots()
        low, high = min(0.0, float(teacher.min())), max(1.0, float(teacher.max()))
        axes.plot([0, 1], [0, 1], color=COLOR["muted"], lw=1, ls=(0, (4, 3)))
        color = COLOR["cross_encoder"]
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
        return _inlined(figure, name="teacher", alt=alt)
