"""Batches of sentences of like length, so that little of a batch is padding."""

from collections.abc import Sequence

import numpy as np


def like_length_batches(
    lengths: Sequence[int] | np.ndarray,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    drop_last: bool = False,
    window: int = 50,
) -> list[list[int]]:
    """Cut 0 ... n-1 into batches whose members have similar lengths, in an order that is new in every epoch.

    The indices are shuffled and cut into windows; each window is sorted by length and cut into batches; the batches are
    shuffled. A wider window pads less and mixes less: a small table gets at least four windows, so that the same
    sentences do not meet in every epoch.

    Args:
        lengths: Length of each item in any unit, such as tokens; shape (n,).
        batch_size: Items in a batch.
        seed: The run's seed, 0 or more.
        epoch: Number of the epoch, 0 or more; the same seed and epoch give the same batches.
        drop_last: Leave out a random remainder, so that every batch is full; else one batch is smaller.
        window: Batches that are sorted together, at most.

    Returns:
        The batches as lists of indices; every index stands in exactly one (``drop_last``: at most one).

    Raises:
        ValueError: ``batch_size`` or ``window`` is below 1, or ``lengths`` is not one-dimensional.
    """
    sizes = np.asarray(lengths)
    if batch_size < 1 or window < 1:
        raise ValueError(f"batch_size and window must be at least 1, found {batch_size} and {window}")
    if sizes.ndim != 1:
        raise ValueError(f"lengths must have shape (n,), found {sizes.shape}")
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(sizes))
    if drop_last:
        # Cut before sorting: after it, the remainder would always be the longest sentences of a window.
        order = order[: len(order) // batch_size * batch_size]
    full_batches = len(order) // batch_size
    span = batch_size * max(1, min(window, full_batches // 4))
    batches: list[list[int]] = []
    for start in range(0, len(order), span):
        inside = order[start : start + span]
        ranked = inside[np.argsort(sizes[inside], kind="stable")]
        batches.extend(ranked[cut : cut + batch_size].tolist() for cut in range(0, len(ranked), batch_size))
    return [batches[place] for place in random.permutation(len(batches))]
