"""Correlations, of all items and of many resamples at once."""

from collections.abc import Callable
from typing import Literal

import numpy as np

from embedtrain.evaluation.resampling import Floats, resample_counts

Method = Literal["spearman", "pearson"]


def correlation(a: Floats, b: Floats, *, method: Method) -> float:
    """Correlation of two series of finite numbers, (items,); 0.0 where one is constant."""
    once = np.ones((1, len(a)))
    return float(_weighted_pearson(_reader(a, method)(once), _reader(b, method)(once), once)[0])


def resampled_correlations(
    predictions: list[Floats], gold: Floats, *, method: Method, samples: int, seed: int
) -> Floats:
    """Correlation of each prediction with gold in each resample, (predictions, samples).

    Args:
        predictions: Finite numbers of each model, (pairs,).
        gold: What people say of each pair, (pairs,).
        method: ``"spearman"`` or ``"pearson"``.
        samples: Number of resamples.
        seed: Seed of the resampling; the same seed draws the same pairs.
    """
    read_gold = _reader(gold, method)
    readers = [_reader(prediction, method) for prediction in predictions]
    blocks = []
    for counts in resample_counts(len(gold), samples=samples, seed=seed):
        wanted = read_gold(counts)
        blocks.append([_weighted_pearson(read(counts), wanted, counts) for read in readers])
    return np.concatenate(blocks, axis=1)


def _reader(series: Floats, method: Method) -> Callable[[Floats], Floats]:
    """A function from counts (resamples, pairs) to what the correlation is taken of: values or ranks, same shape."""
    return _rank_reader(series) if method == "spearman" else _value_reader(series)


def _value_reader(series: Floats) -> Callable[[Floats], Floats]:
    # Squares of very large or very small numbers would leave the range of floats.
    largest = np.abs(series).max()
    scaled = series / largest if largest > 0 else series
    return lambda counts: np.broadcast_to(scaled, counts.shape)


def _rank_reader(series: Floats) -> Callable[[Floats], Floats]:
    """Average ranks inside each resample, without sorting any resample.

    The distinct values are put in order once. A value drawn c times, after m draws of smaller values, holds the ranks
    m + 1 to m + c: on average m + c - (c - 1) / 2. What was not drawn gets a number too, which its count of 0 voids.
    """
    order = np.argsort(series, kind="stable")
    values, which = np.unique(series, return_inverse=True)
    starts = np.searchsorted(series[order], values)

    def read(counts: Floats) -> Floats:
        drawn = np.add.reduceat(counts[:, order], starts, axis=1)
        return (np.cumsum(drawn, axis=1) - (drawn - 1) / 2)[:, which]

    return read


def _weighted_pearson(a: Floats, b: Floats, counts: Floats) -> Floats:
    """Pearson's correlation of each row, entry j taken counts[row, j] times; 0.0 where a or b is constant."""
    a, b = _centred(a, counts), _centred(b, counts)
    spread = np.sqrt(np.einsum("rp,rp,rp->r", counts, a, a)) * np.sqrt(np.einsum("rp,rp,rp->r", counts, b, b))
    together = np.einsum("rp,rp,rp->r", counts, a, b)
    return np.clip(np.divide(together, spread, out=np.zeros_like(together), where=spread > 0), -1.0, 1.0)


def _centred(rows: Floats, counts: Floats) -> Floats:
    # Measured from a value that was drawn, a constant resample is exactly zero instead of rounding noise.
    some_drawn = np.take_along_axis(rows, counts.argmax(axis=1)[:, None], axis=1)
    rows = rows - some_drawn
    return rows - (np.einsum("rp,rp->r", counts, rows) / counts.sum(axis=1))[:, None]
