"""What a person sees who gets it wrong: one message a mistake, all together, exit code 2, nothing lost."""

import pytest
import yaml
from conftest import SAMPLES

from embedtrain.cli import main

GOOD = {
    "--gold": str(SAMPLES / "en_gold.tsv"),
    "--dev": str(SAMPLES / "en_dev.tsv"),
    "--test": str(SAMPLES / "en_test.tsv"),
    "--unlabeled": str(SAMPLES / "en_sentences.txt"),
}


@pytest.fixture
def run(tmp_path, tiny_model, capsys, monkeypatch):
    """Run augsbert with good options but for the given ones; training must not be reached."""

    def must_not_load(*args, **kwargs):
        raise AssertionError("a model was loaded before the mistakes were shown")

    monkeypatch.setattr("embedtrain.pipelines.augsbert.workspace.load_biencoder", must_not_load)
    monkeypatch.setattr("embedtrain.pipelines.augsbert.workspace.load_crossencoder", must_not_load)

    def call(*extra, **replaced):
        options = {**GOOD, "--base": str(tiny_model), "--output": str(tmp_path / "run")}
        options.update({f"--{name}": str(value) for name, value in replaced.items()})
        words = [word for pair in options.items() for word in pair]
        code = main(["augsbert", *words, "--score-range", "0", "5", *extra])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.err

    return call


def table(folder, text, name="mine.tsv"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


HEADER = "sentence1\tsentence2\tscore\n"
ROWS = "how do i reset it\twhere is the reset button\t3\nit leaks\tthe valve drips\t4\n"


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("sentence1\tsentense2\tscore\na\tb\t1\n", "x.tsv", ["sentense2", "did you mean"]),
        ("sentence1,sentence2,score\na,b,1\n", "x.tsv", ["x.tsv", "comma"]),
        (ROWS, "x.tsv", ["x.tsv", "--columns", "sentence1=0"]),
        (HEADER + ROWS + "a\tb\t7\n", "x.tsv", ["row 4", "7"]),
        (HEADER + ROWS + "a\tb\tnan\n", "x.tsv", ["row 4"]),
        (HEADER + ROWS + "a\tb\t3,5\n", "x.tsv", ["row 4", "3,5"]),
        (HEADER, "x.tsv", ["x.tsv"]),
        ("", "x.tsv", ["x.tsv", "empty"]),
        (HEADER + "a\tb\t1\n", "x.tsv", ["x.tsv: 1 scored pair", "at least 10"]),
        (HEADER + "".join(f"a{i}\tb\t2\n" for i in range(12)), "x.tsv", ["x.tsv", "same score"]),
        (HEADER + ROWS, "x.xlsx", ["x.xlsx", ".parquet"]),
    ],
    ids=[
        "column",
        "delimiter",
        "headerless",
        "range",
        "nan",
        "decimal comma",
        "header only",
        "empty",
        "one line",
        "constant",
        "format",
    ],
)
def test_a_bad_file_is_named_with_what_was_expected(run, tmp_path, text, name, expected):
    code, shown = run(gold=table(tmp_path, text, name))
    assert code == 2
    for part in expected:
        assert part in shown


def test_a_missing_file_is_named_with_the_nearest_one(run, tmp_path):
    table(tmp_path, HEADER + ROWS, "golden.tsv")
    code, shown = run(gold=tmp_path / "goldn.tsv")
    assert code == 2
    assert "goldn.tsv" in shown
    assert "golden.tsv" in shown


def test_every_mistake_is_shown_at_once(run, tmp_path):
    code, shown = run("--top-k", "0", gold=tmp_path / "none.tsv", dev=table(tmp_path, "a\tb\n"), base="no/such-model")
    assert code == 2
    for part in ("none.tsv", "mine.tsv", "--top-k is 0", "no/such-model"):
        assert part in shown


def test_a_model_that_is_nowhere_says_what_to_install(run):
    code, shown = run(base="all-MinLM-L6-v2")
    assert code == 2
    assert "did you mean 'all-MiniLM-L6-v2'" in shown
    assert "pip install" in shown


def test_an_output_that_cannot_be_written_to_is_said_before_training(run, tmp_path):
    blocked = table(tmp_path, "")
    code, shown = run(output=blocked / "run")
    assert code == 2
    assert "cannot write there" in shown


def test_a_file_that_may_not_be_read_is_one_message(run, tmp_path, monkeypatch):
    from pathlib import Path

    secret = table(tmp_path, HEADER + ROWS, "secret.tsv")
    real = Path.stat

    def guarded(self, **options):
        if self.name == "secret.tsv":
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, **options)

    monkeypatch.setattr(Path, "stat", guarded)
    code, shown = run(gold=secret)
    assert code == 2
    assert "secret.tsv: Permission denied" in shown


def test_an_unknown_option_gets_the_nearest_spelling(run):
    code, shown = run("--topk", "3")
    assert code == 2
    assert "unknown option --topk" in shown
    assert "'--top-k'" in shown


def test_a_value_of_the_wrong_type_is_named(run):
    code, shown = run("--top-k", "three")
    assert code == 2
    assert "top_k" in shown or "top-k" in shown
    assert "three" in shown


def test_misspelt_keys_in_yaml_are_all_named(run, tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump({"topk": 3, "teacher_training": {"epoch": 2}, "seed": 1}))
    code, shown = run("--config", str(config))
    assert code == 2
    assert "unknown key 'topk'; did you mean 'top_k'?" in shown
    assert "unknown key 'teacher_training.epoch'; did you mean 'teacher_training.epochs'?" in shown


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        (["--positive-threshold", "0.8"], "hard labels need both"),
        (["--positive-threshold", "0.2", "--negative-threshold", "0.8"], "is not below"),
        (["--loss", "mnrl"], "--positive-threshold"),
        (["--loss", "mnrl", "--positive-threshold", "1.0", "--score-range", "0", "6"], "scores that high"),
        (["--loss", "mnrl", "--positive-threshold", "0.2", "--negative-threshold", "0.8"], "is not below"),
        (["--student.batch-size", "0"], "--student.batch-size is 0"),
        (["--teacher-training.epochs", "0"], "--teacher-training.epochs is 0"),
        (["--teacher", "ensemble", "--teacher-members", "bi-encoder"], "with the one member bi-encoder"),
        (["--teacher", "auto", "--teacher-members", "student"], "nothing to teach itself"),
        (["--teacher", "ensemble", "--teacher-average", "ranks", "--calibration", "none"], "until they are calibrated"),
        (["--teacher", "cross-encoder", "--silver-confidence", "0.5"], "--silver-confidence 0.5 keeps"),
        (["--silver-confidence", "0", "--teacher-seeds", "2"], "--silver-confidence is 0.0"),
        (["--silver-weight", "0"], "--silver-weight is 0.0"),
        (["--teacher-seeds", "0"], "--teacher-seeds is 0"),
        (["--strategies", "semantic=0.5", "bm25"], "it has no share"),
        (["--strategies", "semantik"], "did you mean 'semantic'"),
        (["--strategies", "semantic=0.5", "random=0.5", "--silver-limit", "0"], "--silver-limit above 0"),
    ],
)
def test_options_that_contradict_each_other_are_refused(run, extra, expected):
    code, shown = run(*extra)
    assert code == 2
    assert expected in shown


def test_an_empty_text_is_reported_and_dropped_not_refused(tmp_path):
    from embedtrain.data import audit_pairs, read_scored_pairs

    gold = read_scored_pairs(str(table(tmp_path, HEADER + ROWS + " \tb\t1\n")), score_range=(0, 5))
    audited = audit_pairs(gold)
    assert len(audited.gold) == 2
    assert "4" in audited.report.messages[0]


def test_print_config_shows_every_option_and_can_be_read_back(capsys, tmp_path):
    assert main(["augsbert", *[word for pair in GOOD.items() for word in pair], "--output", "x", "--print_config"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["student"]["batch_size"] > 0
    assert shown["gold"] == GOOD["--gold"]


def test_the_columns_and_range_words_are_understood():
    from embedtrain.arguments import parse
    from embedtrain.pipelines.augsbert.options import AugSBERTOptions

    words = ["--gold", "a", "--dev=b", "--test", "c", "--output", "d", "--columns", "sentence1=q1", "sentence2=q2"]
    words += ["--score-range", "0", "5", "--strategies", "semantic", "bm25", "--student.batch-size", "8"]
    options = parse(AugSBERTOptions, words, command="augsbert", summary="")
    assert options.columns == {"sentence1": "q1", "sentence2": "q2"}
    assert options.score_range == (0.0, 5.0)
    assert options.strategies == ["semantic", "bm25"]
    assert options.student.batch_size == 8


def test_an_unknown_command_lists_the_known_ones(capsys):
    assert main(["augsbret"]) == 2
    assert "did you mean 'augsbert'" in capsys.readouterr().err


def test_the_help_of_a_command_lists_its_options_with_dashes(capsys):
    assert main(["augsbert", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "--score-range" in shown
    assert "--student.batch-size" in shown
    assert "--score_range" not in shown


def test_help_and_version_exit_with_zero(capsys):
    assert main(["--version"]) == 0
    assert main(["--help"]) == 0
    assert "augsbert" in capsys.readouterr().out
    assert main([]) == 2


def test_wrong_choices_and_numbers_are_told_together_with_the_nearest_spelling(capsys):
    words = ["evaluate", "mteb", "--model", "m", "--custom", "own.tsv", "--type", "pair-clasification"]
    assert main([*words, "--precision", "bf17", "--seed", "ten", "--cache-gib", "4"]) == 2
    said = capsys.readouterr().err
    assert "3 errors" in said
    assert "--type is 'pair-clasification', expected one of sts, pair-classification, " in said
    assert "did you mean 'pair-classification'?" in said
    assert "--precision is 'bf17', expected one of auto, bf16, tf32, fp32; did you mean 'bf16'?" in said
    assert "--seed is 'ten', expected a whole number" in said
    assert main(["evaluate", "retrieval", "--model", "m", "--data", "d", "--searches", "dense", "bm52"]) == 2
    assert "--searches is 'bm52', expected one of dense, bm25, fused; did you mean 'bm25'?" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["1-5"], ["1"], ["a", "b"], ["0", "1", "5"], []])
def test_a_range_that_is_not_two_numbers_is_told_in_words(capsys, words):
    assert main(["augsbert", "--gold", "g.tsv", "--unlabeled", "s.txt", "--output", "o", "--score-range", *words]) == 2
    said = capsys.readouterr().err
    assert "--score-range is " in said
    assert "expected a list of 2 numbers" in said
