"""F1 of a classification, averaged over classes, on resamples of the examples."""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from embedtrain.evaluation.resampling import Floats, resample_counts


def resampled_macro_f1(
    gold: NDArray[np.int64], predicted: NDArray[np.int64], *, samples: int, seed: int
) -> NDArray[np.float64]:
    """Macro F1 of examples drawn with replacement, the mean over several classifiers, (samples,).

    ``F1 = 2 hits / (predicted + gold)`` of each class. Classes that neither stand in a resample nor are predicted in
    it are left out of its mean.

    Args:
        gold: The class of each example, from 0, (examples,).
        predicted: What each classifier says, (classifiers, examples).
        samples: Number of resamples.
        seed: Seed of the resampling; the same seed draws the same examples.
    """
    measure = _Measure(gold, predicted)
    counts = resample_counts(len(gold), samples=samples, seed=seed)
    return np.concatenate([measure(drawn) for drawn in counts])


def macro_f1(gold: NDArray[np.int64], predicted: NDArray[np.int64]) -> float:
    """Macro F1 of all examples, the mean over several classifiers; see ``resampled_macro_f1``."""
    return float(_Measure(gold, predicted)(np.ones((1, len(gold))))[0])


class _Measure:
    """Macro F1 for any number of times that each example was drawn."""

    def __init__(self, gold: NDArray[np.int64], predicted: NDArray[np.int64]) -> None:
        classes = int(max(gold.max(), predicted.max())) + 1
        self.gold = _members(gold, classes)
        self.predicted = [_members(one, classes) for one in predicted]
        self.hits = [_members(gold, classes, one == gold) for one in predicted]

    def __call__(self, counts: Floats) -> Floats:
        """Of each row of counts (resamples, examples)."""
        wanted = _summed(self.gold, counts)
        found = np.zeros(len(counts))
        for predicted, hits in zip(self.predicted, self.hits, strict=True):
            below = _summed(predicted, counts) + wanted
            f1 = np.divide(2 * _summed(hits, counts), below, out=np.zeros_like(below), where=below > 0)
            found += f1.sum(axis=1) / np.maximum((below > 0).sum(axis=1), 1)
        return found / len(self.predicted)


def _members(classes: NDArray[np.int64], number: int, chosen: NDArray[np.bool_] | None = None) -> sparse.csr_array:
    """Which examples are of a class, (classes, examples); of the chosen ones only, where some are."""
    rows = np.arange(len(classes)) if chosen is None else np.flatnonzero(chosen)
    return sparse.csr_array((np.ones(len(rows)), (classes[rows], rows)), shape=(number, len(classes)))


def _summed(members: sparse.csr_array, counts: Floats) -> Floats:
    """Draws of each class, (resamples, classes)."""
    return np.asarray(members @ counts.T, dtype=np.float64).T
