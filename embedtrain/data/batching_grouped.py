"""Batches in which every class has partners, for losses that find their pairs or triplets in the batch."""

from collections.abc import Sequence

import numpy as np


def grouped_batches(
    labels: Sequence[int] | Sequence[str] | np.ndarray,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    per_class: int = 2,
) -> list[list[int]]:
    """Cut the rows into batches in which every class that is there has at least two rows, new in every epoch.

    For batch triplet losses and the supervised contrastive loss, in which a row without a partner of its class teaches
    nothing. The rows of each class are shuffled and cut into groups of ``per_class`` (up to twice that, less one, where
    they do not come out even; a smaller class is one group), and the groups are dealt out: batches of several classes
    with a few rows of each, after Hermans et al. 2017, section 2. Unlike there, an epoch holds every row exactly once.
    Groups of one class meet in a batch only where the class has more groups than there are batches.

    Rows whose class has no other row are in no batch: see ``rows_without_partner``. Where all rows are such, there is
    no batch.

    Args:
        labels: The class of each row; shape (n,).
        batch_size: Rows in a batch, of all ranks together. Batches have about that many, as groups are not cut: not
            more on average, except that a batch has two groups at least.
        seed: The run's seed, 0 or more.
        epoch: Number of the epoch, 0 or more; the same seed and epoch give the same batches.
        per_class: Rows of a class that go together, 2 or more.

    Returns:
        The batches as lists of row numbers, in random order; in a batch, rows of a class stand side by side.

    Raises:
        ValueError: ``per_class`` is below 2, ``batch_size`` has no room for two classes of that many rows, or
            ``labels`` is not one-dimensional.
    """
    if per_class < 2:
        raise ValueError(f"per_class must be at least 2, found {per_class}")
    if batch_size < 2 * per_class:
        raise ValueError(
            f"batch_size must be at least {2 * per_class}, two classes of {per_class} rows each, found {batch_size}"
        )
    classes, sizes = _classes(labels)
    random = np.random.default_rng([seed, epoch])
    kept = random.permutation(np.flatnonzero(sizes[classes] > 1))
    if not len(kept):
        return []
    class_order = random.permutation(len(sizes))
    # Classes in a random order, and the rows of each in a random order.
    rows = kept[np.argsort(np.argsort(class_order)[classes[kept]], kind="stable")]
    sizes = sizes[class_order]
    sizes = sizes[sizes > 1]
    group_of_row, class_of_group = _groups(sizes, per_class)
    # At least two groups a batch: one would leave its rows without negatives.
    count = max(1, min(-(-len(rows) // batch_size), len(class_of_group) // 2))
    batch_of_row = _deal(class_of_group, np.bincount(group_of_row), count, random)[group_of_row]
    rows = rows[np.argsort(batch_of_row, kind="stable")]
    batches = np.split(rows, np.cumsum(np.bincount(batch_of_row, minlength=count))[:-1])
    return [batches[place].tolist() for place in random.permutation(count)]


def rows_without_partner(labels: Sequence[int] | Sequence[str] | np.ndarray) -> list[int]:
    """The rows that ``grouped_batches`` leaves out in every epoch: those whose class has no other row.

    Args:
        labels: The class of each row; shape (n,).

    Returns:
        Their row numbers, ascending.

    Raises:
        ValueError: ``labels`` is not one-dimensional.
    """
    classes, sizes = _classes(labels)
    return np.flatnonzero(sizes[classes] == 1).tolist()


def _classes(labels: Sequence[int] | Sequence[str] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The number of each row's class, (n,), and how many rows each class has, (classes,)."""
    values = np.asarray(labels)
    if values.ndim != 1:
        raise ValueError(f"labels must have shape (n,), found {values.shape}")
    _, classes, sizes = np.unique(values, return_inverse=True, return_counts=True)
    return classes, sizes


def _groups(sizes: np.ndarray, per_class: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut rows sorted by class into groups.

    Args:
        sizes: Rows of each class, (classes,).
        per_class: Rows in a group.

    Returns:
        The group of each row, (rows,), and the class of each group, (groups,), ascending.
    """
    groups = np.maximum(sizes // per_class, 1)
    number_in_class = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    first_group = np.repeat(np.cumsum(groups) - groups, sizes)
    return first_group + number_in_class % np.repeat(groups, sizes), np.repeat(np.arange(len(sizes)), groups)


def _deal(kind: np.ndarray, size: np.ndarray, batches: int, random: np.random.Generator) -> np.ndarray:
    """Deal groups out to batches, in turns in which every batch gets one; the bigger groups to the emptier batches.

    A turn takes the groups as they stand, sorted by class, so two groups of a class go to one batch only if they are of
    different turns. That can be avoided for the class that a turn begins with, which is the only one that may have had
    groups in turns before.

    Args:
        kind: The class of each group, (groups,), ascending.
        size: Rows of each group, (groups,).
        batches: How many batches there are.
        random: Decides between batches that are equally good.

    Returns:
        The batch of each group, (groups,).
    """
    batch_of = np.empty(len(kind), dtype=np.int64)
    held = np.zeros(batches, dtype=np.int64)
    for start in range(0, len(kind), batches):
        turn = np.arange(start, min(start + batches, len(kind)))
        begun = np.searchsorted(kind, kind[start])
        has = np.bincount(batch_of[begun:start], minlength=batches)
        going_on = np.searchsorted(kind[turn], kind[start], side="right")
        best = np.lexsort((random.random(batches), has))
        batch_of[turn[:going_on]] = best[:going_on]
        free, others = best[going_on:], turn[going_on:]
        free = free[np.lexsort((random.random(len(free)), held[free]))]
        others = others[np.lexsort((random.random(len(others)), -size[others]))]
        batch_of[others] = free[: len(others)]
        held[batch_of[turn]] += size[turn]
    return batch_of
