"""Words told by the spelling of tokens alone: which pieces begin a word, and which carry one on."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from embedtrain.data.characters import UNSPACED, character_kinds

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SENTENCEPIECE, _BYTE_LEVEL = "\u2581", "\u0120"
# A vocabulary of many languages may hold such a character without using it as a mark.
_LEAST_SHARE = 0.01
_NOT_TEXT = re.compile(r"\[unused\d+\]|<0x[0-9A-F]{2}>|\[UNK\]|<unk>")


class Spelling:
    """How the pieces of a vocabulary tell where words begin.

    Three ways are known: a piece that begins a word is marked (``▁word``, ``Ġword``), a piece that carries a word on is
    (``##ing``), or a piece that is carried on is (``walk@@``). In a vocabulary of none of these every piece is a word.

    Args:
        pieces: The vocabulary, or enough of it to see which way it is.
    """

    def __init__(self, pieces: Sequence[str]) -> None:
        def marked(mark: str) -> int:
            return sum(piece.startswith(mark) and piece != mark for piece in pieces)

        mark = max((_SENTENCEPIECE, _BYTE_LEVEL), key=marked)
        self._mark = mark if marked(mark) > _LEAST_SHARE * len(pieces) else None

    def word_starts(self, pieces: Sequence[str]) -> list[bool]:
        """Whether each piece of a text begins a word, (pieces,); the first one does."""
        if not pieces:
            return []
        before = ["", *pieces[:-1]]
        if self._mark is None:
            starts = [
                not (piece.startswith("##") or earlier.endswith("@@"))
                for earlier, piece in zip(before, pieces, strict=True)
            ]
        else:
            starts = [
                piece.startswith(self._mark) or (unspaced and earlier != self._mark)
                for earlier, piece, unspaced in zip(before, pieces, self._unspaced(pieces), strict=True)
            ]
        return [True, *starts[1:]]

    def whole(self, pieces: Sequence[str]) -> list[bool]:
        """Whether each piece can stand as a word of its own: it begins one, has text, and is not carried on."""
        if self._mark is None:
            return [
                not (piece.startswith("##") or piece.endswith("@@") or _NOT_TEXT.fullmatch(piece)) for piece in pieces
            ]
        return [
            (unspaced or (piece.startswith(self._mark) and piece != self._mark)) and not _NOT_TEXT.fullmatch(piece)
            for piece, unspaced in zip(pieces, self._unspaced(pieces), strict=True)
        ]

    def _unspaced(self, pieces: Sequence[str]) -> list[bool]:
        """Whether each piece begins with a character of a script without spaces; bytes cannot tell."""
        if self._mark == _BYTE_LEVEL:
            return [False] * len(pieces)
        codes = np.array([ord(piece[0]) if piece else 0 for piece in pieces], dtype=np.int64)
        return (character_kinds(codes) >= UNSPACED).tolist()


def replacement_ids(tokenizer: "PreTrainedTokenizerBase") -> np.ndarray:
    """The tokens that noise may put in the place of a word or between words.

    Those that can stand as a word: no special or added token, none that only carries a word on. Where the spelling lets
    none through (a tokenizer of characters that marks nothing), all but the special and added ones.

    Returns:
        Token numbers, ascending, int32 (ids,).
    """
    vocabulary = tokenizer.get_vocab()
    kept_out = {*tokenizer.all_special_ids, *tokenizer.get_added_vocab().values()}
    pieces = [piece for piece, number in vocabulary.items() if number not in kept_out]
    whole = Spelling(pieces).whole(pieces)
    ids = [vocabulary[piece] for piece, is_whole in zip(pieces, whole, strict=True) if is_whole]
    return np.sort(np.array(ids or [vocabulary[piece] for piece in pieces], dtype=np.int32))
