"""Measuring a model: scores with their confidence intervals."""

from embedtrain.evaluation.statistics import (
    Interval,
    bootstrap_correlation,
    paired_bootstrap_difference,
    paired_bootstrap_over_seeds,
    pearson,
    spearman,
)
from embedtrain.evaluation.sts import cosine_of_pairs, score_predictions

__all__ = [
    "Interval",
    "bootstrap_correlation",
    "cosine_of_pairs",
    "paired_bootstrap_difference",
    "paired_bootstrap_over_seeds",
    "pearson",
    "score_predictions",
    "spearman",
]
