"""Batches of like length: complete, reproducible, new in every epoch; with less padding, and within a budget."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedtrain.data import like_length_batches, split_for_ranks, token_budget_batches

LENGTHS = st.lists(st.integers(0, 512), max_size=200)
SKEWED = np.random.default_rng(0).lognormal(mean=2.7, sigma=0.7, size=2_000).astype(int) + 3


def padding_share(batches, lengths):
    padded = sum(len(batch) * max(lengths[index] for index in batch) for batch in batches)
    return 1 - sum(lengths[index] for batch in batches for index in batch) / padded


def random_batches(count, batch_size):
    order = np.random.default_rng(1).permutation(count).tolist()
    return [order[start : start + batch_size] for start in range(0, count, batch_size)]


@given(LENGTHS, st.integers(1, 40), st.integers(0, 9), st.integers(0, 9), st.integers(1, 20))
def test_every_index_stands_in_exactly_one_batch(lengths, batch_size, seed, epoch, window):
    batches = like_length_batches(lengths, batch_size=batch_size, seed=seed, epoch=epoch, window=window)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))


@given(LENGTHS, st.integers(1, 40), st.integers(1, 20))
def test_at_most_one_batch_is_smaller(lengths, batch_size, window):
    batches = like_length_batches(lengths, batch_size=batch_size, seed=0, epoch=0, window=window)
    sizes = [len(batch) for batch in batches]
    assert sizes.count(batch_size) == len(lengths) // batch_size
    assert len(batches) == -(-len(lengths) // batch_size)


@given(LENGTHS, st.integers(1, 40), st.integers(0, 9))
def test_drop_last_leaves_full_batches_of_distinct_indices(lengths, batch_size, epoch):
    batches = like_length_batches(lengths, batch_size=batch_size, seed=0, epoch=epoch, drop_last=True)
    members = [index for batch in batches for index in batch]
    assert len(batches) == len(lengths) // batch_size
    assert all(len(batch) == batch_size for batch in batches)
    assert len(set(members)) == len(members)


@given(LENGTHS, st.integers(1, 40), st.integers(0, 9), st.integers(0, 9))
def test_seed_and_epoch_determine_the_batches(lengths, batch_size, seed, epoch):
    first, second = (like_length_batches(lengths, batch_size=batch_size, seed=seed, epoch=epoch) for _ in range(2))
    assert first == second


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_epochs_and_seeds_differ(seed, epoch):
    batches = like_length_batches(SKEWED[:200], batch_size=8, seed=seed, epoch=epoch)
    assert batches != like_length_batches(SKEWED[:200], batch_size=8, seed=seed, epoch=epoch + 1)
    assert batches != like_length_batches(SKEWED[:200], batch_size=8, seed=seed + 1, epoch=epoch)


def test_seed_and_epoch_are_not_added_up():
    by_seed = like_length_batches(SKEWED, batch_size=8, seed=1, epoch=0)
    assert by_seed != like_length_batches(SKEWED, batch_size=8, seed=0, epoch=1)


def test_padding_is_far_below_that_of_random_batches():
    batches = like_length_batches(SKEWED, batch_size=16, seed=0, epoch=0)
    assert padding_share(batches, SKEWED) < 0.25 * padding_share(random_batches(len(SKEWED), 16), SKEWED)


def test_partners_change_between_epochs_even_in_a_small_table():
    def partners(epoch):
        batches = like_length_batches(np.arange(128), batch_size=16, seed=0, epoch=epoch)
        return {(one, other) for batch in batches for one in batch for other in batch if one < other}

    first, second = partners(0), partners(1)
    assert len(first & second) < 0.7 * len(first)


def test_a_batch_tells_nothing_of_the_length_of_the_next():
    batches = like_length_batches(SKEWED, batch_size=16, seed=0, epoch=0)
    means = [SKEWED[batch].mean() for batch in batches]
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.3


def test_the_remainder_that_is_dropped_is_not_always_the_longest():
    dropped = set()
    for epoch in range(20):
        batches = like_length_batches([1] * 9 + [100], batch_size=9, seed=0, epoch=epoch, drop_last=True)
        dropped |= set(range(10)) - set(batches[0])
    assert dropped - {9}


def test_no_items_give_no_batches():
    assert like_length_batches([], batch_size=4, seed=0, epoch=0) == []


def test_indices_are_pythons_own_integers():
    batches = like_length_batches(SKEWED[:10], batch_size=4, seed=0, epoch=0)
    assert {type(index) for batch in batches for index in batch} == {int}


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"batch_size": 4, "window": 0}])
def test_sizes_below_one_are_refused(options):
    with pytest.raises(ValueError, match="at least 1"):
        like_length_batches([1, 2], seed=0, epoch=0, **options)


def test_a_table_of_lengths_is_refused():
    with pytest.raises(ValueError, match="shape"):
        like_length_batches(np.ones((2, 2)), batch_size=1, seed=0, epoch=0)


BUDGETS = st.integers(1, 3_000)
MAX_ROWS = st.none() | st.integers(1, 20)


def longest_possible(batch, lengths, budget, max_rows):
    """Rows that fit beside the longest of a batch."""
    fitting = budget // max(1, *(lengths[index] for index in batch), 1)
    return max(1, fitting if max_rows is None else min(fitting, max_rows))


@given(LENGTHS, BUDGETS, MAX_ROWS, st.integers(0, 9), st.integers(0, 9), st.integers(1, 20))
def test_every_row_stands_in_exactly_one_batch_within_the_budget(lengths, budget, max_rows, seed, epoch, window):
    batches = token_budget_batches(lengths, budget=budget, seed=seed, epoch=epoch, max_rows=max_rows, window=window)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[index] for index in batch) <= budget
        assert max_rows is None or len(batch) <= max_rows


@given(LENGTHS, BUDGETS, MAX_ROWS, st.integers(0, 9))
def test_at_most_one_batch_has_room_for_another_row(lengths, budget, max_rows, epoch):
    batches = token_budget_batches(lengths, budget=budget, seed=0, epoch=epoch, max_rows=max_rows)
    assert sum(len(batch) < longest_possible(batch, lengths, budget, max_rows) for batch in batches) <= 1


@given(LENGTHS, BUDGETS, st.integers(0, 9), st.integers(0, 9))
def test_seed_and_epoch_determine_the_batches_of_a_budget(lengths, budget, seed, epoch):
    first, second = (token_budget_batches(lengths, budget=budget, seed=seed, epoch=epoch) for _ in range(2))
    assert first == second


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_epochs_and_seeds_give_other_batches_of_a_budget(seed, epoch):
    batches = token_budget_batches(SKEWED[:200], budget=200, seed=seed, epoch=epoch)
    assert batches != token_budget_batches(SKEWED[:200], budget=200, seed=seed, epoch=epoch + 1)
    assert batches != token_budget_batches(SKEWED[:200], budget=200, seed=seed + 1, epoch=epoch)


@given(LENGTHS, BUDGETS, MAX_ROWS, st.integers(1, 5), st.integers(0, 9))
def test_every_rank_keeps_within_its_part_of_the_budget(lengths, budget, max_rows, ranks, epoch):
    batches = token_budget_batches(lengths, budget=budget, seed=0, epoch=epoch, max_rows=max_rows, ranks=ranks)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    # The last rows may be too few for all ranks, all other batches have the same number for each.
    assert sum(len(batch) % ranks > 0 for batch in batches) <= 1
    for batch in batches:
        assert max_rows is None or len(batch) <= max(max_rows, ranks)
        for share in split_for_ranks(batch, ranks):
            longest = max((lengths[index] for index in share), default=0)
            assert len(share) <= 1 or len(share) * longest <= budget / ranks


def test_a_budget_is_used_up_and_little_of_it_is_padding():
    batches = token_budget_batches(SKEWED, budget=512, seed=0, epoch=0)
    cost = [len(batch) * SKEWED[batch].max() for batch in batches]
    assert np.mean(cost) > 0.9 * 512
    assert padding_share(batches, SKEWED) < 0.25 * padding_share(random_batches(len(SKEWED), 16), SKEWED)


def test_partners_change_between_epochs_within_a_budget():
    def partners(epoch):
        batches = token_budget_batches(np.arange(1, 129), budget=1000, seed=0, epoch=epoch)
        return {frozenset((one, other)) for batch in batches for one in batch for other in batch if one != other}

    first, second = partners(0), partners(1)
    assert len(first & second) < 0.7 * len(first)


def test_the_order_of_batches_does_not_follow_their_lengths():
    means = [SKEWED[batch].mean() for batch in token_budget_batches(SKEWED, budget=512, seed=0, epoch=0)]
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.3
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.3


@pytest.mark.parametrize("lengths", [[7, 300, 5, 2], np.array([7, 300, 5, 2], dtype=np.uint16)])
def test_a_row_beyond_the_budget_is_a_batch_of_its_own(lengths):
    batches = token_budget_batches(lengths, budget=100, seed=0, epoch=0)
    assert sorted(map(sorted, batches)) == [[0, 2, 3], [1]]
    assert {type(index) for batch in batches for index in batch} == {int}


def test_empty_rows_count_as_one_token():
    sizes = [len(batch) for batch in token_budget_batches([0] * 10, budget=4, seed=0, epoch=0)]
    assert sorted(sizes) == [2, 4, 4]


def test_no_rows_give_no_batches_of_a_budget():
    assert token_budget_batches([], budget=4, seed=0, epoch=0) == []


@pytest.mark.parametrize("name", ["budget", "ranks", "window", "max_rows"])
def test_a_budget_below_one_is_refused(name):
    with pytest.raises(ValueError, match=f"^{name} must be at least 1, found 0$"):
        token_budget_batches([1, 2], seed=0, epoch=0, **{"budget": 4, name: 0})


def test_a_table_of_lengths_is_refused_with_a_budget():
    with pytest.raises(ValueError, match="shape"):
        token_budget_batches(np.ones((2, 2)), budget=1, seed=0, epoch=0)


@pytest.mark.parametrize(
    "make",
    [
        lambda epoch: like_length_batches(SKEWED, batch_size=24, seed=0, epoch=epoch),
        lambda epoch: token_budget_batches(SKEWED, budget=600, seed=0, epoch=epoch),
    ],
)
@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_ranks_get_about_equal_numbers_of_tokens(make, world_size):
    for epoch in range(3):
        for batch in make(epoch):
            tokens = [SKEWED[share].sum() for share in split_for_ranks(batch, world_size) if share]
            if len(batch) >= world_size:
                assert max(tokens) - min(tokens) <= SKEWED[batch].max()
