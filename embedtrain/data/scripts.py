"""Which scripts texts are written in: Latin, Han, Cyrillic, and so on, by letters and by texts."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# The first word of a letter's name in the Unicode Character Database, where it is not the script's own name.
_CALLED = {"CJK": "Han", "KANGXI": "Han", "HALFWIDTH": "Katakana", "MODIFIER": "Latin", "FEMININE": "Latin"}
_CHUNK = 2_000
NONE = "none"


@dataclass(frozen=True)
class Scripts:
    """Shares of scripts, the largest first.

    Attributes:
        letters: Of all letters.
        texts: Of the texts, each counted for the script that most of its letters are of; ``none`` has no letter.
    """

    letters: dict[str, float]
    texts: dict[str, float]


def script_of(character: str) -> str | None:
    """The script of a letter, such as ``Latin`` or ``Han``; None for what is no letter.

    Full-width Latin letters are Latin; the marks and letters that several scripts share count for none.
    """
    folded = unicodedata.normalize("NFKC", character)[:1] or character
    if not folded.isalpha():
        return None
    word = unicodedata.name(folded, "").partition(" ")[0].partition("-")[0]
    return _CALLED.get(word, word.title()) or None


def script_shares(texts: Sequence[str]) -> Scripts:
    """Shares of the scripts in texts, all of whose letters are looked at."""
    numbers: dict[str | None, int] = {None: 0}
    lookup = np.full(0x110000, -1, dtype=np.int16)
    letters = np.zeros(1, dtype=np.int64)
    mainly = np.zeros(1, dtype=np.int64)
    for start in range(0, len(texts), _CHUNK):
        chunk = texts[start : start + _CHUNK]
        codes = np.frombuffer("".join(chunk).encode("utf-32-le", errors="surrogatepass"), dtype=np.uint32)
        for code in np.unique(codes[lookup[codes] < 0]).tolist():
            lookup[code] = numbers.setdefault(script_of(chr(code)), len(numbers))
        owner = np.repeat(np.arange(len(chunk)), [len(text) for text in chunk])
        width = len(numbers)
        counts = np.bincount(owner * width + lookup[codes], minlength=len(chunk) * width).reshape(len(chunk), width)
        counts[:, 0] = 0
        letters, mainly = (np.pad(array, (0, width - len(array))) for array in (letters, mainly))
        letters += counts.sum(axis=0)
        mainly += np.bincount(counts.argmax(axis=1), minlength=width)
    names = [NONE if name is None else name for name in numbers]
    return Scripts(_shares(names[1:], letters[1:]), _shares(names, mainly))


def _shares(names: Sequence[str], counts: np.ndarray) -> dict[str, float]:
    total = max(1, int(counts.sum()))
    order = np.argsort(-counts, kind="stable")
    return {names[place]: float(counts[place]) / total for place in order if counts[place]}
