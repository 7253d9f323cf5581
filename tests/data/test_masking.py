"""Tokens hidden for masked language modelling."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from embedtrain.data.masking import masked_tokens
from embedtrain.data.ragged import Ragged

VOCABULARY = np.arange(100, 200, dtype=np.int32)
ROWS = st.lists(st.lists(st.integers(5, 99), max_size=12), min_size=1, max_size=6)


def masked(rows, numbers=None, *, share=0.3, epoch=0):
    numbers = np.arange(len(rows)) if numbers is None else np.asarray(numbers)
    return masked_tokens(
        Ragged.from_lists(rows), numbers, mask_id=4, vocabulary=VOCABULARY, share=share, seed=7, epoch=epoch
    )


@given(ROWS, st.floats(0, 1))
def test_only_chosen_tokens_change_and_each_row_has_one(rows, share):
    hidden, chosen = masked(rows, share=share)
    before = Ragged.from_lists(rows)
    assert np.array_equal(hidden.starts, before.starts)
    assert np.array_equal(hidden.values[~chosen], before.values[~chosen])
    changed = hidden.values[chosen]
    assert np.all((changed == 4) | np.isin(changed, VOCABULARY) | (changed == before.values[chosen]))
    for first, end in zip(before.starts[:-1], before.starts[1:], strict=True):
        assert end == first or chosen[first:end].any()


@given(ROWS)
def test_a_row_is_hidden_alike_in_every_batch(rows):
    hidden, chosen = masked(rows)
    for number, row in enumerate(rows):
        alone, chosen_alone = masked([row], [number])
        first, end = hidden.starts[number], hidden.starts[number + 1]
        assert np.array_equal(alone.values, hidden.values[first:end])
        assert np.array_equal(chosen_alone, chosen[first:end])


def test_shares_are_those_of_the_paper_and_new_in_every_epoch():
    rows = [list(range(5, 99))] * 400
    hidden, chosen = masked(rows, share=0.15)
    before = Ragged.from_lists(rows)
    assert abs(chosen.mean() - 0.15) < 0.01
    assert abs((hidden.values[chosen] == 4).mean() - 0.8) < 0.02
    assert abs((hidden.values[chosen] == before.values[chosen]).mean() - 0.1) < 0.02
    other, _ = masked(rows, share=0.15, epoch=1)
    assert not np.array_equal(other.values, hidden.values)
