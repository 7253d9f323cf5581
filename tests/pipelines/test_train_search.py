"""``embedtrain train --dev FOLDER``: a retrieval set of the user's own chooses the weights by nDCG@10."""

import dataclasses
import json
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import SAMPLES
from sentence_transformers import SentenceTransformer

from embedtrain.cli import main
from embedtrain.data.retrieval import read_retrieval_set
from embedtrain.evaluation.retrieval import evaluate_retrieval
from embedtrain.pipelines.train.options import TrainOptions
from embedtrain.pipelines.train.pipeline import train
from embedtrain.training.engine import Engine
from embedtrain.training.settings import TrainingSettings

SHORT = TrainingSettings(batch_size=16, min_steps=12, epochs=0.1, evaluations=3, patience=0, learning_rate=1e-3)
QUERIES = 24


def write_set(folder, *, splits=("dev",), extra=0):
    """Positives of triplets as documents and their anchors as queries, from the end of the table."""
    rows = pd.read_csv(SAMPLES / "en_triplets.tsv", sep="\t", quoting=3).tail(QUERIES).reset_index(drop=True)
    texts = [*rows["positive"], *rows["negative"], *(f"怎么重置设备 {number}" for number in range(extra))]
    (folder / "qrels").mkdir(parents=True)
    documents = pd.DataFrame({"_id": [f"d{n:03}" for n in range(len(texts))], "title": "", "text": texts})
    documents.to_json(folder / "corpus.jsonl", orient="records", lines=True, force_ascii=False)
    asked = pd.DataFrame({"_id": [f"q{n:03}" for n in range(QUERIES)], "text": rows["anchor"]})
    asked.to_json(folder / "queries.jsonl", orient="records", lines=True)
    judged = pd.DataFrame({"query-id": asked["_id"], "corpus-id": documents["_id"][:QUERIES], "score": 1})
    for split in splits:
        judged.to_csv(folder / "qrels" / f"{split}.tsv", sep="\t", index=False)
    return str(folder)


@pytest.fixture
def options(tiny_model, tmp_path):
    table = pd.read_csv(SAMPLES / "en_triplets.tsv", sep="\t", quoting=3)
    path = tmp_path / "pairs.parquet"
    table[["anchor", "positive"]].head(140).to_parquet(path, index=False)
    return TrainOptions(
        data=[str(path)],
        dev=write_set(tmp_path / "faq"),
        output=str(tmp_path / "run"),
        base=str(tiny_model),
        training=SHORT,
        precision="fp32",
        device="cpu",
        bootstrap_samples=200,
    )


def history_of(result):
    return json.loads((result.model.parent / "stages" / "train" / "history.json").read_text())


def test_the_weights_of_the_best_search_are_kept_and_score_as_evaluate_says(options, tiny_model):
    # Long enough that the best is not the untrained model, whatever dropout draws.
    longer = dataclasses.replace(SHORT, min_steps=40, learning_rate=3e-3)
    result = train(dataclasses.replace(options, training=longer))
    found = read_retrieval_set(options.dev, split="dev")
    for name, model in (("zero_shot", str(tiny_model)), ("trained", str(result.model))):
        loaded = SentenceTransformer(model, device="cpu")
        expected = evaluate_retrieval(loaded, found.corpus, found.queries, found.qrels).summary(samples=200, seed=42)
        scores = result.metrics["models"][name]["dev"]
        assert scores["queries"] == QUERIES
        for metric in ("ndcg_at_10", "map_at_100", "mrr_at_10"):
            assert scores[metric] == pytest.approx(expected[metric], abs=1e-6)
        assert scores["ci95"] == pytest.approx(expected["ci95"], abs=1e-6)
    assert result.metrics["metrics"]["dev"] == {"name": "ndcg_at_10", "label": "nDCG@10"}
    evaluations = history_of(result)["evaluations"]
    assert evaluations[0]["step"] == 0
    best = max(entry["ndcg_at_10"] for entry in evaluations)
    assert result.metrics["models"]["trained"]["dev"]["ndcg_at_10"] == pytest.approx(best)
    assert best > evaluations[0]["ndcg_at_10"]
    page = result.report.read_text(encoding="utf-8")
    assert "nDCG@10" in page
    assert f"{QUERIES} queries" in page
    assert set(result.to_frame()["metric"]) == {"ndcg_at_10", "map_at_100", "mrr_at_10"}


def test_what_is_done_is_kept_until_the_set_changes_and_a_killed_run_goes_on(options, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    whole = train(dataclasses.replace(options, output=options.output + "2"))
    plain, steps = Engine.training_step, []

    def killed(self, *args, **named):
        steps.append(self.state.global_step)
        if len(steps) == 9:
            raise KeyboardInterrupt
        return plain(self, *args, **named)

    monkeypatch.setattr(Engine, "training_step", killed)
    with pytest.raises(KeyboardInterrupt):
        train(options)
    found = train(options)
    assert steps[9] > 0
    assert found.metrics["models"] == whole.metrics["models"]
    caplog.clear()
    train(options)
    assert not [line for line in caplog.messages if ": done in" in line]
    path = Path(options.dev) / "queries.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    asked = json.loads(lines[0])
    lines[0] = json.dumps({**asked, "text": asked["text"] + " now"})
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    caplog.clear()
    train(options)
    run = [line.split(":")[0] for line in caplog.messages if ": done in" in line]
    assert run == ["read", "zero_shot", "train", "predict", "judge"]


def test_pairs_that_answer_dev_queries_are_not_trained_on(options, tmp_path):
    table = pd.read_csv(SAMPLES / "en_triplets.tsv", sep="\t", quoting=3)[["anchor", "positive"]]
    path = tmp_path / "leaking.parquet"
    pd.concat([table.head(100), table.tail(QUERIES)]).to_parquet(path, index=False)
    result = train(dataclasses.replace(options, data=[str(path)]))
    kept = pd.read_parquet(result.model.parent / "stages" / "read" / "data_0.parquet")
    assert not set(kept["anchor"]) & set(table["anchor"].tail(QUERIES))
    audit = json.loads((result.model.parent / "stages" / "read" / "audit.json").read_text())
    (finding,) = [one for one in audit["findings"] if one["kind"] == "pair_in_dev"]
    assert finding["dropped"] >= QUERIES


def test_a_large_corpus_is_cut_and_that_is_said_with_what_it_costs(options, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    large = write_set(tmp_path / "large", splits=("test",), extra=400)
    result = train(dataclasses.replace(options, dev=large, dev_documents=100))
    read = result.model.parent / "stages" / "read"
    corpus = pd.read_parquet(read / "dev_corpus.parquet")
    assert len(corpus) == 100
    assert {f"d{n:03}" for n in range(QUERIES)} <= set(corpus["id"])
    told = "\n".join(caplog.messages)
    assert "24 queries over 100 documents, judgements of the split test" in told
    assert "encodes these 124 texts, 3 evaluations 372" in told
    assert "100 of its 448 documents are searched, the 24 relevant ones among them" in told
    assert "--dev-documents 448 takes all, which makes each dev evaluation 4 times as long" in told
    assert "test is its only split" in told


@pytest.fixture
def run(tmp_path, tiny_model, capsys, monkeypatch):
    def must_not_load(*args, **kwargs):
        raise AssertionError("a model was loaded before the mistakes were shown")

    monkeypatch.setattr("embedtrain.pipelines.train.pipeline.load_biencoder", must_not_load)
    monkeypatch.setattr("embedtrain.pipelines.train.fitting.load_biencoder", must_not_load)

    def call(folder, *words):
        data = ["--data", str(SAMPLES / "en_triplets.tsv"), "--dev", str(folder)]
        code = main(["train", *data, "--base", str(tiny_model), "--output", str(tmp_path / "run"), *words])
        said = capsys.readouterr().err
        assert "Traceback" not in said
        assert code == 2
        return said

    return call


def spoilt(folder, name, text):
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_every_mistake_in_the_set_is_told_before_a_model_is_loaded(run, tmp_path):
    good = tmp_path / "good"
    write_set(good, splits=("train", "trial"))
    assert "judgements of train, trial, none of them called dev; say with --dev-split" in run(good)
    assert "--dev-split trail: " in run(good, "--dev-split", "trail")
    assert "did you mean 'trial'?" in run(good, "--dev-split", "trail")
    (good / "qrels" / "train.tsv").unlink()
    unknown = "query-id\tcorpus-id\tscore\nq000\td000\t1\nq001\td9\t1\nq77\td001\t1\n"
    said = run(spoilt(good, "qrels/trial.tsv", unknown), "--seeds", "0", "--dev-documents", "0")
    assert "1 queries are judged but not there: q77" in said
    assert "1 documents are judged but not there: d9" in said
    assert "--seeds is 0" in said
    assert "--dev-documents is 0, expected at least 1" in said
    few = "query-id\tcorpus-id\tscore\nq000\td000\t1\nq001\td001\t1\n"
    assert "2 judged queries, expected at least 10" in run(spoilt(good, "qrels/trial.tsv", few))
    (good / "queries.jsonl").unlink()
    assert "there is no queries{.jsonl" in run(good)
    (good / "qrels" / "trial.tsv").unlink()
    assert "there is no qrels/dev{.jsonl" in run(good)


def test_options_of_a_search_have_no_effect_on_pairs(options, tmp_path, caplog):
    dev = tmp_path / "dev.parquet"
    pd.read_parquet(options.data[0]).tail(20).to_parquet(dev, index=False)
    train(dataclasses.replace(options, dev=str(dev), dev_split="dev", dev_documents=5))
    told = "\n".join(caplog.messages)
    assert "--dev-split has no effect" in told
    assert "--dev-documents has no effect" in told


def test_the_best_of_several_seeds_is_found_by_search(options):
    result = train(dataclasses.replace(options, seeds=2))
    assert len(result.metrics["seeds"]) == 2
    assert all(np.isfinite(note["ndcg_at_10"]) for note in result.metrics["seeds"])
