"""Figures and user text as they stand on the page."""

import json
import math
import re
from typing import Any, TypeGuard

MINUS = "\u2212"
NOT_KNOWN = "\u2013"

_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003134f]")
_KANA = re.compile(r"[\u3040-\u30ff]")
_HANGUL = re.compile(r"[\uac00-\ud7af]")
# What no browser may show in text: control characters but tab and line ends, and halves of surrogate pairs.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def is_number(value: object) -> TypeGuard[float]:
    """Whether a parsed value is a finite number (``True`` and ``False`` are not)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def signed(value: float, decimals: int, *, plus: bool = False) -> str:
    """A number with a true minus sign, never a negative zero; ``plus`` also marks what is above zero."""
    text = f"{abs(value):.{decimals}f}"
    if float(text) == 0:
        return text
    return (MINUS if value < 0 else "+" if plus else "") + text


def points(value: object, *, decimals: int = 2, plus: bool = False) -> str:
    """A correlation, a fraction in [-1, 1], as points of 100: ``0.8577`` is ``85.77``."""
    return signed(100 * value, decimals, plus=plus) if is_number(value) else NOT_KNOWN


def interval(bounds: object, *, decimals: int = 1, plus: bool = False) -> str:
    """An interval of fractions as ``[84.1, 87.3]``; empty where a bound is not known."""
    if not isinstance(bounds, list | tuple) or len(bounds) != 2 or not all(map(is_number, bounds)):
        return ""
    return f"[{points(bounds[0], decimals=decimals, plus=plus)}, {points(bounds[1], decimals=decimals, plus=plus)}]"


def decimal(value: object, decimals: int = 2) -> str:
    """A score, or a distance of scores, on its own scale."""
    return signed(value, decimals) if is_number(value) else NOT_KNOWN


def share(value: object) -> str:
    """A fraction as per cent: ``0.125`` is ``12.5 %``."""
    return f"{signed(100 * value, 1)}\u00a0%" if is_number(value) else NOT_KNOWN


def count(value: object) -> str:
    """A whole number with thousands separated."""
    return f"{value:,.0f}" if is_number(value) else NOT_KNOWN


def duration(seconds: object) -> str:
    """Seconds in the two units that a person would say: ``8.4 s``, ``12 min 3 s``, ``1 h 5 min``, ``3 d 4 h``."""
    if not is_number(seconds):
        return NOT_KNOWN
    total = float(seconds)
    if total < 59.95:
        return f"{total:.1f} s"
    minutes, rest = divmod(round(total), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(round(total / 60), 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    days, hours = divmod(round(total / 3600), 24)
    return f"{days} d {hours} h"


def plain(value: object) -> str:
    """Any value of a settings file or an example row as one line of text."""
    if value is None:
        return "not set"
    if isinstance(value, str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.6g}"
    return json.dumps(value, ensure_ascii=False, default=str)


def printable(value: object, length: int = 400) -> str:
    """User text that any browser can show, cut with an ellipsis where it is longer than ``length`` characters."""
    text = _UNPRINTABLE.sub("\ufffd", plain(value))
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def capital(text: str) -> str:
    """A text as it stands at the beginning of a sentence; names such as nDCG stay as they are."""
    return text if text[1:2].isupper() else text[:1].upper() + text[1:]


def language(value: object) -> str:
    """The language tag that makes a browser choose the right glyphs for Han characters, or an empty string."""
    text = plain(value)
    if _HANGUL.search(text):
        return "ko"
    if _KANA.search(text):
        return "ja"
    return "zh" if _HAN.search(text) else ""


def flattened(settings: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as (dotted name, text), in the order of the file."""
    rows: list[tuple[str, str]] = []
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            rows += flattened(value, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", plain(value)))
    return rows


def headline(verdict: str) -> dict[str, str]:
    """A verdict as its first sentence (``verdict``) and what stands behind it (``reasons``)."""
    first, _, rest = verdict.partition(". ")
    return {"verdict": f"{first}." if rest else first, "reasons": rest}
