"""Triplet losses that find their triplets in a batch of labelled texts."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from embedtrain.losses.blockwise import BlockLoss, blockwise_loss, by_autograd
from embedtrain.losses.checks import check_choice, check_classes, check_embeddings, finite, zero_loss
from embedtrain.losses.distances import safe_sqrt, warn_of_margin, working
from embedtrain.losses.gathering import gather_rows, sum_over_ranks, world_size
from embedtrain.losses.module import Loss

BatchDistance = Literal["euclidean", "cosine"]


def batch_hard_triplet_loss(
    embeddings: Tensor,
    labels: Tensor,
    *,
    distance: BatchDistance = "euclidean",
    margin: float = 5.0,
    gather: bool = False,
    check_finite: bool = True,
) -> Tensor:
    """Each anchor with its farthest positive and its nearest negative.

    ``loss = mean_a max(0, max_{p: label_p = label_a} d(a, p) - min_{n: label_n != label_a} d(a, n) + margin)``

    The mean runs over the anchors that have both a positive and a negative; a batch without any gives a zero attached
    to the graph. Distances are computed in blocks, in fp32 whatever the input type; memory grows with batch * dim.

    Args:
        embeddings: (batch, dim), any floating-point type.
        labels: The class of each row, (batch,) whole numbers.
        distance: ``euclidean``, or ``cosine`` for 1 - cos.
        margin: By how much a negative shall be farther than a positive, in the distance's unit.
        gather: Take the rows of all ranks; the ranks' mean gradient is then that of the joined batch.
        check_finite: Say which row holds NaN or infinity; reads one flag back from the device.

    Returns:
        The loss, a scalar in fp32.

    Raises:
        ValueError: If shapes, types, devices or options do not fit.

    Source: Hermans et al. 2017 (arXiv:1703.07737), eq. 5.
    """
    batch = _LabelledBatch(embeddings, labels, distance=distance, gather=gather)

    def hard(distances: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        farthest = torch.where(positive, distances, -torch.inf).amax(dim=1)
        nearest = torch.where(negative, distances, torch.inf).amin(dim=1)
        both = positive.any(dim=1) & negative.any(dim=1)
        return F.relu(farthest[both] - nearest[both] + margin).sum()

    return _finite(batch.sum(batch.by_distance(hard), count=batch.anchors), check_finite, embeddings)


def batch_semi_hard_triplet_loss(
    embeddings: Tensor,
    labels: Tensor,
    *,
    distance: BatchDistance = "euclidean",
    margin: float = 5.0,
    gather: bool = False,
    check_finite: bool = True,
) -> Tensor:
    """Each anchor and positive with the nearest negative that is farther than the positive.

    ``loss = mean_{a, p} max(0, d(a, p) - d(a, n*) + margin)``, where ``n*`` is the nearest negative with
    ``d(a, n) > d(a, p)``, or the farthest negative where there is none.

    The mean runs over all anchors and positives whose anchor has a negative; a batch without any gives a zero attached
    to the graph. Distances are computed in blocks, in fp32 whatever the input type; memory grows with batch * dim.

    Args:
        embeddings: (batch, dim), any floating-point type.
        labels: The class of each row, (batch,) whole numbers.
        distance: ``euclidean``, or ``cosine`` for 1 - cos.
        margin: By how much a negative shall be farther than a positive, in the distance's unit.
        gather: Take the rows of all ranks; the ranks' mean gradient is then that of the joined batch.
        check_finite: Say which row holds NaN or infinity; reads one flag back from the device.

    Returns:
        The loss, a scalar in fp32.

    Raises:
        ValueError: If shapes, types, devices or options do not fit.

    Source: Schroff et al. 2015, FaceNet (arXiv:1503.03832), section 3.2.
    """
    batch = _LabelledBatch(embeddings, labels, distance=distance, gather=gather)

    def semi_hard(distances: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        sorted_negatives, order = torch.where(negative, distances.detach(), torch.inf).sort(dim=1)
        farther = torch.searchsorted(sorted_negatives, distances.detach(), right=True)
        # Beyond the last negative the farthest one is taken.
        last = (negative.sum(dim=1, keepdim=True) - 1).clamp(min=0)
        chosen = distances.gather(1, order.gather(1, torch.minimum(farther, last)))
        pairs = positive & negative.any(dim=1, keepdim=True)
        return F.relu(distances[pairs] - chosen[pairs] + margin).sum()

    return _finite(batch.sum(batch.by_distance(semi_hard), count=batch.pairs), check_finite, embeddings)


def batch_all_triplet_loss(
    embeddings: Tensor,
    labels: Tensor,
    *,
    distance: BatchDistance = "euclidean",
    margin: float = 5.0,
    gather: bool = False,
    check_finite: bool = True,
) -> Tensor:
    """Every triplet of the batch that violates the margin.

    ``loss = mean_{a, p, n} max(0, d(a, p) - d(a, n) + margin)`` over the triplets where it is above 0.

    Sorting each anchor's negatives replaces the batch^3 triplets by counts: batch^2 * log(batch) steps. A batch
    without such a triplet gives a zero attached to the graph. Distances are computed in blocks, in fp32 whatever the
    input type; memory grows with batch * dim.

    Args:
        embeddings: (batch, dim), any floating-point type.
        labels: The class of each row, (batch,) whole numbers.
        distance: ``euclidean``, or ``cosine`` for 1 - cos.
        margin: By how much a negative shall be farther than a positive, in the distance's unit.
        gather: Take the rows of all ranks; the ranks' mean gradient is then that of the joined batch.
        check_finite: Say which row holds NaN or infinity; reads one flag back from the device.

    Returns:
        The loss, a scalar in fp32.

    Raises:
        ValueError: If shapes, types, devices or options do not fit.

    Source: Hermans et al. 2017 (arXiv:1703.07737), eq. 6, mean over the triplets above 0 as in their section 3.
    """
    batch = _LabelledBatch(embeddings, labels, distance=distance, gather=gather)
    violations = torch.zeros((), dtype=torch.int64, device=embeddings.device)

    def all_triplets(distances: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        fixed = distances.detach()
        reach = torch.where(positive, fixed + margin, -torch.inf)
        negatives = torch.where(negative, fixed, torch.inf).sort(dim=1).values
        # How many negatives each positive reaches, and how many positives reach each negative.
        reached = torch.searchsorted(negatives, reach).masked_fill(~positive, 0)
        reaching = (reach.shape[1] - torch.searchsorted(reach.sort(dim=1).values, fixed, right=True)).masked_fill(
            ~negative, 0
        )
        violations.add_(reached.sum())
        # A violated triplet adds d(a, p) - d(a, n) + margin: each distance as often as it stands in one. The row's mean
        # cancels out; without it, the sum would be a small difference of large numbers.
        centred = distances - fixed.mean(dim=1, keepdim=True)
        return ((reached - reaching) * centred).sum() + margin * reached.sum().to(distances.dtype)

    total = batch.sum(batch.by_distance(all_triplets))
    count = sum_over_ranks(violations, gather=gather).clamp(min=1)
    return _finite(total / count, check_finite, embeddings)


class _BatchTripletLoss(Loss):
    """Options and call of the three losses.

    Args:
        distance: ``euclidean``, or ``cosine`` for 1 - cos.
        margin: By how much a negative shall be farther than a positive, in the distance's unit.
        gather: Take the rows of all ranks.
        check_finite: Say which row holds NaN or infinity.
    """

    embeddings = ("embeddings",)
    function: Callable[..., Tensor]

    def __init__(
        self,
        *,
        distance: BatchDistance = "euclidean",
        margin: float = 5.0,
        gather: bool = False,
        check_finite: bool = True,
    ) -> None:
        super().__init__()
        check_choice("distance", distance, ("euclidean", "cosine"))
        warn_of_margin(margin, distance)
        self.distance = distance
        self.margin = margin
        self.gather = gather
        self.check_finite = check_finite

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """The loss of (batch, dim) and (batch,)."""
        return type(self).function(embeddings, labels, **self.options)


class BatchHardTripletLoss(_BatchTripletLoss):
    """``batch_hard_triplet_loss`` as a module: ``BatchHardTripletLoss()(embeddings, labels)``."""

    function = staticmethod(batch_hard_triplet_loss)


class BatchSemiHardTripletLoss(_BatchTripletLoss):
    """``batch_semi_hard_triplet_loss`` as a module: ``BatchSemiHardTripletLoss()(embeddings, labels)``."""

    function = staticmethod(batch_semi_hard_triplet_loss)


class BatchAllTripletLoss(_BatchTripletLoss):
    """``batch_all_triplet_loss`` as a module: ``BatchAllTripletLoss()(embeddings, labels)``."""

    function = staticmethod(batch_all_triplet_loss)


def _finite(loss: Tensor, check_finite: bool, embeddings: Tensor) -> Tensor:
    # Asked of the embeddings because a row that stands in no triplet would spoil the gradient unseen.
    finite(working(embeddings.detach()).sum(), check_finite, embeddings=embeddings)
    return loss


class _LabelledBatch:
    """Rows of this rank as anchors against the rows of all ranks, block by block."""

    def __init__(self, embeddings: Tensor, labels: Tensor, *, distance: BatchDistance, gather: bool) -> None:
        check_choice("distance", distance, ("euclidean", "cosine"))
        check_embeddings("embeddings", embeddings)
        check_classes("labels", labels, embeddings)
        # Rows and columns come from one tensor in full precision, so that its gradient is rounded only once.
        self.embeddings, self.labels, self.distance = working(embeddings), labels, distance
        self.joined = gather_rows(self.embeddings, gather=gather)
        self.joined_labels = gather_rows(labels, gather=gather).rows
        self.ranks = world_size(gather)
        _, kind, size = self.joined_labels.unique(return_inverse=True, return_counts=True)
        # Of anchors with a negative, and a positive: with one class alone there are none.
        positives = (size[kind] - 1) * (len(size) > 1)
        self.anchors, self.pairs = int((positives > 0).sum()), int(positives.sum())

    def by_distance(self, loss: Callable[[Tensor, Tensor, Tensor], Tensor]) -> BlockLoss:
        """A block's arithmetic from a function of distances, positives and negatives, (rows, columns) each."""

        def from_similarities(similarities: Tensor, start: int) -> Tensor:
            same = self.labels[start : start + len(similarities)].unsqueeze(1) == self.joined_labels
            positive = same.clone()
            positive.diagonal(self.joined.first + start).fill_(False)
            distances = 1 - similarities if self.distance == "cosine" else safe_sqrt(similarities)
            return loss(distances, positive, ~same)

        return by_autograd(from_similarities)

    def sum(self, block_loss: BlockLoss, *, count: int = 1) -> Tensor:
        """A block loss summed over this rank's anchors, divided by a count over all ranks, times the ranks."""
        if self.pairs == 0 or count == 0:
            return zero_loss(self.embeddings, self.joined.rows)
        rows, columns = self.embeddings, self.joined.rows
        if self.distance == "euclidean":
            # |a|^2 - 2 a b + |b|^2 as one product, so that the lengths get their gradient like the rest.
            rows = torch.cat([rows, _square(rows), torch.ones_like(rows[:, :1])], dim=1)
            columns = torch.cat([-2 * columns, torch.ones_like(columns[:, :1]), _square(columns)], dim=1)
        weight = self.ranks / count
        return blockwise_loss([rows, columns], [(0, 1)], block_loss, normalize=self.distance == "cosine", weight=weight)


def _square(embeddings: Tensor) -> Tensor:
    return embeddings.square().sum(dim=1, keepdim=True)
