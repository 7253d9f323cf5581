"""Where words begin: for every common kind of tokenizer, in scripts with spaces and without, and in code."""

import importlib.util
import logging
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertJapaneseTokenizer, PreTrainedTokenizerFast

from embedtrain.data import words as words_module
from embedtrain.data.token_spelling import Spelling, replacement_ids
from embedtrain.data.words import word_starts
from embedtrain.errors import UserError

NO_JIEBA = importlib.util.find_spec("jieba") is None
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
BEGINNINGS = ["hello", "world", "the", "well", "known", "dog", "are", "walk", "if", "foo", "bar", "return", "x", "y"]
# Every other character is unknown, or bytes.
CHARACTERS = (
    "abcdefghijklmnopqrstuvwxyz0123456789_.,:;!?()-'é我爱北京天安门忘记密码怎么办你。？カタナとひらがなのー東ワไทยง่า"
)


def wrapped(tokenizer, *processing):
    """With BERT's special tokens around a text, as a tokenizer of transformers."""
    ends = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    around = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    tokenizer.post_processor = processors.Sequence([*processing, around])
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def numbered(pieces):
    return {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}


def merges_to(words):
    """The merges of byte pair encoding that build each word from its first character on."""
    return list(dict.fromkeys((word[:end], word[end]) for word in words for end in range(1, len(word))))


def wordpiece():
    """As BERT's: lower case, Han characters apart, ``##`` before what carries a word on."""
    carrying_on = [f"##{piece}" for piece in (*CHARACTERS, "ing", "s", "カナ")]
    vocabulary = numbered([*SPECIAL, *CHARACTERS, *BEGINNINGS, "カタ", *carrying_on])
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return wrapped(tokenizer)


def byte_level(*, trim_offsets):
    """As RoBERTa's (offsets without the space in front) or GPT-2's (with it)."""
    merges = merges_to([*(f"Ġ{word}" for word in BEGINNINGS), "ing"])
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = numbered([*SPECIAL, *alphabet, *("".join(pair) for pair in merges)])
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return wrapped(tokenizer, processors.ByteLevel(trim_offsets=trim_offsets))


def metaspace():
    """As XLM-R's and DeBERTa-v3's: cut at white space alone, ``▁`` in its place."""
    pieces = [*(f"▁{word}" for word in BEGINNINGS), "▁我", "ing", "カタ", "カナ"]
    scores = {**dict.fromkeys(SPECIAL, 0.0), **dict.fromkeys([*CHARACTERS, "▁"], -9.0), **dict.fromkeys(pieces, -5.0)}
    tokenizer = Tokenizer(models.Unigram(list(scores.items()), unk_id=1, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return wrapped(tokenizer)


def sentencepiece_bpe():
    """As Llama's: no pre-tokenizer, so that the whole text is one word to it; unknown characters as bytes."""
    merges = merges_to([*(f"▁{word}" for word in BEGINNINGS), "ing"])
    pieces = ["".join(pair) for pair in merges]
    vocabulary = numbered([*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *CHARACTERS, *pieces])
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="[UNK]", byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Lowercase(), normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    return wrapped(tokenizer)


MAKERS = {
    "wordpiece": wordpiece,
    "byte-level": lambda: byte_level(trim_offsets=True),
    "byte-level with spaces": lambda: byte_level(trim_offsets=False),
    "metaspace": metaspace,
    "sentencepiece bpe": sentencepiece_bpe,
}
TOKENIZERS = {name: make() for name, make in MAKERS.items()}
EACH = pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=list(TOKENIZERS))


def words_of(tokenizer, text, **options):
    """The words as text, for tokenizers that can tell: the characters from each word's first token to the next's."""
    [(ids, starts)] = word_starts(tokenizer, [text], max_length=512, **options)
    offsets = tokenizer(text, add_special_tokens=False)._encodings[0].offsets
    groups = []
    for begins, (first, end) in zip(starts, offsets, strict=True):
        if begins:
            groups.append((first, end))
        groups[-1] = (groups[-1][0], max(end, groups[-1][1]))
    assert len(ids) == len(starts)
    spans = [text[first:end] for first, end in groups]
    # White space in tokens of its own goes with the word after it.
    assert not any(span[-1:].isspace() for span in spans[:-1])
    return [span.strip() for span in spans]


@EACH
def test_english_words_are_whole_and_punctuation_is_apart(tokenizer):
    expected = ["Hello", "world", ",", "the", "well", "-", "known", "dogs", "are", "walking", "!"]
    assert words_of(tokenizer, "Hello world, the well-known dogs are walking!") == expected
    ids, _ = word_starts(tokenizer, ["walking unbelievably"], max_length=99)[0]
    assert len(ids) > 2  # the words above do consist of several tokens


@EACH
def test_each_chinese_character_is_a_word(tokenizer):
    assert words_of(tokenizer, "忘记密码怎么办？") == list("忘记密码怎么办？")
    assert words_of(tokenizer, "我 爱 Hello北京walking") == ["我", "爱", "Hello", "北", "京", "walking"]


@EACH
def test_a_character_in_several_tokens_is_one_word(tokenizer):
    # No vocabulary holds these: they are bytes, or unknown together.
    words = words_of(tokenizer, "我爱麤龘你")
    assert words in (list("我爱麤龘你"), ["我", "爱", "麤龘", "你"])


@pytest.mark.parametrize("name", ["byte-level", "byte-level with spaces"])
def test_japanese_and_thai_characters_are_words_and_marks_stay(name):
    assert words_of(TOKENIZERS[name], "東京タワーの") == list("東京タワーの")
    assert words_of(TOKENIZERS[name], "ไทย ง่าย") == ["ไ", "ท", "ย", "ง่", "า", "ย"]
    assert words_of(TOKENIZERS[name], "cafe\u0301s हिन्दी") == ["cafe\u0301s", "हिन्दी"]
    assert words_of(TOKENIZERS[name], "ｶﾞ👩\u200d👩 dog\u200bwalk") == ["ｶﾞ", "👩\u200d👩", "dog", "\u200bwalk"]


@pytest.mark.parametrize("name", ["wordpiece", "metaspace"])
def test_a_japanese_token_of_several_characters_is_one_word(name):
    tokenizer = TOKENIZERS[name]
    [(ids, starts)] = word_starts(tokenizer, ["カタカナの東京"], max_length=99)
    pieces = [piece.strip("▁#") for piece in tokenizer.convert_ids_to_tokens(ids)]
    assert max(map(len, pieces)) > 1
    assert starts == [place == 0 or bool(pieces[place - 1]) for place in range(len(ids))]


def test_a_mark_counts_as_what_it_stands_on():
    assert words_of(TOKENIZERS["metaspace"], "ง่dog ไ้") == ["ง่", "dog", "ไ้"]


@pytest.mark.parametrize(
    ("name", "words"), [("byte-level", ["x", "12"]), ("wordpiece", ["x12"]), ("metaspace", ["x12"])]
)
def test_where_letters_and_digits_meet_the_tokenizer_decides(name, words):
    assert words_of(TOKENIZERS[name], "x12") == words


@EACH
def test_code_has_words(tokenizer):
    assert words_of(tokenizer, "if foo_bar(walk)") == ["if", "foo", "_", "bar", "(", "walk", ")"]


@EACH
def test_white_space_belongs_to_the_word_after_it(tokenizer):
    words = words_of(tokenizer, "  if walk:\n        return walk  ")
    assert words == ["if", "walk", ":", "return", "walk"]


SCRIPTS = st.text(
    alphabet=st.sampled_from(list("abz09_.,!? \n\t我爱龘。カナー゛ไท่ง\u0301é½👩\u200d\u200bअ्")), max_size=25
)


@given(st.lists(SCRIPTS, max_size=5), st.sampled_from(list(TOKENIZERS.values())), st.integers(3, 30))
def test_tokens_are_the_tokenizers_own_and_the_first_begins_a_word(texts, tokenizer, max_length):
    rows = word_starts(tokenizer, texts, max_length=max_length)
    whole = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    assert [ids for ids, _ in rows] == [ids[: max_length - 2] for ids in whole]
    assert all(len(ids) == len(starts) for ids, starts in rows)
    assert all(starts[0] for _, starts in rows if starts)
    assert all(type(begins) is bool for _, starts in rows for begins in starts)


@given(st.lists(SCRIPTS, max_size=5), st.sampled_from(list(TOKENIZERS.values())))
def test_a_text_is_read_alike_alone_and_among_others(texts, tokenizer):
    alone = [word_starts(tokenizer, [text], max_length=50)[0] for text in texts]
    assert word_starts(tokenizer, texts, max_length=50) == alone


@given(SCRIPTS, st.sampled_from(list(TOKENIZERS.values())))
def test_white_space_always_parts_words_and_a_character_is_never_parted(text, tokenizer):
    [(ids, starts)] = word_starts(tokenizer, [text], max_length=200)
    offsets = tokenizer(text, add_special_tokens=False)._encodings[0].offsets
    for place in range(1, len(ids)):
        first, end = offsets[place]
        before = [span for span in offsets[:place] if text[span[0] : span[1]].strip()]
        visible = text[first:end].strip()
        if before and visible and text[before[-1][1] : first + 1].isspace() and first >= before[-1][1]:
            since = max(p for p in range(place) if text[offsets[p][0] : offsets[p][1]].strip())
            assert any(starts[since + 1 : place + 1])
        if before and visible and first < before[-1][1]:
            assert not starts[place]


@EACH
def test_long_lines_are_cut(tokenizer):
    rows = word_starts(tokenizer, ["walking 我 " * 10_000, "walk"], max_length=16)
    assert len(rows[0][0]) == 14
    assert rows[1] == word_starts(tokenizer, ["walk"], max_length=16)[0]


def test_no_texts_and_empty_ones():
    assert word_starts(TOKENIZERS["wordpiece"], [], max_length=16) == []
    assert word_starts(TOKENIZERS["wordpiece"], ["", " ", "dogs"], max_length=16)[:2] == [([], []), ([], [])]


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="leave room beside 2 special tokens, found 2"):
        word_starts(TOKENIZERS["wordpiece"], ["a"], max_length=2)
    with pytest.raises(ValueError, match="'tokenizer' or 'jieba', found 'nltk'"):
        word_starts(TOKENIZERS["wordpiece"], ["a"], max_length=9, words="nltk")


@pytest.mark.skipif(NO_JIEBA, reason="the zh extra is not installed")
@EACH
def test_jieba_groups_han_characters_and_nothing_else(tokenizer):
    text = "我爱北京天安门。 我 Hello北京walking dogs"
    expected = ["我", "爱", "北京", "天安门", "。", "我", "Hello", "北京", "walking", "dogs"]
    assert words_of(tokenizer, text, words="jieba") == expected


def test_without_jieba_the_answer_is_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "jieba", None)
    with pytest.raises(UserError, match=r"pip install 'embedtrain\[zh\]'"):
        word_starts(TOKENIZERS["wordpiece"], ["北京"], max_length=9, words="jieba")


@pytest.fixture
def slow(tmp_path, monkeypatch):
    """A tokenizer written in Python, which knows no offsets."""
    monkeypatch.setattr(words_module, "_said_of", set())
    pieces = [*SPECIAL, "[unused1]", "walk", "##ing", "a", "dog", "東", "##京", "。"]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces), encoding="utf-8")
    return BertJapaneseTokenizer(str(tmp_path / "vocab.txt"), word_tokenizer_type="basic")


def test_a_tokenizer_without_offsets_is_read_by_spelling_and_that_is_said_once(slow, caplog):
    caplog.set_level(logging.INFO, logger="embedtrain")
    rows = [word_starts(slow, ["a walking dog。", ""], max_length=max_length) for max_length in (9, 5)]
    assert [starts for _, starts in rows[0]] == [[True, True, False, True, True], []]
    assert [starts for _, starts in rows[1]] == [[True, True, False], []]
    assert [record.message for record in caplog.records] == [
        "BertJapaneseTokenizer does not tell where its tokens stand: words are told by the spelling of the tokens"
    ]
    with pytest.raises(UserError, match="words by jieba need a tokenizer that knows where in the text"):
        word_starts(slow, ["東京"], max_length=9, words="jieba")


@pytest.mark.parametrize(
    ("vocabulary", "pieces", "starts"),
    [
        (["▁walk", "ing", "▁a", "我"], ["▁walk", "ing", "▁", "我", "我", "a", "▁a"], [1, 0, 1, 0, 1, 0, 1]),
        (["Ġwalk", "ing"], ["walk", "ing", "Ġwalk", "æĪ", "ĳ"], [1, 0, 1, 0, 0]),
        (["walk@@", "ing"], ["walk@@", "ing", "walk"], [1, 0, 1]),
        (["walk", "##ing", "▁", "##▁"], ["##ing", "walk", "##ing"], [1, 1, 0]),
        (["a", "b"], ["a", "b"], [1, 1]),
        (["a", "b"], [], []),
    ],
)
def test_spelling(vocabulary, pieces, starts):
    assert Spelling(vocabulary).word_starts(pieces) == [bool(begins) for begins in starts]


def test_replacements_are_words_that_stand_alone(slow):
    assert slow.convert_ids_to_tokens(replacement_ids(slow).tolist()) == ["walk", "a", "dog", "東", "。"]
    for name, tokenizer in TOKENIZERS.items():
        ids = replacement_ids(tokenizer)
        assert ids.dtype == np.int32
        assert (np.diff(ids) > 0).all()
        pieces = tokenizer.convert_ids_to_tokens(ids.tolist())
        assert len(pieces) > 10
        assert not set(pieces) & set(SPECIAL)
        if name.startswith("byte-level"):
            assert all(piece.startswith("Ġ") and len(piece) > 1 for piece in pieces)
        elif name == "wordpiece":
            assert not any(piece.startswith("##") for piece in pieces)
        else:
            assert "我" in pieces
            assert not {"▁", "ing"} & set(pieces)
