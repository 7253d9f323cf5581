"""``embedtrain evaluate retrieval`` from a folder to tables, with tiny models."""

import json

import numpy as np
import pandas as pd
import pytest
from conftest import SAMPLES
from label_models import save_cross_encoder

from embedtrain.cli import main
from embedtrain.data.retrieval import read_retrieval_set
from embedtrain.evaluation.retrieval import evaluate_retrieval as score_model
from embedtrain.pipelines.evaluate.options import RetrievalOptions
from embedtrain.pipelines.evaluate.retrieval import evaluate_retrieval

QUERIES = 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Positives of triplets as documents, their anchors as queries."""
    rows = pd.read_csv(SAMPLES / "en_triplets.tsv", sep="\t", quoting=3).head(QUERIES)
    root = tmp_path_factory.mktemp("beir")
    corpus = [*rows["positive"], *rows["negative"]]
    frame = pd.DataFrame({"_id": [f"d{n:03}" for n in range(len(corpus))], "title": "", "text": corpus})
    frame.to_json(root / "corpus.jsonl", orient="records", lines=True)
    asked = pd.DataFrame({"_id": [f"q{n:03}" for n in range(QUERIES)], "text": rows["anchor"]})
    asked.to_json(root / "queries.jsonl", orient="records", lines=True)
    (root / "qrels").mkdir()
    judged = pd.DataFrame({"query-id": asked["_id"], "corpus-id": frame["_id"][:QUERIES], "score": 1})
    judged.to_csv(root / "qrels" / "test.tsv", sep="\t", index=False)
    return root


@pytest.fixture(scope="module")
def reranker(tiny_model, tmp_path_factory):
    return save_cross_encoder(tiny_model.parent / "hf", tmp_path_factory.mktemp("reranker") / "one")


def options(model, folder, **more):
    return RetrievalOptions(model=[str(model)], data=str(folder), bootstrap_samples=200, device="cpu", **more)


def test_embeddings_words_both_and_the_cross_encoder_are_measured(tiny_model, folder, reranker):
    from sentence_transformers import SentenceTransformer

    name = str(tiny_model)
    found = evaluate_retrieval(options(tiny_model, folder, reranker=reranker, candidates=10)).metrics
    searches = ["BM25", name, f"{name} + BM25"]
    assert list(found["models"]) == [one for search in searches for one in (search, f"{search}, reranked")]
    assert [(one["first"], one["second"]) for one in found["differences"]] == [
        ("BM25, reranked", "BM25"),
        (name, "BM25"),
        (f"{name}, reranked", name),
        (f"{name} + BM25", name),
        (f"{name} + BM25", "BM25"),
        (f"{name} + BM25, reranked", f"{name} + BM25"),
    ]
    told = read_retrieval_set(folder)
    alone = score_model(SentenceTransformer(name, device="cpu"), told.corpus, told.queries, told.qrels)
    assert found["models"][name][str(folder)] == alone.summary(samples=200, seed=42)
    assert found["data"][str(folder)] == {"split": "test", "documents": 60, "queries": QUERIES, "without_answer": 0}
    # Anchors share words with their positives, and a random encoder of letters knows little.
    scores = {search: by_set[str(folder)]["ndcg_at_10"] for search, by_set in found["models"].items()}
    assert scores["BM25"] > scores[name] > 0
    assert scores["BM25"] != scores["BM25, reranked"]
    gain = found["differences"][1]
    assert gain["difference"] == pytest.approx(scores[name] - scores["BM25"])


def test_the_command_keeps_rankings_and_the_metrics_of_each_query(tiny_model, folder, tmp_path, capsys, monkeypatch):
    output = tmp_path / "out"
    words = ["evaluate", "retrieval", "--model", str(tiny_model), "--data", str(folder), "--output", str(output)]
    words += ["--recall", "1", "5", "--bootstrap-samples", "200", "--device", "cpu"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "60 documents, 30 queries" in shown
    assert "recall@5" in shown
    metrics = json.loads((output / "metrics.json").read_text())
    best = max(metrics["models"], key=lambda search: metrics["models"][search][str(folder)]["ndcg_at_10"])
    assert metrics["verdict"].startswith(best.replace(str(tiny_model), "st") if best != str(tiny_model) else "st")
    by_query = pd.read_parquet(output / "queries.parquet")
    means = by_query.groupby("search")["ndcg_at_10"].mean()
    for search, by_set in metrics["models"].items():
        assert means[search] == pytest.approx(by_set[str(folder)]["ndcg_at_10"])
    table = pd.read_csv(output / "scores.csv")
    assert set(table["metric"]) == {"ndcg_at_10", "map_at_100", "mrr_at_10", "recall_at_1", "recall_at_5"}
    kept = [pd.read_parquet(path) for path in sorted(output.glob("stages/*/ranking.parquet"))]
    assert len(kept) == 2
    assert all(frame["query-id"].nunique() > 0 and frame["corpus-id"].str.startswith("d").all() for frame in kept)

    def must_not_load(*args, **kwargs):
        raise AssertionError("nothing has changed")

    monkeypatch.setattr("embedtrain.pipelines.evaluate.workspace.load_biencoder", must_not_load)
    assert main(words) == 0
    assert capsys.readouterr().out == shown


def test_only_the_searches_that_are_asked_for_are_made(tiny_model, folder):
    name = str(tiny_model)
    found = evaluate_retrieval(options(tiny_model, folder, searches=["bm25"], candidates=50, fusion_offset=1)).metrics
    assert list(found["models"]) == ["BM25"]
    assert found["differences"] == []
    assert found["warnings"] == [
        "--candidates has no effect without the search fused or --reranker.",
        "--fusion-offset has no effect without the search fused.",
    ]
    found = evaluate_retrieval(options(tiny_model, folder, searches=["fused", "dense"])).metrics
    assert list(found["models"]) == [name, f"{name} + BM25"]
    assert [(one["first"], one["second"]) for one in found["differences"]] == [(f"{name} + BM25", name)]


def test_fusion_of_a_perfect_search_with_itself_stays_perfect(folder, tiny_model, monkeypatch):
    """Where both searches agree, fusing changes nothing."""
    from embedtrain.pipelines.evaluate import searching

    perfect = np.tile(np.arange(60)[::-1], (QUERIES, 1))
    for row in range(QUERIES):
        # The corpus is held with its last id first.
        right = 59 - row
        perfect[row] = [right, *(place for place in range(60) if place != right)]
    padded = np.concatenate([perfect, np.full((QUERIES, 40), -1)], axis=1)
    monkeypatch.setattr(searching, "bm25_search", lambda task, *, depth: padded)
    monkeypatch.setattr(searching.RetrievalTask, "search", lambda self, model, **_: padded)
    found = evaluate_retrieval(options(tiny_model, folder)).metrics
    for by_set in found["models"].values():
        assert by_set[str(folder)]["ndcg_at_10"] == 1
        assert by_set[str(folder)]["recall_at_100"] == 1
    assert "None of the comparisons can tell that from chance." in found["verdict"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--split", "dev"], "there is no qrels/dev"),
        (["--searches", "sparse"], "sparse"),
        (["--searches", "bm25", "bm25"], "--searches bm25 is given twice"),
        (["--candidates", "0"], "--candidates is 0, expected at least 1"),
        (["--fusion-offset", "-1"], "--fusion-offset is -1, expected at least 0"),
        (["--recall", "0"], "--recall 0, expected at least 1"),
        (["--reranker", "no/such"], "no/such"),
    ],
)
def test_wrong_options(tiny_model, folder, words, expected, capsys):
    assert main(["evaluate", "retrieval", "--model", str(tiny_model), "--data", str(folder), *words]) == 2
    assert expected in capsys.readouterr().err


def test_wrong_rerankers_and_judgements_are_told_together(tiny_model, folder, tmp_path, capsys):
    two = save_cross_encoder(tiny_model.parent / "hf", tmp_path / "two", outputs=2)
    given = ["evaluate", "retrieval", "--model", str(tiny_model)]
    assert main([*given, "--data", str(folder), "--reranker", two]) == 2
    assert f"--reranker {two}: a classifier with 2 outputs" in capsys.readouterr().err
    broken = tmp_path / "broken"
    broken.mkdir()
    for name in ("corpus.jsonl", "queries.jsonl"):
        (broken / name).write_text((folder / name).read_text())
    (broken / "qrels_test.tsv").write_text("query-id\tcorpus-id\tscore\nq000\tx9\t1\n")
    assert main([*given, "--data", str(broken), "--reranker", str(tiny_model)]) == 2
    told = capsys.readouterr().err
    assert "1 documents are judged but not there: x9" in told
    assert f"--reranker {tiny_model}: a bi-encoder, expected a cross-encoder" in told
