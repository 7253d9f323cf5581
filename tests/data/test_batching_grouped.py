"""Batches by class: every class has partners, rows are complete but for those without any, batches mix classes."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedtrain.data import grouped_batches, rows_without_partner

LABELS = st.lists(st.integers(-3, 12) | st.integers(0, 200), max_size=200)
# (per_class, batch_size): room for two classes.
SHAPES = st.integers(2, 5).flatmap(lambda per_class: st.tuples(st.just(per_class), st.integers(2 * per_class, 40)))


def groups_of(labels, per_class):
    """How many groups each class is cut into."""
    return {label: max(1, count // per_class) for label, count in Counter(labels).items() if count > 1}


@given(LABELS, SHAPES, st.integers(0, 9), st.integers(0, 9))
def test_every_row_with_a_partner_stands_in_exactly_one_batch(labels, shape, seed, epoch):
    per_class, batch_size = shape
    batches = grouped_batches(labels, batch_size=batch_size, seed=seed, epoch=epoch, per_class=per_class)
    members = [row for batch in batches for row in batch]
    assert sorted(members + rows_without_partner(labels)) == list(range(len(labels)))


@given(LABELS)
def test_rows_without_partner_are_those_of_classes_of_one(labels):
    counts = Counter(labels)
    assert rows_without_partner(labels) == [row for row, label in enumerate(labels) if counts[label] == 1]


@given(LABELS, SHAPES, st.integers(0, 9))
def test_every_class_of_a_batch_is_in_it_as_often_as_asked_or_as_it_can_be(labels, shape, epoch):
    per_class, batch_size = shape
    counts = Counter(labels)
    for batch in grouped_batches(labels, batch_size=batch_size, seed=0, epoch=epoch, per_class=per_class):
        for label, count in Counter(labels[row] for row in batch).items():
            assert count >= min(per_class, counts[label]) >= 2


@given(LABELS, SHAPES, st.integers(0, 9))
def test_a_class_is_spread_over_the_batches_as_evenly_as_can_be(labels, shape, epoch):
    per_class, batch_size = shape
    batches = grouped_batches(labels, batch_size=batch_size, seed=0, epoch=epoch, per_class=per_class)
    for label, groups in groups_of(labels, per_class).items():
        holding = sum(any(labels[row] == label for row in batch) for batch in batches)
        assert holding == min(groups, len(batches))


@given(LABELS, SHAPES, st.integers(0, 9))
def test_batches_mix_classes_where_no_class_fills_them_alone(labels, shape, epoch):
    per_class, batch_size = shape
    batches = grouped_batches(labels, batch_size=batch_size, seed=0, epoch=epoch, per_class=per_class)
    groups = groups_of(labels, per_class)
    if len(groups) > 1 and max(groups.values()) <= len(batches):
        assert all(len({labels[row] for row in batch}) > 1 for batch in batches)


@given(LABELS, SHAPES, st.integers(0, 9))
def test_batches_have_about_as_many_rows_as_asked(labels, shape, epoch):
    per_class, batch_size = shape
    sizes = [
        len(batch) for batch in grouped_batches(labels, batch_size=batch_size, seed=0, epoch=epoch, per_class=per_class)
    ]
    groups = sum(groups_of(labels, per_class).values())
    assert len(sizes) <= -(-len(labels) // batch_size)
    assert all(sizes)
    if sizes and len(sizes) < groups // 2:
        assert np.mean(sizes) <= batch_size
    assert not sizes or max(sizes) - min(sizes) < 4 * per_class


def test_sizes_come_out_even_with_classes_of_every_size():
    labels = np.repeat(np.arange(400), np.random.default_rng(0).integers(2, 30, 400))
    sizes = [len(batch) for batch in grouped_batches(labels, batch_size=32, seed=0, epoch=0)]
    assert 30 <= np.mean(sizes) <= 32
    assert max(sizes) - min(sizes) <= 3


def test_two_classes_meet_in_every_batch():
    labels = ["yes", "no"] * 100
    for batch in grouped_batches(labels, batch_size=8, seed=0, epoch=0):
        assert Counter(labels[row] for row in batch) == {"yes": 4, "no": 4}


def test_three_classes_of_twenty_groups_leave_none_of_thirty_batches_to_one_class():
    labels = np.arange(120) % 3
    for epoch in range(5):
        batches = grouped_batches(labels, batch_size=4, seed=0, epoch=epoch)
        assert [len(set(labels[batch])) for batch in batches] == [2] * 30


def test_classes_as_large_as_half_a_batch_and_more_still_meet_another():
    labels = np.arange(60) // 3
    batches = grouped_batches(labels, batch_size=4, seed=0, epoch=0)
    assert [len(set(labels[batch])) for batch in batches] == [2] * 10


def test_every_class_meets_every_other_in_some_epoch():
    labels = np.arange(40) // 2
    meetings = {
        frozenset(labels[batch].tolist())
        for epoch in range(200)
        for batch in grouped_batches(labels, batch_size=4, seed=0, epoch=epoch)
    }
    assert len(meetings) == 20 * 19 // 2


def test_the_same_classes_do_not_always_meet():
    labels = np.repeat(np.arange(200), 20)
    batches = grouped_batches(labels, batch_size=16, seed=0, epoch=0)
    meetings = Counter(
        (one, other) for batch in batches for one in set(labels[batch]) for other in set(labels[batch]) if one < other
    )
    # 250 batches of 8 classes: 7,000 meetings of 19,900 possible pairs, so that few meet more than three times.
    assert sum(count for count in meetings.values() if count > 3) < 0.05 * sum(meetings.values())


@given(LABELS, st.integers(0, 9), st.integers(0, 9))
def test_seed_and_epoch_determine_the_batches(labels, seed, epoch):
    first, second = (grouped_batches(labels, batch_size=6, seed=seed, epoch=epoch) for _ in range(2))
    assert first == second


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_epochs_and_seeds_differ(seed, epoch):
    labels = np.arange(200) % 20
    batches = grouped_batches(labels, batch_size=8, seed=seed, epoch=epoch)
    assert batches != grouped_batches(labels, batch_size=8, seed=seed, epoch=epoch + 1)
    assert batches != grouped_batches(labels, batch_size=8, seed=seed + 1, epoch=epoch)


def test_partners_within_a_class_change_between_epochs():
    def partners(epoch):
        batches = grouped_batches([0, 1] * 40, batch_size=4, seed=0, epoch=epoch)
        pairs = {frozenset((one, other)) for batch in batches for one in batch for other in batch}
        return {pair for pair in pairs if len({row % 2 for row in pair}) == 1 < len(pair)}

    first, second = partners(0), partners(1)
    assert len(first) == 40
    assert len(first & second) < 10


def test_classes_of_one_row_alone_give_no_batch():
    assert grouped_batches([1, 2, 3], batch_size=4, seed=0, epoch=0) == []
    assert grouped_batches([], batch_size=4, seed=0, epoch=0) == []
    assert rows_without_partner([]) == []


def test_rows_are_pythons_own_integers():
    batches = grouped_batches(np.array([1, 1, 2, 2, 3]), batch_size=4, seed=0, epoch=0)
    assert {type(row) for batch in batches for row in batch} == {int}
    assert rows_without_partner(np.array([1, 1, 2])) == [2]
    assert type(rows_without_partner(np.array([1, 1, 2]))[0]) is int


def test_what_cannot_be_grouped_is_refused():
    with pytest.raises(ValueError, match="per_class must be at least 2, found 1"):
        grouped_batches([1, 1], batch_size=4, seed=0, epoch=0, per_class=1)
    with pytest.raises(ValueError, match="batch_size must be at least 6, two classes of 3 rows each, found 5"):
        grouped_batches([1, 1], batch_size=5, seed=0, epoch=0, per_class=3)
    with pytest.raises(ValueError, match=r"shape \(n,\), found \(2, 2\)"):
        grouped_batches(np.ones((2, 2)), batch_size=4, seed=0, epoch=0)
