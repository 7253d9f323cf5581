"""Every strategy beside a naive twin on small data, and the shares of several."""

import logging
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_bm25 import naive_bm25

from embedtrain.data.folding import fold_text
from embedtrain.errors import Problems, UserError
from embedtrain.mining.kde import keep_probabilities
from embedtrain.mining.sampling import sample_pairs
from embedtrain.mining.shares import check_strategies, pairs_for_shares, read_strategies
from embedtrain.mining.strategies import STRATEGIES

WORDS = ["red", "blue", "car", "bus", "密码", "重置", "sky", "the"]


def vectors(count, *, dim=5, seed=0):
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def make_sentences(count, *, seed=0):
    """Different sentences of one to five words."""
    rng = np.random.default_rng(seed)
    return [f"{i} " + " ".join(rng.choice(WORDS, size=rng.integers(1, 6))) for i in range(count)]


def pairs_of(frame):
    return {frozenset(pair) for pair in zip(frame["sentence1"], frame["sentence2"], strict=True)}


def every_pair(sentences, known):
    """All pairs of two sentences but the known ones."""
    left_out = {frozenset(map(fold_text, pair)) for pair in known}
    return {frozenset(pair) for pair in combinations(sentences, 2) if frozenset(map(fold_text, pair)) not in left_out}


def naive_semantic(sentences, embeddings, known, k):
    units = embeddings.double().numpy()
    units = units / np.linalg.norm(units, axis=1, keepdims=True)
    allowed, found = every_pair(sentences, known), set()
    for row, text in enumerate(sentences):
        near = [
            (-units[row] @ units[at], at) for at, other in enumerate(sentences) if frozenset((text, other)) in allowed
        ]
        found |= {frozenset((text, sentences[at])) for _, at in sorted(near)[:k]}
    return found


def pool_and_known(data):
    size = data.draw(st.integers(2, 14))
    sentences = make_sentences(size, seed=data.draw(st.integers(0, 1000)))
    number = st.integers(0, size - 1)
    known = [
        (sentences[a].upper(), sentences[b]) for a, b in data.draw(st.lists(st.tuples(number, number), max_size=12))
    ]
    return sentences, known


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_semantic_and_bm25_equal_loops(data):
    sentences, known = pool_and_known(data)
    k = data.draw(st.integers(1, 4))
    embeddings = vectors(len(sentences), seed=len(known))
    semantic = sample_pairs(sentences, embeddings, strategies=["semantic"], top_k=k, known_pairs=known)
    assert pairs_of(semantic) == naive_semantic(sentences, embeddings, known, k)
    bm25 = sample_pairs(sentences, None, strategies=["bm25"], top_k=k, known_pairs=known)
    places = {fold_text(text): at for at, text in enumerate(sentences)}
    exclude = {(places[fold_text(a)], places[fold_text(b)]) for a, b in known}
    exclude |= {(b, a) for a, b in exclude}
    expected = set()
    for row, found in enumerate(naive_bm25(sentences, exclude=exclude)):
        expected |= {frozenset((sentences[row], sentences[column])) for _, column in found[:k]}
    assert pairs_of(bm25) == expected
    both = sample_pairs(sentences, embeddings, strategies=["bm25+semantic"], top_k=k, known_pairs=known)
    assert pairs_of(both) == pairs_of(semantic) | expected


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_random_takes_any_new_pair_and_no_other(data):
    sentences, known = pool_and_known(data)
    limit = data.draw(st.integers(1, 100))
    allowed = every_pair(sentences, known)
    frame = sample_pairs(sentences, None, strategies=["random"], known_pairs=known, limit=limit)
    assert len(frame) == len(pairs_of(frame)) == min(limit, len(allowed))
    assert pairs_of(frame) <= allowed
    assert set(frame["sampled_by"]) <= {"random"}


@pytest.mark.parametrize("limit", [3, 12])
def test_random_prefers_no_pair(limit):
    # 3 of 19 pairs are drawn one by one, 12 of 19 out of a list of all.
    sentences = make_sentences(7)
    known = [(sentences[0], sentences[1]), (sentences[5], sentences[3])]
    hits = Counter()
    for seed in range(400):
        hits.update(
            pairs_of(sample_pairs(sentences, None, strategies=["random"], known_pairs=known, limit=limit, seed=seed))
        )
    assert set(hits) == every_pair(sentences, known)
    expected = 400 * limit / 19
    # Four standard deviations of a binomial, for 19 pairs at once.
    spread = 4 * (expected * (1 - limit / 19)) ** 0.5
    assert all(abs(count - expected) < spread for count in hits.values())


def test_random_among_many_sentences_does_not_write_down_every_pair():
    sentences = [f"sentence {i}" for i in range(60_000)]  # 1.8 billion pairs
    frame = sample_pairs(sentences, None, strategies=["random"], known_pairs=[], limit=500)
    assert len(pairs_of(frame)) == 500


def test_random_without_a_limit_gives_top_k_pairs_a_sentence():
    sentences = make_sentences(40)
    assert len(sample_pairs(sentences, None, strategies=["random"], top_k=3, known_pairs=[])) == 120


def words_in_common(first, second):
    """A teacher of sorts, in [0, 1]."""
    shares = [
        len(set(a.split()[1:]) & set(b.split()[1:])) / len(set(a.split()[1:]) | set(b.split()[1:]))
        for a, b in zip(first, second, strict=True)
    ]
    return np.array(shares, dtype=np.float32)


def test_kde_keeps_each_random_pair_as_its_score_says():
    sentences = make_sentences(12)
    known = [(sentences[0], sentences[1])]
    gold_scores = np.random.default_rng(0).uniform(0.3, 1, size=80)
    asked = []

    def score(first, second):
        asked.append([frozenset(pair) for pair in zip(first, second, strict=True)])
        return words_in_common(first, second)

    options = {"strategies": ["kde"], "known_pairs": known, "score": score, "gold_scores": gold_scores}
    hits = Counter()
    for seed in range(250):
        hits.update(pairs_of(sample_pairs(sentences, None, limit=10, labelled_pairs=1000, seed=seed, **options)))
    pairs = asked[0]
    assert len(pairs) == len(set(pairs))
    assert set(pairs) == every_pair(sentences, known), "all random pairs are labelled where so many are asked for"
    scores = words_in_common(*zip(*(sorted(pair, key=sentences.index) for pair in pairs), strict=True))
    keep = keep_probabilities(scores, gold_scores, count=10)
    np.testing.assert_allclose([hits[pair] / 250 for pair in pairs], keep, atol=0.11)


def test_kde_labels_some_random_pairs_for_each_one_wanted():
    sentences = make_sentences(80)
    asked = []

    def score(first, second):
        asked.append(len(first))
        return words_in_common(first, second)

    gold_scores = np.random.default_rng(0).uniform(0, 1, size=50)
    frame = sample_pairs(
        sentences, None, strategies=["kde"], known_pairs=[], limit=60, score=score, gold_scores=gold_scores
    )
    assert asked == [480]
    assert set(frame["sampled_by"]) == {"kde"}
    drawn = words_in_common(frame["sentence1"], frame["sentence2"])
    random = sample_pairs(sentences, None, strategies=["random"], known_pairs=[], limit=300)
    assert drawn.mean() > 1.3 * words_in_common(random["sentence1"], random["sentence2"]).mean()


def test_cross_domain_searches_among_the_sentences_that_gold_has_not():
    sentences = make_sentences(15)
    embeddings = vectors(15)
    gold = [(sentences[i].upper(), sentences[i + 1]) for i in range(0, 6, 2)]
    frame = sample_pairs(sentences, embeddings, strategies=["cross-domain"], top_k=2, known_pairs=gold)
    assert pairs_of(frame) == naive_semantic(sentences[6:], embeddings[6:], [], 2)
    np.testing.assert_allclose(
        frame["similarity"],
        [
            torch.nn.functional.cosine_similarity(embeddings[sentences.index(a)], embeddings[sentences.index(b)], dim=0)
            for a, b in zip(frame["sentence1"], frame["sentence2"], strict=True)
        ],
        atol=1e-6,
    )
    known = [*gold, (sentences[8], sentences[7])]
    frame = sample_pairs(
        sentences,
        embeddings,
        strategies=["cross-domain"],
        top_k=2,
        known_pairs=known,
        source_sentences=[text for pair in gold for text in pair],
    )
    assert pairs_of(frame) == naive_semantic(sentences[6:], embeddings[6:], known, 2)


def test_cross_domain_takes_ready_pairs_as_they_are():
    ready = [("one", "two"), ("TWO", "one "), ("two", "two"), ("", "two"), ("known", "pair"), ("three", "one")]
    frame = sample_pairs(
        ["two", "four"], vectors(2), strategies=["cross-domain"], known_pairs=[("Pair", "known")], unlabeled_pairs=ready
    )
    assert frame[["sentence1", "sentence2"]].to_numpy().tolist() == [["two", "one"], ["one", "three"]]
    assert frame["similarity"].isna().all()
    with_search = sample_pairs(
        ["two", "four"],
        vectors(2),
        strategies=["semantic", "cross-domain"],
        known_pairs=[],
        unlabeled_pairs=[*ready, ("four", "two")],
    )
    by = dict(
        zip(map(frozenset, with_search[["sentence1", "sentence2"]].to_numpy()), with_search["sampled_by"], strict=True)
    )
    assert by[frozenset(("two", "four"))] == "semantic+cross-domain"
    assert by[frozenset(("known", "pair"))] == "cross-domain"
    assert with_search["similarity"].notna().sum() == 1


def test_cross_domain_without_another_domain_is_refused():
    sentences = make_sentences(6)
    gold = [(sentences[i], sentences[i + 1]) for i in range(5)]
    with pytest.raises(UserError, match="6 sentences none is such a one"):
        sample_pairs(sentences, vectors(6), strategies=["cross-domain"], known_pairs=gold)


def test_a_limit_draws_from_the_union():
    sentences = make_sentences(30)
    options = {"strategies": ["semantic", "bm25"], "top_k": 3, "known_pairs": []}
    everything = sample_pairs(sentences, vectors(30), **options)
    some = sample_pairs(sentences, vectors(30), limit=20, seed=5, **options)
    assert len(some) == 20
    assert pairs_of(some) < pairs_of(everything)
    merged = some.merge(everything, on=["sentence1", "sentence2"], suffixes=("", "_all"))
    assert (merged["sampled_by"] == merged["sampled_by_all"]).all()
    other = sample_pairs(sentences, vectors(30), limit=20, seed=6, **options)
    assert pairs_of(other) != pairs_of(some)
    # What a caller gets who draws for himself.
    drawn = everything.sample(20, random_state=5).sort_index().reset_index(drop=True)
    assert drawn.equals(some)


def test_shares_are_kept_and_nothing_comes_twice():
    sentences = make_sentences(60)
    shares = {"semantic": 0.5, "random": 0.3, "bm25": 0.2}
    frame = sample_pairs(sentences, vectors(60), strategies=shares, top_k=5, known_pairs=[], limit=101)
    assert len(frame) == len(pairs_of(frame)) == 101
    semantic = pairs_of(sample_pairs(sentences, vectors(60), top_k=5, known_pairs=[]))
    bm25 = pairs_of(sample_pairs(sentences, None, strategies=["bm25"], top_k=5, known_pairs=[]))
    found = pairs_of(frame)
    # Of what random draws, the other two may have found some that their own shares left.
    assert frame["sampled_by"].str.contains("random").sum() == 30
    assert len(found & semantic) >= 51
    assert len(found & bm25) >= 20
    named = {frozenset(pair): name for *pair, name in frame[["sentence1", "sentence2", "sampled_by"]].to_numpy()}
    assert {pair for pair, name in named.items() if "bm25" in name} == found & bm25
    again = sample_pairs(sentences, vectors(60), strategies=shares, top_k=5, known_pairs=[], limit=101)
    assert again.equals(frame)


def test_a_share_of_a_union_and_a_rest():
    sentences = make_sentences(40)
    frame = sample_pairs(
        sentences, vectors(40), strategies={"bm25+semantic": 0.75, "random": 0.25}, known_pairs=[], limit=40
    )
    assert len(frame) == 40
    assert frame["sampled_by"].str.contains("random").sum() == 10


def test_a_share_that_cannot_be_filled_is_said(caplog):
    caplog.set_level(logging.WARNING, logger="embedtrain")
    sentences = make_sentences(10)
    frame = sample_pairs(
        sentences, vectors(10), strategies={"semantic": 0.8, "random": 0.2}, top_k=1, known_pairs=[], limit=40
    )
    assert any("semantic gives" in message and "of the 32 pairs" in message for message in caplog.messages)
    assert 8 < len(frame) < 20


def test_more_random_pairs_than_there_are_is_said(caplog):
    caplog.set_level(logging.WARNING, logger="embedtrain")
    assert len(sample_pairs(make_sentences(4), None, strategies=["random"], known_pairs=[], limit=50)) == 6
    assert any("random gives 6 of 50 pairs" in message for message in caplog.messages)


def test_k_beyond_the_pool_is_said_and_gives_every_pair(caplog):
    caplog.set_level(logging.WARNING, logger="embedtrain")
    sentences = make_sentences(5)
    frame = sample_pairs(sentences, vectors(5), top_k=10**9, known_pairs=[])
    assert len(frame) == 10
    assert any("5 sentences have 4 others" in message for message in caplog.messages)


def test_what_one_strategy_draws_does_not_depend_on_the_others():
    sentences = make_sentences(50)
    alone = sample_pairs(sentences, None, strategies=["random"], top_k=1, known_pairs=[])
    both = sample_pairs(sentences, None, strategies=["bm25", "random"], top_k=1, known_pairs=[])
    assert pairs_of(both[both["sampled_by"].str.contains("random")]) == pairs_of(alone)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategies": ["cross-domain"]}, "sampling by cross-domain needs embeddings"),
        ({"strategies": ["kde"]}, "sampling by kde needs score and gold_scores"),
        ({"strategies": ["kde"], "score": words_in_common}, "sampling by kde needs gold_scores"),
    ],
)
def test_what_a_strategy_needs_must_be_there(options, message):
    with pytest.raises(ValueError, match=message):
        sample_pairs(["a", "b"], None, known_pairs=[], **options)


@pytest.mark.parametrize(
    ("strategies", "limit", "expected"),
    [
        ({"semantic": 0.5, "randm": 0.5}, 10, "unknown sampling strategy 'randm'; did you mean 'random'"),
        ({"semantic": 0.5, "random": 0.7}, 10, "add up to 1.2, expected 1: semantic 0.5, random 0.7"),
        ({"semantic": 50, "random": 50}, 10, "the share of semantic is 50, expected a number above 0 and up to 1"),
        ({"semantic": 0.0, "random": 1.0}, 10, "the share of semantic is 0,"),
        ({"semantic": float("nan"), "random": 1.0}, 10, "the share of semantic is nan"),
        ({"semantic": 0.5, "random": 0.5}, None, "shares without a limit"),
        ({"semantic": 0.98, "random": 0.02}, 3, "limit 3: too few pairs for 2 shares"),
        ({}, 10, "no sampling strategy given"),
        (["semantic+"], None, "unknown sampling strategy ''"),
        (["semantic"], 0, "limit 0: expected 1 or more pairs"),
    ],
)
def test_shares_that_make_no_sense_are_refused(strategies, limit, expected):
    with pytest.raises(UserError) as error:
        sample_pairs(["a", "b"], vectors(2), strategies=strategies, known_pairs=[], limit=limit)
    assert any(expected in problem for problem in error.value.problems)


def test_thirds_may_be_written_short():
    problems = Problems()
    check_strategies({"semantic": 0.33, "random": 0.33, "bm25": 0.33}, problems, limit=10)
    assert problems.messages == []


@given(st.dictionaries(st.sampled_from(sorted(STRATEGIES)), st.integers(1, 100), min_size=1), st.integers(1, 1000))
def test_pairs_for_shares_add_up_and_are_near(weights, count):
    shares = {name: weight / sum(weights.values()) for name, weight in weights.items()}
    pairs = pairs_for_shares(shares, count)
    assert sum(pairs.values()) == count
    assert all(abs(pairs[name] - count * shares[name]) < 1 for name in shares)


def test_strategies_as_people_write_them():
    assert read_strategies(["semantic", "bm25"]) == ["semantic", "bm25"]
    assert read_strategies(["bm25+semantic=0.5", "random=0.5"]) == {"bm25+semantic": 0.5, "random": 0.5}
    with pytest.raises(UserError) as error:
        read_strategies(["semantic=half", "bm25", "random=0.2", "random=0.3"])
    assert list(error.value.problems) == [
        "--strategy semantic=half: expected a share between 0 and 1, such as semantic=0.5",
        "--strategy bm25: it has no share, and others have; expected NAME=SHARE for all or for none",
        "--strategy random=0.3: random is given twice",
    ]


def test_ready_pairs_for_other_strategies_have_no_effect_and_that_is_said(caplog):
    caplog.set_level(logging.WARNING, logger="embedtrain")
    frame = sample_pairs(["a", "b"], vectors(2), known_pairs=[], unlabeled_pairs=[("x", "y")])
    assert len(frame) == 1
    assert any("ready pairs have no effect" in message for message in caplog.messages)
