"""Token numbers of texts, and where words begin among them: what noise takes as its unit."""

import logging
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from embedtrain.data.characters import HAN, MARK, PUNCTUATION, SPACE, UNSPACED, character_kinds
from embedtrain.data.noise_kinds import WordsName
from embedtrain.data.token_spelling import Spelling
from embedtrain.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

_said_of: set[str] = set()


def word_starts(
    tokenizer: "PreTrainedTokenizerBase",
    texts: Sequence[str],
    *,
    max_length: int,
    words: WordsName = "tokenizer",
) -> list[tuple[list[int], list[bool]]]:
    """Tokenise texts without special tokens, and say of each token whether a word begins with it.

    A word begins where the tokenizer's own pre-tokenizer begins one, after white space, and where punctuation and
    letters meet, so that a line of code is more than one word to tokenizers that cut at white space alone. In scripts
    written without spaces (Han, kana, Thai, Lao, Khmer, Burmese) every character is a word. A token is never cut:
    several characters in one token are one word. Nor is a character: tokens that hold parts of one (byte-level
    tokenizers) stay together, and combining marks stay with what they stand on. White space that has a token of its own
    belongs to the word after it.

    A tokenizer without offsets (one written in Python) has its words read off the spelling of its tokens; that is
    logged once for each class of tokenizer.

    Args:
        tokenizer: Any tokenizer of transformers.
        texts: The texts, (n,).
        max_length: Tokens that the model reads, special tokens included; longer texts are cut.
        words: ``jieba`` joins Han characters to the words that jieba (extra ``zh``) finds.

    Returns:
        For each text its token numbers and whether each begins a word. The first of them always does.

    Raises:
        UserError: jieba is asked for and is not installed, or the tokenizer has no offsets to compare its words with.
        ValueError: ``max_length`` has no room for a token beside the special ones, or ``words`` is unknown.
    """
    room = max_length - tokenizer.num_special_tokens_to_add(pair=False)
    if room < 1:
        raise ValueError(f"max_length must leave room beside {max_length - room} special tokens, found {max_length}")
    if words not in ("tokenizer", "jieba"):
        raise ValueError(f"words must be 'tokenizer' or 'jieba', found {words!r}")
    if words == "jieba" and not tokenizer.is_fast:
        raise UserError(
            f"words by jieba need a tokenizer that knows where in the text its tokens stand, which "
            f"{type(tokenizer).__name__} does not; leave the words to the tokenizer"
        )
    if not len(texts):
        return []
    encoded = tokenizer(
        list(texts),
        add_special_tokens=False,
        truncation=True,
        max_length=room,
        padding=False,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,
    )
    rows: list[list[int]] = encoded["input_ids"]
    if not tokenizer.is_fast:
        return _by_spelling(tokenizer, rows)
    begins = _by_offsets(encoded.encodings, texts, jieba=words == "jieba").tolist()
    ends = np.cumsum([len(row) for row in rows]).tolist()
    return [(row, begins[end - len(row) : end]) for row, end in zip(rows, ends, strict=True)]


def _by_spelling(tokenizer: "PreTrainedTokenizerBase", rows: list[list[int]]) -> list[tuple[list[int], list[bool]]]:
    name = type(tokenizer).__name__
    if name not in _said_of:
        _said_of.add(name)
        logger.info("%s does not tell where its tokens stand: words are told by the spelling of the tokens", name)
    spelling = Spelling(list(tokenizer.get_vocab()))
    return [(row, spelling.word_starts(tokenizer.convert_ids_to_tokens(row))) for row in rows]


def _by_offsets(encodings: Sequence[Any], texts: Sequence[str], *, jieba: bool) -> np.ndarray:
    """Whether each token of all texts begins a word, (tokens,)."""
    counts = np.array([len(encoding.ids) for encoding in encodings], dtype=np.int64)
    tokens = int(counts.sum())
    spans = np.fromiter(chain.from_iterable(chain.from_iterable(e.offsets for e in encodings)), np.int64, 2 * tokens)
    first, end = spans.reshape(tokens, 2).T
    own = np.fromiter((-1 if n is None else n for e in encodings for n in e.word_ids), np.int64, tokens)
    row = np.repeat(np.arange(len(counts)), counts)
    # Characters after the last token that has a place are of no use, and there may be many of them.
    used = np.zeros(len(counts), dtype=np.int64)
    np.maximum.at(used, row, end)
    cut = [text[:length] for text, length in zip(texts, used.tolist(), strict=True)]
    codes = np.frombuffer("".join(cut).encode("utf-32-le", "surrogatepass"), dtype="<u4")
    shift = np.repeat(np.cumsum(used) - used, counts)
    jieba_words = _jieba_words(cut) if jieba else None
    begins = _begin(codes, first + shift, end + shift, own, row, jieba_words)
    begins[(np.cumsum(counts) - counts)[counts > 0]] = True
    return begins


def _begin(
    codes: np.ndarray,
    first: np.ndarray,
    end: np.ndarray,
    own: np.ndarray,
    row: np.ndarray,
    jieba_words: np.ndarray | None,
) -> np.ndarray:
    """Whether a word begins at each token, by the characters it stands for and those of the token before.

    Args:
        codes: The texts' characters one after another, (characters,).
        first: Where each token's characters begin, (tokens,).
        end: Where they end, (tokens,).
        own: The number of the tokenizer's own word that each token is of, (tokens,).
        row: The text that each token is of, (tokens,).
        jieba_words: The number of jieba's word that each character is of, (characters,), or None.
    """
    begins = np.zeros(len(first), dtype=bool)
    kinds = character_kinds(codes)
    places = np.arange(len(codes))
    spaces = np.concatenate([[0], np.cumsum(kinds == SPACE)])
    # The first character that is no white space from each place on, and the last one up to it.
    following = np.minimum.accumulate(np.where(kinds == SPACE, len(codes), places)[::-1])[::-1]
    leading = np.maximum.accumulate(np.where(kinds == SPACE, -1, places))
    shown = np.flatnonzero(spaces[end] - spaces[first] < end - first)
    if not len(shown):
        return begins
    first, last, own, row = following[first[shown]], leading[end[shown] - 1], own[shown], row[shown]

    # A mark counts as what it stands on.
    base = kinds[np.maximum.accumulate(np.where(kinds == MARK, 0, places))]
    before, after = base[last[:-1]], kinds[first[1:]]
    within_text = row[1:] == row[:-1]
    spaced = spaces[first[1:]] > spaces[np.minimum(last[:-1] + 1, first[1:])]
    next_to_mark = (kinds[last[:-1]] == MARK) | (after == MARK)
    apart = (own[1:] != own[:-1]) & ~next_to_mark
    apart |= (after >= UNSPACED) | ((before >= UNSPACED) & (after != MARK))
    apart |= ((before == PUNCTUATION) != (after == PUNCTUATION)) & (after != MARK)
    if jieba_words is not None:
        both_han = (before == HAN) & (after == HAN)
        apart = np.where(both_han, jieba_words[last[:-1]] != jieba_words[first[1:]], apart)
    apart |= spaced
    apart &= first[1:] > last[:-1]
    # White space between two tokens that has tokens of its own goes with the word after it.
    begins[shown[:-1][within_text & apart] + 1] = True
    return begins


def _jieba_words(texts: Sequence[str]) -> np.ndarray:
    """The number of jieba's word that each character is of, all texts one after another, (characters,)."""
    try:
        import jieba
    except ImportError:
        raise UserError("words by jieba need the package jieba: pip install 'embedtrain[zh]'") from None
    # It reports on standard error how long its dictionary took.
    jieba.setLogLevel(logging.WARNING)
    lengths = [len(word) for text in texts for word in jieba.cut(text)]
    return np.repeat(np.arange(len(lengths)), lengths)
