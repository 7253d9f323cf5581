import logging

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedtrain.data.folding import fold_text
from embedtrain.errors import UserError
from embedtrain.mining.tuples import ranking_tuples


def table(rows):
    return pd.DataFrame(rows, columns=["sentence1", "sentence2", "score"])


def naive_tuples(rows, *, positive, negative, count, both):
    first_text = {}
    for text in [row[0] for row in rows] + [row[1] for row in rows]:
        first_text.setdefault(fold_text(text), text)
    rows = [(fold_text(one), fold_text(other), score) for one, other, score in rows]
    pairs = {}
    for one, other, score in rows:
        if one != other and score >= positive:
            pairs.setdefault(frozenset((one, other)), (one, other))

    def negatives(anchor):
        found = []
        for turn in (0, 1):  # partners in the second column first, as ties go by position
            for position, row in enumerate(rows):
                one, other = row[turn], row[1 - turn]
                if one == anchor and other != anchor and row[2] <= negative and frozenset((one, other)) not in pairs:
                    found.append((-row[2], turn, position, other))
        return list(dict.fromkeys(text for *_, text in sorted(found)))

    result = []
    for one, other in pairs.values():
        made = False
        for anchor, partner in ((one, other), (other, one)):
            if len(negatives(anchor)) >= count and (both or not made):
                result.append([first_text[text] for text in (anchor, partner, *negatives(anchor)[:count])])
                made = True
    return result


texts = st.sampled_from(["a", "b", "c", "d", "e", "f", "A", " b"])
scores = st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 1.0])


@given(
    rows=st.lists(st.tuples(texts, texts, scores), max_size=25),
    count=st.integers(0, 3),
    both=st.booleans(),
)
def test_equals_loops(rows, count, both):
    found = ranking_tuples(
        table(rows), positive_threshold=0.7, negative_threshold=0.3, num_negatives=count, both_orders=both
    )
    expected = naive_tuples(rows, positive=0.7, negative=0.3, count=count, both=both)
    assert found.to_numpy().tolist() == expected
    assert list(found.columns) == ["anchor", "positive", *(f"negative_{i + 1}" for i in range(count))]


ROWS = [
    ("how to reset", "reset it", 0.9),
    ("how to reset", "buy one", 0.1),
    ("colours", "How to  Reset", 0.25),
    ("how to reset", "maybe", 0.5),
    ("reset it", "weather", 0.0),
]


def test_hardest_negatives_first_and_the_middle_left_out(caplog):
    with caplog.at_level(logging.INFO, "embedtrain"):
        found = ranking_tuples(table(ROWS), positive_threshold=0.8, negative_threshold=0.3, num_negatives=2)
    assert found.to_numpy().tolist() == [["how to reset", "reset it", "colours", "buy one"]]
    assert "1 of 5 pairs are positive and 3 negative" in caplog.text


def test_other_sentence_is_the_anchor_where_only_it_has_negatives():
    found = ranking_tuples(table(ROWS[:1] + ROWS[4:]), positive_threshold=0.8, negative_threshold=0.3)
    assert found.to_numpy().tolist() == [["reset it", "how to reset", "weather"]]


def test_no_negatives_gives_positive_pairs():
    found = ranking_tuples(table(ROWS), positive_threshold=0.5, negative_threshold=0.1, num_negatives=0)
    assert found.to_numpy().tolist() == [["how to reset", "reset it"], ["how to reset", "maybe"]]


def test_too_few_negatives_are_dropped_and_counted(caplog):
    with caplog.at_level(logging.INFO, "embedtrain"):
        found = ranking_tuples(table(ROWS), positive_threshold=0.5, negative_threshold=0.3, num_negatives=3)
    assert found.empty
    assert "2 positive pairs have too few and are dropped" in caplog.text


def test_random_follows_the_seed():
    rows = [("a", "p", 1.0), *(("a", f"n{number}", 0.0) for number in range(20))]

    def drawn(seed):
        options = {"num_negatives": 3, "sampling_strategy": "random", "seed": seed}
        return tuple(ranking_tuples(table(rows), positive_threshold=0.8, negative_threshold=0.2, **options).iloc[0])

    assert drawn(1) == drawn(1)
    rows_drawn = {drawn(seed) for seed in range(60)}
    assert len(rows_drawn) > 50
    assert {text for row in rows_drawn for text in row[2:]} == {f"n{number}" for number in range(20)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_negatives": -1}, "--num-negatives -1"),
        ({"sampling_strategy": "randm"}, "did you mean 'random'"),
        ({"positive_threshold": 0.2}, "--negative-threshold 0.3 is not below --positive-threshold 0.2"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(UserError, match=message):
        ranking_tuples(table(ROWS), **{"positive_threshold": 0.8, "negative_threshold": 0.3, **options})


def test_missing_scores_are_refused():
    with pytest.raises(ValueError, match="none for 1 of 1"):
        ranking_tuples(table([("a", "b", float("nan"))]), positive_threshold=0.8, negative_threshold=0.3)
