"""Labels that name a class, tables of which the columns tell the kind, and the audit of tables that are no pairs."""

import pandas as pd
import pytest

from embedtrain.data import (
    KINDS,
    LABELLED_SENTENCES,
    POSITIVE_PAIRS,
    SCORED_PAIRS,
    TRIPLETS,
    read_table,
    read_table_of,
)
from embedtrain.data.audit_rows import audit_classes, audit_tuples
from embedtrain.errors import UserError

EVERY = (SCORED_PAIRS, TRIPLETS, POSITIVE_PAIRS, LABELLED_SENTENCES)


def write(folder, text, name="x.csv"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", ["classified pairs", "labelled sentences"])
def test_kinds_with_classes(name):
    assert KINDS[name].has_classes
    assert KINDS[name].number_column == "label"


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([3, 1, 3], ["3", "1", "3"]),
        ([3.0, 1.0, 3.0], ["3", "1", "3"]),
        (["3", "1.0", "weather"], ["3", "1", "weather"]),
        ([" rain ", "sun", "v1.2"], ["rain", "sun", "v1.2"]),
        ([True, False, True], ["True", "False", "True"]),
        (["天气", "退款", "天气"], ["天气", "退款", "天气"]),
    ],
)
def test_a_class_is_a_word_or_a_whole_number(values, names):
    table = read_table(pd.DataFrame({"text": list("abc"), "label": values}), kind=LABELLED_SENTENCES)
    assert table["label"].tolist() == names


@pytest.mark.parametrize("value", [None, float("nan"), "", "  ", 0.5, "0.5", float("inf"), ["a"]])
def test_what_names_no_class_is_refused_with_its_row(value):
    frame = pd.DataFrame({"text": ["a", "b"], "label": pd.Series(["x", value], dtype=object)})
    with pytest.raises(UserError, match=r"'label' must name a class.*in 1 row: row 2"):
        read_table(frame, kind=LABELLED_SENTENCES, name="mine")


def test_lines_of_a_file_are_named(tmp_path):
    path = write(tmp_path, "text,label\nhello,greeting\nbye,\n")
    with pytest.raises(UserError, match="row 3 ''"):
        read_table(path, kind=LABELLED_SENTENCES)


def test_a_mapping_tells_the_kind_of_a_file_with_other_names(tmp_path):
    path = write(tmp_path, "question,answer,topic\nhow,so,1\n")
    table, kind = read_table_of(path, kinds=EVERY, columns={"anchor": "question", "positive": "answer"})
    assert kind is POSITIVE_PAIRS
    assert table.iloc[0].tolist() == ["how", "so"]
    table, kind = read_table_of(path, kinds=EVERY, columns={"text": "question", "label": "topic"})
    assert kind is LABELLED_SENTENCES


def test_a_mapping_for_another_table_does_no_harm(tmp_path):
    path = write(tmp_path, "anchor,positive\na,b\n")
    mapping = {"sentence1": "q1", "sentence2": "q2", "score": "sim"}
    assert read_table_of(path, kinds=EVERY, columns=mapping)[1] is POSITIVE_PAIRS


def test_positions_tell_the_kind_of_a_file_without_header(tmp_path):
    path = write(tmp_path, "how\tso\tnot so\n", "x.tsv")
    columns = {"anchor": "0", "positive": "1", "negative": "2"}
    table, kind = read_table_of(path, kinds=EVERY, columns=columns)
    assert kind is TRIPLETS
    assert table.iloc[0].tolist() == ["how", "so", "not so"]


def test_a_misspelt_column_is_compared_with_the_nearest_kind(tmp_path):
    path = write(tmp_path, "sentence1,sentense2,score\na,b,1\n")
    with pytest.raises(UserError, match=r"no column 'sentence2'.*did you mean 'sentense2'"):
        read_table_of(path, kinds=EVERY)


def test_a_mapping_to_a_column_that_is_not_there_is_named(tmp_path):
    path = write(tmp_path, "q1,q2,similarity\na,b,1\n")
    mapping = {"sentence1": "q1", "sentence2": "q2", "score": "simlarity"}
    with pytest.raises(UserError, match=r"--columns score=simlarity asks for.*did you mean 'similarity'"):
        read_table_of(path, kinds=EVERY, columns=mapping)


def test_columns_of_no_kind_are_refused(tmp_path):
    with pytest.raises(UserError, match="none of the columns"):
        read_table_of(write(tmp_path, "x,y\na,b\n"), kinds=EVERY)


def triplets(*rows):
    frame = pd.DataFrame(rows, columns=["anchor", "positive", "negative"])
    return frame.set_axis(pd.RangeIndex(2, len(rows) + 2, name="row"))


def pairs(*rows):
    return pd.DataFrame([(*row, 1.0) for row in rows], columns=["sentence1", "sentence2", "score"]).rename_axis("row")


def test_tuples_lose_empty_texts_repeats_and_pairs_of_dev_and_test():
    table = triplets(
        ("a", "b", "c"),
        ("a", "b", "d"),
        ("A ", "b", "c"),
        ("e", "", "f"),
        ("g", "h", "i"),
        ("j", "k", "l"),
        ("m", "n", "  "),
    )
    cleaned, report = audit_tuples(table, name="mine", measured={"test": pairs(("H", "g")), "dev": pairs(("j", "k"))})
    # Two rows that differ in their negative alone are not the same.
    assert cleaned.index.tolist() == [2, 3]
    kinds = {finding.kind: finding for finding in report.findings}
    assert set(kinds) == {"empty_text", "pair_in_test", "pair_in_dev", "repeated_row"}
    assert "rows 5, 8" in kinds["empty_text"].message
    assert sum(finding.dropped for finding in report.findings) == 5
    assert report.tables == {"mine": {"rows_read": 7, "rows_kept": 2}}


def test_a_table_that_the_audit_empties_is_an_error():
    with pytest.raises(UserError, match=r"mine: no row of 1 row is left.*pair_in_test|stands in both"):
        audit_tuples(triplets(("a", "b", "c")), name="mine", measured={"test": pairs(("a", "b"))})


def test_labelled_sentences_lose_repeats_and_every_row_of_a_conflict():
    table = pd.DataFrame(
        {"text": ["a", "A", "b", "b", "c", " ", "d"], "label": [0, 0, 0, 1, 1, 1, 1]},
        index=pd.RangeIndex(2, 9, name="row"),
    )
    cleaned, report = audit_classes(table, name="mine", measured={"test": pairs(("d", "x"))})
    assert cleaned["text"].tolist() == ["a", "c", "d"]
    kinds = {finding.kind: finding for finding in report.findings}
    assert set(kinds) == {"empty_text", "conflicting_labels", "repeated_sentence", "sentence_in_test"}
    assert "rows 4, 5" in kinds["conflicting_labels"].message
    assert kinds["sentence_in_test"].dropped == 0
    assert report.tables == {"mine": {"rows_read": 7, "rows_kept": 3}}
