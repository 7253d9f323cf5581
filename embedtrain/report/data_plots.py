"""Plots of what a table holds: how often each score, and how long its texts are."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from embedtrain.report.drawing import COLOR, inlined, new_figure, style


def score_counts(numbers: Mapping[str, Any]) -> Markup:
    """Rows by score: a bar for each value where there are few, else a histogram.

    Args:
        numbers: ``counts`` by score as text, or ``bins`` with ``edges`` and ``counts``; ``lowest``, ``highest`` and
            ``mean``.
    """
    with style():
        figure = new_figure(350, 260)
        axes = figure.subplots()
        if "counts" in numbers:
            at = np.array([float(score) for score in numbers["counts"]])
            apart = float(np.diff(at).min()) if len(at) > 1 else 1.0
            axes.bar(at, list(numbers["counts"].values()), width=0.7 * apart, color=COLOR["augmented"])
        else:
            axes.stairs(numbers["bins"]["counts"], numbers["bins"]["edges"], fill=True, color=COLOR["augmented"])
        axes.set_xlabel("score, as it stands in the file")
        axes.set_ylabel("rows")
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.grid(axis="y")
        alt = f"Rows by score, from {numbers['lowest']:g} to {numbers['highest']:g}, mean {numbers['mean']:.2f}."
        return inlined(figure, name="data-scores", alt=alt)


def token_lengths(bins: Mapping[str, Sequence[int]], *, limit: int | None, counted: str, name: str) -> Markup:
    """Lengths in tokens, with what is cut in another colour.

    Args:
        bins: ``edges`` and ``counts``.
        limit: Tokens that are read, or None.
        counted: What is counted: ``texts`` or ``pairs``.
        name: Begins the plot's ids.
    """
    edges, counts = np.asarray(bins["edges"]), np.asarray(bins["counts"])
    with style():
        figure = new_figure(350, 240)
        axes = figure.subplots()
        cut = np.zeros(len(counts), dtype=bool) if limit is None else edges[:-1] > limit
        for chosen, role in ((~cut, "augmented"), (cut, "gold_only")):
            axes.bar(edges[:-1][chosen], counts[chosen], width=np.diff(edges)[chosen], align="edge",
                     color=COLOR[role], edgecolor=COLOR["paper"], linewidth=0.6)  # fmt: skip
        if limit is not None and limit <= edges[-1]:
            axes.axvline(limit + 0.5, color=COLOR["ink"], lw=1)
            said = axes.annotate(f"read up to {limit:,}", (limit, 1), (5, 2), xycoords=("data", "axes fraction"),
                                 textcoords="offset points", fontsize=9.5)  # fmt: skip
            if limit > edges[-1] / 2:
                said.set(ha="right", position=(-5, 2))
        axes.set_xlim(0, edges[-1])
        axes.set_xlabel(f"tokens of {'a text' if counted == 'texts' else 'both texts of a pair'}")
        axes.set_ylabel(counted)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.grid(axis="y")
        read = "nothing is cut" if limit is None else f"read up to {limit:,}"
        return inlined(figure, name=name, alt=f"{counted.capitalize()} by their length in tokens; {read}.")
