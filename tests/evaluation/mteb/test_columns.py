"""Columns read as lists hold what they hold otherwise, and are as they were afterwards."""

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Value
from datasets.arrow_dataset import Column

from embedtrain.evaluation.mteb.columns import quick_columns

LABELS = [3, 1, 2, 3, 1]


@pytest.fixture
def table():
    features = Features({"label": Value("int64"), "named": ClassLabel(names=["a", "b"]), "text": Value("string")})
    columns = {"label": LABELS, "named": [0, 1, 0, 1, 1], "text": ["苹果", "b", "", "d", "e"]}
    return Dataset.from_dict(columns, features=features)


@pytest.mark.parametrize("name", ["label", "named", "text"])
def test_values_are_the_same(table, name):
    expected = [list(table[name]), np.array(list(table[name])), table[name][-1], table[name][1:3], table[name][[4, 0]]]
    with quick_columns():
        column = table[name]
        found = [list(column), np.asarray(column), column[-1], column[1:3], column[[4, 0]]]
        assert [column[at] for at in range(len(column))] == expected[0]
    assert found[0] == expected[0]
    np.testing.assert_array_equal(found[1], expected[1])
    assert found[1].dtype == expected[1].dtype
    assert found[2:] == expected[2:]


def test_selected_rows_are_the_selected_ones(table):
    with quick_columns():
        chosen = table.select([4, 0, 2])["label"]
        assert [chosen[at] for at in range(3)] == [1, 3, 2]
        assert np.asarray(chosen).tolist() == [1, 3, 2]
        with pytest.raises(IndexError):
            chosen[3]


def test_the_table_is_not_asked_for_each_row(table, monkeypatch):
    asked = []
    whole = Dataset.__getitem__
    monkeypatch.setattr(Dataset, "__getitem__", lambda self, key: asked.append(key) or whole(self, key))
    monkeypatch.setattr(Dataset, "__iter__", lambda self: pytest.fail("row after row"))
    with quick_columns():
        column = table["label"]
        assert sum(column[at] for at in range(len(LABELS))) == sum(LABELS)
        assert np.asarray(table["text"]).shape == (5,)
    assert asked.count(slice(None)) == 2
    assert not any(isinstance(key, int) for key in asked)


def test_columns_are_as_they_were_afterwards(table):
    before = Column.__getitem__
    with pytest.raises(RuntimeError), quick_columns():
        assert Column.__getitem__ is not before
        raise RuntimeError
    assert Column.__getitem__ is before
    assert not hasattr(Column, "__array__")
