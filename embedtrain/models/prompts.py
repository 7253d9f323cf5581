"""Prompts: what a bi-encoder puts before a text, according to what the text is for.

Models such as E5, BGE or Qwen3-Embedding were trained with them and lose quality without.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

QUERY, DOCUMENT, DEFAULT = "query", "document", "default"
ROLES = (QUERY, DOCUMENT, DEFAULT)
# The names by which ``encode_document`` finds its prompt, in that order.
_DOCUMENT_NAMES = (DOCUMENT, "passage", "corpus")


def set_prompts(model: SentenceTransformer, prompts: Mapping[str, str]) -> None:
    """Give a model prompts by role, saved with it; ``encode``, ``encode_query`` and ``encode_document`` use them.

    Args:
        model: The model; its other prompts stay.
        prompts: Role, one of ``ROLES``, to what is put before a text.
    """
    model.prompts = {**(model.prompts or {}), **prompts}
    if DEFAULT in prompts:
        model.default_prompt_name = DEFAULT


def prompt_before(model: SentenceTransformer, column: str) -> str:
    """What stands before the texts of a column of training data; empty where nothing does.

    An anchor is a query, positives and negatives are documents. Where the model has no such prompt, and in all other
    columns, it is the default prompt, which ``encode`` takes.

    Args:
        model: The model.
        column: Name of the column, such as ``anchor`` or ``negative_2``.
    """
    # Anything with ``encode`` may stand in for a model.
    prompts = getattr(model, "prompts", None) or {}
    names: tuple[str, ...] = ()
    if column == "anchor":
        names = (QUERY,)
    elif column.startswith(("positive", "negative")):
        names = _DOCUMENT_NAMES
    of_role = next((prompts[name] for name in names if prompts.get(name)), "")
    return of_role or prompts.get(getattr(model, "default_prompt_name", None) or "") or ""
