"""Classifications and scores against what people say: Matthews, F1, accuracy and correlations, with their resamples."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedtrain.evaluation.comparing import Estimate, mean_estimate
from embedtrain.evaluation.correlations import correlation, resampled_correlations
from embedtrain.evaluation.resampling import Floats, resample_counts

Metric = Literal["matthews", "f1", "accuracy", "pearson", "spearman"]


def score_predictions(
    predicted: ArrayLike, gold: ArrayLike, *, metrics: Sequence[Metric], samples: int, seed: int
) -> dict[str, Estimate]:
    """Each metric with its bootstrap resamples over rows; all of them, and other models', draw the same rows.

    ``matthews`` and ``f1`` are those of two classes, 0 and 1, with 1 as the positive one; where a fraction has nothing
    below it they are 0.0, as for predictions that are all alike. ``accuracy`` takes any number of classes. ``pearson``
    and ``spearman`` take scores.

    Args:
        predicted: What the model says, (rows,): class numbers, or scores.
        gold: What people say, (rows,).
        metrics: Which to compute.
        samples: Number of resamples.
        seed: Seed of the resampling.

    Raises:
        ValueError: Lengths differ, there are no rows, or classes of two are not 0 or 1.

    Source: Matthews 1975, Comparison of the predicted and observed secondary structure of T4 phage lysozyme.
    """
    ours, theirs = (np.asarray(values, dtype=np.float64) for values in (predicted, gold))
    if ours.ndim != 1 or ours.shape != theirs.shape or not len(ours):
        raise ValueError(f"expected as many predictions as labels, found the shapes {ours.shape} and {theirs.shape}")
    found: dict[str, Estimate] = {}
    for metric in metrics:
        if metric == "accuracy":
            found[metric] = mean_estimate(ours == theirs, samples=samples, seed=seed)
        elif metric in ("pearson", "spearman"):
            resampled = resampled_correlations([ours], theirs, method=metric, samples=samples, seed=seed)
            found[metric] = Estimate(correlation(ours, theirs, method=metric), resampled[0])
        else:
            cells = _cells(ours, theirs)
            drawn = [counts @ cells for counts in resample_counts(len(ours), samples=samples, seed=seed)]
            of_cells = _matthews if metric == "matthews" else _f1
            values = of_cells(np.concatenate([cells.sum(axis=0, keepdims=True), *drawn]))
            found[metric] = Estimate(float(values[0]), values[1:])
    return found


def mean_of_estimates(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of several scores, on each resample as well."""
    return Estimate(
        float(np.mean([one.value for one in estimates])), np.mean([one.resampled for one in estimates], axis=0)
    )


def over_runs(runs: Sequence[Estimate], *, seed: int) -> Estimate:
    """The mean over several trainings that differ in their seed; each resample draws trainings as well as rows.

    Two ways of training with the same seeds can be compared: the same trainings are drawn for both. With few of them
    their share of the spread is told too small, by a factor of (runs - 1) / runs of its variance.

    Args:
        runs: The score of each training on the same resamples of the same rows.
        seed: Of the draw of trainings.

    Source: Davison & Hinkley 1997, Bootstrap Methods and their Application, section 3.8 (hierarchical data).
    """
    resampled = np.stack([run.resampled for run in runs])
    drawn = np.random.default_rng([seed, len(runs)]).integers(0, len(runs), size=resampled.shape)
    means = np.take_along_axis(resampled, drawn, axis=0).mean(axis=0)
    return Estimate(float(np.mean([run.value for run in runs])), means)


def _cells(predicted: Floats, gold: Floats) -> Floats:
    """Whether each row is a hit, a miss, a false alarm or rightly passed over, (rows, 4)."""
    for name, values in (("predictions", predicted), ("labels", gold)):
        if not np.isin(values, [0, 1]).all():
            raise ValueError(f"expected {name} of two classes, 0 and 1, found {np.unique(values).tolist()[:5]}")
    taken: NDArray[np.bool_] = predicted == 1
    matches: NDArray[np.bool_] = gold == 1
    return np.stack([taken & matches, ~taken & matches, taken & ~matches, ~taken & ~matches], axis=1).astype(np.float64)


def _matthews(cells: Floats) -> Floats:
    hits, misses, alarms, passed = cells.T
    spread = np.sqrt((hits + alarms) * (hits + misses) * (passed + alarms) * (passed + misses))
    return np.divide(hits * passed - alarms * misses, spread, out=np.zeros_like(hits), where=spread > 0)


def _f1(cells: Floats) -> Floats:
    hits, misses, alarms, _ = cells.T
    below = 2 * hits + misses + alarms
    return np.divide(2 * hits, below, out=np.zeros_like(hits), where=below > 0)
