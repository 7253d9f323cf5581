"""Batches of rows, complete and reproducible: here those of like length, so that little is padding."""

from collections.abc import Sequence

import numpy as np

from embedtrain.data.batching_grouped import grouped_batches, rows_without_partner
from embedtrain.data.batching_mixed import mixed_batches, split_for_ranks
from embedtrain.data.batching_unique import unique_batches

__all__ = [
    "grouped_batches",
    "like_length_batches",
    "mixed_batches",
    "rows_without_partner",
    "split_for_ranks",
    "token_budget_batches",
    "unique_batches",
]


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
    sizes = _checked(lengths)
    if batch_size < 1 or window < 1:
        raise ValueError(f"batch_size and window must be at least 1, found {batch_size} and {window}")
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


def token_budget_batches(
    lengths: Sequence[int] | np.ndarray,
    *,
    budget: int,
    seed: int,
    epoch: int,
    max_rows: int | None = None,
    ranks: int = 1,
    window: int = 50,
) -> list[list[int]]:
    """Cut 0 ... n-1 into batches that cost about the same: many short rows or a few long ones, new in every epoch.

    Like ``like_length_batches``, but a batch has as many rows as fit into ``budget`` when padded to its longest. The
    shortest rows of each window, too few for a batch, are put together into the last ones. How many batches there are
    differs a little from epoch to epoch.

    Args:
        lengths: Tokens of each row; shape (n,). For rows of several texts that run in one pass, the longest text of
            each row, with the budget divided by the number of texts.
        budget: Tokens in a batch, padding counted, of all ranks together. A row longer than that is a batch of its own.
        seed: The run's seed, 0 or more.
        epoch: Number of the epoch, 0 or more; the same seed and epoch give the same batches.
        max_rows: Rows in a batch at most, of all ranks together, however short, but one for each rank; by default as
            many as fit.
        ranks: How many ranks share each batch with ``split_for_ranks``: each gets as many rows as fit into its part of
            the budget, one at least, so that no long row comes without one for every other rank.
        window: Batches that are sorted together, at most (about: a batch of average length counts).

    Returns:
        The batches as lists of indices, the longest row first; every index stands in exactly one, and all batches but
        one have no room for another row.

    Raises:
        ValueError: ``budget``, ``max_rows``, ``ranks`` or ``window`` is below 1, or ``lengths`` is not one-dimensional.
    """
    sizes = np.maximum(_checked(lengths), 1).astype(np.int64)
    counts = {"budget": budget, "ranks": ranks, "window": window, "max_rows": 1 if max_rows is None else max_rows}
    wrong = [f"{name} must be at least 1, found {count}" for name, count in counts.items() if count < 1]
    if wrong:
        raise ValueError("; ".join(wrong))
    if not len(sizes):
        return []
    most = len(sizes) if max_rows is None else max(1, max_rows // ranks)
    # How many rows a batch holds that has this one as its longest.
    fitting = ranks * np.clip(budget // ranks // sizes, 1, most)
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(sizes))
    about = float((1 / fitting).sum())
    span = max(1, round(len(sizes) / about * max(1, min(window, about // 4))))
    batches: list[list[int]] = []
    left = []
    for start in range(0, len(order), span):
        full, rest = _full_batches(order[start : start + span], sizes, fitting)
        batches.extend(full)
        left.append(rest)
    full, rest = _full_batches(np.concatenate(left), sizes, fitting)
    batches.extend(full)
    if len(rest):
        batches.append(rest.tolist())
    return [batches[place] for place in random.permutation(len(batches))]


def _full_batches(indices: np.ndarray, sizes: np.ndarray, fitting: np.ndarray) -> tuple[list[list[int]], np.ndarray]:
    """Cut indices, (n,), longest first, into batches of as many as fit; and what is left, the shortest."""
    ranked = indices[np.argsort(-sizes[indices], kind="stable")]
    members, most = ranked.tolist(), fitting[ranked].tolist()
    batches = []
    cut = 0
    while cut < len(members) and cut + most[cut] <= len(members):
        batches.append(members[cut : cut + most[cut]])
        cut += most[cut]
    return batches, ranked[cut:]


def _checked(lengths: Sequence[int] | np.ndarray) -> np.ndarray:
    sizes = np.asarray(lengths)
    if sizes.ndim != 1:
        raise ValueError(f"lengths must have shape (n,), found {sizes.shape}")
    return sizes
