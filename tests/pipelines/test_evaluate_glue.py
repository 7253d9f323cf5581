"""``embedtrain evaluate glue`` from files to tables: tiny encoders on easy tasks."""

import html
import json
import logging

import numpy as np
import pandas as pd
import pytest
from conftest import build_tiny_model
from sklearn import metrics as sklearn_metrics
from tiny_glue import write_hub, write_own

from embedtrain.cli import main
from embedtrain.errors import UserError
from embedtrain.pipelines.evaluate import glue
from embedtrain.pipelines.evaluate.glue import evaluate_glue
from embedtrain.pipelines.evaluate.glue_options import GLUEOptions
from embedtrain.training.engine import Engine

SIZES = {"train": 300, "dev": 60, "matched": 60, "mismatched": 60}


@pytest.fixture(scope="module")
def other_model(tmp_path_factory):
    return build_tiny_model(tmp_path_factory.mktemp("other"), layers=1)


@pytest.fixture
def data(tmp_path):
    """Three small tasks."""
    write_own(tmp_path / "glue", tasks=["CoLA", "STS-B", "MNLI"])
    return tmp_path / "glue"


def options(model, data, **more):
    given = {"epochs": 1.0, "evaluations": 2, "device": "cpu", "precision": "fp32", "bootstrap_samples": 100}
    models = [str(one) for one in (model if isinstance(model, list) else [model])]
    return GLUEOptions(model=models, data_root=str(data), **{**given, **more})


@pytest.fixture
def trained(monkeypatch):
    """The descriptions of the trainings that were begun."""
    begun = []
    real = glue.train_classifier
    monkeypatch.setattr(glue, "train_classifier", lambda *a, **n: begun.append(n["description"]) or real(*a, **n))
    return begun


def test_an_encoder_learns_easy_tasks_and_everything_is_kept(tiny_model, tmp_path, capsys):
    root, output = tmp_path / "glue", tmp_path / "out"
    names = ["CoLA", "STS-B", "MNLI"]
    written = write_own(root, tasks=names, sizes=SIZES)
    words = ["evaluate", "glue", "--model", str(tiny_model), "--data-root", str(root), "--output", str(output)]
    words += ["--epochs", "4", "--learning-rate", "5e-3", "--evaluations", "4", "--bootstrap-samples", "200"]
    words += ["--device", "cpu", "--precision", "fp32"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    metrics = json.loads((output / "metrics.json").read_text())
    main_of = metrics["main"][str(tiny_model)]
    average = "average over 3 of 9 tasks"
    assert list(main_of) == [*names, average]
    # Guessing has 0, 0 and 0.33.
    for name, chance in zip(names, (0.0, 0.0, 1 / 3), strict=True):
        low, high = main_of[name]["ci95"]
        assert chance + 0.15 < low <= main_of[name]["score"] <= high
    assert main_of[average]["score"] == pytest.approx(np.mean([main_of[name]["score"] for name in names]))
    assert average in shown
    assert metrics["verdict"] in shown
    assert "do not compare with published scores: CoLA has 60 dev rows in place of 1,043; STS-B has 60" in shown

    # Scores are those of the predictions that are kept.
    (folder,) = (output / "stages").glob("*MNLI*")
    kept = pd.read_parquet(folder / "predictions.parquet")
    parts = {part: kept.loc[kept["part"] == part, "prediction"] for part in ("matched", "mismatched")}
    found = metrics["models"][str(tiny_model)]["MNLI"]["metrics"]
    for part, said in parts.items():
        expected = sklearn_metrics.accuracy_score(written["MNLI"][part]["label"], said)
        assert found[f"accuracy, {part}"]["score"] == pytest.approx(expected)
    assert main_of["MNLI"]["score"] == pytest.approx(np.mean([one["score"] for one in found.values()]))

    table = pd.read_csv(output / "scores.csv")
    assert len(table) == (1 + 1) + (1 + 2) + (1 + 2) + 1
    assert set(table["metric"]) == {
        "score",
        "matthews",
        "pearson",
        "spearman",
        "accuracy, matched",
        "accuracy, mismatched",
    }
    page = html.unescape((output / "report.html").read_text())
    assert metrics["verdict"] in page
    assert "Matthews" in page
    assert not (output / "checkpoints").exists()


def test_what_is_done_is_not_done_again_until_something_changes(tiny_model, data, tmp_path, trained, caplog):
    caplog.set_level(logging.INFO, logger="embedtrain")

    def run(**more):
        trained.clear()
        found = evaluate_glue(options(tiny_model, data, output=str(tmp_path / "out"), **more))
        return list(trained), found.metrics

    first, before = run()
    assert first == ["CoLA", "STS-B", "MNLI"]
    again, after = run()
    assert (again, after) == ([], before)
    assert run(tasks=["mnli", "cola"])[0] == []
    assert run(bootstrap_samples=120)[0] == []
    # Another kind of file with the same rows is the same question; another row is not.
    lines = (data / "CoLA" / "dev.tsv").read_text(encoding="utf-8").splitlines()
    (data / "CoLA" / "dev.tsv").write_text("\n".join([*lines[1:], lines[0]]) + "\n", encoding="utf-8")
    assert run()[0] == ["CoLA"]
    caplog.clear()
    assert run(pooling="cls", tasks=["STS-B"])[0] == ["STS-B"]
    # People are told of models and tasks, not of folders.
    assert "glue, st, STS-B, seed42: run again, pooling changed from own to cls" in caplog.messages


def test_a_run_that_was_cut_off_goes_on_and_ends_as_if_it_had_not_been(tiny_model, data, tmp_path, monkeypatch, caplog):
    given = {"tasks": ["CoLA", "STS-B"], "epochs": 8.0, "evaluations": 8, "batch_size": 8}
    whole = evaluate_glue(options(tiny_model, data, output=str(tmp_path / "whole"), **given))
    plain, done = Engine.training_step, []

    def killed(self, *args, **named):
        done.append(self.state.global_step)
        if len(done) == 30:
            raise KeyboardInterrupt
        return plain(self, *args, **named)

    monkeypatch.setattr(Engine, "training_step", killed)
    output = tmp_path / "cut"
    with pytest.raises(KeyboardInterrupt):
        evaluate_glue(options(tiny_model, data, output=str(output), **given))
    stages = [path.name for path in (output / "stages").iterdir() if path.name[0] != "."]
    assert [name for name in stages if "CoLA" in name]
    assert not [name for name in stages if "STS" in name]
    left_off = done[-1]
    done[:] = [0] * 30  # nothing is cut off any more
    found = evaluate_glue(options(tiny_model, data, output=str(output), **given))
    again = done[30:]
    assert 0 < again[0] <= left_off
    assert found.metrics["main"] == whole.metrics["main"]
    assert not (output / "checkpoints").exists()


def test_several_models_and_seeds_are_compared_on_the_same_rows(tiny_model, other_model, data, tmp_path):
    given = options([tiny_model, other_model], data, tasks=["CoLA", "MNLI"], seeds=2, output=None)
    found = evaluate_glue(given).metrics
    names = [str(tiny_model), str(other_model)]
    assert list(found["models"]) == names
    by_task = found["models"][names[0]]
    assert all(len(one["seeds"]) == 2 for one in by_task.values())
    assert found["main"][names[0]]["CoLA"]["score"] == pytest.approx(np.mean(by_task["CoLA"]["seeds"]))
    assert [one["data"] for one in found["differences"]] == ["CoLA", "MNLI", "average over 2 of 9 tasks"]
    for one in found["differences"]:
        scores = [found["main"][name][one["data"]]["score"] for name in names]
        assert one["difference"] == pytest.approx(scores[0] - scores[1])


def test_folders_are_compared_by_the_rows_they_keep(tiny_model, other_model, data, tmp_path, capsys, monkeypatch):
    found = {}
    for name, model, more in (
        ("one", tiny_model, {}),
        ("two", other_model, {"seeds": 2}),
        ("three", tiny_model, {"tasks": ["MNLI"], "max_dev_rows": 12}),
    ):
        given = options(model, data, output=str(tmp_path / name), **more)
        found[name] = evaluate_glue(given).metrics["main"][str(model)]
    monkeypatch.setattr(glue, "make_pooled_crossencoder", None)
    capsys.readouterr()
    runs = [str(tmp_path / name) for name in found]
    assert main(["compare", *runs, "--output", str(tmp_path / "out"), "--bootstrap-samples", "200"]) == 0
    shown = capsys.readouterr().out
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    pairs = [(one["first"], one["second"], one["data"]) for one in metrics["differences"]]
    # The tiny model stands in two folders, and twelve rows of MNLI are not all of them.
    assert pairs == [(runs[0], str(other_model), task) for task in ("CoLA", "STS-B", "MNLI")]
    for one in metrics["differences"]:
        task = one["data"]
        expected = found["one"][task]["score"] - found["two"][task]["score"]
        assert one["difference"] == pytest.approx(expected)
        low, high = one["ci95"]
        assert low <= expected <= high
    assert metrics["data"]["MNLI"] == {"type": "GLUE", "items": "40 rows or 24 rows", "metric": "accuracy"}
    assert metrics["data"]["STS-B"]["metric"] == "Pearson and Spearman"
    assert "MNLI: not the same data" in shown
    assert (tmp_path / "out" / "report.html").is_file()


def test_rows_that_are_drawn_and_rows_that_choose_are_told(tiny_model, data):
    more = {"max_train_rows": 20, "max_dev_rows": 12, "choose_on": "dev", "tasks": ["CoLA"], "output": None}
    found = evaluate_glue(options(tiny_model, data, **more)).metrics
    assert found["data"]["CoLA"] == {"train rows": 20, "dev rows": 12, "label": "Matthews"}
    told = " ".join(found["warnings"])
    assert "CoLA 20 of 40 training rows, 12 of 20 dev rows." in told
    assert "chosen by the very rows that they are measured on" in told
    assert found["average"] is None


def test_rows_that_choose_the_weights_are_not_trained_on(tiny_model, data, monkeypatch):
    seen = {}
    real = glue.train_classifier
    monkeypatch.setattr(
        glue,
        "train_classifier",
        lambda m, rows, *, dev, **n: seen.update(train=rows, dev=dev) or real(m, rows, dev=dev, **n),
    )
    evaluate_glue(options(tiny_model, data, tasks=["CoLA"], output=None))
    assert len(seen["train"]) + len(seen["dev"]) == 40
    assert not set(seen["train"].index) & set(seen["dev"].index)


def test_tasks_run_from_the_hub_s_layout(tiny_model, tmp_path):
    names = ["MRPC", "QNLI"]
    write_hub(tmp_path / "glue", tasks=names)
    found = evaluate_glue(options(tiny_model, tmp_path / "glue", output=None, epochs=0.5)).metrics
    assert list(found["main"][str(tiny_model)]) == [*names, "average over 2 of 9 tasks"]
    assert list(found["models"][str(tiny_model)]["MRPC"]["metrics"]) == ["f1", "accuracy"]


def test_every_mistake_is_told_before_a_model_is_loaded(tiny_model, data, tmp_path, monkeypatch):
    monkeypatch.setattr(glue, "make_pooled_crossencoder", None)
    (tmp_path / "nothing").mkdir()
    path = data / "CoLA" / "train.tsv"
    path.write_text(path.read_text(encoding="utf-8").replace("gj04\t0\t", "gj04\t3\t", 1), encoding="utf-8")
    (data / "STS-B" / "dev.tsv").unlink()
    more = {"tasks": ["cola", "sts-b", "RTF"], "epochs": 0.0, "batch_tokens": 0, "seeds": 0}
    with pytest.raises(UserError) as raised:
        evaluate_glue(options([tiny_model, tmp_path / "nothing"], data, output=str(tmp_path / "out"), **more))
    told = "\n".join(raised.value.problems)
    for expected in (
        "--epochs is 0.0, expected above 0",
        "--batch-tokens is 0, expected at least 1",
        "--seeds is 0, expected at least 1",
        "this folder holds no model",
        "--tasks RTF: GLUE has no such task; did you mean 'RTE'?",
        "'label' must be 0 (unacceptable) or 1 (acceptable), found row 1 '3'",
        "looked for dev or validation with the ending",
    ):
        assert expected in told
    assert len(raised.value.problems) == 7
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("words", [["--taks", "CoLA"], ["--pooling", "max"], []])
def test_the_command_answers_mistakes_without_a_traceback(words, tiny_model, tmp_path, capsys):
    given = ["evaluate", "glue", "--model", str(tiny_model), "--data-root", str(tmp_path / "nowhere"), *words]
    assert main(given) == 2
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    assert words[:1] == [] or words[0].lstrip("-") in shown
