"""Prompts: what a bi-encoder puts before a text, according to what the text is for.

Models such as E5, BGE or Qwen3-Embedding were trained with them and lose quality without.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from embedtrain.files import read_json

if TYPE_CHECKING:
    from embedtrain.models.loading import ModelSource

QUERY, DOCUMENT, DEFAULT = "query", "document", "default"
ROLES = (QUERY, DOCUMENT, DEFAULT)
# Older files call the prompt of documents so; ``encode_document`` looks there only where ``document`` is not named.
_OLDER_NAMES = ("passage", "corpus")


class HasPrompts(Protocol):
    """What a ``SentenceTransformer`` knows of its prompts."""

    prompts: dict[str, str | None]
    default_prompt_name: str | None


class Prompts:
    """The prompts that the files of a model name, without its weights.

    Args:
        source: The model.
    """

    def __init__(self, source: ModelSource) -> None:
        file = Path(source.location) / "config_sentence_transformers.json"
        try:
            settings = read_json(file)
        except (FileNotFoundError, ValueError):  # a damaged one is for the model's loader to report
            settings = {}
        settings = settings if isinstance(settings, dict) else {}
        prompts, default = settings.get("prompts"), settings.get("default_prompt_name")
        named = prompts.items() if isinstance(prompts, dict) else ()
        self.prompts: dict[str, str | None] = {name: prompt for name, prompt in named if isinstance(prompt, str)}
        self.default_prompt_name: str | None = default if isinstance(default, str) else None


def set_prompts(model: HasPrompts, prompts: Mapping[str, str]) -> None:
    """Give a model prompts by role, saved with it; ``encode``, ``encode_query`` and ``encode_document`` use them.

    A role without a prompt gets the default one, which those two methods would leave out: a model that was trained with
    a prompt is asked with it. A role that is given an empty prompt has none.

    Args:
        model: The model; its other prompts stay.
        prompts: Role, one of ``ROLES``, to what is put before a text.
    """
    model.prompts = {**(model.prompts or {}), **prompts}
    if DEFAULT in prompts:
        model.default_prompt_name = DEFAULT
    default = model.prompts.get(model.default_prompt_name or "")
    older = [model.prompts.get(name) for name in _OLDER_NAMES]
    for role, others in ((QUERY, [default]), (DOCUMENT, [*older, default])):
        if role not in prompts:
            model.prompts[role] = model.prompts.get(role) or next(filter(None, others), "")


def prompt_before(model: HasPrompts, column: str) -> str:
    """What stands before the texts of a column of training data; empty where nothing does.

    An anchor is a query, positives and negatives are documents: what ``encode_query`` and ``encode_document`` take. In
    all other columns it is the default prompt, which ``encode`` takes.

    Args:
        model: The model.
        column: Name of the column, such as ``anchor`` or ``negative_2``.
    """
    # Anything with ``encode`` may stand in for a model.
    prompts = getattr(model, "prompts", None) or {}
    name = getattr(model, "default_prompt_name", None) or ""
    if column == "anchor":
        name = QUERY
    elif column.startswith(("positive", "negative")):
        name = next((name for name in (DOCUMENT, *_OLDER_NAMES) if name in prompts), DOCUMENT)
    return prompts.get(name) or ""
