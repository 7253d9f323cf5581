"""Measuring a model: scores with their confidence intervals."""

from typing import TYPE_CHECKING

from embedtrain.lazy import offered

if TYPE_CHECKING:
    from embedtrain.evaluation.pairs import average_precision, best_accuracy, best_f1, evaluate_pairs, score_pairs
    from embedtrain.evaluation.resampling import Interval
    from embedtrain.evaluation.statistics import (
        bootstrap_correlation,
        paired_bootstrap_difference,
        paired_bootstrap_over_seeds,
        pearson,
        spearman,
    )
    from embedtrain.evaluation.sts import cosine_of_pairs, score_predictions

__all__ = [
    "Interval",
    "average_precision",
    "best_accuracy",
    "best_f1",
    "bootstrap_correlation",
    "cosine_of_pairs",
    "evaluate_pairs",
    "paired_bootstrap_difference",
    "paired_bootstrap_over_seeds",
    "pearson",
    "score_pairs",
    "score_predictions",
    "spearman",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = offered(__name__, __all__, modules=("pairs", "resampling", "statistics", "sts"))
