"""Near-duplicates against a comparison of all pairs, and the scripts of texts."""

import random
from itertools import combinations

import pytest

from embedtrain.data import near_duplicates
from embedtrain.data.near_duplicates import find_near_duplicates
from embedtrain.data.scripts import NONE, script_of, script_shares

TEXT = "the heating turns itself on at night and does not stop until somebody presses that button again"
WORDS = TEXT.split()


def slow_overlap(first, second, *, length):
    def grams(text):
        plain = " ".join("".join(c if c.isalnum() else " " for c in text.lower()).split())
        size = min(length, len(plain))
        return {plain[at : at + size] for at in range(len(plain) - size + 1)}

    ours, theirs = grams(first), grams(second)
    return len(ours & theirs) / len(ours | theirs)


def damaged(text, drawing):
    at = drawing.randrange(len(text))
    return text[:at] + drawing.choice("xyz") + text[at + 1 :]


@pytest.mark.parametrize("chunk", [200, 500_000])
def test_the_same_pairs_as_comparing_all(chunk, monkeypatch):
    monkeypatch.setattr(near_duplicates, "CHUNK_CHARACTERS", chunk)
    drawing = random.Random(1)
    texts = [" ".join(drawing.sample(WORDS, 9)) for _ in range(40)]
    texts += [damaged(text, drawing) for text in texts]
    found = find_near_duplicates(texts, threshold=0.8)
    overlaps = dict(zip(map(tuple, found.pairs.tolist()), found.overlap, strict=True))
    expected = {}
    for first, second in combinations(range(len(texts)), 2):
        overlap = slow_overlap(texts[first], texts[second], length=3)
        if overlap >= 0.8:
            expected[first, second] = pytest.approx(overlap)
    assert len(expected) > 20
    assert overlaps == expected


def test_chinese_texts_are_compared_by_two_characters():
    texts = ["如何重置我的设备密码", "怎么退款", "如何重置我的设备密码啊", "如何重置您的设备密码"]
    found = find_near_duplicates(texts, threshold=0.8)
    assert found.pairs.tolist() == [[0, 2]]
    assert found.overlap[0] == pytest.approx(9 / 10)


def test_punctuation_case_and_width_make_no_difference():
    found = find_near_duplicates(["Where is it?", "where is IT", "Ｗhere, is it!", "no"], threshold=1.0)
    assert found.pairs.tolist() == [[0, 1], [0, 2], [1, 2]]


def test_texts_without_letters_are_like_no_other():
    assert not len(find_near_duplicates(["", "?!", "...", " "], threshold=0.5).pairs)
    assert not len(find_near_duplicates([], threshold=0.5).pairs)


def test_short_texts_are_compared_whole():
    assert find_near_duplicates(["a", "a!", "b", "ab"], threshold=0.8).pairs.tolist() == [[0, 1]]


def test_a_crowd_of_like_texts_costs_no_squares(monkeypatch):
    texts = [f"what are the side effects of the medicine number {number:04d} in children" for number in range(600)]
    seen = []
    agreeing = near_duplicates._agreeing

    def counting(signatures, pairs, least):
        seen.append(len(pairs))
        return agreeing(signatures, pairs, least)

    monkeypatch.setattr(near_duplicates, "_agreeing", counting)
    found = find_near_duplicates(texts)
    assert max(seen) < 12 * len(texts)
    assert len(set(found.pairs.ravel().tolist())) == len(texts)


@pytest.mark.parametrize(
    ("character", "script"),
    [
        ("a", "Latin"),
        ("Ａ", "Latin"),
        ("é", "Latin"),
        ("中", "Han"),
        ("𠀀", "Han"),
        ("ひ", "Hiragana"),
        ("カ", "Katakana"),
        ("ｶ", "Katakana"),
        ("ж", "Cyrillic"),
        ("α", "Greek"),
        ("ع", "Arabic"),
        ("한", "Hangul"),
        ("1", None),
        ("，", None),
        ("😀", None),
        ("\ud800", None),
    ],
)
def test_script_of(character, script):
    assert script_of(character) == script


def test_shares_count_letters_and_texts(monkeypatch):
    monkeypatch.setattr("embedtrain.data.scripts._CHUNK", 2)
    shares = script_shares(["abc", "中文ab中", "12", "жжж", ""])
    assert shares.letters == pytest.approx({"Latin": 5 / 11, "Han": 3 / 11, "Cyrillic": 3 / 11})
    assert shares.texts == pytest.approx({NONE: 0.4, "Latin": 0.2, "Han": 0.2, "Cyrillic": 0.2})
    assert script_shares([]).letters == {}
