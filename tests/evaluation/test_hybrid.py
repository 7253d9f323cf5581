"""Searching by words, fusing and reranking, against plain loops."""

import math
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from embedtrain.evaluation.hybrid import Reranker, bm25_search, fuse
from embedtrain.evaluation.retrieval import RetrievalTask

CORPUS = {
    "d1": "the radiator leaks",
    "d2": "the radiator is cold and the room is cold",
    "d3": "reset the password",
    "d4": "how to reset a cold radiator",
    "d5": "重置密码",
    "d6": "the radiator leaks",
}
QUERIES = {
    "q1": "radiator leaks",
    "q2": "cold cold room",
    "q3": "重置",
    "q4": "unheard words",
    "d3": "reset the password",
}


def task_of(corpus=None, queries=QUERIES, **options):
    corpus = CORPUS if corpus is None else corpus
    qrels = pd.DataFrame({"query-id": list(queries), "corpus-id": [next(iter(corpus))] * len(queries), "score": 1})
    return RetrievalTask.of(corpus, queries, qrels, **options)


def naive_bm25(task, query, *, k1=1.5, b=0.75):
    documents = [[*text] if not text.isascii() else text.split() for text in task.documents]
    documents = [["".join(pair) for pair in pairwise(d)] if d[0] > "z" else d for d in documents]
    terms = [query] if not query.isascii() else query.split()
    average = sum(map(len, documents)) / len(documents)
    scores = []
    for document in documents:
        score = 0.0
        for term in terms:
            holding = sum(term in other for other in documents)
            if not holding:
                continue
            idf = math.log(1 + (len(documents) - holding + 0.5) / (holding + 0.5))
            count = document.count(term)
            score += idf * count / (count + k1 * (1 - b + b * len(document) / average))
        scores.append(score)
    order = sorted(range(len(scores)), key=lambda row: (-scores[row], row))
    return [row for row in order if scores[row] > 0]


def test_words_are_searched_as_bm25_says():
    task = task_of()
    ranked = bm25_search(task, depth=4)
    assert ranked.shape == (5, 4)
    for row, query in enumerate(task.queries):
        expected = naive_bm25(task, query)[:4]
        assert ranked[row].tolist() == expected + [-1] * (4 - len(expected)), query
    # d6 and d1 hold the same text; the later id comes first.
    assert [task.corpus_ids[row] for row in ranked[0][:2]] == ["d6", "d1"]
    assert [task.corpus_ids[row] for row in ranked[2] if row >= 0] == ["d5"]
    assert (ranked[3] == -1).all()


def test_a_query_does_not_find_itself_where_that_is_asked_for():
    task = task_of(skip_own_id=True)
    found = bm25_search(task, depth=6)[4]
    assert task.corpus_ids.index("d3") not in found
    assert task.corpus_ids.index("d3") == bm25_search(task_of(), depth=6)[4][0]


def test_documents_without_any_word_are_not_found():
    assert bm25_search(task_of({"a": "...", "b": "?"}, {"q": "word"}), depth=2).tolist() == [[-1, -1]]


@pytest.mark.parametrize("offset", [0, 60])
def test_fusion_adds_reciprocal_ranks(offset):
    generator = np.random.default_rng(0)
    first = np.stack([generator.permutation(30)[:8] for _ in range(6)])
    second = np.stack([generator.permutation(30)[:5] for _ in range(6)])
    first[2, 3:] = -1
    second[4] = -1
    fused = fuse([first, second], offset=offset)
    assert fused.shape == (6, 13)
    for row in range(6):
        scores = {}
        for ranked in (first[row], second[row]):
            for rank, document in enumerate(ranked, start=1):
                if document >= 0:
                    scores[int(document)] = scores.get(int(document), 0) + 1 / (offset + rank)
        expected = sorted(scores, key=lambda document: (-round(scores[document], 12), document))
        assert fused[row].tolist() == expected + [-1] * (13 - len(expected))


def test_fusion_needs_the_same_queries():
    with pytest.raises(ValueError, match=r"same queries, found \[2, 3\]"):
        fuse([np.zeros((2, 4), dtype=np.int64), np.zeros((3, 4), dtype=np.int64)])


class Length:
    """A cross-encoder that likes long documents."""

    def __init__(self):
        self.asked = []

    def predict(self, pairs, **options):
        self.asked += pairs
        assert options["activation_fn"](5.0) == 5.0
        return np.array([len(document) for _, document in pairs], dtype=np.float32)


def test_the_best_documents_get_the_order_of_the_cross_encoder_and_the_others_stay_behind():
    task = task_of()
    ranked = np.array([[0, 1, 2, 3, 4], [5, 4, 3, -1, -1], [-1] * 5, [0, 5, -1, -1, -1], [2, 1, 0, 3, 4]])
    model = Length()
    reranker = Reranker(model, task)
    found = reranker.rerank(ranked, depth=3)
    lengths = [len(text) for text in task.documents]
    for row, before in enumerate(ranked):
        head = [document for document in before[:3] if document >= 0]
        expected = sorted(head, key=lambda document: -lengths[document])
        assert found[row].tolist() == [*expected, *[-1] * (3 - len(head)), *before[3:]]
    assert len(model.asked) == 3 + 3 + 0 + 2 + 3
    assert (task.queries[0], task.documents[0]) in model.asked
    # What was scored already is not scored again.
    assert reranker.rerank(ranked, depth=3).tolist() == found.tolist()
    assert len(model.asked) == 11
    reranker.rerank(ranked, depth=4)
    assert len(model.asked) == 11 + 2
    nothing = np.full((5, 2), -1)
    assert reranker.rerank(nothing, depth=2).tolist() == nothing.tolist()
