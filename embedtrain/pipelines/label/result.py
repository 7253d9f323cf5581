"""What ``embedtrain label`` gives back."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from embedtrain.pipelines.results import split_scores


@dataclass(frozen=True)
class LabelResult:
    """What a run made.

    Attributes:
        metrics: The content of ``metrics.json``.
        shards: The folder of the labels' Parquet files.
        merged: All labels in one file, where that was asked for.
        report: The page.
    """

    metrics: dict[str, Any]
    shards: Path
    merged: Path | None
    report: Path

    def to_frame(self) -> pd.DataFrame:
        """Correlations on dev of teachers, labels and student as fractions, with 95 % intervals.

        See ``results.score_frame``; empty without dev. The labels themselves are in ``merged`` and ``shards``.
        """
        told = {teacher["name"]: teacher["dev"] for teacher in self.metrics["teachers"]}
        told["labels"] = self.metrics["labels"]["dev"]
        if self.metrics["student"] is not None:
            told[self.metrics["student"]["name"]] = self.metrics["student"]["dev"]
        models = {name: {"dev": found} for name, found in told.items() if found is not None}
        return split_scores(models, {"dev": "spearman"})
