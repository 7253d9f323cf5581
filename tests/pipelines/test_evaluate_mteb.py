"""``embedtrain evaluate mteb`` and ``embedtrain mteb export`` as a person uses them."""

import json
import shutil

import mteb
import pandas as pd
import pytest
import tiny_mirror as tiny

from embedtrain.cli import main


@pytest.fixture
def mirror(tmp_path):
    root = tmp_path / "mirror"
    tiny.sts(root / "STSBenchmark")
    tiny.retrieval(root / "SciFact")
    tiny.sts(root / "STSBenchmarkMultilingualSTS" / "zh")
    return root


@pytest.fixture
def run(tmp_path, tiny_model, capsys):
    """Runs the command; the exit code and everything it says."""

    def call(*words, model=None):
        given = ["evaluate", "mteb", "--model", str(model or tiny_model), "--output", str(tmp_path / "run")]
        code = main([*given, "--device", "cpu", *map(str, words)])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return code, said.out + said.err

    return call


def metrics_of(tmp_path):
    return json.loads((tmp_path / "run" / "metrics.json").read_text())


def test_every_task_of_a_mirror(run, mirror, tmp_path):
    code, said = run("--data-root", mirror)
    assert code == 0
    metrics = metrics_of(tmp_path)
    assert [task["task"] for task in metrics["tasks"]] == ["STSBenchmark", "STSBenchmarkMultilingualSTS", "SciFact"]
    assert "SciFact: differs: test: samples 12, official 5,483" in said
    assert "STSBenchmarkMultilingualSTS: 1 of 20 splits and subsets: zh test" in said
    assert "mean of 3 tasks, not all of them on official data" in said
    scores = pd.read_csv(tmp_path / "run" / "scores.csv")
    assert list(scores["task"]) == ["STSBenchmark", "STSBenchmarkMultilingualSTS", "SciFact"]
    assert scores["data"].str.startswith("differs").all()
    loaded = mteb.ResultCache(tmp_path / "run").load_results(include_remote=False)
    assert len(loaded.model_results[0].task_results) == 3


def test_a_second_run_does_only_what_changed(run, mirror, tmp_path, monkeypatch):
    run("--data-root", mirror)
    before = (tmp_path / "run" / "scores.csv").read_text()
    code, said = run("--data-root", mirror)
    assert code == 0
    assert "3 of 3 tasks are done already" in said
    assert (tmp_path / "run" / "scores.csv").read_text() == before
    tiny.sts(mirror / "STSBenchmark", offset=2)
    code, said = run("--data-root", mirror)
    assert code == 0
    assert "2 of 3 tasks are done already" in said
    assert "STSBenchmark: run again, data changed" in said


def test_a_benchmark_states_its_coverage(run, mirror):
    code, said = run("--data-root", mirror, "--tasks", "MTEB(eng, v2)", "SciFact")
    assert code == 0
    assert "MTEB(eng, v2): 1 of 41 tasks in this mirror" in said
    assert "which is no score of MTEB(eng, v2)" in said


def test_published_scores_beside_ones_own(run, mirror, tmp_path, tiny_model):
    from embedtrain.evaluation.mteb.encoder import model_name
    from embedtrain.models import resolve_model

    reference = tiny.write(
        tmp_path / "scores.csv",
        {
            "model": [model_name(resolve_model(str(tiny_model)))],
            "task": ["STSBenchmark"],
            "split": ["test"],
            "subset": ["default"],
            "main_score": [0.4321],
        },
    )
    code, said = run("--data-root", mirror, "--reference", reference)
    assert code == 0
    line = next(line for line in said.splitlines() if line.startswith("STSBenchmark "))
    assert line.endswith("43.21")


@pytest.mark.parametrize(
    ("kind", "columns"),
    [
        ("sts", {"sentence1": tiny.pairs()[0], "sentence2": tiny.pairs()[1], "score": list(range(12))}),
        ("pair-classification", {"sentence1": tiny.pairs()[0], "sentence2": tiny.pairs()[1], "label": [0, 1] * 6}),
        ("classification", {"text": [tiny.sentence(n) for n in range(90)], "label": ["yes", "no", "maybe"] * 30}),
        ("clustering", {"text": [tiny.sentence(n) for n in range(30)], "label": ["yes", "no", "maybe"] * 10}),
        ("bitext-mining", {"sentence1": tiny.pairs()[0], "sentence2": tiny.pairs()[1]}),
    ],
)
def test_own_tables_as_tasks(run, tmp_path, kind, columns):
    path = tiny.write(tmp_path / "my data.tsv", columns)
    code, said = run("--custom", path, "--type", kind)
    assert code == 0
    (task,) = metrics_of(tmp_path)["tasks"]
    assert task["task"] == "my_data"
    assert task["data"] == "own data"
    assert "own data" in said


def test_own_classes_that_are_too_few_to_fold(run, tmp_path):
    path = tiny.write(tmp_path / "x.tsv", {"text": ["a", "b", "c"] * 5, "label": ["yes"] * 12 + ["no"] * 3})
    code, said = run("--custom", path, "--type", "classification")
    assert code == 2
    assert "too few of 'no' (3)" in said


def test_own_classes_with_a_training_file(run, tmp_path):
    texts = [tiny.sentence(n) for n in range(30)]
    for split in ("train", "test"):
        tiny.write(tmp_path / "faq" / f"{split}.csv", {"text": texts, "label": ["yes", "no"] * 15})
    assert run("--custom", tmp_path / "faq", "--type", "classification")[0] == 0
    assert metrics_of(tmp_path)["tasks"][0]["scores"].popitem()[1] > 0.5  # it has seen them


@pytest.mark.parametrize("kind", ["retrieval", "reranking", "summarization", "multilabel-classification", "regression"])
def test_own_folders_as_tasks(run, tmp_path, kind):
    if kind == "summarization":
        tiny.summaries(tmp_path / "faq")
    elif kind == "multilabel-classification":
        tiny.multilabel(tmp_path / "faq")
    elif kind == "regression":
        for split in ("train", "test"):
            columns = {"text": [tiny.sentence(n) for n in range(20)], "label": [n % 7 / 2 for n in range(20)]}
            tiny.write(tmp_path / "faq" / f"{split}.csv", columns)
    else:
        tiny.retrieval(tmp_path / "faq", ranked=kind == "reranking")
    code, said = run("--custom", tmp_path / "faq", "--type", kind)
    assert code == 0, said
    assert metrics_of(tmp_path)["tasks"][0]["task"] == "faq"


@pytest.mark.parametrize(("kind", "expected"), [("regression", "train and test"), ("reranking", "top_ranked")])
def test_types_that_take_a_folder(run, tmp_path, kind, expected):
    path = tiny.write(tmp_path / "x.csv", {"text": ["a"], "label": [1]})
    code, said = run("--custom", path, "--type", kind)
    assert (code, f"{kind} takes a folder with" in said, expected in said) == (2, True, True)


def test_published_scores_that_belong_to_nothing_are_told(run, mirror, tmp_path, tiny_model):
    columns = {"task": ["STSBenchmark"], "split": ["test"], "subset": ["default"], "main_score": [0.5]}
    reference = tiny.write(tmp_path / "scores.csv", {"model": ["someone/else"], **columns})
    code, said = run("--data-root", mirror, "--tasks", "STSBenchmark", "--reference", reference)
    assert code == 0
    assert "none of its 1 rows is of the models" in said
    assert "someone/else; measured were local/" in said
    reference = tiny.write(tmp_path / "scores.csv", {"model": [tiny_model.parent.name], **columns})
    code, said = run("--data-root", mirror, "--tasks", "STSBenchmark", "--reference", reference)
    assert "50.00" in said
    assert "none of its" not in said


def test_mistakes_are_shown_together_before_a_model_is_loaded(run, mirror, tmp_path, tiny_model, monkeypatch):
    def must_not_load(*_, **__):
        raise AssertionError("a model was loaded before the mistakes were shown")

    monkeypatch.setattr("embedtrain.pipelines.evaluate.mteb.load_biencoder", must_not_load)
    tiny.write(mirror / "STSBenchmark" / "test.parquet", {"sentence1": ["a"], "sentence2": ["b"], "score": ["x"]})
    twin = tmp_path / "other" / tiny_model.parent.name / tiny_model.name
    shutil.copytree(tiny_model, twin)
    (tmp_path / "empty").mkdir()
    words = ["--data-root", mirror, "--batch-size", "0", "--model", twin, "--model", tmp_path / "empty"]
    code, said = run(*words, "--custom", tmp_path / "nothing.tsv", "--type", "sts", "--reference", tmp_path / "no.csv")
    assert code == 2
    for expected in (
        "--batch-size is 0",
        "'score' must be a number, found row 1 'x'",
        "another model of the same name",
        "this folder holds no model",
        "nothing.tsv: no such file or folder",
        "no.csv): no such file",
    ):
        assert expected in said


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "give --data-root with a mirror, or --custom"),
        (["--custom", "x.tsv"], "--custom and --type belong together"),
        (["--tasks", "SciFact"], "--tasks needs --data-root"),
        (["--data-root", "nowhere"], "nowhere: no such folder"),
        (["--custom", "x.tsv", "--type", "stss"], "sts"),
    ],
)
def test_options_that_cannot_be(run, words, expected):
    code, said = run(*words)
    assert code == 2
    assert expected in said


def test_export(tmp_path, capsys, monkeypatch):
    """The command with a task whose loading is made up: written once, kept afterwards."""
    from datasets import Dataset, DatasetDict

    from embedtrain.pipelines.evaluate import mteb_export

    task = mteb.get_task("STSBenchmark")
    broken = mteb.get_task("STS12")
    loaded = []

    def load_data(*_, **__):
        loaded.append("STSBenchmark")
        first, second = tiny.pairs(4)
        table = Dataset.from_dict({"sentence1": first, "sentence2": second, "score": [0.0, 1.0, 2.0, 3.0]})
        task.dataset, task.data_loaded = DatasetDict({"test": table}), True

    def fail(*_, **__):
        raise ConnectionError("no network")

    monkeypatch.setattr(task, "load_data", load_data, raising=False)
    monkeypatch.setattr(broken, "load_data", fail, raising=False)
    tasks = {"STSBenchmark": task, "STS12": broken}
    monkeypatch.setattr(mteb_export, "named_tasks", lambda names: ({name: tasks[name] for name in names}, {}))
    given = ["mteb", "export", "--to", str(tmp_path / "mirror"), "--tasks"]
    assert main([*given, "STSBenchmark", "STS12"]) == 0
    said = capsys.readouterr()
    assert "1 written" in said.out
    assert "STS12: its data cannot be loaded: ConnectionError: no network" in said.out + said.err
    assert main([*given, "STSBenchmark"]) == 0
    assert loaded == ["STSBenchmark"]
    assert "1 there already" in capsys.readouterr().out
    assert main([*given, "STS12"]) == 2


def test_export_of_unknown_names(tmp_path, capsys):
    assert main(["mteb", "export", "--tasks", "STSBenchmerk", "--to", str(tmp_path / "m")]) == 2
    assert "did you mean 'STSBenchmark'" in capsys.readouterr().err
    assert main(["mteb", "exprt", "--to", "x"]) == 2


def test_a_score_that_is_no_number_is_told_with_its_task(run, tmp_path):
    columns = {"sentence1": ["same"] * 12, "sentence2": ["same"] * 12, "score": list(range(12))}
    code, said = run("--custom", tiny.write(tmp_path / "own.tsv", columns), "--type", "sts")
    assert code == 2
    assert "task own, default test: mteb gives no number as cosine_spearman" in said


def test_every_score_has_its_interval_and_the_same_seed_gives_the_same(run, mirror, tmp_path):
    run("--data-root", mirror)
    scores = pd.read_csv(tmp_path / "run" / "scores.csv")
    assert (scores["low"] <= scores["main_score"] + 1e-5).all()
    assert (scores["main_score"] <= scores["high"] + 1e-5).all()
    before = metrics_of(tmp_path)
    run("--data-root", mirror)
    assert metrics_of(tmp_path)["main"] == before["main"]
    run("--data-root", mirror, "--seed", "7")
    assert metrics_of(tmp_path)["main"] != before["main"]
    assert "STSBenchmark" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
