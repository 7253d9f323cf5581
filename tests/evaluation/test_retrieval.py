"""Retrieval: metrics against trec_eval and their definitions written out, and the search of a model's documents."""

import json
import math
import re

import numpy as np
import pandas as pd
import pytest
import pytrec_eval
import torch

from embedtrain.errors import UserError
from embedtrain.evaluation.ranking import Judgements, score_rankings
from embedtrain.evaluation.retrieval import evaluate_retrieval


def qrels_of(judged):
    rows = [(query, document, grade) for query, found in judged.items() for document, grade in found.items()]
    return pd.DataFrame(rows, columns=["query-id", "corpus-id", "score"])


def random_ranking(seed, *, queries=25, documents=300, depth=150, judged=12):
    random = np.random.default_rng(seed)
    corpus = [f"d{number}" for number in range(documents)]
    judgements = {
        f"q{query}": {
            corpus[row]: int(grade)
            for row, grade in zip(
                random.choice(documents, judged, replace=False), random.integers(-1, 4, judged), strict=True
            )
        }
        for query in range(queries)
    }
    judgements["q0"] = dict.fromkeys(judgements["q0"], 0)
    ranked = np.stack([random.permutation(documents)[:depth] for _ in range(queries)])
    return corpus, judgements, ranked


def trec_eval(corpus, judged, ranked):
    run = {
        query: {corpus[document]: float(-rank) for rank, document in enumerate(row) if document >= 0}
        for query, row in zip(judged, ranked, strict=True)
    }
    wanted = {"ndcg_cut.10", "map_cut.100", "recall.1,3,5,10,100"}
    found = pytrec_eval.RelevanceEvaluator(judged, wanted).evaluate(run)
    first_ten = {query: dict(sorted(one.items(), key=lambda item: -item[1])[:10]) for query, one in run.items()}
    reciprocal = pytrec_eval.RelevanceEvaluator(judged, {"recip_rank"}).evaluate(first_ten)
    return {
        "ndcg_at_10": [found[query]["ndcg_cut_10"] for query in judged],
        "map_at_100": [found[query]["map_cut_100"] for query in judged],
        "mrr_at_10": [reciprocal[query]["recip_rank"] for query in judged],
        **{f"recall_at_{k}": [found[query][f"recall_{k}"] for query in judged] for k in (1, 3, 5, 10, 100)},
    }


@pytest.mark.parametrize("depth", [150, 20])
def test_every_metric_of_every_query_is_trec_eval_s(depth):
    corpus, judged, ranked = random_ranking(0, depth=depth)
    ranked[3, 7:] = -1
    judgements = Judgements(qrels_of(judged), queries=list(judged), corpus_ids=corpus)
    scores = score_rankings(ranked, judgements)
    expected = trec_eval(corpus, judged, ranked)
    assert scores.query_ids == tuple(judged)
    assert list(scores.per_query) == list(expected)
    for metric, values in expected.items():
        np.testing.assert_allclose(scores.per_query[metric], values, rtol=0, atol=1e-12, err_msg=metric)
    assert np.mean(expected["ndcg_at_10"]) > 0.01
    assert judgements.unanswered == 1


def test_metrics_are_what_their_definitions_say():
    judged = {"q": {"a": 2, "b": 1, "c": 1, "z": 0}}
    judgements = Judgements(qrels_of(judged), queries=["q"], corpus_ids=["a", "b", "c", "x", "z"])
    # z, b, x, a; c is never found.
    found = score_rankings(np.array([[4, 1, 3, 0]]), judgements, recall_depths=[1, 2, 4]).per_query
    gain = 1 / math.log2(3) + 2 / math.log2(5)
    ideal = 2 / math.log2(2) + 1 / math.log2(3) + 1 / math.log2(4)
    assert found["ndcg_at_10"] == pytest.approx([gain / ideal])
    assert found["map_at_100"] == pytest.approx([(1 / 2 + 2 / 4) / 3])
    assert found["mrr_at_10"] == [1 / 2]
    assert [found[f"recall_at_{k}"][0] for k in (1, 2, 4)] == pytest.approx([0, 1 / 3, 2 / 3])


def test_rankings_are_cut_off_where_their_names_say():
    documents = [f"d{number}" for number in range(120)]
    for rank, expected in {9: (1 / math.log2(11), 1 / 10, 1 / 10), 10: (0, 1 / 11, 0), 100: (0, 0, 0)}.items():
        judgements = Judgements(qrels_of({"q": {documents[rank]: 1}}), queries=["q"], corpus_ids=documents)
        found = score_rankings(np.arange(120)[None], judgements).per_query
        assert [found[m][0] for m in ("ndcg_at_10", "map_at_100", "mrr_at_10")] == pytest.approx(expected)


def test_the_ideal_order_is_cut_off_at_ten_as_well():
    documents = [f"d{number}" for number in range(30)]
    judgements = Judgements(qrels_of({"q": dict.fromkeys(documents, 1)}), queries=["q"], corpus_ids=documents)
    found = score_rankings(np.arange(30)[None], judgements).per_query
    assert found["ndcg_at_10"] == pytest.approx([1])
    assert found["recall_at_3"] == pytest.approx([0.1])


def test_summaries_hold_means_with_intervals_and_differences_are_paired():
    corpus, judged, ranked = random_ranking(1)
    judgements = Judgements(qrels_of(judged), queries=list(judged), corpus_ids=corpus)
    first = score_rankings(ranked, judgements)
    second = score_rankings(np.roll(ranked, 5, axis=1), judgements)
    summary = first.summary(samples=200, seed=1)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert summary == first.summary(samples=200, seed=1)
    assert summary["queries"] == 25
    generator = np.random.default_rng(1)
    draws = [generator.integers(0, 25, size=25) for _ in range(200)]
    for metric, values in first.per_query.items():
        means = [values[drawn].mean() for drawn in draws]
        assert summary[metric] == pytest.approx(values.mean())
        name = "ci95" if metric == "ndcg_at_10" else f"{metric}_ci95"
        assert summary[name] == pytest.approx(np.quantile(means, [0.025, 0.975]).tolist())
    interval = first.difference(second, metric="map_at_100", samples=200, seed=1)
    a, b = first.per_query["map_at_100"], second.per_query["map_at_100"]
    means = [a[drawn].mean() - b[drawn].mean() for drawn in draws]
    assert interval.value == pytest.approx(a.mean() - b.mean())
    assert [interval.low, interval.high] == pytest.approx(np.quantile(means, [0.025, 0.975]))
    assert first.difference(first).high == 0


def test_only_rankings_of_the_same_queries_are_compared():
    corpus, judged, ranked = random_ranking(2)
    whole = score_rankings(ranked, Judgements(qrels_of(judged), queries=list(judged), corpus_ids=corpus))
    some = {query: judged[query] for query in list(judged)[:20]}
    part = score_rankings(ranked[:20], Judgements(qrels_of(some), queries=list(some), corpus_ids=corpus))
    with pytest.raises(ValueError, match="same queries in one order; 5 are in one of them only"):
        whole.difference(part)
    with pytest.raises(ValueError, match="found 'ndgc_at_10'; did you mean 'ndcg_at_10'"):
        whole.difference(whole, metric="ndgc_at_10")
    with pytest.raises(ValueError, match=r"\(25 queries, depth\), found \(20, 150\)"):
        score_rankings(ranked[:20], Judgements(qrels_of(judged), queries=list(judged), corpus_ids=corpus))


CORPUS = {"d1": "0", "d2": "10", "d3": "50", "d4": "90", "d5": "50"}
QUERIES = {"q1": "4", "q2": "80", "other": "45"}
QRELS = qrels_of({"q2": {"d3": 1, "d4": 1}, "q1": {"d2": 1, "d1": 0}})


class Angles:
    """A model whose texts are angles in degrees; it turns queries by some degrees."""

    def __init__(self, turn=0):
        self.turn = turn
        self.asked = {}

    def vectors(self, name, texts, turn):
        self.asked[name] = list(texts)
        angles = torch.deg2rad(torch.tensor([float(text) + turn for text in texts]))
        return torch.stack([angles.cos(), angles.sin()], dim=1)

    def encode_query(self, texts, **options):
        return self.vectors("queries", texts, self.turn)

    def encode_document(self, texts, **options):
        return self.vectors("documents", texts, 0)


def test_documents_are_ranked_by_their_cosines_with_the_judged_queries():
    model = Angles()
    scores = evaluate_retrieval(model, CORPUS, QUERIES, QRELS, recall_depths=(1, 2, 3))
    assert scores.query_ids == ("q1", "q2")
    # q1 finds d1, d2; q2 finds d4, then d5 and d3 at equal cosines, the later id first.
    assert scores.per_query["mrr_at_10"].tolist() == [1 / 2, 1]
    assert scores.per_query["map_at_100"] == pytest.approx([1 / 2, (1 + 2 / 3) / 2])
    assert scores.per_query["recall_at_2"].tolist() == [1, 1 / 2]
    assert model.asked["queries"] == ["4", "80"]
    assert sorted(model.asked["documents"]) == ["0", "10", "50", "90"]


def test_queries_are_encoded_as_queries():
    turned = evaluate_retrieval(Angles(turn=10), CORPUS, QUERIES, QRELS)
    assert turned.per_query["mrr_at_10"].tolist() == [1, 1]


def test_the_order_of_the_corpus_decides_nothing():
    reordered = dict(sorted(CORPUS.items(), key=lambda item: item[0], reverse=True))
    first = evaluate_retrieval(Angles(), CORPUS, QUERIES, QRELS)
    second = evaluate_retrieval(Angles(), reordered, QUERIES, QRELS.iloc[::-1])
    for metric, values in first.per_query.items():
        np.testing.assert_array_equal(values, second.per_query[metric])


def test_a_query_that_stands_in_the_corpus_is_not_its_own_answer():
    corpus, qrels = {**CORPUS, "q1": "4"}, qrels_of({"q1": {"d2": 1}, "q2": {"d4": 1}})
    found = evaluate_retrieval(Angles(), corpus, QUERIES, qrels).per_query["mrr_at_10"]
    assert found.tolist() == [1 / 3, 1]
    found = evaluate_retrieval(Angles(), corpus, QUERIES, qrels, skip_own_id=True).per_query["mrr_at_10"]
    assert found.tolist() == [1 / 2, 1]


def test_a_real_model_finds_its_own_words(tiny_model, caplog):
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(tiny_model), device="cpu")
    texts = ["reset my password", "cancel the order", "重置密码", "where is the refund?"]
    corpus = {f"d{number}": text for number, text in enumerate(texts)}
    queries = {f"q{number}": text for number, text in enumerate(texts)}
    judged = {f"q{number}": {f"d{number}": 1} for number in range(3)} | {"q3": {"d0": 0}}
    scores = evaluate_retrieval(model, corpus, queries, qrels_of(judged), batch_size=2)
    assert scores.per_query["ndcg_at_10"].tolist() == [1, 1, 1, 0]
    assert "1 of 4 judged queries have no relevant document" in caplog.text


@pytest.mark.parametrize(
    ("judged", "messages"),
    [
        ({"q1": {"d9": 1, "d8": 1}}, ["2 documents are judged but not there: d9, d8"]),
        ({"q9": {"d1": 1}, "q1": {"d7": 1}}, ["1 queries are judged but not there: q9", "1 documents .* d7"]),
        ({"q1": {"d1": 0}}, ["no document is relevant to any query"]),
    ],
)
def test_judgements_that_say_nothing_are_refused_before_anything_is_encoded(judged, messages):
    with pytest.raises(UserError) as refused:
        evaluate_retrieval(None, CORPUS, QUERIES, qrels_of(judged))
    assert len(refused.value.problems) == len(messages)
    for problem, message in zip(refused.value.problems, messages, strict=True):
        assert re.search(message, problem)


def test_contradicting_judgements_are_refused_and_repeated_ones_count_once():
    twice = pd.concat([QRELS, QRELS], ignore_index=True)
    first, second = (evaluate_retrieval(Angles(), CORPUS, QUERIES, qrels) for qrels in (QRELS, twice))
    assert first.summary(samples=10) == second.summary(samples=10)
    with pytest.raises(UserError, match="1 pairs of query and document have two different scores: q1 and d2"):
        evaluate_retrieval(None, CORPUS, QUERIES, pd.concat([QRELS, qrels_of({"q1": {"d2": 2}})]))


def test_an_empty_corpus_and_depths_of_nothing_are_refused():
    with pytest.raises(UserError, match="there are no documents"):
        evaluate_retrieval(None, {}, QUERIES, QRELS)
    with pytest.raises(ValueError, match="at least 1, found 0"):
        evaluate_retrieval(None, CORPUS, QUERIES, QRELS, recall_depths=(0, 5))
