"""Scores for sentence pairs from a cross-encoder, and hard labels made of them."""

import logging
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from embedtrain.errors import Problems, UserError

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

    Gives what ``CrossEncoder.predict`` gives, faster: every pair is tokenised once, before the first batch; batches
    hold pairs of like length and a like number of tokens instead of a like number of pairs.

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
    if len(sentence1) == 0:
        return np.empty(0, dtype=np.float32)
    first, second = list(sentence1), list(sentence2)
    if both_orders:
        first, second = first + second, second + first
    tokens = cross_encoder.tokenizer(first, second, truncation="longest_first", padding=False)
    lengths = np.array([len(ids) for ids in tokens["input_ids"]])
    batches = list(_batches_of_like_length(lengths, token_budget))
    activation = cross_encoder.activation_fn or torch.nn.Identity()
    was_training = cross_encoder.training
    cross_encoder.eval()
    parts = []
    try:
        with (
            torch.inference_mode(),
            torch.autocast(device.type, dtype=dtype, enabled=dtype is not None),
            tqdm(total=len(first), desc="labelling", unit="pair", delay=5, disable=None) as progress,
        ):
            for batch in batches:
                features = cross_encoder.tokenizer.pad(
                    {name: [column[i] for i in batch] for name, column in tokens.items()}, return_tensors="pt"
                )
                logits = cross_encoder(dict(features.to(device, non_blocking=True)))["scores"].float()
                # Left on the device: fetching every batch would make a GPU wait for the next one.
                parts.append(activation(logits).reshape(-1))
                progress.update(len(batch))
    finally:
        cross_encoder.train(was_training)
    scores = np.empty(len(first), dtype=np.float32)
    scores[np.concatenate(batches)] = torch.cat(parts).cpu().numpy()
    return scores.reshape(2, -1).mean(axis=0) if both_orders else scores


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


def _batches_of_like_length(lengths: np.ndarray, token_budget: int) -> Iterator[np.ndarray]:
    """Indices of each batch, longest first, so that too large a batch fails at once and not after an hour."""
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, token_budget // int(lengths[order[start]]))
        yield order[start : start + size]
        start += size
