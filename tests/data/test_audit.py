"""What an audit finds, what it drops, and what it leaves alone."""

import json
import os
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedtrain.data import audit_pairs, audit_sentences, fold_text, read_scored_pairs
from embedtrain.errors import UserError


def pairs(*rows, value="score"):
    """Scored pairs whose row numbers start at 2, as in a file with a header."""
    table = pd.DataFrame(rows, columns=["sentence1", "sentence2", value])
    return table.set_axis(pd.RangeIndex(2, len(rows) + 2, name="row"))


def sentences(*texts):
    return pd.DataFrame({"text": texts}, index=pd.RangeIndex(1, len(texts) + 1, name="row"))


def found(report, kind, table=None):
    """The only finding of a kind (in a table); fails when there is none or more."""
    (finding,) = [each for each in report.findings if each.kind == kind and table in (None, each.table)]
    return finding


OTHER = ("something else", "altogether", 0.1)
DEV = pairs(("dev one", "dev two", 0.3))
TEST = pairs(("test one", "test two", 0.4))


def test_clean_tables_come_back_as_they_are():
    gold = pairs(("a", "b", 0.5), ("忘记密码", "怎么办", 0.2))
    audited = audit_pairs(gold, DEV, TEST)
    assert audited.report.findings == []
    for given_table, table in zip((gold, DEV, TEST), audited[:3], strict=True):
        pd.testing.assert_frame_equal(given_table, table)


def test_the_tables_given_are_not_changed():
    gold = pairs(("a", "b", 0.2), ("a", "b", 0.4), ("", "x", 0.1), OTHER)
    copy = gold.copy()
    audit_pairs(gold, DEV, pairs(OTHER))
    pd.testing.assert_frame_equal(gold, copy)


def test_tables_that_are_not_given_come_back_empty():
    audited = audit_pairs(pairs(OTHER))
    assert audited.dev.empty
    assert audited.test.empty
    assert set(audited.report.tables) == {"gold"}


class TestEmptyTexts:
    @pytest.mark.parametrize("blank", ["", " ", "\u3000\t", None])
    @pytest.mark.parametrize("side", [0, 1])
    def test_rows_with_one_are_dropped_from_every_table(self, blank, side):
        row = ("x", blank, 0.5) if side else (blank, "x", 0.5)
        audited = audit_pairs(pairs(("a", "b", 1), row), pairs(row, ("c", "d", 1)), pairs(("e", "f", 1), row))
        assert [len(table) for table in audited[:3]] == [1, 1, 1]
        assert audited.gold.index.tolist() == [2]
        assert audited.dev.index.tolist() == [3]

    def test_the_message_names_the_rows(self):
        report = audit_pairs(pairs(("", "b", 1), ("c", " ", 1), OTHER)).report
        assert found(report, "empty_text").message == "2 rows of gold have an empty text; dropped: rows 2, 3"


class TestOverlap:
    def test_exact_and_folded_pairs_in_either_order_leave_gold(self):
        test = pairs(("a cat", "a dog", 1), ("忘记密码？", "怎么办", 0), ("One", "Two", 0.5))
        gold = pairs(("a dog", "a cat", 0), ("忘记密码?", " 怎么办", 0), ("two", "ONE", 0.5), OTHER)
        audited = audit_pairs(gold, test=test)
        finding = found(audited.report, "pair_in_test")
        assert audited.gold.index.tolist() == [5]
        assert finding.message == (
            "3 pairs stand in both gold and test (1 exact, 2 after folding case and white space); "
            "dropped from gold: rows 2, 3, 4"
        )
        assert (finding.count, finding.dropped, finding.table) == (3, 3, "gold")

    def test_test_never_gives_way(self):
        audited = audit_pairs(pairs(("a", "b", 1), OTHER), pairs(("a", "b", 1), ("c", "d", 1)), pairs(("a", "b", 1)))
        assert len(audited.test) == 1

    def test_dev_gives_way_to_test(self):
        audited = audit_pairs(pairs(OTHER), pairs(("A", "b", 1), ("c", "d", 1)), pairs(("b", "a", 1)))
        assert audited.dev.index.tolist() == [3]
        assert found(audited.report, "pair_in_test").table == "dev"

    def test_gold_gives_way_to_dev(self):
        audited = audit_pairs(pairs(OTHER, ("a", "b", 1)), pairs(("b", "a", 0)), TEST)
        assert audited.gold.index.tolist() == [2]
        assert len(audited.dev) == 1
        assert found(audited.report, "pair_in_dev").dropped == 1

    def test_one_pair_in_several_rows_counts_once_and_all_its_rows_go(self):
        audited = audit_pairs(pairs(("a", "b", 1), ("B", "A", 0), OTHER), test=pairs(("a", "b", 1), ("a", "b", 0)))
        finding = found(audited.report, "pair_in_test")
        assert (finding.count, finding.dropped) == (1, 2)
        assert "(all exact)" in finding.message
        assert finding.examples[0]["other_rows"] == [2, 3]

    def test_sharing_one_sentence_is_not_sharing_a_pair(self):
        audited = audit_pairs(pairs(("a", "b", 1)), test=pairs(("a", "c", 1), ("d", "b", 1)))
        assert len(audited.gold) == 1

    def test_examples_hold_rows_and_texts(self):
        report = audit_pairs(pairs(OTHER, ("Ａ", "b", 1)), test=pairs(("b", "a", 1))).report
        assert found(report, "pair_in_test").examples == [
            {"row": 3, "other_table": "test", "other_rows": [2], "match": "folded", "sentence1": "Ａ", "sentence2": "b"}
        ]

    def test_a_table_that_is_wholly_in_test_is_refused(self):
        with pytest.raises(
            UserError, match=r"gold: no row is left after the audit: 1 pair stands in both gold and test"
        ):
            audit_pairs(TEST, test=TEST)

    @settings(max_examples=60, deadline=None)
    @given(*[st.lists(st.tuples(*[st.sampled_from(["a", "A ", "b", "Ｂ", "c", ""])] * 2), max_size=8)] * 2)
    def test_agrees_with_a_plain_loop(self, gold_rows, test_rows):
        gold = pairs(("only", "gold", 0), *((one, two, 0.5) for one, two in gold_rows))
        test = pairs(("only", "test", 0), *((one, two, 0.5) for one, two in test_rows))

        def folded(one, two):
            return frozenset({fold_text(one), fold_text(two)})

        in_test = {folded(one, two) for one, two in test_rows if fold_text(one) and fold_text(two)}
        expected, seen = [2], set()
        for row, (one, two) in enumerate(gold_rows, start=3):
            if fold_text(one) and fold_text(two) and folded(one, two) not in in_test | seen:
                expected.append(row)
                seen.add(folded(one, two))
        assert audit_pairs(gold, test=test).gold.index.tolist() == expected


class TestRepeats:
    def test_gold_keeps_the_first_of_pairs_with_one_score(self):
        audited = audit_pairs(pairs(("a", "b", 0.5), ("b", "a", 0.5), ("A", "b ", 0.5), OTHER))
        finding = found(audited.report, "repeated_pair")
        assert audited.gold.index.tolist() == [2, 5]
        assert (finding.count, finding.dropped) == (1, 2)
        assert finding.message == "1 pair stands more than once in gold with the same score; dropped: rows 3, 4"

    def test_gold_keeps_the_mean_of_conflicting_scores_in_the_first_row(self):
        audited = audit_pairs(pairs(OTHER, ("a", "b", 0.2), ("B", "a", 0.4), ("a", "b", 0.6)))
        assert audited.gold.index.tolist() == [2, 3]
        assert audited.gold["score"].tolist() == pytest.approx([0.1, 0.4])
        finding = found(audited.report, "conflicting_scores")
        assert finding.message == (
            "1 pair stands more than once in gold with conflicting scores: rows 3, 4, 5 (0.2, 0.4, 0.6); "
            "the first row of each is kept with the mean score, 2 rows dropped"
        )
        assert finding.examples == [{"rows": [3, 4, 5], "scores": [0.2, 0.4, 0.6], "sentence1": "a", "sentence2": "b"}]

    def test_conflicting_labels_leave_gold_altogether(self):
        audited = audit_pairs(pairs(("a", "b", 1), ("a", "b", 0), ("c", "d", 1), value="label"))
        assert audited.gold["label"].tolist() == [1]
        assert "conflicting labels: rows 2, 3 (1, 0)" in found(audited.report, "conflicting_scores").message

    def test_dev_loses_only_repeats_of_the_very_same_texts(self):
        dev = pairs(("a", "b", 0.5), ("b", "a", 0.5), ("A", "b", 0.5), ("c", "d", 0.1), ("c", "d", 0.2))
        audited = audit_pairs(pairs(OTHER), dev, TEST)
        assert audited.dev.index.tolist() == [2, 4, 5, 6]
        assert found(audited.report, "repeated_pair").message.endswith("dropped: row 3; left as they are: row 4")
        assert found(audited.report, "conflicting_scores").message.endswith("(0.1, 0.2); left as they are")

    def test_test_is_left_whole_and_its_repeats_are_reported(self):
        test = pairs(("a", "b", 0.5), ("a", "b", 0.5), ("c", "d", 0.1), ("c", "d", 0.2))
        audited = audit_pairs(pairs(OTHER), DEV, test)
        pd.testing.assert_frame_equal(audited.test, test)
        assert found(audited.report, "repeated_pair").message.endswith("left as they are: row 3")
        assert found(audited.report, "conflicting_scores").dropped == 0

    def test_positive_pairs_have_no_score_to_conflict(self):
        gold = pd.DataFrame({"anchor": ["a", "b", "c"], "positive": ["b", "a", "d"]})
        audited = audit_pairs(gold)
        assert len(audited.gold) == 2
        assert found(audited.report, "repeated_pair").message.startswith(
            "1 pair stands more than once in gold; dropped"
        )


class TestReportedOnly:
    def test_sentences_shared_with_test_are_counted_and_stay(self):
        gold = pairs(("a", "b", 1), ("A", "c", 1), ("d", "e", 1))
        audited = audit_pairs(gold, test=pairs(("x", "a", 1), ("e", "y", 1)))
        finding = found(audited.report, "sentence_in_test")
        assert len(audited.gold) == 3
        assert finding.message == "2 sentences of gold also stand in test; left as they are, in 3 rows"
        assert {example["text"]: example["other_rows"] for example in finding.examples} == {"a": [2], "e": [3]}

    def test_pairs_of_one_sentence_are_reported_and_stay(self):
        audited = audit_pairs(pairs(("Same", "same ", 1), OTHER))
        finding = found(audited.report, "identical_sides")
        assert len(audited.gold) == 2
        assert finding.message == (
            "1 pair of gold is one sentence twice, after folding case and white space; left as they are: row 2"
        )


class TestReport:
    def audited(self):
        gold = pairs(
            ("", "x", 1), ("a", "b", 1), ("a", "b", 1), ("c", "d", 0), ("c", "d", 1), ("t", "u", 1), ("s", "s", 1)
        )
        return audit_pairs(gold, pairs(("t", "u", 1), ("v", "w", 1)), pairs(("U", "T", 1), ("a", "z", 1)))

    def test_dropped_rows_add_up(self):
        report = self.audited().report
        lost = sum(table["rows_read"] - table["rows_kept"] for table in report.tables.values())
        assert sum(finding.dropped for finding in report.findings) == lost == 5

    def test_it_is_plain_json(self):
        written = self.audited().report.to_json()
        assert json.loads(json.dumps(written)) == written
        assert set(written) == {"findings", "tables"}
        assert set(written["findings"][0]) == {"kind", "table", "message", "count", "dropped", "examples"}
        assert written["tables"]["gold"] == {"rows_read": 7, "rows_kept": 3}

    def test_names_replace_the_roles(self):
        report = audit_pairs(pairs(("a", "b", 1), OTHER), test=pairs(("a", "b", 1)), names={"gold": "train"}).report
        assert "in both train and test" in report.messages[0]
        assert set(report.tables) == {"train", "test"}

    def test_examples_are_limited(self):
        rows = [(f"a{number}", f"b{number}", 1) for number in range(30)]
        finding = found(audit_pairs(pairs(*rows, OTHER), test=pairs(*rows), max_examples=3).report, "pair_in_test")
        assert len(finding.examples) == 3
        assert finding.count == 30
        assert finding.message.endswith("18, 19, 20, 21 and 10 more")

    def test_joined_tables_with_repeating_row_numbers_lose_the_right_rows(self):
        gold = pd.concat([pairs(("a", "b", 1)), pairs(("c", "d", 1))])
        assert audit_pairs(gold, test=pairs(("c", "d", 1))).gold["sentence1"].tolist() == ["a"]

    def test_tables_with_negatives_are_refused(self):
        with pytest.raises(ValueError, match="negatives"):
            audit_pairs(pd.DataFrame({"anchor": ["a"], "positive": ["b"], "negative": ["c"]}))

    def test_tables_without_pairs_are_refused(self):
        with pytest.raises(ValueError, match="found text"):
            audit_pairs(sentences("a"))


class TestSentences:
    def test_empty_and_repeated_ones_are_dropped(self):
        audited = audit_sentences(sentences("一句话。", "", "One", "ONE ", "一句话。", "two", "one"))
        assert audited.sentences["text"].tolist() == ["一句话。", "One", "two"]
        assert found(audited.report, "empty_text").dropped == 1
        finding = found(audited.report, "repeated_sentence")
        assert (finding.count, finding.dropped) == (2, 3)
        assert finding.message.endswith("the first row of each is kept; dropped: rows 4, 5, 7")

    def test_those_of_a_test_table_are_counted_and_stay(self):
        audited = audit_sentences(sentences("A", "b", "c"), test=pairs(("a", "x", 1), ("y", "C", 1)))
        assert len(audited.sentences) == 3
        assert found(audited.report, "sentence_in_test").count == 2
        assert set(audited.report.tables) == {"sentences"}

    def test_those_of_a_test_table_are_dropped_when_asked(self):
        audited = audit_sentences(sentences("A", "b"), test=sentences("a"), drop_test_sentences=True)
        assert audited.sentences["text"].tolist() == ["b"]
        assert found(audited.report, "sentence_in_test").message.endswith("dropped: row 1")

    def test_a_single_sentence_is_pointed_out(self):
        audited = audit_sentences(sentences("a whole file. on one line."), names={"sentences": "corpus"})
        assert "corpus holds a single sentence" in audited.report.messages[0]

    def test_nothing_left_is_an_error(self):
        with pytest.raises(UserError, match="no row is left after the audit: 2 rows of sentences have an empty text"):
            audit_sentences(sentences("", " "))


@pytest.fixture(scope="module")
def sts_benchmark():
    folder = Path(os.environ.get("EMBEDTRAIN_DATA", Path(__file__).parents[3] / "shared" / "data")) / "stsb"
    if not folder.is_dir():
        pytest.skip(f"no STS benchmark in {folder}: set EMBEDTRAIN_DATA to the folder that holds stsb/")
    return {
        split: read_scored_pairs(folder / f"en_{split}.tsv", score_range=(0, 5)) for split in ("train", "dev", "test")
    }


def test_sts_benchmark_has_twelve_training_pairs_in_its_test(sts_benchmark):
    audited = audit_pairs(*sts_benchmark.values())
    finding = next(each for each in audited.report.findings if (each.kind, each.table) == ("pair_in_test", "gold"))
    assert finding.count == 12
    assert "12 pairs stand in both gold and test (all exact)" in finding.message
    assert len(audited.test) == 1379
    test_pairs = {frozenset(pair) for pair in zip(audited.test["sentence1"], audited.test["sentence2"], strict=True)}
    assert not [
        pair
        for pair in zip(audited.gold["sentence1"], audited.gold["sentence2"], strict=True)
        if frozenset(pair) in test_pairs
    ]
