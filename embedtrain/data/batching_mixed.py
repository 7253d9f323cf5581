"""The batches of several tasks in one order, and a batch cut into the shares of several ranks."""

from collections.abc import Sequence
from typing import Literal

import numpy as np


def mixed_batches(
    plans: Sequence[list[list[int]]],
    *,
    mix: Literal["proportional", "round_robin"],
    seed: int,
    epoch: int,
) -> list[tuple[int, list[int]]]:
    """Put the batches of several tasks into one order; every batch stays whole and of one task.

    Args:
        plans: The batches of each task in this epoch, as the other functions of this package make them.
        mix: ``proportional``: all batches of all tasks, in random order, so that a task comes up as often as it has
            batches. ``round_robin``: one batch of each task in turn, in the order of the plans, until the shortest plan
            is used up; the batches beyond it are left out of this epoch, and as the plans are shuffled anew in each
            epoch, other rows are left out of the next.
        seed: The run's seed, 0 or more.
        epoch: Number of the epoch, 0 or more; the same seed and epoch give the same order.

    Returns:
        (task number, rows) for each batch; those of one task follow each other as in its plan.

    Raises:
        ValueError: ``mix`` is neither of the two, or a plan is empty and turns would leave no batch at all.
    """
    if mix == "proportional":
        counts = np.array([len(plan) for plan in plans], dtype=np.int64)
        tasks = np.random.default_rng([seed, epoch]).permutation(np.repeat(np.arange(len(plans)), counts))
        upcoming = [iter(plan) for plan in plans]
        return [(task, next(upcoming[task])) for task in tasks.tolist()]
    if mix == "round_robin":
        empty = [task for task, plan in enumerate(plans) if not plan]
        if empty:
            raise ValueError(f"round_robin ends with the shortest plan, and plan {empty[0]} has no batch")
        return [(task, rows) for turn in zip(*plans, strict=False) for task, rows in enumerate(turn)]
    raise ValueError(f"mix must be proportional or round_robin, found {mix!r}")


def split_for_ranks(batch: list[int], world_size: int) -> list[list[int]]:
    """Deal a global batch out to the ranks, one row to each in turn.

    In a batch sorted by length, as ``like_length_batches`` and ``token_budget_batches`` make them, the longest rows of
    the ranks are then neighbours in length, and their sums of tokens differ by at most the longest row.

    Args:
        batch: The row numbers of a batch.
        world_size: How many ranks there are, 1 or more.

    Returns:
        The rows of each rank; sizes differ by at most one. With fewer rows than ranks, the last ranks have none.

    Raises:
        ValueError: ``world_size`` is below 1.
    """
    if world_size < 1:
        raise ValueError(f"world_size must be at least 1, found {world_size}")
    return [batch[rank::world_size] for rank in range(world_size)]
