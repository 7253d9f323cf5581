"""The page that ``embedtrain audit --report`` writes."""

import re

import pytest
from conftest import CHINESE, SAMPLES
from fake_run import SCRIPT
from pages import drawn_in, text_of

from embedtrain.cli import main

ROWS = (
    "sentence1\tsentence2\tscore",
    "how do i reset the password\twhere is the reset button\t2",
    "where is the reset button\tHow do I reset the  password\t5",
    "it leaks\tthe valve drips\t4",
    "it leaks\tthe valve drips\t4",
    "it is cold\tIt is  cold\t5",
    "nothing here\t \t1",
    f"{SCRIPT} {CHINESE}\thow do i reset the password?\t0",
)
TEST = ("sentence1\tsentence2\tscore", "the valve drips\tit leaks\t1", "brand new\tquite fresh\t0")


@pytest.fixture
def page(tmp_path, tiny_model):
    """Writes tables and gives the page of the first, beside the second."""

    def write(*tables, name="mine <b>.tsv", words=()):
        files = [tmp_path / name, tmp_path / "test.tsv"][: len(tables)]
        for file, rows in zip(files, tables, strict=True):
            file.write_text("\n".join(rows) + "\n", encoding="utf-8")
        against = ["--against", str(files[1])] if len(files) > 1 else []
        out = tmp_path / "pages" / "audit.html"
        given = ["audit", str(files[0]), *against, "--base", str(tiny_model), "--report", str(out), *words]
        assert main(given) == 0
        return out.read_text(encoding="utf-8")

    return write


def test_everything_that_was_found_is_on_the_page(page):
    text = text_of(page(ROWS, TEST, words=["--max-length", "30"]))
    for said in (
        "7 scored pairs, 5 things to mend.",
        "2 pairs stand more than once, 1 of them in both orders: 2 rows too many",
        "sentence2 text 6",
        "score score 7 5",
        "lowest 0.00 mean 3.00 highest 5.00 different scores 5",
        "Empty texts: 1 row with an empty text",
        "Conflicting scores: 1 pair with different scores up to 3 apart",
        "row scores sentence1 sentence2 2, 3 2, 5 how do i reset the password",
        "Identical sides: 1 pair of a text with itself",
        "Near-duplicates: 2 texts",
        "The same pairs: 1 pair of it that the table has, too 1 in the other order: 1 of 2 rows, 50.0 %",
        "The same texts: 2 texts of 4 that the table has, too",
        "of the tokens are unknown to",
        "Han",
        "One text",
        "Both texts of a pair",
        "token_limit 50000",
    ):
        assert said in text, (said, text)


def test_it_is_one_page_that_loads_nothing_and_holds_no_markup_of_the_users(page):
    rows = (*ROWS, f"{SCRIPT} {CHINESE}\t<i>x</i>\t1", f"{SCRIPT} {CHINESE}\t<i>x</i>\t1")
    text = page(rows, TEST)
    loads = re.findall(r"<[^>]*\s(?:src|href|data|action)=[\"\']?([^\"\'\s>]+)", text)
    assert loads
    assert all(target.startswith(("#", "data:")) for target in loads)
    assert text.count("<script") == 1
    assert "<b>" not in text
    assert "<i>x" not in text
    assert SCRIPT in text_of(text)
    assert "mine <b>.tsv" in text_of(text)
    assert text.count("<svg") == 3
    assert not re.search(r"[\u3400-\u9fff]", drawn_in(text))
    ids = re.findall(r"\sid=\"([^\"]+)\"", text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"(?:url\(|href=\")#([^\")]+)", text)) <= set(ids)
    assert text == page(rows, TEST)


def test_labels_and_single_sentences(page):
    text = text_of(page(("text\tlabel", "a b c d\tone", "a b c d\ttwo", f"e f g h\t{SCRIPT}", "i j k\tone")))
    assert "label rows one 2" in text
    assert SCRIPT in text
    assert "Conflicting labels: 1 text with different labels" in text
    text = text_of(page(("怎么重置密码", "怎么重置密码", "abc"), name="mine.txt"))
    assert "3 sentences, one thing to mend." in text
    assert "Leakage" not in text
    assert "Scores" not in text


def test_what_is_drawn_and_what_is_cut_is_said(page):
    words = ["--near-limit", "3", "--max-length", "12"]
    text = page(("text", *(f"{'ab' * at} {at}" for at in range(1, 20))), words=words)
    assert "3 of 19 were compared" in text_of(text)
    assert "read up to 12" in drawn_in(text)
    assert re.search(r"One text 2\d \d+ \d+ 12 7\d\.\d", text_of(text))


def test_a_table_of_one_length_one_score_and_no_letter_still_has_a_page(page):
    text = text_of(page(("sentence1\tsentence2\tscore", "1\t2\t3", "4\t5\t3")))
    assert "one score throughout" in text
    assert "No text has a letter." in text


def test_without_a_base_model_the_page_says_so(tmp_path, monkeypatch):
    from embedtrain.errors import UserError

    def nowhere(name):
        raise UserError(f"model '{name}': nowhere")

    monkeypatch.setattr("embedtrain.pipelines.audit.inputs.resolve_model", nowhere)
    assert main(["audit", str(SAMPLES / "zh_gold.tsv"), "--report", str(tmp_path / "a.html")]) == 0
    assert "Tokens were not counted" in text_of((tmp_path / "a.html").read_text(encoding="utf-8"))


def test_json_stays_json_beside_a_page(tmp_path, tiny_model, capsys):
    import json

    words = ["audit", str(SAMPLES / "en_gold.tsv"), "--base", str(tiny_model), "--report", str(tmp_path / "a.html")]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    bins = found["tokens"]["bins"]
    assert sum(bins["counts"]) + bins["longer"] == found["tokens"]["texts"]
    assert len(bins["edges"]) == len(bins["counts"]) + 1
    assert [column["holds"] for column in found["columns"]] == ["text", "text", "score"]
    assert main(words) == 0
    assert capsys.readouterr().out.endswith(f"report  {tmp_path / 'a.html'}\n")


def test_a_page_that_cannot_be_written_is_told_with_every_other_mistake(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    data = tmp_path / "mine.txt"
    data.write_text("one\ntwo\n")
    for page, said in (
        (tmp_path, "this is a folder"),
        (tmp_path / "file" / "page.html", "cannot write there"),
        (data, "this is the table itself"),
    ):
        assert main(["audit", str(data), "--near", "7", "--report", str(page)]) == 2
        told = capsys.readouterr().err
        assert f"--report {page.parent if 'cannot' in said else page}: {said}" in told
        assert "--near is 7" in told
    assert data.read_text() == "one\ntwo\n"
