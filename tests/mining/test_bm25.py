import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from embedtrain.mining.bm25 import BM25Index, bm25_top_k, tokenize


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("How do I reset it?", ["how", "do", "i", "reset", "it"]),
        ("如何重置密码？", ["如何", "何重", "重置", "置密", "密码"]),
        ("我", ["我"]),
        ("我 的app打不开", ["我", "的", "app", "打不", "不开"]),
        ("iPhone15无法登录", ["iphone15", "无法", "法登", "登录"]),
        ("ＷｉＦｉ　断线", ["wifi", "断线"]),
        ("Straße CAFÉ naïve", ["strasse", "café", "naïve"]),
        ("パスワードを変更", ["パス", "スワ", "ワー", "ード", "ドを", "を変", "変更"]),
        ("पासवर्ड रीसेट", ["पासवर्ड", "रीसेट"]),
        ("人々。々", ["人々", "々"]),
        ("...!? 。，", []),
        ("", []),
    ],
)
def test_terms(text, terms):
    assert tokenize(text) == terms


def naive_bm25(sentences, *, exclude=()):
    """Robertson's sum over query terms with Lucene's idf, k1 = 1.5, b = 0.75, in loops and float64."""
    documents = [tokenize(sentence) for sentence in sentences]
    counts = [Counter(document) for document in documents]
    mean = sum(map(len, documents)) / len(documents)
    table = []
    for row, query in enumerate(documents):
        found = []
        for column, count in enumerate(counts):
            if column == row or (row, column) in exclude:
                continue
            total = 0.0
            for term in query:
                frequency = sum(term in other for other in counts)
                idf = math.log(1 + (len(documents) - frequency + 0.5) / (frequency + 0.5))
                length = 1 - 0.75 + 0.75 * len(documents[column]) / mean
                total += idf * count[term] / (count[term] + 1.5 * length)
            if total > 0:
                found.append((total, column))
        table.append(sorted(found, key=lambda item: (-item[0], item[1])))
    return table


SENTENCES = [
    "how do i reset my password",
    "reset the password of my account",
    "如何重置我的密码",
    "怎么重置密码",
    "where is my order",
    "my order has not arrived where is it",
    "订单什么时候到",
    "我的订单在哪里",
    "password",
    "???",
]


def test_equals_loops():
    exclude = {(0, 1), (3, 2), (4, 5)}
    indices, scores = bm25_top_k(SENTENCES, k=3, exclude=torch.tensor(sorted(exclude)))
    for row, expected in enumerate(naive_bm25(SENTENCES, exclude=exclude)):
        wanted = expected[:3]
        assert indices[row].tolist() == [column for _, column in wanted] + [-1] * (3 - len(wanted))
        np.testing.assert_allclose(scores[row, : len(wanted)], [score for score, _ in wanted], rtol=1e-4)
        assert (scores[row, len(wanted) :] == -torch.inf).all()


def test_chinese_finds_chinese():
    indices, _ = bm25_top_k(SENTENCES, k=1)
    assert indices[2, 0] == 3
    assert indices[3, 0] == 2
    assert indices[7, 0] in (2, 6)


def test_equal_scores_rank_by_index_and_itself_takes_no_place():
    indices, scores = bm25_top_k(["same words here"] * 6 + ["other text"], k=3)
    assert indices[:6].tolist() == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2], [0, 1, 2], [0, 1, 2]]
    assert indices[6].tolist() == [-1, -1, -1]
    assert scores[0, 0] == scores[0, 2] > 0


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_k_counts_after_exclusion(data):
    # Every sentence shares the word "all" with every other one, so that all are candidates.
    words = st.lists(st.sampled_from(["红色", "蓝", "red", "blue", "green"]), min_size=0, max_size=4)
    sentences = ["all " + " ".join(part) for part in data.draw(st.lists(words, min_size=2, max_size=12))]
    number = st.integers(0, len(sentences) - 1)
    exclude = set(data.draw(st.lists(st.tuples(number, number), max_size=15)))
    k = data.draw(st.integers(1, 5))
    pairs = torch.tensor(sorted(exclude), dtype=torch.int64).reshape(-1, 2)
    indices, scores = bm25_top_k(sentences, k=k, exclude=pairs)
    for row in range(len(sentences)):
        allowed = [c for c in range(len(sentences)) if c != row and (row, c) not in exclude]
        found = [c for c in indices[row].tolist() if c >= 0]
        assert len(found) == len(set(found)) == min(k, len(allowed))
        assert set(found) <= set(allowed)
        assert scores[row, : len(found)].tolist() == sorted(scores[row, : len(found)].tolist(), reverse=True)


@pytest.mark.parametrize("sentences", [[], ["!"], ["...", "。"]])
def test_nothing_to_find(sentences):
    indices, scores = bm25_top_k(sentences, k=2)
    assert indices.tolist() == [[-1, -1]] * len(sentences)
    assert scores.shape == (len(sentences), 2)


def sentences_like_a_language(count, *, seed):
    """Words drawn by Zipf's law, so that a few of them stand in most sentences; some sentences come twice."""
    rng = np.random.default_rng(seed)
    share = 1 / np.arange(1, 301)
    words = rng.choice(300, size=(count, 14), p=share / share.sum())
    lengths = rng.integers(0, 15, size=count)
    made = [" ".join(f"w{word}" for word in row[:length]) for row, length in zip(words, lengths, strict=True)]
    return made[: count - 20] + made[:20]


def test_gives_the_bits_of_adding_up_every_list():
    import bm25s

    sentences = sentences_like_a_language(400, seed=1)
    vocabulary = {}
    documents = [[vocabulary.setdefault(term, len(vocabulary)) for term in tokenize(text)] for text in sentences]
    index = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
    index.index((documents, vocabulary), show_progress=False)
    exclude = np.random.default_rng(2).integers(400, size=(2000, 2))
    indices, scores = bm25_top_k(sentences, k=5, exclude=torch.from_numpy(exclude))
    for row, document in enumerate(documents):
        if not document:
            assert indices[row].tolist() == [-1] * 5
            continue
        full = index.get_scores_from_ids(document)
        full[exclude[exclude[:, 0] == row, 1]] = 0.0
        full[row] = 0.0
        best = [column for column in np.lexsort((np.arange(400), -full))[:5] if full[column] > 0]
        assert indices[row, : len(best)].tolist() == best
        np.testing.assert_array_equal(scores[row, : len(best)].numpy(), full[best])


def test_part_of_the_sentences_gives_part_of_the_result():
    sentences = sentences_like_a_language(60, seed=3)
    exclude = torch.tensor([[10, 11], [11, 10], [40, 2]])
    indices, scores = bm25_top_k(sentences, k=4, exclude=exclude)
    part = BM25Index(sentences).top_k(range(10, 45), k=4, exclude=exclude)
    assert torch.equal(part[0], indices[10:45])
    assert torch.equal(part[1], scores[10:45])
