"""Losses on labelled pairs and on triplets: matches move together, everything else out to a margin.

Each class takes the options of the function it wraps.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from embedtrain.losses.checks import (
    check_above_zero,
    check_binary,
    check_choice,
    check_pairs,
    finite,
    zero_loss,
)
from embedtrain.losses.distances import DISTANCES, Distance, row_distances, warn_of_margin, working
from embedtrain.losses.gathering import gather_rows
from embedtrain.losses.module import Loss


def contrastive_loss(
    embedding1: Tensor,
    embedding2: Tensor,
    label: Tensor,
    *,
    distance: Distance = "cosine",
    margin: float = 0.5,
    check_finite: bool = True,
) -> Tensor:
    """Half the squared distance of a match, and half the square of what any other pair lacks to the margin.

    ``loss = mean_i 1/2 * (d_i^2 if label_i = 1 else max(0, margin - d_i)^2)``, ``d_i = d(embedding1_i, embedding2_i)``

    Computed in fp32 (fp64 for fp64 inputs). A batch of 0 pairs gives a zero attached to the graph. Checking the labels
    reads one flag back from their device, ``check_finite`` another.

    Args:
        embedding1: (batch, dim), any floating-point type.
        embedding2: (batch, dim).
        label: (batch,): 1 for a match, else 0; any type.
        distance: ``"cosine"`` (1 - cos), ``"euclidean"`` or ``"manhattan"``.
        margin: Distance from which a pair without a match costs nothing; above 0.
        check_finite: Refuse NaN and infinity among the embeddings.

    Returns:
        The loss, a scalar.

    Raises:
        ValueError: If shapes or devices do not fit, embeddings are not floating point or not finite, a label is
            neither 0 nor 1, or an option is not allowed.

    Source: Hadsell, Chopra & LeCun 2006, Dimensionality Reduction by Learning an Invariant Mapping, equation 4.
    """
    _check_options(distance, margin)
    check_pairs("embedding1", embedding1, "embedding2", embedding2)
    check_binary(label, embedding1)
    if len(embedding1) == 0:
        return zero_loss(embedding1, embedding2)
    distances = row_distances(embedding1, embedding2, distance)
    # Asked of the distances because the margin would hide an infinite one.
    finite(distances.detach().sum(), check_finite, embedding1=embedding1, embedding2=embedding2)
    return torch.where(label.bool(), distances, F.relu(margin - distances)).square().mean() / 2


class ContrastiveLoss(Loss):
    """``contrastive_loss`` as a module: ``ContrastiveLoss(margin=0.5)(embedding1, embedding2, label)``."""

    embeddings = ("embedding1", "embedding2")

    def __init__(self, *, distance: Distance = "cosine", margin: float = 0.5, check_finite: bool = True) -> None:
        super().__init__()
        _check_options(distance, margin)
        self.distance = distance
        self.margin = margin
        self.check_finite = check_finite

    def forward(self, embedding1: Tensor, embedding2: Tensor, label: Tensor) -> Tensor:
        """The loss of (batch, dim), (batch, dim) and (batch,); see ``contrastive_loss``."""
        return contrastive_loss(embedding1, embedding2, label, **self.options)


def online_contrastive_loss(
    embedding1: Tensor,
    embedding2: Tensor,
    label: Tensor,
    *,
    distance: Distance = "cosine",
    margin: float = 0.5,
    gather: bool = False,
    check_finite: bool = True,
) -> Tensor:
    """The contrastive terms of the batch's hard pairs alone, summed.

    ``loss = sum_p d_p^2 + sum_n max(0, margin - d_n)^2``

    where ``p`` runs over the matches (label 1) farther apart than the nearest other pair, and ``n`` over the other
    pairs (label 0) nearer than the farthest match. In a batch of one kind the mean distance takes the place of the
    kind that is missing. A sum, not a mean: the number of hard pairs falls as training succeeds.

    Computed in fp32 (fp64 for fp64 inputs). A batch of 0 pairs, and one without a hard pair, give a zero attached to
    the graph. Checking the labels reads one flag back from their device, ``check_finite`` another.

    Args:
        embedding1: (batch, dim), any floating-point type.
        embedding2: (batch, dim).
        label: (batch,): 1 for a match, else 0; any type.
        distance: ``"cosine"`` (1 - cos), ``"euclidean"`` or ``"manhattan"``.
        margin: Distance from which a pair without a match costs nothing; above 0.
        gather: Look for hard pairs among the pairs of all ranks; every rank returns the joined batch's loss.
        check_finite: Refuse NaN and infinity among the embeddings.

    Returns:
        The loss, a scalar.

    Raises:
        ValueError: If shapes or devices do not fit, embeddings are not floating point or not finite, a label is
            neither 0 nor 1, or an option is not allowed.

    Source: the terms are those of Hadsell, Chopra & LeCun 2006, equation 4, without the half; the choice of hard pairs
    is sentence-transformers'.
    """
    _check_options(distance, margin)
    check_pairs("embedding1", embedding1, "embedding2", embedding2)
    check_binary(label, embedding1)
    distances = row_distances(embedding1, embedding2, distance)
    pairs = gather_rows(torch.stack([distances, label.to(distances)], dim=1), gather=gather).rows
    if len(pairs) == 0:
        return zero_loss(embedding1, embedding2)
    distances, match = pairs[:, 0], pairs[:, 1] == 1
    # Asked of the distances because the margin would hide an infinite one.
    finite(distances.detach().sum(), check_finite, embedding1=embedding1, embedding2=embedding2)
    hard = _hard_pairs(distances.detach(), match)
    terms = torch.where(match, distances, F.relu(margin - distances)).square()
    return torch.where(hard, terms, 0).sum()


def _hard_pairs(distances: Tensor, match: Tensor) -> Tensor:
    """(pairs,) of bool; without reading anything back from the device."""
    mean = distances.mean()
    farthest_match = torch.where(match.any(), distances.masked_fill(~match, -torch.inf).max(), mean)
    nearest_other = torch.where(match.all(), mean, distances.masked_fill(match, torch.inf).min())
    return torch.where(match, distances > nearest_other, distances < farthest_match)


class OnlineContrastiveLoss(Loss):
    """``online_contrastive_loss`` as a module: ``OnlineContrastiveLoss(margin=0.5)(embedding1, embedding2, label)``."""

    embeddings = ("embedding1", "embedding2")

    def __init__(
        self, *, distance: Distance = "cosine", margin: float = 0.5, gather: bool = False, check_finite: bool = True
    ) -> None:
        super().__init__()
        _check_options(distance, margin)
        self.distance = distance
        self.margin = margin
        self.gather = gather
        self.check_finite = check_finite

    def forward(self, embedding1: Tensor, embedding2: Tensor, label: Tensor) -> Tensor:
        """The loss of (batch, dim), (batch, dim) and (batch,); see ``online_contrastive_loss``."""
        return online_contrastive_loss(embedding1, embedding2, label, **self.options)


def triplet_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance: Distance = "euclidean",
    margin: float = 5.0,
    check_finite: bool = True,
) -> Tensor:
    """What each negative lacks to be farther from the anchor than the positive is, by the margin.

    ``loss = mean_i max(0, d(anchor_i, positive_i) - d(anchor_i, negative_i) + margin)``

    Computed in fp32 (fp64 for fp64 inputs). A batch of 0 triplets gives a zero attached to the graph.
    ``check_finite`` reads one flag back from the embeddings' device. The default margin is meant for embeddings that
    are not normalized: no two of unit length are more than 2 apart.

    Args:
        anchor: (batch, dim), any floating-point type.
        positive: (batch, dim).
        negative: (batch, dim).
        distance: ``"cosine"`` (1 - cos), ``"euclidean"`` or ``"manhattan"``.
        margin: By how much the negative should be farther away; above 0.
        check_finite: Refuse NaN and infinity among the embeddings.

    Returns:
        The loss, a scalar.

    Raises:
        ValueError: If shapes or devices do not fit, embeddings are not floating point or not finite, or an option is
            not allowed.

    Source: Schroff et al. 2015, FaceNet (arXiv:1503.03832); Reimers & Gurevych 2019, Sentence-BERT (arXiv:1908.10084),
    section 3, triplet objective (distances without the square).
    """
    _check_options(distance, margin)
    check_pairs("anchor", anchor, "positive", positive)
    check_pairs("anchor", anchor, "negative", negative)
    if len(anchor) == 0:
        return zero_loss(anchor, positive, negative)
    # Converted once, so that the anchor's two gradients are added in fp32.
    anchor = working(anchor)
    near, far = row_distances(anchor, positive, distance), row_distances(anchor, negative, distance)
    # Asked of the distances because the margin would hide an infinite one.
    finite((near + far).detach().sum(), check_finite, anchor=anchor, positive=positive, negative=negative)
    return F.relu(near - far + margin).mean()


class TripletLoss(Loss):
    """``triplet_loss`` as a module: ``TripletLoss(margin=5.0)(anchor, positive, negative)``."""

    embeddings = ("anchor", "positive", "negative")

    def __init__(self, *, distance: Distance = "euclidean", margin: float = 5.0, check_finite: bool = True) -> None:
        super().__init__()
        _check_options(distance, margin)
        warn_of_margin(margin, distance)
        self.distance = distance
        self.margin = margin
        self.check_finite = check_finite

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """The loss of three tensors of (batch, dim); see ``triplet_loss``."""
        return triplet_loss(anchor, positive, negative, **self.options)


def _check_options(distance: str, margin: float) -> None:
    check_choice("distance", distance, DISTANCES)
    check_above_zero("margin", margin)
