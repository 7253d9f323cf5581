"""Batches of several tasks in one order, and of one task over several ranks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedtrain.data import mixed_batches, split_for_ranks

COUNTS = st.lists(st.integers(1, 12), max_size=5)
MIXES = pytest.mark.parametrize("mix", ["proportional", "round_robin"])


def plans_of(counts):
    """Batches that can be told apart: task 2's fifth is [2, 4]."""
    return [[[task, number] for number in range(count)] for task, count in enumerate(counts)]


@given(COUNTS, st.integers(0, 9), st.integers(0, 9))
def test_in_proportion_every_batch_of_every_task_comes_once_and_in_its_order(counts, seed, epoch):
    plans = plans_of(counts)
    mixed = mixed_batches(plans, mix="proportional", seed=seed, epoch=epoch)
    for number, plan in enumerate(plans):
        assert [rows for task, rows in mixed if task == number] == plan
    assert len(mixed) == sum(counts)


@given(COUNTS, st.integers(0, 9), st.integers(0, 9))
def test_in_turns_every_task_comes_until_the_shortest_is_used_up(counts, seed, epoch):
    mixed = mixed_batches(plans_of(counts), mix="round_robin", seed=seed, epoch=epoch)
    assert [task for task, _ in mixed] == list(range(len(counts))) * min(counts, default=0)
    turns = range(min(counts, default=0))
    assert [rows for _, rows in mixed] == [[task, turn] for turn in turns for task in range(len(counts))]


@MIXES
def test_seed_and_epoch_determine_the_order(mix):
    plans = plans_of([5, 9, 2])
    assert mixed_batches(plans, mix=mix, seed=1, epoch=2) == mixed_batches(plans, mix=mix, seed=1, epoch=2)


def test_epochs_and_seeds_differ():
    plans = plans_of([50, 50])
    orders = {
        str(mixed_batches(plans, mix="proportional", seed=seed, epoch=epoch))
        for seed, epoch in [(0, 0), (0, 1), (1, 0), (1, 1)]
    }
    assert len(orders) == 4


def test_tasks_are_spread_over_the_epoch():
    order = [task for task, _ in mixed_batches(plans_of([900, 100]), mix="proportional", seed=0, epoch=0)]
    assert 30 <= sum(order[:500]) <= 70


def test_a_task_without_batches_is_left_to_the_others_in_proportion_and_refused_in_turns():
    plans = [[[0], [1]], []]
    assert mixed_batches(plans, mix="proportional", seed=0, epoch=0) == [(0, [0]), (0, [1])]
    with pytest.raises(ValueError, match="plan 1 has no batch"):
        mixed_batches(plans, mix="round_robin", seed=0, epoch=0)


def test_another_way_of_mixing_is_refused():
    with pytest.raises(ValueError, match="proportional or round_robin, found 'even'"):
        mixed_batches([], mix="even", seed=0, epoch=0)


@given(st.integers(0, 100), st.integers(1, 12))
def test_ranks_share_a_batch_exactly_with_sizes_that_differ_by_one_at_most(count, world_size):
    batch = list(range(100, 100 + count))
    shares = split_for_ranks(batch, world_size)
    sizes = [len(share) for share in shares]
    assert sorted(row for share in shares for row in share) == batch
    assert len(shares) == world_size
    assert max(sizes) - min(sizes) <= 1


@given(st.lists(st.integers(1, 512), min_size=1, max_size=64), st.integers(1, 8), st.booleans())
def test_ranks_of_a_sorted_batch_differ_by_the_longest_row_at_most(lengths, world_size, descending):
    lengths = sorted(lengths, reverse=descending)
    tokens = [sum(lengths[row] for row in share) for share in split_for_ranks(list(range(len(lengths))), world_size)]
    assert max(tokens) - min(tokens) <= max(lengths)


def test_no_ranks_are_refused():
    with pytest.raises(ValueError, match="world_size must be at least 1, found 0"):
        split_for_ranks([1], 0)
