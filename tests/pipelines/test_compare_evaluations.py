"""``embedtrain compare`` on folders of evaluations: task by task, from what they keep."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import tiny_mirror as tiny
from conftest import build_tiny_model

from embedtrain.cli import main
from embedtrain.evaluation.comparing import holm
from embedtrain.evaluation.items import Items
from embedtrain.evaluation.kept_items import ONLY_PART, KeptScore, PartItems, keep_scores
from embedtrain.files import write_json


@pytest.fixture(scope="module")
def evaluated(tiny_model, tmp_path_factory):
    """Two models on MTEB's tasks, one of which only the first was measured on and one of other data."""
    root = tmp_path_factory.mktemp("mteb")
    other = build_tiny_model(root / "other", layers=1)
    for name, more in (("a", True), ("b", False)):
        mirror = root / f"mirror-{name}"
        tiny.sts(mirror / "STSBenchmark", rows=40, ending=".parquet" if more else ".csv")
        tiny.retrieval(mirror / "SciFact")
        tiny.classification(mirror / "Banking77Classification")
        tiny.sts(mirror / "STS12", offset=2 if more else 3)
        if more:
            tiny.bitext(mirror / "BornholmBitextMining")
        model = tiny_model if more else other
        words = ["evaluate", "mteb", "--model", str(model), "--data-root", str(mirror), "--output", str(root / name)]
        assert main([*words, "--device", "cpu", "--bootstrap-samples", "200"]) == 0
    return root


@pytest.fixture
def compare(capsys):
    def call(*words):
        code = main(["compare", *map(str, words)])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return code, said.out + said.err

    return call


def metrics_of(folder):
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


def test_tasks_that_both_share_are_compared_and_the_rest_is_told(evaluated, compare, tmp_path, monkeypatch):
    def must_not_load(*_, **__):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("embedtrain.pipelines.evaluate.workspace.load_biencoder", must_not_load)
    code, said = compare(evaluated / "a", evaluated / "b", "--output", tmp_path / "out", "--bootstrap-samples", 200)
    assert code == 0
    metrics = metrics_of(tmp_path / "out")
    first, second = metrics["main"]
    shared = ["Banking77Classification", "STSBenchmark", "SciFact"]
    assert metrics["overall"]["tasks"] == shared
    assert [one["data"] for one in metrics["differences"]] == shared
    assert "BornholmBitextMining: only" in said
    assert "STS12: not the same data" in said
    for task in shared:
        scores = [metrics["main"][model][task]["score"] for model in (first, second)]
        one = next(one for one in metrics["differences"] if one["data"] == task)
        assert one["difference"] == pytest.approx(scores[0] - scores[1], abs=1e-4)
        assert one["ci95"][0] <= one["ci95"][1]
    p_values = [one["p_value"] for one in metrics["differences"]]
    assert [one["p_adjusted"] for one in metrics["differences"]] == pytest.approx(holm(p_values))
    mean = metrics["overall"]["models"][first]
    assert mean["score"] == pytest.approx(np.mean([metrics["main"][first][task]["score"] for task in shared]))
    assert metrics["types"]["STS"]["tasks"] == ["STSBenchmark"]
    assert "mean of 3 shared" in said
    scores = pd.read_csv(tmp_path / "out" / "scores.csv")
    assert len(scores) == 4 + 5
    assert scores["low"].notna().all()
    assert len(pd.read_csv(tmp_path / "out" / "differences.csv")) == 3
    assert "Types of task" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_the_same_command_gives_the_same_numbers(evaluated, compare, tmp_path):
    for name in ("one", "two"):
        compare(evaluated / "a", evaluated / "b", "--output", tmp_path / name, "--bootstrap-samples", 200)
    assert (tmp_path / "one" / "metrics.json").read_bytes() == (tmp_path / "two" / "metrics.json").read_bytes()


def test_intervals_of_mteb_are_those_of_the_comparison(evaluated, compare, tmp_path):
    compare(evaluated / "a", evaluated / "b", "--output", tmp_path / "out", "--bootstrap-samples", 200)
    own, compared = metrics_of(evaluated / "a"), metrics_of(tmp_path / "out")
    (model,) = own["main"]
    assert own["main"][model] == compared["main"][model]
    rows = pd.read_csv(evaluated / "a" / "scores.csv").set_index("task")
    low, high = own["main"][model]["STSBenchmark"]["ci95"]
    assert rows.loc["STSBenchmark", "low"] == pytest.approx(low)
    assert rows.loc["STSBenchmark", "high"] == pytest.approx(high)


def test_one_folder_of_several_models(tiny_model, tmp_path, compare, capsys):
    other = build_tiny_model(tmp_path / "other", layers=1)
    first, second = tiny.pairs(20)
    scored = tiny.write(
        tmp_path / "s.csv", {"sentence1": first, "sentence2": second, "score": [n % 5 for n in range(20)]}
    )
    words = ["evaluate", "sts", "--model", str(tiny_model), str(other), "--data", str(scored), "--device", "cpu"]
    assert main([*words, "--output", str(tmp_path / "run"), "--bootstrap-samples", "200"]) == 0
    capsys.readouterr()
    code, _ = compare(tmp_path / "run", "--output", tmp_path / "out", "--bootstrap-samples", 200)
    assert code == 0
    (found,), (expected,) = (metrics_of(tmp_path / name)["differences"] for name in ("out", "run"))
    assert found == expected


@pytest.mark.parametrize("kind", ["sts", "pairs", "retrieval"])
def test_two_runs_of_each_kind(kind, tiny_model, tmp_path, compare, capsys):
    """The same data by two names, a copy: the same items, and the very same model has no difference."""
    twin = tmp_path / "twin" / "st"
    shutil.copytree(tiny_model, twin)
    first, second = tiny.pairs(20)
    for name, model in (("one", tiny_model), ("two", twin)):
        if kind == "retrieval":
            data = tmp_path / f"data-{name}"
            tiny.retrieval(data)
        else:
            number = {"sts": "score", "pairs": "label"}[kind]
            columns = {"sentence1": first, "sentence2": second, number: [n % 2 for n in range(20)]}
            data = tiny.write(tmp_path / f"data-{name}.csv", columns)
        words = ["evaluate", kind, "--model", str(model), "--data", str(data), "--device", "cpu"]
        words += ["--searches", "dense"] if kind == "retrieval" else []
        assert main([*words, "--output", str(tmp_path / name), "--bootstrap-samples", "200"]) == 0
    capsys.readouterr()
    code, _ = compare(tmp_path / "one", tmp_path / "two", "--output", tmp_path / "out", "--bootstrap-samples", 200)
    assert code == 0
    (difference,) = metrics_of(tmp_path / "out")["differences"]
    assert difference["difference"] == 0
    assert difference["p_adjusted"] == 1


def kept(folder, model, *tasks, seed=0, content="c", type_="STS", over=30):
    """A folder as an evaluation leaves it, of made-up scores."""
    rng = np.random.default_rng(seed)
    made = []
    for task in tasks:
        items = Items("mean", "queries", {"value": rng.random(over)})
        made.append(KeptScore(model, task, type_, "ndcg", {ONLY_PART: PartItems(items.score, content + task, items)}))
    write_json(folder / "manifest.json", {})
    keep_scores(folder, made)
    return folder


def test_a_model_in_two_folders_is_called_by_the_folder(tmp_path, compare):
    one, two = kept(tmp_path / "fp32", "m", "t", seed=1), kept(tmp_path / "bf16", "m", "t", seed=2)
    compare(one, two, "--output", tmp_path / "out")
    assert list(metrics_of(tmp_path / "out")["main"]) == [str(one), str(two)]


def test_three_models_share_what_all_of_them_have(tmp_path, compare):
    folders = [
        kept(tmp_path / "a", "a", "x", "y", seed=1),
        kept(tmp_path / "b", "b", "x", "y", seed=2),
        kept(tmp_path / "c", "c", "x", "z", seed=3),
    ]
    code, said = compare(*folders, "--output", tmp_path / "out")
    assert code == 0
    metrics = metrics_of(tmp_path / "out")
    assert metrics["overall"]["tasks"] == ["x"]
    assert "mean of" not in said
    pairs = [(one["first"], one["second"], one["data"]) for one in metrics["differences"]]
    assert pairs == [("a", "b", "x"), ("a", "b", "y"), ("a", "c", "x"), ("b", "c", "x")]


def test_nothing_in_common_is_said(tmp_path, compare):
    code, said = compare(kept(tmp_path / "a", "a", "x"), kept(tmp_path / "b", "b", "x", content="other"))
    assert code == 0
    assert "have no task in common" in said
    assert "x: not the same data" in said


def test_too_few_resamples_for_so_many_tasks(tmp_path, compare):
    tasks = [f"t{number}" for number in range(9)]
    folders = [kept(tmp_path / name, name, *tasks, seed=seed) for seed, name in enumerate("ab")]
    _, said = compare(*folders, "--bootstrap-samples", 100)
    assert "--bootstrap-samples 360 or more" in said


def test_mistakes(tmp_path, compare, tiny_model):
    one = kept(tmp_path / "a", "a", "x")
    old = tmp_path / "old"
    write_json(old / "manifest.json", {})
    write_json(old / "metrics.json", {"task": "sts"})
    for words, expected in (
        ([one], "a is the only model"),
        ([one, tiny_model], f"{tiny_model}: no folder of an evaluation"),
        ([one, old], "items.json: no such file; evaluate into"),
        ([one, tmp_path / "none"], "none: no folder of an evaluation"),
        ([one, one], "given twice"),
        ([one, old, "--data", "x.tsv"], "expected no tables"),
        ([one, "--output", one], "this is the input of --model"),
    ):
        code, said = compare(*words)
        assert code == 2
        assert expected in said
