"""Scores of any pipeline as one kind of table: a row for each model, data and metric, with its interval."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

COLUMNS = ["model", "data", "metric", "score", "low", "high"]


def score_frame(rows: Iterable[tuple[str, str, str, float, Iterable[float] | None]]) -> pd.DataFrame:
    """A table with the columns ``model``, ``data``, ``metric``, ``score``, ``low`` and ``high``.

    Args:
        rows: Model, data, metric, score and the ends of its 95 % interval; None where there is no interval. Scores are
            fractions.
    """
    filled = [[*row[:4], *(row[4] if row[4] is not None else (None, None))] for row in rows]
    frame = pd.DataFrame(filled, columns=COLUMNS)
    return frame.astype(dict.fromkeys(("score", "low", "high"), "float64"))


def split_scores(models: Mapping[str, Mapping[str, Mapping[str, Any]]], metrics: Mapping[str, str]) -> pd.DataFrame:
    """Scores on dev and test of the models of a training.

    Args:
        models: By model and split, the scores; ``ci95`` is the interval of the metric that decides, ``<name>_ci95``
            that of another.
        metrics: The metric that decides, by split.
    """
    rows = []
    for model, by_split in models.items():
        for split, found in by_split.items():
            main = metrics[split]
            rows.append((model, split, main, found[main], found["ci95"]))
            others = [name for name in found if f"{name}_ci95" in found]
            rows += [(model, split, name, found[name], found[f"{name}_ci95"]) for name in others]
    return score_frame(rows)


def main_scores_frame(metrics: Mapping[str, Any]) -> pd.DataFrame:
    """The score that decides of each model on each set of an evaluation, from the content of its ``metrics.json``."""
    named = metrics["metric"]["name"]
    return score_frame(
        (model, data, metrics["data"].get(data, {}).get("metric", named), found["score"], found["ci95"])
        for model, by_set in metrics["main"].items()
        for data, found in by_set.items()
    )
