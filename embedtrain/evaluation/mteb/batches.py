"""Texts in batches of like length and a like number of tokens, and the fastest way that a model has through them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from embedtrain.mining.fused_encoder import fused
from embedtrain.models import autocast
from embedtrain.models.packing import packed

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

# On a CPU a small batch stays in the cache of each core: 300 abstracts in batches of 1,024 tokens a core took half the
# time of batches of 32 texts.
CPU_TOKENS_PER_THREAD = 1024
# As many as 32 texts of 512 tokens, so that no text is too long for a GPU that takes such a batch.
GPU_TOKENS = 16_384
# Texts tokenised at a time.
_CHUNK = 2_500
_BYTES_PER_TOKEN = 3


def default_token_budget(device: str) -> int:
    """Tokens in a batch, padding included, on ``cpu`` or ``cuda``."""
    return CPU_TOKENS_PER_THREAD * torch.get_num_threads() if device == "cpu" else GPU_TOKENS


def token_lengths(model: SentenceTransformer, texts: Sequence[str], *, prompt: str = "") -> NDArray[np.int64]:
    """Tokens of each text with the prompt before it, as far as the model reads them; (texts,).

    Guessed from the number of bytes where the model's tokenizer is none of transformers'.
    """
    tokenizer, longest = getattr(model, "tokenizer", None), model.get_max_seq_length()
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        sizes = np.array([len((prompt + text).encode("utf-8", "surrogatepass")) for text in texts], dtype=np.int64)
        guessed = sizes // _BYTES_PER_TOKEN + 2
        return guessed if longest is None else np.minimum(guessed, longest)
    limit = min(longest or tokenizer.model_max_length, tokenizer.model_max_length)
    lengths: list[int] = []
    for start in range(0, len(texts), _CHUNK):
        rows = tokenizer(
            [prompt + text for text in texts[start : start + _CHUNK]],
            truncation=True,
            max_length=limit,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )["input_ids"]
        lengths.extend(map(len, rows))
    return np.array(lengths, dtype=np.int64)


def token_batches(lengths: NDArray[np.int64], *, budget: int) -> Iterator[NDArray[np.int64]]:
    """The places of texts in batches, longest first, so that too large a batch fails at once.

    Args:
        lengths: Tokens of each text.
        budget: Tokens in a batch, padding included; a single longer text is a batch of its own.
    """
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, budget // max(1, int(lengths[order[start]])))
        yield order[start : start + size]
        start += size


@contextmanager
def quick(model: SentenceTransformer, *, precision: str, token_budget: int) -> Iterator[None]:
    """Let a model encode without padding while the context lasts, or with fused layers: on a CPU in bf16, if it can.

    Args:
        model: On its device.
        precision: What it will be autocast to, ``fp32``, ``tf32`` or ``bf16``.
        token_budget: Tokens of a full batch.
    """
    device = model.device.type
    was_training = model.training
    model.eval()
    with ExitStack() as stack:
        is_fused = False
        if device == "cpu" and precision == "bf16":
            # For the trial alone: what calls the model later says itself in what precision.
            with torch.inference_mode(), autocast(device, precision):
                is_fused = stack.enter_context(fused(model, token_budget=token_budget, output="sentence_embedding"))
        if not is_fused:
            stack.enter_context(packed(model))
        try:
            yield
        finally:
            model.train(was_training)
