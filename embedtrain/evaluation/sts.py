"""Semantic textual similarity: how well a model's cosines follow people's scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedtrain.evaluation.statistics import bootstrap_correlation

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def score_predictions(prediction: ArrayLike, gold: ArrayLike, *, samples: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Correlations of predicted with gold similarities and their 95 % bootstrap intervals, ready for JSON.

    Args:
        prediction: Predicted similarity of each pair, (pairs,), on any scale.
        gold: People's score of each pair, (pairs,), on any scale.
        samples: Number of bootstrap resamples.
        seed: Seed of the resampling.

    Returns:
        ``spearman`` and ``pearson`` as fractions (0.85, not 85), ``ci95`` = [low, high] of Spearman,
        ``pearson_ci95`` = [low, high], and ``pairs``, the number of pairs.

    Raises:
        ValueError: If lengths differ, there are fewer than 3 pairs, or a number is not finite.
    """
    spearman = bootstrap_correlation(prediction, gold, method="spearman", samples=samples, seed=seed)
    pearson = bootstrap_correlation(prediction, gold, method="pearson", samples=samples, seed=seed)
    return {
        "spearman": spearman.value,
        "pearson": pearson.value,
        "ci95": [spearman.low, spearman.high],
        "pearson_ci95": [pearson.low, pearson.high],
        "pairs": len(np.asarray(gold)),
    }


def cosine_of_pairs(
    model: SentenceTransformer, sentence1: Sequence[str], sentence2: Sequence[str], *, batch_size: int = 64
) -> NDArray[np.float64]:
    """Cosine of each pair's embeddings; a sentence that occurs in several pairs is encoded once.

    Args:
        model: Anything with SentenceTransformer's ``encode``.
        sentence1: First sentence of each pair.
        sentence2: Second sentence of each pair, as many.
        batch_size: Sentences encoded at a time.

    Returns:
        Cosines in [-1, 1] up to rounding, (pairs,), computed in fp64; 0 for an all-zero embedding.

    Raises:
        ValueError: If the two lists differ in length.
    """
    if len(sentence1) == len(sentence2) == 0:
        return np.zeros(0)
    encoded, first, second = encode_pairs(
        model, sentence1, sentence2, batch_size=batch_size, normalize_embeddings=True, show_progress_bar=False
    )
    embeddings = np.asarray(encoded, dtype=np.float64)
    # A model in half precision normalises only to half precision.
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    embeddings = np.divide(embeddings, lengths, out=np.zeros_like(embeddings), where=lengths > 0)
    return np.einsum("pd,pd->p", embeddings[first], embeddings[second])


def encode_pairs(
    model: SentenceTransformer, sentence1: Sequence[str], sentence2: Sequence[str], **options: Any
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Embeddings of all sentences of some pairs; a sentence that occurs in several pairs is encoded once.

    Args:
        model: Anything with SentenceTransformer's ``encode``.
        sentence1: First sentence of each pair.
        sentence2: Second sentence of each pair, as many.
        **options: Of ``encode``.

    Returns:
        Embeddings, (different sentences, dim), and the row of each pair's first and second sentence, (pairs,).

    Raises:
        ValueError: If the two lists differ in length.
    """
    if len(sentence1) != len(sentence2):
        raise ValueError(
            f"sentence1 and sentence2 must be equally long, found {len(sentence1)} and {len(sentence2)} sentences"
        )
    row_of = {text: row for row, text in enumerate(dict.fromkeys([*sentence1, *sentence2]))}
    embeddings = np.asarray(model.encode(list(row_of), convert_to_numpy=True, **options))
    first, second = (np.array([row_of[text] for text in texts], dtype=np.int64) for texts in (sentence1, sentence2))
    return embeddings, first, second
