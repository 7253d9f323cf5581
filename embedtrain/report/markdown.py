"""Markdown from figures and text of the user's."""

import html
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from embedtrain.report import wording

# A model's or data set's name on the hub, with or without its owner.
HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
_FILE = re.compile(r"\.(tsv|csv|txt|jsonl?|parquet)$", re.IGNORECASE)


def name_only(value: object) -> str:
    """A file's name in place of its path; names on the hub stay whole."""
    text = str(value)
    if HUB_NAME.fullmatch(text) and not _FILE.search(text):
        return text
    return re.split(r"[/\\]", text.rstrip("/\\"))[-1]


def without_paths(value: object) -> Any:
    """A setting with the files in it named without their folders."""
    if isinstance(value, str):
        return name_only(value) if "/" in value or "\\" in value else value
    if isinstance(value, list):
        return [without_paths(item) for item in value]
    if isinstance(value, dict):
        return {name: without_paths(item) for name, item in value.items()}
    return value


def inline(value: object, length: int = 200) -> str:
    """Text of the user's that neither Markdown nor HTML reads as its own."""
    text = " ".join(wording.printable(value, length).split())
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", html.escape(text, quote=False))


def code(value: object) -> str:
    """A name of the user's as code; nothing for an empty one."""
    text = inline(value)
    return f"<code>{text}</code>" if text else ""


def fenced(text: str, language: str) -> str:
    """A block of code, whatever stands in it."""
    longest = max((len(found) for found in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}{fence}"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows under their heads; cells are Markdown already."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def spaced(parts: Sequence[str]) -> str:
    """Paragraphs apart, points of a list together."""
    text = parts[0]
    for before, part in pairwise(parts):
        text += ("\n" if before.startswith("- ") and part.startswith("- ") else "\n\n") + part
    return text
