"""What a score is made of, item by item: kept with it, so that it has an interval and can be compared later."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from embedtrain.evaluation.classification import Metric, mean_of_estimates, over_runs, score_predictions
from embedtrain.evaluation.comparing import Estimate, mean_estimate
from embedtrain.evaluation.correlations import correlation, resampled_correlations
from embedtrain.evaluation.macro_f1 import macro_f1, resampled_macro_f1
from embedtrain.evaluation.pairs import average_precision, resampled_average_precision

Measure = Literal[
    "mean",
    "spearman",
    "pearson",
    "average precision",
    "macro f1",
    "accuracy",
    "matthews",
    "f1 and accuracy",
    "pearson and spearman",
]
# Of several trainings, and where there are two metrics their mean: what GLUE's tasks are scored by.
OF_TRAININGS: Mapping[str, tuple[Metric, ...]] = {
    "accuracy": ("accuracy",),
    "matthews": ("matthews",),
    "f1 and accuracy": ("f1", "accuracy"),
    "pearson and spearman": ("pearson", "spearman"),
}
_CORRELATIONS = ("spearman", "pearson", "pearson and spearman")
_MIN_FOR_CORRELATION = 3


@dataclass(frozen=True)
class Items:
    """The items behind one score.

    Attributes:
        measure: How they make the score. ``mean`` has a column ``value`` and, where items do not count the same, one of
            ``weight``; the correlations have ``prediction`` and
            ``gold``; average precision has ``prediction`` and ``gold`` (0 or 1); macro F1 has ``gold`` and the classes
            that each classifier says, ``predicted_0`` and so on; so have those of ``OF_TRAININGS``, with what each
            training's model says, classes or scores.
        over: What an item is, in the plural: pairs, queries, examples, ...
        columns: By name, each (items,).
    """

    measure: Measure
    over: str
    columns: Mapping[str, NDArray[np.float64]]

    def __post_init__(self) -> None:
        if self.measure not in get_args(Measure):
            raise ValueError(f"measure must be one of {', '.join(get_args(Measure))}, found '{self.measure}'")

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    @property
    def can_be_resampled(self) -> bool:
        """Whether there are enough items, all of them finite numbers."""
        least = _MIN_FOR_CORRELATION if self.measure in _CORRELATIONS else 2
        return len(self) >= least and all(np.isfinite(column).all() for column in self.columns.values())

    @property
    def score(self) -> float:
        """The score on all items."""
        columns = self.columns
        if self.measure == "mean":
            return float(np.average(columns["value"], weights=columns.get("weight")))
        if self.measure == "spearman" or self.measure == "pearson":
            return correlation(columns["prediction"], columns["gold"], method=self.measure)
        if self.measure == "average precision":
            return average_precision(columns["gold"], columns["prediction"])
        if self.measure in OF_TRAININGS:
            # The score itself needs no resample, and there has to be one.
            return self._over_trainings(samples=1, seed=0).value
        return macro_f1(*self._classes())

    def estimate(self, *, samples: int, seed: int) -> Estimate:
        """The score, and the same on resamples of the items.

        Two sets of as many items are drawn alike with the same seed: two models on the same items, and a set and its
        translation.

        Args:
            samples: Number of resamples.
            seed: Seed of the resampling.
        """
        columns, drawing = self.columns, {"samples": samples, "seed": seed}
        if self.measure in OF_TRAININGS:
            return self._over_trainings(**drawing)
        if self.measure == "mean":
            weight = columns.get("weight", np.ones(len(self)))
            total = mean_estimate(columns["value"] * weight, **drawing)
            # By the weights drawn, not by all: items that are all right then have no resample above 1.
            return Estimate(self.score, total.resampled / mean_estimate(weight, **drawing).resampled)
        if self.measure == "spearman" or self.measure == "pearson":
            resampled = resampled_correlations(
                [columns["prediction"]], columns["gold"], method=self.measure, samples=samples, seed=seed
            )[0]
        elif self.measure == "average precision":
            resampled = resampled_average_precision(columns["gold"] == 1, columns["prediction"], **drawing)
        else:
            gold, said = self._classes()
            resampled = resampled_macro_f1(gold, said, **drawing)
        return Estimate(self.score, resampled)

    def frame(self) -> pd.DataFrame:
        """The columns as a table."""
        return pd.DataFrame(dict(self.columns))

    @classmethod
    def of_frame(cls, frame: pd.DataFrame, *, measure: Measure, over: str) -> "Items":
        """As ``frame`` gave it; columns that are empty belong to other sets of the same table."""
        used = {str(name): column for name, column in frame.items() if not column.isna().all()}
        return cls(measure, over, {name: column.to_numpy(dtype=np.float64) for name, column in used.items()})

    def _classes(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return self.columns["gold"].astype(np.int64), np.stack(self._said()).astype(np.int64)

    def _over_trainings(self, *, samples: int, seed: int) -> Estimate:
        drawing: Any = {"metrics": OF_TRAININGS[self.measure], "samples": samples, "seed": seed}
        scored = [score_predictions(one, self.columns["gold"], **drawing) for one in self._said()]
        return over_runs([mean_of_estimates(list(found.values())) for found in scored], seed=seed)

    def _said(self) -> list[NDArray[np.float64]]:
        """What each classifier or training says."""
        return [column for name, column in self.columns.items() if name.startswith("predicted_")]
