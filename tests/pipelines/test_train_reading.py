"""What is left of training tables after the audit: nothing that dev or test hold, wherever dev comes from."""

import pandas as pd
import pytest

from embedtrain.data import LABELLED_SENTENCES, POSITIVE_PAIRS, SCORED_PAIRS, TRIPLETS
from embedtrain.errors import UserError
from embedtrain.models import Choice, ModelSource
from embedtrain.pipelines.train.inputs import TrainingTable, TrainInputs
from embedtrain.pipelines.train.reading import read_tables


def rows(kind, numbers):
    """Rows of distinct texts, the same for the same numbers."""
    frame = pd.DataFrame({name: [f"{name} of {n}" for n in numbers] for name in kind.columns}, index=list(numbers))
    if kind.number_column == "score":
        frame["score"] = [(n % 6) / 5 for n in numbers]
    elif kind.number_column == "label":
        frame["label"] = [n % 5 for n in numbers]
    return frame.rename_axis("row")


def inputs(*tables, dev=None, test=None):
    training = [TrainingTable(f"{n}.tsv", kind, "any", frame, tuple("vwxyz")) for n, (kind, frame) in enumerate(tables)]
    return TrainInputs(
        training, dev, test, ModelSource("m", "m", "folder"), None, Choice("cpu", ""), Choice("fp32", "")
    )


@pytest.mark.parametrize("kind", [SCORED_PAIRS, POSITIVE_PAIRS, TRIPLETS], ids=lambda kind: kind.name)
def test_pairs_of_dev_and_test_leave_every_table(kind):
    first, second = kind.text_columns
    pairs = rows(kind, range(100))
    measured = pd.DataFrame(
        {"sentence1": pairs[first], "sentence2": pairs[second], "score": rows(SCORED_PAIRS, range(100))["score"]}
    )
    dev, test = measured.loc[:19], measured.loc[15:49]
    read = read_tables(inputs((kind, pairs), (kind, pairs), dev=dev, test=test), seed=0)
    assert [table.index.tolist() for table in read.training] == [list(range(50, 100))] * 2
    # Dev gives way to test.
    assert read.dev.index.tolist() == list(range(15))
    assert read.test.index.tolist() == list(range(15, 50))
    assert read.dev_kind is SCORED_PAIRS
    found = {(finding["kind"], finding["table"]) for finding in read.audit["findings"]}
    assert {("pair_in_test", "dev"), ("pair_in_test", "0.tsv"), ("pair_in_dev", "1.tsv")} <= found
    assert read.audit["tables"]["0.tsv"] == {"rows_read": 100, "rows_kept": 50}


def test_rows_held_out_of_the_first_table_leave_the_others():
    shared = rows(TRIPLETS, range(200))
    read = read_tables(inputs((POSITIVE_PAIRS, shared[["anchor", "positive"]]), (TRIPLETS, shared)), seed=0)
    assert len(read.dev) == 50
    assert read.dev_kind is POSITIVE_PAIRS
    for table in read.training:
        assert sorted([*table.index, *read.dev.index]) == list(range(200))


def test_each_finding_is_told_once():
    doubled = pd.concat([rows(SCORED_PAIRS, range(60)), rows(SCORED_PAIRS, range(3))])
    test = rows(SCORED_PAIRS, range(100, 140))
    test = pd.concat([test, test.head(2)])
    read = read_tables(
        inputs((SCORED_PAIRS, doubled), (LABELLED_SENTENCES, rows(LABELLED_SENTENCES, range(60))), test=test), seed=0
    )
    found = [(finding["kind"], finding["table"]) for finding in read.audit["findings"]]
    assert sorted(found) == [("repeated_pair", "0.tsv"), ("repeated_pair", "test")]
    # Test keeps its repeats, so that its figures compare with others.
    assert len(read.test) == 42


def test_conflicting_classes_are_shown_by_name():
    table = rows(LABELLED_SENTENCES, range(100))
    table.loc[100] = ["text of 3", 1]
    read = read_tables(inputs((LABELLED_SENTENCES, table)), seed=0)
    (finding,) = read.audit["findings"]
    assert finding["kind"] == "conflicting_labels"
    assert [example["label"] for example in finding["examples"]] == ["y", "w"]


def test_a_table_within_test_is_refused():
    pairs = rows(SCORED_PAIRS, range(30))
    with pytest.raises(UserError, match=r"0\.tsv: no row is left"):
        read_tables(inputs((SCORED_PAIRS, pairs), test=pairs), seed=0)
