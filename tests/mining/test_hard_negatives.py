import logging

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from embedtrain.data.folding import fold_text
from embedtrain.errors import UserError
from embedtrain.mining.hard_negatives import mine_hard_negatives
from embedtrain.mining.negative_rules import NegativeRules


def naive_negatives(anchors, positives, corpus, vectors, rules, score=None, known_pairs=()):
    """Loops over texts; ``vectors`` maps a folded text to its embedding."""

    def cosine(one, other):
        a, b = (vectors[fold_text(text)].double().numpy() for text in (one, other))
        return np.float32(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))

    measure = score or cosine
    candidates = list({fold_text(text): text for text in reversed([*positives, *corpus])}.items())[::-1]
    order = {fold_text(text): i for i, text in reversed(list(enumerate([*positives, *corpus])))}
    together = {frozenset(map(fold_text, pair)) for pair in [*zip(anchors, positives, strict=True), *known_pairs]}
    rows = []
    for anchor, positive in zip(anchors, positives, strict=True):
        own = fold_text(anchor)
        pool = [
            (-cosine(anchor, text), order[folded], text)
            for folded, text in candidates
            if folded != own and frozenset((own, folded)) not in together
        ]
        ranked = [text for _, _, text in sorted(pool)][rules.range_min : rules.last_rank]
        lowest = min(measure(a, p) for a, p in zip(anchors, positives, strict=True) if fold_text(a) == own)
        kept = []
        for text in ranked:
            value = float(measure(anchor, text))
            limits = [np.inf]
            if rules.max_score is not None:
                limits.append(rules.max_score)
            if rules.absolute_margin is not None:
                limits.append(float(lowest) - rules.absolute_margin)
            if rules.relative_margin is not None:
                limits.append(float(lowest) - abs(float(lowest)) * rules.relative_margin)
            if value <= min(limits) and (rules.min_score is None or value >= rules.min_score):
                kept.append(text)
        if len(kept) >= rules.num_negatives:
            rows.append([anchor, positive, *kept[: rules.num_negatives]])
    return rows


def embed(texts, dim=6):
    """Each folded text its own random vector."""
    vectors = {}
    for text in map(fold_text, texts):
        seed = int.from_bytes(text.encode()[:7].ljust(7, b"x"), "big") % 2**31
        vectors.setdefault(text, torch.randn(dim, generator=torch.Generator().manual_seed(seed)))
    return vectors


def stack(texts, vectors):
    return torch.stack([vectors[fold_text(text)] for text in texts]) if texts else torch.empty(0, 6)


def mine(anchors, positives, corpus=(), **options):
    vectors = embed([*anchors, *positives, *corpus])
    return mine_hard_negatives(
        anchors,
        positives,
        corpus,
        anchor_embeddings=stack(anchors, vectors),
        positive_embeddings=stack(positives, vectors),
        corpus_embeddings=stack(corpus, vectors),
        **options,
    )


texts = st.sampled_from([f"t{number:02}" for number in range(12)] + ["T00", " t01 ", "Ｔ02"])
maybe = st.sampled_from([None, 0.0, 0.1, 0.6])


@given(
    pairs=st.lists(st.tuples(texts, texts), min_size=1, max_size=12),
    corpus=st.lists(texts, max_size=8),
    known=st.lists(st.tuples(texts, texts), max_size=3),
    num_negatives=st.integers(1, 3),
    range_min=st.integers(0, 2),
    extra=st.integers(0, 5),
    absolute=maybe,
    relative=maybe,
    highest=maybe,
    lowest=st.sampled_from([None, -0.5, 0.0]),
    scored=st.booleans(),
)
def test_equals_loops(
    pairs, corpus, known, num_negatives, range_min, extra, absolute, relative, highest, lowest, scored
):
    anchors, positives = map(list, zip(*pairs, strict=True))
    rules = NegativeRules(
        num_negatives=num_negatives,
        range_min=range_min,
        range_max=range_min + num_negatives + extra,
        absolute_margin=absolute,
        relative_margin=relative,
        max_score=highest,
        min_score=lowest,
    )

    def measure(one, other):
        # A made-up cross-encoder on another scale than cosines.
        both = sorted(map(fold_text, (one, other)))
        return np.float32(hash_of(both[0] + both[1]) * 6 - 3)

    def score(first, second):
        return np.array([measure(one, other) for one, other in zip(first, second, strict=True)], dtype=np.float32)

    scored = scored and rules.can_reject
    vectors = embed([*anchors, *positives, *corpus])
    expected = naive_negatives(
        anchors, positives, corpus, vectors, rules, score=measure if scored else None, known_pairs=known
    )
    found = mine(anchors, positives, corpus, rules=rules, score=score if scored else None, known_pairs=known)
    assert found.to_numpy().tolist() == expected
    assert list(found.columns) == ["anchor", "positive", *(f"negative_{i + 1}" for i in range(num_negatives))]


def hash_of(text):
    return np.random.default_rng(list(text.encode())).random()


TEXTS = [f"text {number}" for number in range(40)]


def test_relative_margin_is_the_positive_aware_rule():
    angles = torch.deg2rad(torch.tensor([0.0, 30.0, 20.0, 31.0, 50.0, 80.0]))
    vectors = torch.stack([angles.cos(), angles.sin()], dim=1)
    found = mine_hard_negatives(
        ["a"],
        ["p"],
        ["nearer", "just below", "below 95 %", "far"],
        anchor_embeddings=vectors[:1],
        positive_embeddings=vectors[1:2],
        corpus_embeddings=vectors[2:],
        rules=NegativeRules(num_negatives=1),
        output_scores=True,
    )
    # cos 30 degrees is 0.866, 95 % of it 0.823; 20 and 31 degrees are above, 50 degrees below.
    assert found.iloc[0][["anchor", "positive", "negative_1"]].tolist() == ["a", "p", "below 95 %"]
    assert found.iloc[0]["positive_score"] == pytest.approx(0.8660, abs=1e-4)
    assert found.iloc[0]["negative_1_score"] == pytest.approx(0.6428, abs=1e-4)


def test_scorer_finds_false_negatives_and_is_asked_no_more_than_needed():
    asked = []

    def score(first, second):
        asked.append(len(first))
        return np.array([0.9 if other.endswith(("0", "5")) else 0.1 for other in second], dtype=np.float32)

    positives = ["text 0", "text 5", "text 10", "text 15"]
    anchors = [f"anchor {number}" for number in range(4)]
    rules = NegativeRules(num_negatives=2, range_max=30)
    found = mine(anchors, positives, TEXTS, rules=rules, score=score)
    assert len(found) == 4
    for column in ("negative_1", "negative_2"):
        assert not found[column].str.endswith(("0", "5")).any()
    assert asked[0] == 4  # the positives
    assert asked[1] == 4 * 2  # the first candidates of each
    assert sum(asked) < 4 + 4 * 30 / 2
    everything = mine(
        anchors, positives, TEXTS, rules=NegativeRules(2, range_max=30, sampling_strategy="random"), score=score
    )
    assert len(everything) == 4


def test_scores_given_out_are_those_of_the_scorer():
    def score(first, second):
        return np.array([hash_of(one + other) for one, other in zip(first, second, strict=True)], dtype=np.float32)

    found = mine(
        ["a"],
        ["b"],
        TEXTS,
        rules=NegativeRules(2, relative_margin=None, max_score=0.8),
        score=score,
        output_scores=True,
    )
    for partner in ("positive", "negative_1", "negative_2"):
        assert found[f"{partner}_score"].tolist() == score(found["anchor"], found[partner]).tolist()


def test_random_draws_within_the_ranks_and_follows_the_seed():
    rules = {"num_negatives": 3, "range_min": 2, "range_max": 12, "relative_margin": None}
    rules["sampling_strategy"] = "random"
    ranked = mine(["a"], ["b"], TEXTS, rules=NegativeRules(12, relative_margin=None)).iloc[0, 2:].tolist()
    drawn = [
        mine(["a"], ["b"], TEXTS, rules=NegativeRules(**rules, seed=seed)).iloc[0, 2:].tolist() for seed in range(30)
    ]
    assert drawn[0] == mine(["a"], ["b"], TEXTS, rules=NegativeRules(**rules, seed=0)).iloc[0, 2:].tolist()
    assert {text for row in drawn for text in row} == set(ranked[2:12])
    for row in drawn:
        assert len(set(row)) == 3
        assert [ranked.index(text) for text in row] == sorted(ranked.index(text) for text in row)


def test_every_positive_of_an_anchor_keeps_out_and_its_rows_share_their_negatives():
    anchors, positives = ["A", "a ", "b"], ["text 0", "Text 1", "TEXT 2"]
    found = mine(anchors, positives, TEXTS[:8], rules=NegativeRules(5, relative_margin=None))
    assert found["anchor"].tolist() == anchors
    assert found.iloc[0, 2:].tolist() == found.iloc[1, 2:].tolist()
    assert not {"text 0", "text 1", "Text 1"} & set(found.iloc[0, 2:])


def test_blank_texts_are_no_negatives():
    found = mine(["a"], ["b"], ["", "  ", "c"], rules=NegativeRules(1, relative_margin=None))
    assert found["negative_1"].tolist() == ["c"]


def test_rows_without_enough_negatives_are_dropped_and_counted(caplog):
    with caplog.at_level(logging.INFO, "embedtrain"):
        found = mine(["a", "c"], ["b", "d"], (), rules=NegativeRules(1, range_max=9, relative_margin=None))
        assert found["negative_1"].tolist() == ["d", "b"]
        assert "9 candidates are wanted for each anchor, and there are 2 different texts" in caplog.text
        found = mine(["a", "c"], ["b", "d"], (), rules=NegativeRules(2, relative_margin=None))
    assert len(found) == 0
    assert list(found.columns) == ["anchor", "positive", "negative_1", "negative_2"]
    assert "2 of 2 pairs are dropped" in caplog.text


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"num_negatives": 0}, "--num-negatives 0"),
        ({"range_min": -1}, "--range-min -1"),
        ({"range_min": 5, "range_max": 7}, "leave 2 candidates for --num-negatives 3"),
        ({"range_min": 5, "range_max": 2}, "leave 0 candidates"),
        ({"absolute_margin": -0.1}, "--absolute-margin -0.1: expected 0 or more"),
        ({"relative_margin": float("nan")}, "--relative-margin nan"),
        ({"min_score": 0.5, "max_score": 0.4}, "--min-score 0.5 is above --max-score 0.4"),
        ({"sampling_strategy": "tpo"}, "did you mean 'top'"),
    ],
)
def test_rules_that_cannot_be_followed(rules, message):
    with pytest.raises(UserError) as caught:
        mine(["a"], ["b"], TEXTS, rules=NegativeRules(**rules))
    assert message in str(caught.value)


def test_all_mistakes_at_once():
    with pytest.raises(UserError) as caught:
        mine([], [], TEXTS, rules=NegativeRules(0, range_min=-1, relative_margin=None), score=lambda a, b: np.zeros(0))
    assert len(caught.value.problems) == 4
    assert "found no pair" in str(caught.value)
    assert "a scorer has no effect" in str(caught.value)


def test_embeddings_have_to_fit():
    with pytest.raises(ValueError, match="one embedding for each corpus text, found 0 for 1"):
        mine_hard_negatives(
            ["a"], ["b"], ["c"], anchor_embeddings=torch.ones(1, 2), positive_embeddings=torch.ones(1, 2)
        )
