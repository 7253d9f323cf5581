"""Wrong uses of ``embedtrain evaluate``: exit code 2 and one message a mistake, before any model is loaded."""

import shutil

import pytest
from conftest import SAMPLES
from label_models import save_cross_encoder

from embedtrain.cli import main
from embedtrain.cli_evaluate import gathered
from embedtrain.errors import UserError
from embedtrain.pipelines.evaluate.options import STSOptions
from embedtrain.pipelines.evaluate.sts import evaluate_sts

TEST = str(SAMPLES / "en_test.tsv")


@pytest.fixture
def run(tmp_path, tiny_model, capsys, monkeypatch):
    """Run an evaluation with the given words; loading must not be reached."""

    def must_not_load(*args, **kwargs):
        raise AssertionError("a model was loaded before the mistakes were shown")

    monkeypatch.setattr("embedtrain.pipelines.evaluate.workspace.load_biencoder", must_not_load)

    def call(*words, kind="sts", model=(tiny_model,), data=(TEST,)):
        given = [word for name in model for word in ("--model", str(name))]
        given += [word for name in data for word in ("--data", str(name))]
        code = main(["evaluate", kind, *given, *words])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.err

    return call


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--batch-size", "0"], "--batch-size is 0, expected at least 1"),
        (["--bootstrap-samples", "10"], "--bootstrap-samples is 10, expected at least 100"),
        (["--dims", "0", "8"], "--dims 0, expected at least 1"),
        (["--dims", "8", "8"], "--dims 8 is given twice"),
        (["--number-types", "int4"], "int4"),
        (["--score-range", "5", "0"], "the lower one first"),
        (["--score-range", "0", "1"], "such as 0 5"),
        (["--columns", "sentense1=a"], "did you mean 'sentence1'"),
        (["--train-data", "none.tsv"], "--train-data (none.tsv): no such file"),
        (["--modell", "x"], "did you mean '--model'"),
        (["--output", TEST], "this is a file, expected a folder"),
    ],
)
def test_wrong_options(run, words, expected):
    code, shown = run(*words)
    assert code == 2
    assert expected in shown


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("sts", "sentence1,sentence2,label\na,b,1\n", "score"),
        ("sts", "sentence1,sentence2,score\na,b,high\n", "'score' must be a number"),
        ("sts", "sentence1,sentence2,score\n", "no rows"),
        ("sts", "sentence1,sentence2,score\na,b,1\nc,d,2\n", "2 scored pairs, expected at least 10"),
        ("sts", "sentence1,sentence2,score\n" + "".join(f"a{n},b,2\n" for n in range(12)), "the same score"),
        ("pairs", "sentence1,sentence2,label\na,b,2\n", "'label' must be 0 or 1"),
        ("pairs", "sentence1,sentence2,label\na,b,yes\n", "'label' must be a number"),
        ("pairs", "sentence1,sentence2,label\na,b,1\nc,d,1\n", "every label is 1, expected pairs of label 0"),
        ("pairs", "sentence1,sentence2,label\n,b,1\n", "there is no pair"),
    ],
)
def test_data_that_cannot_be_measured_on(run, tmp_path, kind, text, expected):
    path = tmp_path / "mine.csv"
    path.write_text(text)
    code, shown = run(kind=kind, data=[path])
    assert code == 2
    assert f"{path}" in shown
    assert expected in shown


def test_every_mistake_is_shown_at_once(run, tmp_path):
    code, shown = run("--seed", "-1", model=["no/such-model"], data=["none.tsv", "other.csv"])
    assert code == 2
    assert "4 errors" in shown
    for part in ("--seed is -1", "no/such-model", "none.tsv", "other.csv"):
        assert part in shown


def test_models_that_are_none_or_the_same(run, tmp_path, tiny_model):
    (tmp_path / "empty").mkdir()
    code, shown = run(model=[tmp_path / "empty"])
    assert (code, "this folder holds no model" in shown) == (2, True)
    code, shown = run(model=[tiny_model, tiny_model])
    assert (code, f"--model {tiny_model} is given twice" in shown) == (2, True)
    code, shown = run(model=[tiny_model, f"{tiny_model}/"])
    assert (code, f"this is the same model as --model {tiny_model} " in shown) == (2, True)


def test_a_cross_encoder_and_an_unfinished_run_are_no_models(run, tmp_path, tiny_model):
    cross = save_cross_encoder(tiny_model.parent / "hf", tmp_path / "cross")
    code, shown = run(model=[cross])
    assert (code, "a cross-encoder gives no embeddings" in shown) == (2, True)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "manifest.json").write_text("{}")
    code, shown = run(model=[tmp_path / "run"])
    assert (code, "this run folder holds no model/" in shown) == (2, True)


def test_output_is_no_input(run, tmp_path, tiny_model):
    copy = tmp_path / "copy"
    shutil.copytree(tiny_model, copy)
    code, shown = run("--output", str(copy), model=[copy])
    assert (code, "this is the input of --model" in shown) == (2, True)


def test_several_processes_that_do_not_help_each_other_are_refused(tiny_model, monkeypatch):
    """The command line has them help the first one; a script's processes would each do everything."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="this command works in one"):
        evaluate_sts(STSOptions(model=[str(tiny_model)], data=[TEST]))


def test_an_unknown_kind_gets_the_nearest_spelling(capsys):
    assert main(["evaluate", "stss"]) == 2
    assert "unknown evaluation 'stss'; did you mean 'sts'" in capsys.readouterr().err


def test_help_is_shown(capsys):
    assert main(["evaluate", "--help"]) == 0
    assert "usage: embedtrain evaluate KIND" in capsys.readouterr().out
    assert main(["evaluate", "sts", "--help"]) == 0
    assert "--number-types" in capsys.readouterr().out


def test_options_given_several_times_add_up():
    words = ["x", "--model", "a", "--data=d", "--seed", "1", "--model=b", "c", "--score-range", "0", "5", "--data", "e"]
    assert gathered(words, ("model", "data")) == [
        "x", "--seed", "1", "--model", "a", "b", "c", "--score-range", "0", "5", "--data", "d", "e",
    ]  # fmt: skip
