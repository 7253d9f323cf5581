"""How alike two embeddings are: cosine, dot product, and the distances that count as likeness when they are small."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from embedtrain.evaluation.resampling import Floats

Similarity = Literal["cosine", "dot", "euclidean", "manhattan"]
SIMILARITIES: Mapping[Similarity, str] = {
    "cosine": "cosine",
    "dot": "dot product",
    "euclidean": "Euclidean",
    "manhattan": "Manhattan",
}
# Pairs that are compared at a time, so that memory stays flat however many there are.
_BLOCK = 4096


def pair_similarities(
    embeddings: NDArray[np.floating], first: NDArray[np.int64], second: NDArray[np.int64]
) -> dict[Similarity, Floats]:
    """Every similarity of given pairs of embeddings, computed in fp64.

    Args:
        embeddings: Of any length, (texts, dim).
        first: Row of each pair's first text, (pairs,).
        second: Row of each pair's second text, (pairs,).

    Returns:
        For each similarity a number a pair, (pairs,), the higher, the more alike: ``cosine`` (0 for an all-zero
        embedding), ``dot``, and ``euclidean`` and ``manhattan`` as distances with their sign turned.
    """
    found: dict[Similarity, Floats] = {name: np.empty(len(first)) for name in SIMILARITIES}
    for start in range(0, len(first), _BLOCK):
        part = slice(start, start + _BLOCK)
        a, b = (embeddings[rows[part]].astype(np.float64) for rows in (first, second))
        found["dot"][part] = np.einsum("pd,pd->p", a, b)
        found["euclidean"][part] = -np.linalg.norm(a - b, axis=1)
        found["manhattan"][part] = -np.abs(a - b).sum(axis=1)
        # Scaled before they are multiplied, so that a text with itself has exactly the cosine of every other such pair.
        found["cosine"][part] = np.einsum("pd,pd->p", _unit(a), _unit(b))
    return found


def _unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
