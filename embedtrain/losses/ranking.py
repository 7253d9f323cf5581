"""Losses on positive pairs and triplets: rank an anchor's positive above everything else in the batch."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from embedtrain.losses.checks import check_embeddings, check_same_shape, zero_loss


def multiple_negatives_ranking_loss(
    anchor: Tensor, positive: Tensor, negatives: Tensor | None = None, *, scale: float = 20.0
) -> Tensor:
    """InfoNCE: each anchor picks its positive among all positives and all hard negatives of the batch.

    ``loss = mean_i -log( exp(scale * cos(anchor_i, positive_i)) / sum_c exp(scale * cos(anchor_i, c)) )``

    where ``c`` runs over the batch's positives and over every row's negatives, batch * (1 + n) candidates in all.
    Computed in fp32 whatever the input type, under autocast too. A batch of 0 gives a zero attached to the graph.
    Equal texts in two rows count as negatives of each other: batches should hold distinct texts.

    Args:
        anchor: Embeddings of the anchors, (batch, dim), any floating-point type.
        positive: Embedding of each anchor's match, (batch, dim).
        negatives: Embeddings of each anchor's hard negatives, (batch, n, dim), or None for in-batch negatives alone.
        scale: Factor on the cosine, the inverse of the temperature; above 0.

    Returns:
        The loss, a scalar in fp32.

    Raises:
        ValueError: If shapes do not fit, an embedding is not floating point, or the scale is not above 0.

    Source: Henderson et al. 2017 (arXiv:1705.00652), section 4.4; van den Oord et al. 2018 (arXiv:1807.03748), eq. 4.
    """
    _check_scale(scale)
    check_embeddings("anchor", anchor)
    check_embeddings("positive", positive)
    check_same_shape("anchor", anchor, "positive", positive)
    if negatives is None:
        negatives = positive.new_empty(len(positive), 0, positive.shape[-1])
    _check_negatives(anchor, negatives)
    if len(anchor) == 0:
        return zero_loss(anchor, positive, negatives)
    # Autocast would put this one product back into half precision.
    with torch.autocast(anchor.device.type, enabled=False):
        candidates = torch.cat([positive.float(), negatives.float().flatten(0, 1)])
        logits = scale * F.normalize(anchor.float(), dim=-1) @ F.normalize(candidates, dim=-1).T
        return F.cross_entropy(logits, torch.arange(len(anchor), device=anchor.device))


class MultipleNegativesRankingLoss(nn.Module):
    """``multiple_negatives_ranking_loss`` as a module: ``MultipleNegativesRankingLoss(scale=20.0)(anchor, positive)``.

    Args:
        scale: Factor on the cosine, the inverse of the temperature; above 0.
    """

    def __init__(self, *, scale: float = 20.0) -> None:
        super().__init__()
        _check_scale(scale)
        self.scale = scale

    def forward(self, anchor: Tensor, positive: Tensor, negatives: Tensor | None = None) -> Tensor:
        """The loss of (batch, dim), (batch, dim) and (batch, n, dim); see ``multiple_negatives_ranking_loss``."""
        return multiple_negatives_ranking_loss(anchor, positive, negatives, scale=self.scale)

    def extra_repr(self) -> str:
        """The options, for ``print(loss)``."""
        return f"scale={self.scale}"


def _check_scale(scale: float) -> None:
    if not (scale > 0 and math.isfinite(scale)):
        raise ValueError(f"scale must be a finite number above 0, found {scale}")


def _check_negatives(anchor: Tensor, negatives: Tensor) -> None:
    check_embeddings("negatives", negatives, layout="(batch, n, dim)")
    batch, dim = anchor.shape
    if (negatives.shape[0], negatives.shape[2]) != (batch, dim):
        raise ValueError(
            f"negatives must have shape (batch, n, dim) = ({batch}, n, {dim}) beside an anchor of shape "
            f"{tuple(anchor.shape)}, found {tuple(negatives.shape)}"
        )
