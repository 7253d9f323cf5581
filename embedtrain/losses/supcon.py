"""Supervised contrastive loss: texts of one class are each other's positives."""

import torch
from torch import Tensor

from embedtrain.losses.blockwise import blockwise_loss
from embedtrain.losses.checks import check_above_zero, check_classes, check_embeddings, finite, zero_loss
from embedtrain.losses.distances import working
from embedtrain.losses.gathering import gather_rows, world_size
from embedtrain.losses.module import Loss


def sup_con_loss(
    embeddings: Tensor, labels: Tensor, *, scale: float = 10.0, gather: bool = False, check_finite: bool = True
) -> Tensor:
    """Each text picks the others of its class among all others of the batch.

    ``loss = mean_i  1/|P(i)| sum_{p in P(i)} -log( exp(scale * cos(i, p)) / sum_{a != i} exp(scale * cos(i, a)) )``

    where ``P(i)`` are the other rows with the label of row i; the mean runs over the rows that have any. A batch
    without two rows of one label gives a zero attached to the graph. Computed in blocks, in fp32 whatever the input
    type; memory grows with batch * dim.

    Args:
        embeddings: (batch, dim), any floating-point type.
        labels: The class of each row, (batch,) whole numbers.
        scale: Factor on the cosine, the inverse of the temperature; above 0.
        gather: Take the rows of all ranks; the ranks' mean gradient is then that of the joined batch.
        check_finite: Say which row holds NaN or infinity; reads one flag back from the device.

    Returns:
        The loss, a scalar in fp32.

    Raises:
        ValueError: If shapes, types, devices or options do not fit.

    Source: Khosla et al. 2020 (arXiv:2004.11362), eq. 2.
    """
    check_above_zero("scale", scale)
    check_embeddings("embeddings", embeddings)
    check_classes("labels", labels, embeddings)
    given, embeddings = embeddings, working(embeddings) if world_size(gather) > 1 else embeddings
    joined, joined_labels = gather_rows(embeddings, gather=gather), gather_rows(labels, gather=gather).rows
    _, kind, size = joined_labels.unique(return_inverse=True, return_counts=True)
    positives = size[kind] - 1
    anchors = int((positives > 0).sum())
    if anchors == 0:
        return zero_loss(embeddings, joined.rows)

    def block_loss(similarities: Tensor, start: int, *, with_gradient: bool) -> tuple[Tensor, Tensor | None]:
        logits = similarities
        target = (labels[start : start + len(logits)].unsqueeze(1) == joined_labels).to(logits.dtype)
        for matrix, itself in ((target, 0.0), (logits, -torch.inf)):
            matrix.diagonal(joined.first + start).fill_(itself)
        # A row alone in its class has no target: its loss and its derivative become 0.
        count = target.sum(dim=1, keepdim=True)
        target.div_(count.clamp(min=1))
        log_softmax = torch.log_softmax(logits, dim=1)
        value = -torch.where(target > 0, target * log_softmax, 0).sum()
        return value, log_softmax.exp_().mul_(count > 0).sub_(target) if with_gradient else None

    weight = world_size(gather) / anchors
    if joined.rows is embeddings:
        loss = blockwise_loss([embeddings], [(0, 0)], block_loss, scale=scale, weight=weight)
    else:
        loss = blockwise_loss([embeddings, joined.rows], [(0, 1)], block_loss, scale=scale, weight=weight)
    return finite(loss, check_finite, embeddings=given)


class SupConLoss(Loss):
    """``sup_con_loss`` as a module: ``SupConLoss()(embeddings, labels)``.

    Args:
        scale: Factor on the cosine, the inverse of the temperature; above 0.
        gather: Take the rows of all ranks.
        check_finite: Say which row holds NaN or infinity.
    """

    embeddings = ("embeddings",)

    def __init__(self, *, scale: float = 10.0, gather: bool = False, check_finite: bool = True) -> None:
        super().__init__()
        check_above_zero("scale", scale)
        self.scale = scale
        self.gather = gather
        self.check_finite = check_finite

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """The loss of (batch, dim) and (batch,); see ``sup_con_loss``."""
        return sup_con_loss(embeddings, labels, **self.options)
