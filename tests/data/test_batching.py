"""Batches: complete, reproducible, new in every epoch; with less padding, or without a text twice."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedtrain.data import like_length_batches, unique_batches

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


TEXTS = st.sampled_from("abcdefgh") | st.text(max_size=3)
ROWS = st.lists(st.tuples(TEXTS, TEXTS), max_size=120)


def columns_of(rows):
    return [[row[place] for row in rows] for place in (0, 1)]


@given(ROWS, st.integers(1, 20), st.integers(0, 9), st.integers(0, 9))
def test_no_text_stands_in_two_rows_of_a_batch(rows, batch_size, seed, epoch):
    batches = unique_batches(columns_of(rows), batch_size=batch_size, seed=seed, epoch=epoch)
    assert sorted(row for batch in batches for row in batch) == list(range(len(rows)))
    assert all(1 <= len(batch) <= batch_size for batch in batches)
    for batch in batches:
        texts = [text for row in batch for text in set(rows[row])]
        assert len(texts) == len(set(texts))


@given(st.integers(0, 200), st.integers(1, 40), st.integers(0, 9))
def test_without_repeats_all_but_one_batch_are_full(count, batch_size, epoch):
    columns = [[f"a{row}" for row in range(count)], [f"b{row}" for row in range(count)]]
    sizes = [len(batch) for batch in unique_batches(columns, batch_size=batch_size, seed=0, epoch=epoch)]
    assert len(sizes) == -(-count // batch_size)
    assert sizes.count(batch_size) >= count // batch_size


def test_repeats_that_leave_room_leave_batches_full():
    # Each of 100 questions has 5 answers.
    columns = [[f"q{row // 5}" for row in range(500)], [f"a{row}" for row in range(500)]]
    sizes = [len(batch) for batch in unique_batches(columns, batch_size=32, seed=0, epoch=0)]
    assert sizes.count(32) >= 14
    assert len(sizes) <= 17


def test_a_text_in_every_row_makes_batches_of_one():
    columns = [["the same"] * 3000, [str(row) for row in range(3000)]]
    assert len(unique_batches(columns, batch_size=64, seed=0, epoch=0)) == 3000


def test_unique_batches_follow_seed_and_epoch():
    columns = [[f"q{row // 3}" for row in range(300)], [f"a{row}" for row in range(300)]]

    def batches(seed, epoch):
        return unique_batches(columns, batch_size=16, seed=seed, epoch=epoch)

    assert batches(1, 2) == batches(1, 2)
    assert len({str(batches(*pair)) for pair in [(1, 2), (2, 1), (1, 3), (0, 3)]}) == 4


def test_unique_batches_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match="batch_size must be at least 1, found 0"):
        unique_batches([["a"]], batch_size=0, seed=0, epoch=0)
    with pytest.raises(ValueError, match=r"equally long, found \[1, 2\] rows"):
        unique_batches([["a"], ["b", "c"]], batch_size=2, seed=0, epoch=0)
    assert unique_batches([[], []], batch_size=2, seed=0, epoch=0) == []
