"""What people get wrong with ``embedtrain tsdae`` and ``embedtrain adapt``, and what they are told."""

import pytest

from embedtrain.cli import main

LINE = "订单号{}的退款还没有到账，请问要等多久"


@pytest.fixture
def told(tiny_chinese_model, tmp_path, capsys):
    """Runs the command on a file's bytes; the exit code and everything it says."""

    def run(content, *words, command="tsdae", name="sentences.txt"):
        file = tmp_path / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        given = [command, str(file), "--base", str(tiny_chinese_model), "--output", str(tmp_path / "run")]
        given += ["--device", "cpu", "--adaptation.min-steps", "2", "--adaptation.epochs", "0.001"]
        code = main([*given, "--adaptation.evaluations", "1", "--adaptation.batch-size", "4", *words])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def sentences(count):
    return "\n".join(LINE.format(number) for number in range(count))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "the file is empty"),
        ("一个句子\n", "1 sentence, expected at least 20"),
        (sentences(5).encode() + "\n价格：£5".encode("utf-16-le"), "NUL byte"),
        (sentences(30).encode() + b"\n" + "退款什么时候到".encode("gb18030"), "line 31 is not UTF-8; read as gb18030"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "this is a binary file"),
    ],
)
def test_files_that_are_no_text(told, content, expected):
    code, said = told(content)
    assert code == 2
    assert expected in said
    assert "Traceback" not in said


def test_lines_that_are_all_the_same_are_counted(told):
    code, said = told("同一个句子\n" * 50)
    assert code == 2
    assert "1 different sentences are left of 50" in said
    assert "and 29 more" in said


def test_repeats_are_dropped_and_counted(told):
    code, said = told(sentences(30) + "\n" + sentences(10))
    assert code == 0
    assert "10" in said.split("audit:")[1].splitlines()[0]


def test_a_very_long_line_is_cut_and_said(told):
    code, said = told(sentences(40) + "\n" + "很长" * 50_000)
    assert code == 0
    assert "longer than 64 tokens and are cut there" in said


def test_a_base_that_does_not_know_the_script(told, tiny_model):
    code, said = told(sentences(40), "--base", str(tiny_model))
    assert code == 0
    assert "tokens are unknown to" in said
    assert "base model made for this language" in said


def test_everything_wrong_is_said_at_once(told, tmp_path):
    words = ["--noise", "delte", "--delete-ratio", "1.5", "--loss", "cosin", "--gold", str(tmp_path / "none.tsv")]
    words += ["--adaptation.learning-rate", "0", "--words", "tokenizer"]
    code, said = told(sentences(40), *words, command="adapt")
    assert code == 2
    for expected in (
        "did you mean 'delete'",
        "--delete-ratio is 1.5",
        "did you mean 'cosine'",
        "none.tsv",
        "--adaptation.learning-rate is 0",
    ):
        assert expected in said


def test_the_test_pairs_cannot_be_trained_on(told, tmp_path):
    pairs = "sentence1\tsentence2\tscore\n" + "".join(f"问题{n}\t答案{n}\t{n % 6}\n" for n in range(30))
    (tmp_path / "pairs.tsv").write_text(pairs, encoding="utf-8")
    named = [str(tmp_path / "pairs.tsv")]
    code, said = told(sentences(40), "--gold", *named, "--test", *named, "--score-range", "0", "5", command="adapt")
    assert code == 2
    assert "cannot judge" in said


def test_sentences_are_no_pairs(told, tmp_path):
    code, said = told(sentences(40), "--dev", str(tmp_path / "sentences.txt"))
    assert code == 2
    assert "expected a table of pairs" in said


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--loss", "cosine"], "--loss has no effect without --gold"),
        (["--noise", "shuffle", "--delete-ratio", "0.4"], "--delete-ratio has no effect without the noise delete"),
        (["--arms", "mlm", "--decoder-layers", "2"], "--decoder-layers has no effect without the arm tsdae"),
    ],
)
def test_options_without_effect_are_named(told, words, expected):
    code, said = told(sentences(40), *words)
    assert code == 0
    assert expected in said
