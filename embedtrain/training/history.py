"""What happened in a training, and what a model scored on dev."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np


@dataclass(frozen=True)
class DevResult:
    """What a model scored on dev: correlations or other metrics by name, and its predictions, (rows,)."""

    scores: Mapping[str, float]
    predictions: np.ndarray


DevMetric = Callable[[Any], DevResult]


@dataclass
class History:
    """What happened in one training; ``as_dict`` is what a run keeps of it.

    ``steps`` holds ``step``, ``loss`` (mean since the last entry) and ``learning_rate``; ``evaluations`` holds ``step``
    and the dev metrics, step 0 being the model before training. ``best_predictions`` are those of the best step on dev.
    Rates count the time between two steps, not that of evaluations; ``padding_share`` is the share of the computed
    tokens that were padding.
    """

    train_pairs: int
    max_steps: int
    steps: list[dict[str, float]] = field(default_factory=list)
    evaluations: list[dict[str, float]] = field(default_factory=list)
    best_step: int = 0
    stopped_early: bool = False
    seconds: float = 0.0
    step_seconds: float = 0.0
    rows_seen: int = 0
    texts_seen: int = 0
    tokens_seen: int = 0
    tokens_computed: int = 0
    best_predictions: np.ndarray | None = field(default=None, repr=False)

    @property
    def pairs_per_second(self) -> float:
        """Training rows a second."""
        return self.rows_seen / self.step_seconds if self.step_seconds else 0.0

    @property
    def sentences_per_second(self) -> float:
        """Texts a second."""
        return self.texts_seen / self.step_seconds if self.step_seconds else 0.0

    @property
    def tokens_per_second(self) -> float:
        """Tokens of texts a second, padding not counted."""
        return self.tokens_seen / self.step_seconds if self.step_seconds else 0.0

    @property
    def padding_share(self) -> float:
        """Share of padding among the tokens that were computed."""
        return 1 - self.tokens_seen / self.tokens_computed if self.tokens_computed else 0.0

    def progress(self) -> dict[str, Any]:
        """The fields as plain values, from which ``History(**progress)`` goes on."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "best_predictions"}

    def as_dict(self) -> dict[str, Any]:
        """The fields and rates as plain values for JSON, without the predictions."""
        rates = ("pairs_per_second", "sentences_per_second", "tokens_per_second", "padding_share")
        return {**self.progress(), **{name: getattr(self, name) for name in rates}}

    def summary(self, description: str, metric: str) -> str:
        """One line for people."""
        scores = {evaluation["step"]: evaluation[metric] for evaluation in self.evaluations}
        last = int(self.steps[-1]["step"]) if self.steps else 0
        last = max(last, int(max(scores, default=0)))
        ended = f"stopped early at step {last} of {self.max_steps}" if self.stopped_early else f"{last} steps"
        return (
            f"{description}: {ended} over {self.train_pairs} rows in {self.seconds:.0f} s "
            f"({self.pairs_per_second:.0f} rows/s, {self.tokens_per_second:.0f} tokens/s, "
            f"{100 * self.padding_share:.0f} % padding); best dev {metric} "
            f"{100 * scores.get(self.best_step, float('nan')):.2f} at step {self.best_step}"
        )
