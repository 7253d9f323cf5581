"""Wrong uses of ``embedtrain label``: exit code 2 and one message a mistake, before any model is loaded."""

import importlib.util
import json
import shutil

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import SAMPLES
from label_models import save_cross_encoder

from embedtrain.cli import main
from embedtrain.pipelines.label.teachers import read_teacher

DEV = str(SAMPLES / "en_dev.tsv")


@pytest.fixture
def run(tmp_path, tiny_model, capsys, monkeypatch):
    """Run label with the given words; loading must not be reached."""

    def must_not_load(*args, **kwargs):
        raise AssertionError("a model was loaded before the mistakes were shown")

    for module in ("teachers", "measuring"):
        monkeypatch.setattr(f"embedtrain.pipelines.label.{module}.load_biencoder", must_not_load)
    monkeypatch.setattr("embedtrain.pipelines.label.teachers.load_crossencoder", must_not_load)
    good = written(tmp_path, "good.parquet", sentence1=["a", "b"], sentence2=["c", "d"])

    def call(*words, pairs=(good,), teacher=(tiny_model,), output=tmp_path / "run"):
        fixed = ["--pairs", *map(str, pairs), "--teacher", *map(str, teacher), "--output", str(output)]
        code = main(["label", *fixed, *words])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.err

    return call


def written(folder, name, **columns):
    pq.write_table(pa.table(columns), folder / name)
    return str(folder / name)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--shard-rows", "0"], "--shard-rows is 0, expected at least 1"),
        (["--calibrate"], "--calibrate needs scored pairs to measure on: give --dev"),
        (["--student", "x/y"], "--student needs scored pairs"),
        (["--positive-threshold", "0.8"], "--positive-threshold without --negative-threshold"),
        (["--positive-threshold", "0.2", "--negative-threshold", "0.8"], "is not below"),
        (["--positive-threshold", "1.2", "--negative-threshold", "0.8"], "--positive-threshold is 1.2"),
        (["--columns", "sentense1=q1"], "did you mean 'sentence1'"),
        (["--bootstrap-samples", "1"], "--bootstrap-samples is 1"),
        (["--both-order"], "unknown option --both-order"),
        (["--dev", "none.tsv"], "none.tsv: no such file"),
    ],
)
def test_wrong_options(run, words, expected):
    code, shown = run(*words)
    assert code == 2
    assert expected in shown


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("x.csv", "sentence1,sentence2\n", "but no rows"),
        ("x.csv", "", "the file is empty"),
        ("x.tsv", "sentence1\tsentense2\na\tb\n", "did you mean 'sentense2'"),
        ("x.csv", "sentence1,sentence2,id,id\na,b,1,2\n", "every column needs a name of its own"),
        ("x.csv", "sentence1,sentence2,score,given_score\na,b,1,2\n", "two columns would be called 'given_score'"),
        ("x.xlsx", "", "unknown ending"),
    ],
)
def test_pairs_that_cannot_be_read(run, tmp_path, name, text, expected):
    (tmp_path / name).write_text(text)
    code, shown = run(pairs=[tmp_path / name])
    assert code == 2
    assert name in shown
    assert expected in shown


def test_parquet_pairs_that_cannot_be_read(run, tmp_path):
    empty = written(tmp_path, "empty.parquet", sentence1=pa.array([], pa.string()), sentence2=pa.array([], pa.string()))
    numbers = written(tmp_path, "numbers.parquet", sentence1=[1], sentence2=["a"])
    code, shown = run(pairs=[empty, numbers, tmp_path / "none.parquet"])
    assert code == 2
    assert "empty.parquet: the table has columns (sentence1, sentence2) but no rows" in shown
    assert "numbers.parquet: 'sentence1' must hold text, found int64" in shown
    assert "none.parquet: no such file" in shown


def test_files_that_do_not_fit_together(run, tmp_path):
    first = written(tmp_path, "1.parquet", sentence1=["a"], sentence2=["b"])
    second = written(tmp_path, "2.parquet", sentence1=["a"], sentence2=["b"], row=[1])
    code, shown = run(pairs=[first, second])
    assert code == 2
    assert "2.parquet: its columns" in shown


def test_a_pair_without_a_text_is_named_before_a_model_is_loaded(run, tmp_path):
    path = written(tmp_path, "gap.parquet", sentence1=["a"] * 999 + [None], sentence2=["b"] * 1000)
    code, shown = run(pairs=[path])
    assert code == 2
    assert "gap.parquet: row 1000 lacks a text" in shown


def test_a_classifier_is_no_teacher(run, tmp_path, tiny_model):
    folder = save_cross_encoder(tiny_model.parent / "hf", tmp_path / "nli", outputs=3)
    code, shown = run(teacher=[folder])
    assert code == 2
    assert f"--teacher {folder}: a classifier with 3 outputs (LABEL_0, LABEL_1, LABEL_2)" in shown
    assert "expected a cross-encoder with one output" in shown


def test_a_classifier_that_does_not_say_how_many_outputs_it_has_has_two(run, tmp_path, tiny_model):
    folder = tmp_path / "plain"
    shutil.copytree(tiny_model.parent / "hf", folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["BertForSequenceClassification"]}))
    code, shown = run(teacher=[folder])
    assert code == 2
    assert "a classifier with 2 outputs" in shown


def test_every_mistake_is_shown_at_once(run, tmp_path):
    code, shown = run("--dev", "none.tsv", "--calibrate", pairs=["no.parquet"], teacher=["no/such-model"])
    assert code == 2
    for part in ("none.tsv", "no.parquet", "no/such-model"):
        assert part in shown


def test_an_input_is_no_output_and_a_file_no_folder(run, tmp_path, tiny_model):
    code, shown = run(output=tiny_model)
    assert code == 2
    assert "this is the input of --teacher" in shown
    code, shown = run(output=tmp_path / "good.parquet")
    assert code == 2
    assert "this is a file, expected a folder" in shown


def test_a_dev_set_too_small_or_constant(run, tmp_path):
    few = tmp_path / "few.tsv"
    few.write_text("sentence1\tsentence2\tscore\na\tb\t1\n")
    code, shown = run("--dev", str(few))
    assert code == 2
    assert "1 scored pair, expected at least 10" in shown


def test_options_without_effect_are_said(run, capsys):
    # As far as the warnings, which come before the first model.
    with pytest.raises(AssertionError, match="a model was loaded"):
        run("--sigmoid", "--one-order", "--score-range", "0", "5", "--columns", "score=s")
    shown = capsys.readouterr().err
    for option in ("--sigmoid", "--one-order", "--score-range", "--columns score=s"):
        assert f"{option} has no effect" in shown


def test_what_a_models_files_say_it_is(tmp_path, tiny_model):
    sigmoid = read_teacher(save_cross_encoder(tiny_model.parent / "hf", tmp_path / "ce"))
    assert (sigmoid.kind, sigmoid.has_sigmoid) == ("cross-encoder", True)
    assert read_teacher(str(tiny_model)).kind == "bi-encoder"
    # A plain encoder has no head that could score a pair.
    assert read_teacher(str(tiny_model.parent / "hf")).kind == "bi-encoder"
    old = tmp_path / "old"
    shutil.copytree(tmp_path / "ce", old)
    for name in ("modules.json", "config_sentence_transformers.json"):
        (old / name).unlink(missing_ok=True)
    config = json.loads((old / "config.json").read_text())
    config["sentence_transformers"] = {"activation_fn": "torch.nn.modules.linear.Identity"}
    (old / "config.json").write_text(json.dumps(config))
    raw = read_teacher(str(old))
    assert (raw.kind, raw.has_sigmoid) == ("cross-encoder", False)


def test_ray_is_asked_for_by_its_pip_command_when_it_is_missing(run, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None if name == "ray" else found(name, *rest))
    code, shown = run("--engine", "ray")
    assert code == 2
    assert "pip install 'embedtrain[ray]'" in shown


def test_values_of_one_column_must_be_of_one_kind(tmp_path):
    from embedtrain.errors import UserError
    from embedtrain.pipelines.label.tables import read_pairs

    file = tmp_path / "mixed.json"
    file.write_text(json.dumps([{"sentence1": "a", "sentence2": "b", "n": value} for value in (1, "x")]))
    with pytest.raises(UserError, match="must each hold one kind of value"):
        read_pairs(str(file), columns={})


def test_an_unnamed_column_and_positions_leave_the_sentences_alone(tmp_path):
    from embedtrain.pipelines.label.tables import read_pairs

    pd.DataFrame({"sentence1": ["a"], "sentence2": ["b"], "n": [3]}).to_csv(tmp_path / "indexed.csv")
    table = read_pairs(str(tmp_path / "indexed.csv"), columns={})
    assert table.column_names == ["sentence1", "sentence2", "n"]
    (tmp_path / "plain.tsv").write_text("a\tb\tc\nd\te\tf\n")
    positions = read_pairs(str(tmp_path / "plain.tsv"), columns={"sentence1": "0", "sentence2": "2"})
    assert positions.to_pydict() == {"sentence1": ["a", "d"], "sentence2": ["c", "f"]}
