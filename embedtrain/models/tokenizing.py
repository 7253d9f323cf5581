"""What a model's tokenizer makes of texts: their lengths, and what it does not know; no model is loaded."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from embedtrain.errors import UserError
from embedtrain.files import read_json
from embedtrain.models.loading import ModelSource

_CHUNK = 5_000
# Tokenizers without a limit state a number that stands for none.
_NO_LIMIT = 1_000_000
_LENGTH_FILES = ("sentence_bert_config.json", "sentence_transformers_config.json")


@dataclass(frozen=True, eq=False)
class Tokenized:
    """Texts as a tokenizer sees them.

    Attributes:
        lengths: Tokens of each text, those that the model adds included, int64 (texts,).
        unknown: Tokens of each text that stand for what the vocabulary does not have, int64 (texts,).
        added: Tokens that the model adds to a text.
    """

    lengths: np.ndarray
    unknown: np.ndarray
    added: int

    @property
    def unknown_share(self) -> float:
        """Share of the texts' own tokens that are unknown."""
        own = int((self.lengths - self.added).sum())
        return float(self.unknown.sum()) / own if own > 0 else 0.0


def load_tokenizer(source: ModelSource) -> Any:
    """The tokenizer of a model.

    Raises:
        UserError: None can be made of the model's files.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(str(_first_module(source)))
    except (OSError, ValueError, KeyError, TypeError, ImportError, AttributeError) as error:
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"model '{source.name}' ({source.location}) has no usable tokenizer: {first_line}") from error


def max_length_of(source: ModelSource, tokenizer: Any) -> int | None:
    """Tokens that a model reads of a text, as its files state it; None where they state no limit."""
    folder = _first_module(source)
    for place in (folder / name for name in _LENGTH_FILES):
        stated = read_json(place).get("max_seq_length") if place.is_file() else None
        if isinstance(stated, int):
            return stated
    return position_limit(source, tokenizer)


def position_limit(source: ModelSource, tokenizer: Any) -> int | None:
    """Tokens that a model has positions for, which is what a cross-encoder of it reads of two texts together."""
    folder = _first_module(source)
    positions = read_json(folder / "config.json").get("max_position_embeddings")
    limits = [limit for limit in (tokenizer.model_max_length, positions) if isinstance(limit, int) and limit > 0]
    least = min(limits, default=_NO_LIMIT)
    return None if least >= _NO_LIMIT else least


def tokenize(tokenizer: Any, texts: Sequence[str]) -> Tokenized:
    """Count tokens and unknown tokens of every text, uncut."""
    lengths = np.zeros(len(texts), dtype=np.int64)
    unknown = np.zeros(len(texts), dtype=np.int64)
    unknown_id = getattr(tokenizer, "unk_token_id", None)
    for start in range(0, len(texts), _CHUNK):
        rows = tokenizer(list(texts[start : start + _CHUNK]), truncation=False, verbose=False)["input_ids"]
        for place, row in enumerate(rows, start=start):
            lengths[place] = len(row)
            # GPT's tokenizers name their end-of-text token as the unknown one, which no text gives.
            unknown[place] = row.count(unknown_id) if unknown_id is not None else 0
    return Tokenized(lengths, unknown, tokenizer.num_special_tokens_to_add(pair=False))


def _first_module(source: ModelSource) -> Path:
    """The folder of the transformer in a model of sentence-transformers, or the model's own."""
    folder = Path(source.location)
    if (folder / "modules.json").is_file():
        parts = [folder / module.get("path", "") for module in read_json(folder / "modules.json")]
        if parts and (parts[0] / "config.json").is_file():
            return parts[0]
    return folder
