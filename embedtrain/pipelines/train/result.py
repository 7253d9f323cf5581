"""What ``embedtrain train`` gives back."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from embedtrain.pipelines.results import split_scores


@dataclass(frozen=True)
class TrainResult:
    """What a run made: ``metrics`` is the content of ``metrics.json``, ``adapter`` is None without LoRA."""

    metrics: dict[str, Any]
    model: Path
    adapter: Path | None
    report: Path

    def to_frame(self) -> pd.DataFrame:
        """Scores before and after on dev and test as fractions, with 95 % intervals: see ``results.score_frame``."""
        deciding = {split: metric["name"] for split, metric in self.metrics["metrics"].items()}
        return split_scores(self.metrics["models"], deciding)
