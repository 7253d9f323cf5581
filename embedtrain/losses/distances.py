"""Lengths of embeddings and distances between them, row by row, in fp32."""

import warnings
from typing import Literal, get_args

import torch
from torch import Tensor

Distance = Literal["cosine", "euclidean", "manhattan"]
DISTANCES = get_args(Distance)


def row_distances(first: Tensor, second: Tensor, distance: Distance) -> Tensor:
    """The distance of each row of one tensor to the same row of another.

    ``cosine``: 1 - cos, in [0, 2]; ``euclidean``: the length of the difference; ``manhattan``: the sum of its
    absolute values.

    Args:
        first: (batch, dim), any floating-point type.
        second: (batch, dim).
        distance: Which one.

    Returns:
        (batch,) in fp32.
    """
    first, second = working(first), working(second)
    if distance == "cosine":
        return 1 - row_cosines(first, second)
    difference = first - second
    return safe_sqrt(difference.square().sum(-1)) if distance == "euclidean" else difference.abs().sum(-1)


def row_cosines(first: Tensor, second: Tensor) -> Tensor:
    """The cosine of each row of one tensor with the same row of another, (batch,) in fp32.

    An all-zero embedding has cosine 0 with everything, and gradient 0. No copies at length 1 are kept, which would take
    half of the memory that the gradient needs.
    """
    first, second = working(first), working(second)
    lengths = inverse_norms(first) * inverse_norms(second)
    return (first * second).sum(dim=-1) * lengths.squeeze(-1)


def warn_of_margin(margin: float, distance: str) -> None:
    """Warn where a margin can never be met: cosine distances lie between 0 and 2."""
    if distance == "cosine" and margin > 2:
        warnings.warn(
            f"margin {margin} can never be met: cosine distances differ by 2 at most; choose one well below",
            stacklevel=3,
        )


def safe_sqrt(squares: Tensor) -> Tensor:
    """The square root with gradient 0 at 0, where it would be infinite; rounding below 0 counts as 0, NaN stays."""
    none = squares <= 0
    return torch.where(none, 0, torch.where(none, 1, squares).sqrt())


def unit(embeddings: Tensor) -> Tensor:
    """Embeddings at length 1 in fp32; an all-zero one stays, with gradient 0."""
    embeddings = working(embeddings)
    return embeddings * inverse_norms(embeddings)


def inverse_norms(embeddings: Tensor) -> Tensor:
    """One by the length of each row, (batch, 1); 0 for an all-zero row."""
    norms = torch.linalg.vector_norm(embeddings, dim=-1, keepdim=True)
    none = norms == 0
    return torch.where(none, 0, 1 / torch.where(none, 1, norms))


def working(tensor: Tensor) -> Tensor:
    """The tensor in the type losses compute in: fp32, or fp64 where it came in fp64."""
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()
