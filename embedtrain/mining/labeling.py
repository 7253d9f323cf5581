"""Scores for sentence pairs from a cross-encoder, and hard labels made of them."""

import logging
import math
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from embedtrain.errors import Problems, UserError
from embedtrain.mining.fused_encoder import fused
from embedtrain.mining.token_batches import PairTokens
from embedtrain.progress import Progress

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

logger = logging.getLogger(__name__)

# A small batch stays in the cache of each core, a large one fills a GPU. Of 256 to 8192 tokens, 1024 was the fastest on
# one AVX512-BF16 core and 2048 on two.
CPU_TOKENS_PER_THREAD = 1024
GPU_TOKEN_BUDGET = 65536


def score_pairs(
    cross_encoder: "CrossEncoder",
    sentence1: Sequence[str],
    sentence2: Sequence[str],
    *,
    both_orders: bool = True,
    token_budget: int | None = None,
    dtype: torch.dtype | None = None,
) -> np.ndarray:
    """The cross-encoder's score of each pair, after its own activation function.

    Gives what ``CrossEncoder.predict`` gives, faster: pairs are tokenised in the background while the model works;
    batches hold pairs of like length and a like number of tokens instead of a like number of pairs; scores are fetched
    from the device once in some thousand pairs. Memory grows by a few bytes a pair.

    The same pairs in the same order give the same scores to the bit, on the same machine with as many threads.

    Args:
        cross_encoder: A sequence classifier with one output. It stays on its device; its training mode is restored.
        sentence1: First texts, length n.
        sentence2: Second texts, length n.
        both_orders: Mean of the scores of (first, second) and (second, first), for a relation that has no direction.
        token_budget: Tokens in a batch, padding included; a single longer pair is a batch of its own. By default 1024
            for each thread on a CPU and 65536 elsewhere.
        dtype: Autocast to this type, such as ``torch.bfloat16``; ``None`` computes in the type of the weights.

    Returns:
        Float32 of shape (n,).

    Raises:
        ValueError: The columns differ in length, ``token_budget`` is below 1, or the model is not a sequence
            classifier with one output that takes plain text pairs.
    """
    if len(sentence1) != len(sentence2):
        raise ValueError(f"expected as many first as second texts, found {len(sentence1)} and {len(sentence2)}")
    device = cross_encoder.device
    if token_budget is None:
        token_budget = CPU_TOKENS_PER_THREAD * torch.get_num_threads() if device.type == "cpu" else GPU_TOKEN_BUDGET
    if token_budget < 1:
        raise ValueError(f"token_budget must be at least 1, found {token_budget}")
    _check_model(cross_encoder)
    first, second = list(sentence1), list(sentence2)
    pairs = PairTokens(cross_encoder.tokenizer, first, second, both_orders=both_orders)
    scores = np.empty(len(first), dtype=np.float32)
    activation = cross_encoder.activation_fn or torch.nn.Identity()
    fuses = device.type == "cpu" and dtype is torch.bfloat16
    was_training = cross_encoder.training
    cross_encoder.eval()
    try:
        with (
            torch.inference_mode(),
            torch.autocast(device.type, dtype=dtype, enabled=dtype is not None),
            fused(cross_encoder, token_budget=token_budget) if fuses else nullcontext(),
            _progress(first, second) as progress,
        ):
            for chunk in pairs.chunks():
                parts = []
                for start, stop in chunk.batches(token_budget):
                    # Left on the device: fetching every batch would make a GPU wait for the next one.
                    parts.append(activation(_logits(cross_encoder, pairs.features(chunk, start, stop))).reshape(-1))
                    progress.update(chunk.characters * float(chunk.lengths[start:stop].sum() / chunk.lengths.sum()))
                of_rows = np.empty(len(chunk.order), dtype=np.float32)
                of_rows[chunk.order] = torch.cat(parts).cpu().numpy()
                of_pairs = of_rows.reshape(-1, chunk.pairs).mean(axis=0)
                scores[chunk.start : chunk.start + chunk.pairs] = of_pairs
    finally:
        cross_encoder.train(was_training)
    return scores


def _logits(cross_encoder: "CrossEncoder", features: dict[str, torch.Tensor]) -> torch.Tensor:
    """The model's outputs before its activation, float32 (batch, 1), on its device."""
    device = cross_encoder.device
    if device.type == "cuda":
        # From pinned memory the copy does not wait for what the device is doing.
        features = {name: values.pin_memory() for name, values in features.items()}
    moved = {name: values.to(device, non_blocking=True) for name, values in features.items()}
    return cross_encoder(moved)["scores"].float()


def _progress(sentence1: Sequence[str], sentence2: Sequence[str]) -> Progress:
    """Counts characters, so that the time left is right where lengths differ."""
    characters = sum(map(len, sentence1)) + sum(map(len, sentence2))
    return Progress(characters, what=f"labelling {len(sentence1):,} pairs", stays=False)


def label_pairs(
    pairs: pd.DataFrame,
    cross_encoder: "CrossEncoder",
    *,
    both_orders: bool = True,
    token_budget: int | None = None,
    dtype: torch.dtype | None = None,
) -> pd.DataFrame:
    """A copy of ``pairs`` (columns ``sentence1`` and ``sentence2``) with :func:`score_pairs` as column ``score``."""
    scores = score_pairs(
        cross_encoder,
        pairs["sentence1"].tolist(),
        pairs["sentence2"].tolist(),
        both_orders=both_orders,
        token_budget=token_budget,
        dtype=dtype,
    )
    return pairs.assign(score=scores)


def check_thresholds(*, positive_threshold: float, negative_threshold: float) -> None:
    """Refuse thresholds that cannot split scores, before anything is computed.

    Raises:
        UserError: A threshold is outside [0, 1], or the negative one is not below the positive one.
    """
    problems = Problems()
    for option, value in (("--positive-threshold", positive_threshold), ("--negative-threshold", negative_threshold)):
        if math.isnan(value) or not 0 <= value <= 1:
            problems.add(f"{option} {value}: expected a score between 0 and 1")
    problems.raise_if_any()
    if negative_threshold >= positive_threshold:
        raise UserError(
            f"--negative-threshold {negative_threshold} is not below --positive-threshold {positive_threshold}: "
            "pairs scored at or below the first become 0, at or above the second 1, and those between are dropped"
        )


def hard_labels(silver: pd.DataFrame, *, positive_threshold: float, negative_threshold: float) -> pd.DataFrame:
    """Pairs with a clear score, labelled 1 or 0; those between the thresholds are dropped, and how many is logged.

    Args:
        silver: Table with a column ``score`` in [0, 1].
        positive_threshold: Scores at or above it become label 1.
        negative_threshold: Scores at or below it become label 0.

    Returns:
        The rows kept, in order, every column kept, with an int64 column ``label``; the index starts at 0.

    Raises:
        UserError: See :func:`check_thresholds`.
    """
    check_thresholds(positive_threshold=positive_threshold, negative_threshold=negative_threshold)
    positive = silver["score"] >= positive_threshold
    clear = positive | (silver["score"] <= negative_threshold)
    kept = silver[clear].assign(label=positive[clear].astype("int64")).reset_index(drop=True)
    logger.info(
        "hard labels: %d of %d pairs scored between %g and %g and were dropped; %d positive and %d negative are left",
        len(silver) - len(kept),
        len(silver),
        negative_threshold,
        positive_threshold,
        int(kept["label"].sum()),
        int((kept["label"] == 0).sum()),
    )
    return kept


def _check_model(cross_encoder: "CrossEncoder") -> None:
    if cross_encoder.num_labels != 1:
        raise ValueError(f"expected a cross-encoder with one output, found {cross_encoder.num_labels}")
    formats = getattr(cross_encoder[0], "modality_config", {})
    if "message" in formats or cross_encoder.default_prompt_name:
        raise ValueError(
            "expected a cross-encoder that takes plain text pairs, found one with a prompt or a chat format"
        )
