"""The loss that hands on how similar a teacher finds any two texts of a batch."""

from typing import ClassVar

from torch import Tensor

from embedtrain.losses.blockwise import blockwise_loss
from embedtrain.losses.checks import check_embeddings, check_same_device, finite, zero_loss
from embedtrain.losses.distances import unit
from embedtrain.losses.gathering import gather_rows, world_size
from embedtrain.losses.module import Loss


def similarity_distillation_loss(
    embedding: Tensor, target: Tensor, *, gather: bool = False, check_finite: bool = True
) -> Tensor:
    """Mean squared difference between the student's and the teacher's cosine of every two texts of a batch.

    ``loss = 1/(batch * (batch - 1)) sum_{i != j} (cos(embedding_i, embedding_j) - cos(target_i, target_j))^2``

    Only similarities are compared, so the teacher's embeddings may be of another length than the student's. Computed in
    fp32 (fp64 for fp64 embeddings) and in blocks of rows: memory grows with batch x dim. An all-zero embedding has
    cosine 0 with everything. A batch of fewer than two texts gives a zero attached to the graph.

    Args:
        embedding: The student's, (batch, dim), any floating-point type. Batches that hold texts near to each other
            teach most, such as pairs found by a search.
        target: The teacher's of the same texts, (batch, teacher_dim); no gradient reaches it.
        gather: Compare the texts of all ranks; the ranks' mean gradient is then that of the joined batch.
        check_finite: Refuse NaN and infinity in either; reads one flag back from the device.

    Returns:
        The loss, a scalar.

    Raises:
        ValueError: If shapes or devices do not fit, or a tensor is not floating point or not finite.

    Source: Tung & Mori 2019 (arXiv:1907.09682), section 3, with cosines; Park et al. 2019 (arXiv:1904.05068),
        section 3.1.
    """
    check_embeddings("embedding", embedding)
    check_embeddings("target", target, layout="(batch, teacher_dim)")
    if len(embedding) != len(target):
        raise ValueError(
            f"embedding and target must have one number of rows, found {tuple(embedding.shape)} and "
            f"{tuple(target.shape)}"
        )
    check_same_device("embedding", embedding, "target", target)
    everyone = gather_rows(embedding, gather=gather)
    taught = gather_rows(unit(target.detach()), gather=gather)
    if everyone.total < 2:
        return zero_loss(everyone.rows)
    loss = blockwise_loss(
        [embedding, everyone.rows],
        [(0, 1)],
        _SquaredDifferences(taught.rows.to(unit(embedding[:0]).dtype), first=everyone.first),
        weight=world_size(gather) / (everyone.total * (everyone.total - 1)),
    )
    return finite(loss, check_finite, embedding=embedding, target=target)


class SimilarityDistillationLoss(Loss):
    """``similarity_distillation_loss`` as a module: ``SimilarityDistillationLoss()(embedding, target)``.

    In the trainer, several text columns are one batch of all their texts, with targets (rows, columns, teacher_dim).

    Args:
        gather: Compare the texts of all ranks.
        check_finite: Refuse NaN and infinity.
    """

    embeddings = ("embedding",)
    joins_columns: ClassVar[bool] = True

    def __init__(self, *, gather: bool = False, check_finite: bool = True) -> None:
        super().__init__()
        self.gather = gather
        self.check_finite = check_finite

    def forward(self, embedding: Tensor, target: Tensor) -> Tensor:
        """The loss of (batch, dim) and (batch, teacher_dim); see ``similarity_distillation_loss``."""
        return similarity_distillation_loss(embedding, target, **self.options)


class _SquaredDifferences:
    """The arithmetic of one block of rows.

    Args:
        taught: The teacher's embeddings of all texts at length 1, (total, teacher_dim).
        first: Index among them of the first row.
    """

    def __init__(self, taught: Tensor, *, first: int) -> None:
        self.taught = taught
        self.first = first

    def __call__(self, similarities: Tensor, start: int, *, with_gradient: bool) -> tuple[Tensor, Tensor | None]:
        begin = self.first + start
        rows = self.taught[begin : begin + len(similarities)]
        similarities.addmm_(rows, self.taught.T, alpha=-1)
        # A text and itself: equal, but for rounding and all-zero embeddings.
        similarities.diagonal(begin).zero_()
        value = similarities.square().sum()
        return value, similarities.mul_(2) if with_gradient else None
