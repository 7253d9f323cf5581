"""``--train-data``: every evaluation says what of its data stands in tables that models were trained on."""

import json

import pandas as pd
import pytest
import tiny_mirror as tiny
from conftest import build_tiny_model

from embedtrain.cli import main


@pytest.fixture
def run(tmp_path, tiny_model, capsys):
    """Runs an evaluation; its metrics and everything it says."""

    def call(*words, command=("evaluate",), models=(tiny_model,)):
        named = [str(model) for model in models]
        given = [word for name in named for word in ("--model", name)] if command != ("compare",) else named
        kind, *rest = map(str, words)
        start = [*command, kind, *given] if command != ("compare",) else [*command, *given, kind]
        code = main([*start, *rest, "--device", "cpu", "--output", str(tmp_path / "out"), "--bootstrap-samples", "100"])
        said = capsys.readouterr()
        assert code == 0, said.err
        metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
        assert all(warning in said.out for warning in metrics["warnings"])
        return metrics

    return call


@pytest.fixture
def scored(tmp_path):
    return tiny.sts(tmp_path, split="scored", rows=20)


@pytest.fixture
def train(tmp_path):
    """Two pairs of the scored ones, one of them the other way round, and a text of a third in another pair."""
    first, second = tiny.pairs(20)
    columns = {"anchor": [first[0], second[1], first[9]], "positive": [second[0], first[1].upper(), "something else"]}
    return tiny.write(tmp_path / "train.parquet", columns)


def counts(leak):
    return leak["pairs"], leak["all_pairs"], leak["texts"], leak["all_texts"]


def expected(trained, measured, pairs):
    """By plain loops over folded texts: shared pairs, pairs, shared texts, texts."""
    seen = {text.lower() for text in trained}
    texts = {text.lower() for pair in measured for text in pair}
    return pairs, len({frozenset(pair) for pair in measured}), len(texts & seen), len(texts)


def test_sts(run, scored, train):
    metrics = run("sts", "--data", scored, "--train-data", train)
    (leak,) = metrics["leakage"]
    first, second = tiny.pairs(20)
    trained = [first[0], second[0], first[1], second[1], first[9], "something else"]
    assert counts(leak) == expected(trained, list(zip(first, second, strict=True)), leak["pairs"])
    assert leak["pairs"] >= 2
    assert leak["examples"][0] == f"{first[0]!r} / {second[0]!r}"
    (warning,) = metrics["warnings"]
    assert f"{train} holds {leak['pairs']} of the" in warning


def test_pairs(run, scored, train, tmp_path):
    table = pd.read_parquet(scored).rename(columns={"score": "label"}).assign(label=[0, 1] * 10)
    path = tmp_path / "labelled.jsonl"
    table.to_json(path, orient="records", lines=True)
    metrics = run("pairs", "--data", path, "--train-data", train)
    assert metrics["leakage"][0]["pairs"] >= 2


def test_nothing_shared(run, scored, tmp_path):
    path = tmp_path / "sentences.txt"
    path.write_text("密码重置\nother words\n", encoding="utf-8")
    metrics = run("sts", "--data", scored, "--train-data", path)
    assert (metrics["leakage"], metrics["warnings"]) == ([], [])


def test_retrieval(run, tmp_path):
    """A judged query with its document, another with one that does not answer it."""
    tiny.retrieval(tmp_path / "faq")
    columns = {"anchor": [tiny.sentence(1), tiny.sentence(4)], "positive": [tiny.sentence(7), "else"]}
    columns["negative"] = [tiny.sentence(2), "nothing"]
    train = tiny.write(tmp_path / "train.jsonl", columns)
    metrics = run("retrieval", "--data", tmp_path / "faq", "--searches", "dense", "--train-data", train)
    (leak,) = metrics["leakage"]
    # Queries stand in the corpus there: with titles they are other texts.
    assert (leak["pairs"], leak["all_pairs"]) == (0, 2)
    assert leak["texts"] == 2


def test_mteb(run, train, tmp_path):
    mirror = tmp_path / "mirror"
    tiny.sts(mirror / "STSBenchmark", rows=20)
    tiny.retrieval(mirror / "SciFact")
    tiny.summaries(mirror / "SummEvalSummarization.v2")
    tiny.sts(mirror / "STSBenchmarkMultilingualSTS" / "zh", offset=50)
    metrics = run(
        "mteb", "--data-root", mirror, "--train-data", train, "--train-data", mirror / "STSBenchmark" / "test.parquet"
    )
    found = {(leak["trained_on"], leak["measured_on"]): leak for leak in metrics["leakage"]}
    assert found[str(train), "STSBenchmark"]["pairs"] >= 2
    whole = found[str(mirror / "STSBenchmark" / "test.parquet"), "STSBenchmark"]
    assert whole["pairs"] == whole["all_pairs"]
    assert whole["texts"] == whole["all_texts"]
    assert any("what is measured there is memory" in warning for warning in metrics["warnings"])
    assert {"SciFact", "SummEvalSummarization.v2"} <= {name for _, name in found}


def test_compare(run, scored, train, tmp_path, tiny_model):
    other = build_tiny_model(tmp_path / "other", layers=1)
    metrics = run("--data", scored, "--train-data", train, command=("compare",), models=(tiny_model, other))
    assert metrics["leakage"][0]["pairs"] >= 2


def test_training_data_that_cannot_be_read(tiny_model, scored, tmp_path, capsys):
    wrong = tiny.write(tmp_path / "wrong.csv", {"question": ["a"], "answer": ["b"]})
    words = ["--data", str(scored), "--train-data", str(wrong), "none.tsv", "--device", "cpu"]
    assert main(["evaluate", "sts", "--model", str(tiny_model), *words]) == 2
    said = capsys.readouterr().err
    assert f"--train-data ({wrong})" in said
    assert "--train-data (none.tsv): no such file" in said
