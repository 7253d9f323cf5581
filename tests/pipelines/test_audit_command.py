"""``embedtrain audit``: what it finds in tables whose faults are known, and how it says so."""

import json
import os
from pathlib import Path

import pytest
from conftest import SAMPLES

from embedtrain.cli import main
from embedtrain.pipelines.audit.options import AuditOptions
from embedtrain.pipelines.audit.pipeline import audit
from embedtrain.pipelines.audit.wording import bars, percent

REAL = Path(os.environ.get("EMBEDTRAIN_DATA", Path(__file__).parents[3] / "shared" / "data"))


@pytest.fixture
def table(tmp_path):
    def write(text, name="mine.tsv"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


@pytest.fixture
def told(capsys, tiny_model):
    def call(*words):
        code = main(["audit", *map(str, words), *(() if "--base" in words else ("--base", str(tiny_model)))])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out + captured.err

    return call


PAIRS = """sentence1\tsentence2\tscore
how do i reset the password\twhere is the reset button\t2
where is the reset button\tHow do I reset the  password\t5
it leaks\tthe valve drips\t4
it leaks\tthe valve drips\t4
it is cold\tIt is  cold\t5
nothing here\t \t1
how do i reset the password?\tquite another thing\t0
"""
TEST = """sentence1\tsentence2\tscore
the valve drips\tit leaks\t1
how do i reset the password\twhere is the reset button\t5
IT IS COLD\tit is cold\t5
how do i reset the passwords\twhere is the reset button\t5
brand new\tquite fresh\t0
"""


def test_repeats_conflicts_and_empty_texts(table, tiny_model):
    found = audit(AuditOptions(data=table(PAIRS), base=str(tiny_model)))
    assert found["table"] == {
        "name": found["table"]["name"],
        "kind": "scored pairs",
        "columns": ["sentence1", "sentence2", "score"],
        "rows": 7,
    }
    assert found["empty"] == {"rows": 1, "row_numbers": [7]}
    repeats = found["repeats"]
    assert (repeats["items"], repeats["rows"], repeats["swapped"]) == (2, 2, 1)
    assert [case["rows"] for case in repeats["examples"]] == [[4, 5]]
    (conflict,) = repeats["conflicts"]["examples"]
    assert (conflict["rows"], conflict["scores"]) == ([2, 3], [2.0, 5.0])
    assert repeats["conflicts"]["widest"] == 3.0
    assert found["identical_sides"]["rows"] == 1
    # With its question mark the text is another one, and nearly the same.
    assert found["near_duplicates"]["texts"] == 2
    assert found["numbers"]["counts"] == {"0": 1, "1": 1, "2": 1, "4": 2, "5": 2}


def test_leakage_in_both_orders_folded_and_nearly(table, tiny_model):
    found = audit(AuditOptions(data=table(PAIRS), against=table(TEST, "test.tsv"), base=str(tiny_model)))["against"]
    shared = found["shared"]
    assert {name: shared[name] for name in ("items", "exact", "swapped", "folded", "rows", "of_rows")} == {
        "items": 3,
        "exact": 1,
        "swapped": 1,
        "folded": 1,
        "rows": 3,
        "of_rows": 5,
    }
    assert shared["examples"][0]["other_rows"] == [4, 5]
    texts = found["shared_texts"]
    assert (texts["texts"], texts["of_texts"]) == (5, 8)
    assert (texts["rows_with_one"], texts["rows_with_all"]) == (4, 3)
    near = found["near_duplicates"]
    assert near["texts"] == 1
    assert near["pairs"] == 1


def test_sides_of_one_row_are_no_near_duplicates(table, tiny_model):
    rows = "sentence1\tsentence2\tscore\nwhere is the red button\twhere is the red buttons\t5\nab\tcd\t0\n"
    assert audit(AuditOptions(data=table(rows), base=str(tiny_model)))["near_duplicates"]["texts"] == 0


def test_lengths_cuts_and_unknown_tokens(table, tiny_model):
    # The tiny tokenizer takes a word of its letters apart and knows few Chinese characters.
    text = "text\nab abc\n密码鬱\nabcde\n"
    found = audit(AuditOptions(data=table(text), base=str(tiny_model), max_length=6))["tokens"]
    assert found["texts"] == 3
    assert (found["longest"], found["median"]) == (7.0, 7.0)
    assert found["cut_share"] == pytest.approx(2 / 3)
    assert found["unknown_share"] == pytest.approx(1 / 13)
    assert found["texts_with_unknown_share"] == pytest.approx(1 / 3)
    stated = audit(AuditOptions(data=table(text), base=str(tiny_model)))["tokens"]
    assert stated["max_length"] == 64


def test_a_pair_is_as_long_as_a_cross_encoder_reads_it(table, tiny_model):
    rows = "sentence1\tsentence2\nab\tabc\n"
    found = audit(AuditOptions(data=table(rows), base=str(tiny_model)))
    assert found["table"]["kind"] == "pairs"
    assert found["numbers"] is None
    assert found["tokens"]["pairs"]["longest"] == 2 + 3 + 3
    assert found["tokens"]["pairs"]["max_length"] == 64


def test_labels_of_sentences_and_conflicts_in_them(table, told):
    path = table("text\tlabel\na b c d\tone\na b c d\ttwo\ne f g h\tone\n")
    code, shown = told(path)
    assert code == 0
    assert "labels: 2 different, from 1 to 2 rows each" in shown
    assert "! 1 text with different labels" in shown
    assert "rows 2, 3 (one, two): a b c d" in shown


def test_negatives_make_a_row_another_one_and_count_as_texts(table, tiny_model):
    header = "anchor\tpositive\tnegative\n"
    data = table(header + "one two\tthree four\tfive six\none two\tthree four\tseven eight\n")
    other = table("text\nfive six\n", "other.tsv")
    found = audit(AuditOptions(data=data, against=other, base=str(tiny_model)))
    assert found["repeats"]["rows"] == 0
    assert found["against"]["shared_texts"]["texts"] == 1
    assert "shared" not in found["against"]
    again = table(header + "one two\tthree four\tfive six\none two\tthree four\tfive six\n", "again.tsv")
    assert audit(AuditOptions(data=again, base=str(tiny_model)))["repeats"]["rows"] == 1


def test_what_is_drawn_is_said(told):
    code, shown = told(SAMPLES / "en_sentences.txt", "--near-limit", "100", "--token-limit", "50")
    assert code == 0
    assert "100 of 2,4" in shown
    assert "of 50 texts" in shown


def test_sample_data_in_words_and_as_json(told):
    words = (SAMPLES / "zh_gold.tsv", "--against", SAMPLES / "zh_test.tsv")
    code, shown = told(*words)
    assert code == 0
    for expected in ("600 scored pairs", "█", "Han 9", "unknown:", "! ", "leakage:", "--score-range LOW HIGH"):
        assert expected in shown, shown
    code, shown = told(*words, "--json")
    assert code == 0
    found = json.loads(shown)
    assert found["against"]["table"]["rows"] == len((SAMPLES / "zh_test.tsv").read_text("utf-8").splitlines()) - 1
    assert sum(
        found["numbers"]["bins"]["counts"] if "bins" in found["numbers"] else found["numbers"]["counts"].values()
    )


def test_without_a_base_model_the_rest_is_told(table, capsys, monkeypatch):
    from embedtrain.errors import UserError

    def nowhere(name):
        raise UserError(f"model '{name}': nowhere")

    monkeypatch.setattr("embedtrain.pipelines.audit.inputs.resolve_model", nowhere)
    assert main(["audit", table(PAIRS)]) == 0
    shown = capsys.readouterr().out
    assert "tokens: not counted" in shown
    assert "within mine.tsv" in shown


def test_mistakes_are_told_together(told, table):
    code, shown = told(
        "nowhere.tsv", "--against", table("a\tb\n1\t2\n"), "--near", "7", "--examples", "-1", "--base", "no/model"
    )
    assert code == 2
    for expected in (
        "nowhere.tsv: no such file",
        "mine.tsv: none of the columns",
        "--near is 7",
        "--examples",
        "no/model",
    ):
        assert expected in shown, shown
    code, shown = told(table(PAIRS), "--agianst", "x")
    assert code == 2
    assert "did you mean '--against'" in shown


def test_text_of_the_users_cannot_steer_the_terminal(told, table):
    code, shown = told(table("text\n\x1b[31mred and dead\n\x1b[31mred and dead\n"))
    assert code == 0
    assert "\x1b" not in shown
    assert "red and dead" in shown


def test_bars_and_shares():
    assert bars({"a": 0, "bb": 1, "c": 1000}) == ["   a      0", "  bb      1  █", f"   c  1,000  {'█' * 40}"]
    assert [percent(share) for share in (0.0, 0.0001, 0.5, 0.9999, 1.0)] == [
        "0 %",
        "less than 0.1 %",
        "50.0 %",
        "99.9 %",
        "100 %",
    ]


@pytest.mark.skipif(not (REAL / "stsb").is_dir(), reason="no STS benchmark here; EMBEDTRAIN_DATA names its folder")
def test_the_pairs_that_the_sts_benchmark_has_in_train_and_test(tiny_model):
    train, test = (str(REAL / "stsb" / f"en_{name}.tsv") for name in ("train", "test"))
    found = audit(AuditOptions(data=train, against=test, base=str(tiny_model)))
    assert found["against"]["shared"]["items"] == 12
    assert found["table"]["rows"] == 5749
