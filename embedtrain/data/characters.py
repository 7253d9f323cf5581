"""What kind a character is where words are told apart: white space, punctuation, or of a script without spaces."""

import re
import unicodedata

import numpy as np

WORD, SPACE, PUNCTUATION, MARK, UNSPACED, HAN = range(6)

# Unicode 16, Blocks.txt: Han with its radicals, iteration mark and the two supplementary planes of ideographs.
_HAN = (
    (0x2E80, 0x2FDF),
    (0x3005, 0x3007),
    (0x3021, 0x3029),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)
_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x19E0, 0x19FF),  # Khmer symbols
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x31F0, 0x31FF),  # Katakana
    (0xA9E0, 0xA9FF),  # Burmese
    (0xAA60, 0xAA7F),  # Burmese
    (0xFF66, 0xFF9D),  # Katakana of half width
    (0x1AFF0, 0x1B16F),  # Kana
)
_VOICING_OF_HALF_WIDTH = (0xFF9E, 0xFF9F)
# A letter of a script that is written without spaces between words.
UNSPACED_LETTER = re.compile("[" + "".join(f"{chr(first)}-{chr(last)}" for first, last in (*_HAN, *_UNSPACED)) + "]")
_ZERO_WIDTH_SPACE = 0x200B  # parts words in Thai and Khmer


def character_kinds(codes: np.ndarray) -> np.ndarray:
    """The kind of each character, one of the constants here; ``WORD`` stands for letters and digits of other scripts.

    Args:
        codes: Code points, integers of shape (characters,).

    Returns:
        Shape (characters,), uint8.
    """
    # Each character that occurs is looked up once, whatever the length of the text.
    occurs = np.zeros(0x110000, dtype=bool)
    occurs[codes] = True
    kinds = np.zeros(0x110000, dtype=np.uint8)
    different = np.flatnonzero(occurs)
    kinds[different] = [_kind(code) for code in different.tolist()]
    return kinds[codes]


def _kind(code: int) -> int:
    character = chr(code)
    if character.isspace() or code == _ZERO_WIDTH_SPACE:
        return SPACE
    category = unicodedata.category(character)
    if category[0] == "M" or category in ("Cc", "Cf") or code in _VOICING_OF_HALF_WIDTH:
        return MARK
    if category[0] in "PS":
        return PUNCTUATION
    if any(first <= code <= last for first, last in _HAN):
        return HAN
    return UNSPACED if any(first <= code <= last for first, last in _UNSPACED) else WORD
