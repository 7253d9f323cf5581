"""Evaluation data in training data: what counts as the same, and what is counted."""

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from embedtrain.data.folding import fold_text
from embedtrain.evaluation.leakage import Texts, find_leaks


def leak_of(train, measured):
    (leak,) = find_leaks({"train": train}, {"test": measured})
    return leak


def test_pairs_in_either_order_and_texts_folded():
    train = Texts(pairs=[("B  b", "ａ"), ("x", "y")])
    leak = leak_of(train, Texts(pairs=[("A", "b B"), ("密码", "x"), ("b b", "a")]))
    assert (leak.pairs, leak.all_pairs) == (1, 2)  # twice the same pair is one
    assert (leak.texts, leak.all_texts) == (3, 4)
    assert list(leak.examples) == ["'A' / 'b B'"]


def test_texts_without_pairs():
    leak = leak_of(Texts(["怎么重置密码"]), Texts(["怎么重置密码", "other"]))
    assert (leak.texts, leak.all_texts, leak.pairs, leak.all_pairs) == (1, 2, 0, 0)
    assert (
        str(leak)
        == "train holds 1 of the 2 texts of test: a model trained on it has seen them. Such as '怎么重置密码'."
    )


def test_all_of_it_is_memory():
    pairs = [("a", "b"), ("c", "d")]
    assert "what is measured there is memory" in str(leak_of(Texts(pairs=pairs), Texts(pairs=pairs[::-1])))


def test_nothing_shared_says_nothing():
    assert find_leaks({"train": Texts(["a", ""])}, {"test": Texts(["b", ""]), "other": Texts()}) == []


def test_tables_of_each_kind():
    scored = pd.DataFrame({"sentence1": ["a"], "sentence2": ["b"], "score": [1.0]})
    triplets = pd.DataFrame({"anchor": ["a"], "positive": ["b"], "negative_1": ["c"], "negative_2": ["d"]})
    assert Texts.of_table(scored) == Texts([], [("a", "b")])
    assert Texts.of_table(triplets) == Texts(["c", "d"], [("a", "b")])
    assert Texts.of_table(pd.DataFrame({"text": ["a", "b"], "label": ["x", "y"]})) == Texts(["a", "b"], [])


texts = st.sampled_from(["a", "A", " a", "b", "c", "", "密", "ｃ"])
tables = st.builds(Texts, st.lists(texts, max_size=5), st.lists(st.tuples(texts, texts), max_size=5))


@given(tables, tables)
def test_counts_are_those_of_plain_loops(train, measured):
    def words(given):
        return {fold_text(text) for text in given.each()} - {""}

    def pairs(given):
        found = {frozenset(map(fold_text, pair)) for pair in given.pairs}
        return {pair for pair in found if "" not in pair}

    found = find_leaks({"train": train}, {"test": measured})
    shared = words(train) & words(measured)
    assert bool(found) == bool(shared)
    for leak in found:
        assert leak.texts == len(shared)
        assert leak.all_texts == len(words(measured))
        assert leak.pairs == len(pairs(train) & pairs(measured))
        assert leak.all_pairs == len(pairs(measured))
