import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from embedtrain.data.folding import fold_text
from embedtrain.errors import UserError
from embedtrain.mining import sampling
from embedtrain.mining.sampling import sample_pairs

COLUMNS = ["sentence1", "sentence2", "sampled_by", "similarity"]


def vectors(count, *, dim=6, seed=0):
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def folded_pairs(frame):
    pairs = zip(frame["sentence1"], frame["sentence2"], strict=True)
    return [frozenset((fold_text(first), fold_text(second))) for first, second in pairs]


texts = st.text(alphabet="aAbＡ密码 重。ß", min_size=0, max_size=4)


@settings(max_examples=120, deadline=None)
@given(
    sentences=st.lists(texts, min_size=0, max_size=14, unique=True),
    data=st.data(),
    strategies=st.sampled_from([("semantic",), ("bm25",), ("semantic", "bm25"), ("bm25", "semantic")]),
    k=st.integers(1, 4),
)
def test_rules(sentences, data, strategies, k):
    known = data.draw(st.lists(st.tuples(texts, texts), max_size=8))
    if sentences:
        member = st.sampled_from(sentences)
        known += data.draw(st.lists(st.tuples(member.map(str.upper), member), max_size=8))
    embeddings = vectors(len(sentences), seed=len(known))
    frame = sample_pairs(sentences, embeddings, strategies=strategies, top_k=k, known_pairs=known)
    assert list(frame.columns) == COLUMNS
    found = folded_pairs(frame)
    known_folded = {frozenset((fold_text(first), fold_text(second))) for first, second in known}
    assert len(found) == len(set(found)), "a pair twice"
    assert all(len(pair) == 2 for pair in found), "a sentence with itself"
    assert not known_folded.intersection(found), "a known pair"
    assert not any("" in pair for pair in found), "a blank sentence"
    position = {sentence: i for i, sentence in enumerate(sentences)}
    order = [(position[a], position[b]) for a, b in zip(frame["sentence1"], frame["sentence2"], strict=True)]
    assert order == sorted(order)
    assert all(first < second for first, second in order)
    if "semantic" in strategies:
        semantic = frame[frame["sampled_by"] != "bm25"]
        partners = {}
        for pair in folded_pairs(semantic):
            for text in pair:
                partners.setdefault(text, set()).update(pair - {text})
        different = {fold_text(sentence) for sentence in sentences} - {""}
        for text in different:
            possible = {other for other in different - {text} if frozenset((text, other)) not in known_folded}
            assert len(partners.get(text, ())) >= min(k, len(possible)), "k does not mean k"


def test_semantic_pairs_are_the_nearest():
    embeddings = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]])
    frame = sample_pairs(["a", "b", "c", "d"], embeddings, top_k=1, known_pairs=[])
    assert frame[["sentence1", "sentence2"]].to_numpy().tolist() == [["a", "b"], ["c", "d"]]
    expected = torch.nn.functional.cosine_similarity(embeddings[0], embeddings[1], dim=0)
    np.testing.assert_allclose(frame["similarity"], expected, atol=1e-6)
    assert set(frame["sampled_by"]) == {"semantic"}


def test_known_pair_makes_room_for_the_next_nearest():
    embeddings = torch.tensor([[1.0, 0.0], [0.99, 0.01], [0.9, 0.2], [-1.0, 0.0]])
    frame = sample_pairs(["A", "b", "c", "d"], embeddings, top_k=1, known_pairs=[(" B ", "ａ")])
    assert ["A", "c"] in frame[["sentence1", "sentence2"]].to_numpy().tolist()
    assert ["A", "b"] not in frame[["sentence1", "sentence2"]].to_numpy().tolist()


def test_sentences_equal_after_folding_are_one_and_take_no_place():
    sentences = ["Reset it", "reset  IT", "ＲＥＳＥＴ it", "a refund", "an order"]
    embeddings = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
    frame = sample_pairs(sentences, embeddings, top_k=1, known_pairs=[])
    assert frame[["sentence1", "sentence2"]].to_numpy().tolist() == [["Reset it", "a refund"], ["a refund", "an order"]]


def test_bm25_in_chinese_and_both_names_joined():
    sentences = ["如何重置密码", "重置密码的方法", "订单在哪里", "我的订单呢", "refund"]
    embeddings = torch.tensor([[1.0, 0, 0], [0.9, 0.1, 0], [0, 1, 0], [0, 0, 1], [0, 0.9, 0.1]])
    frame = sample_pairs(sentences, embeddings, strategies=("bm25", "semantic"), top_k=1, known_pairs=[])
    by = {(a, b): name for a, b, name in frame[COLUMNS[:3]].itertuples(index=False)}
    assert by == {
        ("如何重置密码", "重置密码的方法"): "semantic+bm25",
        ("订单在哪里", "我的订单呢"): "bm25",
        ("订单在哪里", "refund"): "semantic",
        ("我的订单呢", "refund"): "semantic",
    }
    assert frame["similarity"].notna().all()


def test_bm25_needs_no_embeddings():
    frame = sample_pairs(["red car", "red bus", "blue sky"], None, strategies=("bm25",), top_k=2, known_pairs=[])
    assert frame[["sentence1", "sentence2"]].to_numpy().tolist() == [["red car", "red bus"]]
    assert frame["similarity"].isna().all()


def test_same_input_same_table():
    sentences = [f"sentence {i % 7} about 订单 {i}" for i in range(60)]
    options = {"strategies": ("semantic", "bm25"), "top_k": 3, "known_pairs": [(sentences[0], sentences[1])]}
    first = sample_pairs(sentences, vectors(60), **options)
    pd.testing.assert_frame_equal(first, sample_pairs(sentences, vectors(60), **options))
    # The similarity of a pair does not depend on which strategy is asked to find it.
    alone = sample_pairs(sentences, vectors(60), top_k=3, known_pairs=options["known_pairs"])
    both = first.merge(alone, on=["sentence1", "sentence2"], suffixes=("", "_alone"))
    assert len(both) == len(alone)
    assert (both["similarity"] == both["similarity_alone"]).all()


def test_nothing_in_nothing_out():
    frame = sample_pairs([], torch.empty(0, 4), strategies=("semantic", "bm25"), known_pairs=[])
    assert list(frame.columns) == COLUMNS
    assert len(frame) == 0
    one = sample_pairs(["only"], vectors(1), strategies=("semantic", "bm25"), known_pairs=[("only", "one")])
    assert len(one) == 0


def test_another_strategy_is_one_entry(monkeypatch):
    def chain(pool, request):
        last = len(pool.sentences) - 1
        return np.array([[i + 1, i] for i in range(last)] * request.partners)

    monkeypatch.setitem(sampling.STRATEGIES, "chain", chain)
    frame = sample_pairs(["a", "b", "c"], None, strategies=("chain",), top_k=2, known_pairs=[])
    assert frame[COLUMNS[:3]].to_numpy().tolist() == [["a", "b", "chain"], ["b", "c", "chain"]]


def test_user_mistakes_are_told_together():
    with pytest.raises(UserError) as error:
        sample_pairs(["a"], None, strategies=("semantc", "bm52"), top_k=0, known_pairs=[])
    assert len(error.value.problems) == 3
    assert "did you mean 'semantic'" in error.value.problems[0]
    assert "known: semantic, bm25" in error.value.problems[1]
    assert "top_k 0" in error.value.problems[2]
    with pytest.raises(UserError, match="no sampling strategy"):
        sample_pairs(["a"], None, strategies=(), known_pairs=[])


def test_embeddings_must_fit():
    with pytest.raises(ValueError, match="semantic needs embeddings"):
        sample_pairs(["a"], None, known_pairs=[])
    with pytest.raises(ValueError, match="found 2 for 1 sentences"):
        sample_pairs(["a"], vectors(2), known_pairs=[])
