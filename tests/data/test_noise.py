"""Noise: whole words only, as much as was asked for, and the same for a row wherever it is drawn."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedtrain.data.counted_random import below, draw, drawn_share, row_keys, thresholds
from embedtrain.data.noise import NOISE_KINDS, Noise, Ragged, parse_noise
from embedtrain.data.ragged import span_indices
from embedtrain.errors import UserError

MASK = 7
VOCABULARY = np.arange(500_000, 500_050, dtype=np.int32)
# Rows as words of one to three tokens; every token is different, so that it can be recognised.
LENGTHS = st.lists(st.lists(st.integers(1, 3), max_size=8), max_size=12)
MIXTURES = st.dictionaries(st.sampled_from(NOISE_KINDS), st.integers(1, 9), min_size=1).map(
    lambda parts: {kind: part / sum(parts.values()) for kind, part in parts.items()}
)
RATIOS = st.sampled_from([0.0, 0.15, 0.6, 1.0])


def batch_of(lengths):
    """Words as lists of tokens, the rows, and where words begin."""
    token = iter(range(1000, 500_000))
    words = [[[next(token) for _ in range(length)] for length in row] for row in lengths]
    starts = [place == 0 for row in words for word in row for place in range(len(word))]
    ids = Ragged.from_lists([[token for word in row for token in word] for row in words])
    return words, ids, np.array(starts, dtype=bool)


def noise_of(kinds, **ratios):
    return Noise(kinds, mask_id=MASK, vocabulary=VOCABULARY, **ratios)


def apply_to(noise, lengths, *, seed=3, epoch=0):
    words, ids, starts = batch_of(lengths)
    return words, noise.apply(ids, starts, np.arange(len(ids)), seed=seed, epoch=epoch).to_lists()


def what_happened(before, after):
    """For a row of words and the tokens it became: the words untouched in their order, and all else with its kind."""
    whole = {word[0]: word for word in before}
    place, untouched, others = 0, [], []
    while place < len(after):
        token = after[place]
        if token in whole:
            assert after[place : place + len(whole[token])] == whole[token]  # never a part of a word
            untouched.append(whole[token])
            place += len(whole[token])
        else:
            assert token == MASK or token in VOCABULARY
            others.append(token)
            place += 1
    return untouched, others


@given(LENGTHS, MIXTURES, RATIOS, RATIOS, st.integers(0, 2**63), st.integers(0, 9))
def test_words_stay_whole_and_at_least_one_stays(lengths, kinds, delete_ratio, change_ratio, seed, epoch):
    noise = noise_of(kinds, delete_ratio=delete_ratio, change_ratio=change_ratio)
    words, noisy = apply_to(noise, lengths, seed=seed, epoch=epoch)
    assert len(noisy) == len(words)
    for before, after in zip(words, noisy, strict=True):
        untouched, _ = what_happened(before, after)
        assert bool(untouched) == bool(before)
        assert len(untouched) <= len(before)
        if not before:
            assert after == []


@given(LENGTHS, RATIOS, st.integers(0, 99))
def test_each_kind_does_what_it_says(lengths, ratio, seed):
    noisy = {}
    for kind in NOISE_KINDS:
        noise = noise_of({kind: 1.0}, delete_ratio=ratio, change_ratio=ratio)
        words, noisy[kind] = apply_to(noise, lengths, seed=seed)
    for place, before in enumerate(words):
        seen = {kind: what_happened(before, rows[place]) for kind, rows in noisy.items()}
        for kind in ("delete", "mask", "replace", "insert"):
            untouched, _ = seen[kind]
            assert untouched == [word for word in before if word in untouched]  # in the order they had
        touched = [word for word in before if word not in seen["delete"][0]]
        assert seen["delete"][1] == seen["shuffle"][1] == []
        assert sorted(seen["shuffle"][0]) == before
        assert seen["mask"][1] == [MASK] * (sum(map(len, before)) - sum(map(len, seen["mask"][0])))
        assert len(noisy["mask"][place]) == sum(map(len, before))
        assert len(seen["replace"][1]) == len(before) - len(seen["replace"][0])
        assert seen["insert"][0] == before
        if ratio == 1:
            assert len(touched) == max(0, len(before) - 1)
            assert len(seen["insert"][1]) == len(before)
        if ratio == 0:
            assert touched == seen["mask"][1] == seen["replace"][1] == seen["insert"][1] == []


@given(LENGTHS, MIXTURES, st.integers(1, 5), st.integers(0, 9), st.randoms(use_true_random=False))
def test_a_row_gets_the_same_noise_in_every_batch(lengths, kinds, batch_size, epoch, random):
    _, ids, starts = batch_of(lengths)
    noise = noise_of(kinds)
    together = noise.apply(ids, starts, np.arange(len(ids)), seed=1, epoch=epoch).to_lists()
    order = list(range(len(ids)))
    random.shuffle(order)
    for first in range(0, len(order), batch_size):
        rows = np.array(order[first : first + batch_size])
        where = span_indices(ids.starts[rows], ids.lengths[rows])
        some = Ragged.from_lists([ids.to_lists()[row] for row in rows])
        np.testing.assert_array_equal(ids.values[where], some.values)
        alone = noise.apply(some, starts[where], rows, seed=1, epoch=epoch)
        assert alone.to_lists() == [together[row] for row in rows]


@pytest.mark.parametrize("kind", NOISE_KINDS)
def test_noise_is_new_for_every_seed_epoch_and_row(kind):
    _, ids, starts = batch_of([[1] * 30] * 6)
    noise = noise_of({kind: 1.0})

    def places(seed, epoch, rows):
        """Each row with its tokens counted from the row's first, so that equal noise on two rows shows."""
        noisy = noise.apply(ids, starts, rows, seed=seed, epoch=epoch).to_lists()
        return [
            tuple(token - 30 * row if 1000 <= token < 500_000 else token for token in tokens)
            for row, tokens in enumerate(noisy)
        ]

    rows = np.arange(6)
    assert places(1, 2, rows) == places(1, 2, rows)
    drawn = [
        row for seed, epoch in [(1, 2), (2, 1), (1, 3), (0, 0), (2**64 - 1, 0)] for row in places(seed, epoch, rows)
    ]
    assert len(set(drawn)) == len(drawn)
    assert len(set(places(1, 2, np.zeros(6, dtype=np.int64)))) == 1


@pytest.mark.parametrize("ratio", [0.4, 0.6])
def test_the_ratio_is_of_words_deleted(ratio):
    # 200,000 words, of which the paper deletes 60 %: the standard error of the share is 0.1 %.
    words, noisy = apply_to(noise_of({"delete": 1.0}, delete_ratio=ratio), [[1, 2] * 100] * 1000)
    kept = sum(len(what_happened(before, after)[0]) for before, after in zip(words, noisy, strict=True))
    assert kept / 200_000 == pytest.approx(1 - ratio, abs=0.01)


def test_sixty_per_cent_is_deleted_unless_said_otherwise():
    _, ids, starts = batch_of([[1] * 200] * 1000)
    noisy = Noise().apply(ids, starts, np.arange(1000), seed=0, epoch=0)
    assert len(noisy.values) / len(ids.values) == pytest.approx(0.4, abs=0.01)


def test_every_place_in_a_row_is_deleted_alike_and_words_do_not_hang_together():
    lengths = [[1] * 10] * 20_000
    words, noisy = apply_to(noise_of({"delete": 1.0}, delete_ratio=0.5), lengths)
    kept = np.array(
        [[word[0] in after for word in before] for before, after in zip(words, map(set, noisy), strict=True)]
    )
    assert kept.mean(axis=0) == pytest.approx(0.5, abs=0.015)
    correlation = np.corrcoef(kept, rowvar=False) - np.eye(10)
    assert np.abs(correlation).max() < 0.03
    across_rows = np.corrcoef(kept[:-1].ravel(), kept[1:].ravel())[0, 1]
    assert abs(across_rows) < 0.01


@pytest.mark.parametrize("kind", ["delete", "mask", "replace"])
def test_the_word_that_stays_is_any_word(kind):
    words, noisy = apply_to(noise_of({kind: 1.0}, delete_ratio=1.0, change_ratio=1.0), [[1, 2, 1, 3]] * 8000)
    stayed = Counter(
        before.index(what_happened(before, after)[0][0]) for before, after in zip(words, noisy, strict=True)
    )
    assert [stayed[place] / 8000 for place in range(4)] == pytest.approx([0.25] * 4, abs=0.02)


def test_every_order_is_as_likely():
    words, noisy = apply_to(noise_of({"shuffle": 1.0}), [[1, 2, 1]] * 12_000)
    orders = Counter(
        tuple(before.index(word) for word in what_happened(before, after)[0])
        for before, after in zip(words, noisy, strict=True)
    )
    assert len(orders) == 6
    assert [count / 12_000 for count in orders.values()] == pytest.approx([1 / 6] * 6, abs=0.015)


@pytest.mark.parametrize("kind", ["mask", "replace", "insert"])
def test_change_ratio_is_of_words(kind):
    words, noisy = apply_to(noise_of({kind: 1.0}), [[1] * 100] * 1000)
    changed = sum(len(what_happened(before, after)[1]) for before, after in zip(words, noisy, strict=True))
    assert changed / 100_000 == pytest.approx(0.15, abs=0.005)


@pytest.mark.parametrize("kind", ["replace", "insert"])
def test_random_tokens_are_from_all_of_the_vocabulary(kind):
    _, noisy = apply_to(noise_of({kind: 1.0}, change_ratio=1.0), [[1] * 51] * 1000)
    drawn = Counter(token for row in noisy for token in row if token >= VOCABULARY[0])
    assert set(drawn) == set(VOCABULARY.tolist())
    assert max(drawn.values()) < 1.2 * min(drawn.values())


def test_insertions_stand_before_and_after_words_alike():
    _, noisy = apply_to(noise_of({"insert": 1.0}, change_ratio=1.0), [[2, 1]] * 4000)
    assert all(len(row) == 5 for row in noisy)
    at_the_ends = Counter((row[0] >= VOCABULARY[0], row[-1] >= VOCABULARY[0]) for row in noisy)
    assert [count / 4000 for count in at_the_ends.values()] == pytest.approx([0.25] * 4, abs=0.03)


def test_a_mixture_gives_each_row_one_kind_by_its_share():
    shares = {"delete": 0.5, "shuffle": 0.2, "mask": 0.1, "replace": 0.1, "insert": 0.1}
    words, noisy = apply_to(noise_of(shares, delete_ratio=0.5, change_ratio=0.5), [[2] * 24] * 8000)
    found = Counter()
    for before, after in zip(words, noisy, strict=True):
        untouched, others = what_happened(before, after)
        assert len({token == MASK for token in others}) <= 1
        if MASK in others:
            found["mask"] += 1
        elif others:
            found["insert" if len(untouched) == len(before) else "replace"] += 1
        else:
            found["shuffle" if len(untouched) == len(before) else "delete"] += 1
    assert {kind: count / 8000 for kind, count in found.items()} == pytest.approx(shares, abs=0.02)


def test_what_is_given_is_left_as_it_is():
    _, ids, starts = batch_of([[1, 2], [3], [], [2, 2, 2]])
    values, row_starts = ids.values.copy(), ids.starts.copy()
    result = noise_of(dict.fromkeys(NOISE_KINDS, 0.2)).apply(ids, starts, np.arange(4), seed=0, epoch=0)
    np.testing.assert_array_equal(ids.values, values)
    np.testing.assert_array_equal(ids.starts, row_starts)
    assert (result.values.dtype, result.starts.dtype) == (np.int32, np.int64)
    assert not np.shares_memory(result.values, ids.values)


def test_no_rows_and_empty_rows():
    for lengths in ([], [[], []]):
        for kind in NOISE_KINDS:
            _, noisy = apply_to(noise_of({kind: 1.0}), lengths)
            assert noisy == lengths


def test_what_does_not_fit_is_refused():
    _, ids, starts = batch_of([[2, 1], [1]])
    with pytest.raises(ValueError, match="word_start for 4 tokens and 2 row numbers, found 3 and 2"):
        Noise().apply(ids, starts[1:], np.arange(2), seed=0, epoch=0)
    with pytest.raises(ValueError, match="found 4 and 1"):
        Noise().apply(ids, starts, np.arange(1), seed=0, epoch=0)
    starts[3] = False
    with pytest.raises(ValueError, match="first token of each row must begin a word"):
        Noise().apply(ids, starts, np.arange(2), seed=0, epoch=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kinds": {}}, "kinds must be of delete, shuffle, .*found none"),
        ({"kinds": {"deletion": 1.0}}, "found deletion"),
        ({"kinds": {"delete": 0.5}}, "1 together"),
        ({"kinds": {"delete": 1.5, "shuffle": -0.5}}, "above 0"),
        ({"delete_ratio": 1.1}, "delete_ratio must be between 0 and 1, found 1.1"),
        ({"change_ratio": float("nan")}, "change_ratio must be between 0 and 1, found nan"),
        ({"kinds": {"mask": 1.0}}, "mask needs a mask_id"),
        ({"kinds": {"insert": 1.0}}, "replace and insert need a vocabulary"),
        ({"kinds": {"replace": 1.0}, "vocabulary": np.zeros(0, np.int32)}, "need a vocabulary"),
    ],
)
def test_noise_that_cannot_be_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Noise(**arguments)


@pytest.mark.parametrize(
    ("words", "shares"),
    [
        (["delete"], {"delete": 1}),
        (["delete=1"], {"delete": 1}),
        (["delete", "shuffle"], {"delete": 0.5, "shuffle": 0.5}),
        (["delete=0.7", "shuffle=0.3"], {"delete": 0.7, "shuffle": 0.3}),
        (["mask=0.33", "insert=0.33", "replace=0.33"], {"mask": 1 / 3, "insert": 1 / 3, "replace": 1 / 3}),
    ],
)
def test_kinds_of_noise_are_read(words, shares):
    assert parse_noise(words) == pytest.approx(shares)
    noise_of(parse_noise(words))


@pytest.mark.parametrize(
    ("words", "problems"),
    [
        ([], ["--noise: no kind of noise given; expected one or more of: delete, shuffle, mask, replace, insert"]),
        (["delet"], ["unknown kind of noise 'delet'; did you mean 'delete'? (known: delete, shuffle"]),
        (["delete=0.5", "delete=0.5"], ["--noise delete: delete is given twice"]),
        (["delete=0.5", "mask"], ["--noise mask: it has no share, and others have"]),
        (["delete=half"], ["--noise delete=half: expected a share above 0 and up to 1, such as delete=0.5"]),
        (["delete=0", "mask=1.1"], ["--noise delete=0: expected a share", "--noise mask=1.1: expected a share"]),
        (["delete=inf", "mask=nan"], ["--noise delete=inf: expected a share", "--noise mask=nan: expected a share"]),
        (["delete="], ["--noise delete=: expected a share"]),
        (["delete=0.6", "mask=0.3"], ["--noise: the shares add up to 0.9, expected 1: delete 0.6, mask 0.3"]),
        (
            ["drop=2", "mask"],
            ["unknown kind of noise 'drop'", "--noise mask: it has no share", "--noise drop=2: expected"],
        ),
    ],
)
def test_mistakes_in_kinds_of_noise_are_shown_together(words, problems):
    with pytest.raises(UserError) as caught:
        parse_noise(words)
    assert len(caught.value.problems) == len(problems)
    for problem in problems:
        assert any(problem in message for message in caught.value.problems)


def naive_draw(row, seed, epoch, purpose, number):
    """The same numbers by Python's integers."""
    wrap, step = 2**64, 0x9E3779B97F4A7C15

    def mixed(z):
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % wrap
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % wrap
        return z ^ (z >> 31)

    key = 0
    for value in (seed, epoch):
        key = mixed((key + (value + 1) * step) % wrap)
    return mixed((mixed((key + row * step) % wrap) + (purpose * 2**32 + number) * step) % wrap)


@given(
    st.lists(st.tuples(st.integers(0, 2**40), st.integers(0, 2**32 - 1)), min_size=1, max_size=5),
    st.integers(0, 2**70),
    st.integers(0, 10**6),
    st.integers(0, 9),
)
def test_draws_agree_with_whole_numbers_of_python(pairs, seed, epoch, purpose):
    rows, numbers = (np.array(column) for column in zip(*pairs, strict=True))
    drawn = draw(row_keys(rows, seed=seed, epoch=epoch), purpose=purpose, number=numbers)
    assert drawn.tolist() == [naive_draw(row, seed, epoch, purpose, number) for row, number in pairs]


def test_the_mixing_function_is_splitmix64s():
    # The first numbers of the published generator with the seed 1234567.
    first = draw(np.array([1234567], dtype=np.uint64), purpose=0, number=np.array([1]))
    second = draw(np.array([1234567], dtype=np.uint64), purpose=0, number=np.array([2]))
    assert [int(first[0]), int(second[0])] == [6457827717110365317, 3203168211198807973]


def test_draws_are_even():
    draws = draw(row_keys(np.arange(100_000), seed=0, epoch=0), purpose=0)
    assert len(set(draws.tolist())) == 100_000
    bits = (draws[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    assert bits.mean(axis=0) == pytest.approx(0.5, abs=0.008)
    assert below(draws, thresholds(0.3)).mean() == pytest.approx(0.3, abs=0.006)
    assert not below(draws, thresholds(0.0)).any()
    assert below(draws, thresholds(1.0)).all()
    shares = np.bincount(drawn_share(draws, [0.2, 0.5, 0.3])) / 100_000
    assert shares == pytest.approx([0.2, 0.5, 0.3], abs=0.006)


@given(st.lists(st.lists(st.integers(0, 9), max_size=4), max_size=6), st.data())
def test_spans_gather_rows(rows, data):
    ragged = Ragged.from_lists(rows)
    assert ragged.to_lists() == rows
    assert len(ragged) == len(rows)
    chosen = np.array(data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=6)) if rows else [], dtype=np.int64)
    values = ragged.values[span_indices(ragged.starts[chosen], ragged.lengths[chosen])]
    assert values.tolist() == [token for row in chosen for token in rows[row]]
