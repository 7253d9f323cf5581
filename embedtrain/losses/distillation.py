"""Losses that hand on what a teacher knows: its embeddings, or its scores of the same texts.

Each class takes the options of the function it wraps.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from embedtrain.losses.checks import (
    check_above_zero,
    check_choice,
    check_negatives,
    check_pairs,
    check_rows,
    check_same_device,
    check_tensor,
    finite,
    zero_loss,
)
from embedtrain.losses.distances import working
from embedtrain.losses.module import Loss

Similarity = Literal["dot", "cosine"]


def mse_loss(embedding: Tensor, target: Tensor, *, check_finite: bool = True) -> Tensor:
    """Mean squared error between each number of an embedding and the teacher's.

    ``loss = 1/(batch * dim) sum_i ||embedding_i - target_i||^2``

    Computed in fp32 (fp64 for fp64 inputs). A batch of 0 gives a zero attached to the graph. ``check_finite`` reads
    one flag back from the embeddings' device.

    Args:
        embedding: The student's, (batch, dim), any floating-point type.
        target: The teacher's of the same text, or of the text it translates, (batch, dim); no gradient reaches it.
        check_finite: Refuse NaN and infinity in either.

    Returns:
        The loss, a scalar.

    Raises:
        ValueError: If shapes or devices do not fit, or a tensor is not floating point or not finite.

    Source: Reimers & Gurevych 2020 (arXiv:2004.09813), section 2.
    """
    check_pairs("embedding", embedding, "target", target)
    if len(embedding) == 0:
        return zero_loss(embedding)
    loss = (working(embedding) - working(target.detach())).square().mean()
    return finite(loss, check_finite, embedding=embedding, target=target)


class MSELoss(Loss):
    """``mse_loss`` as a module: ``MSELoss()(embedding, target)``."""

    embeddings = ("embedding",)
    as_wide = ("target",)

    def __init__(self, *, check_finite: bool = True) -> None:
        super().__init__()
        self.check_finite = check_finite

    def forward(self, embedding: Tensor, target: Tensor) -> Tensor:
        """The loss of (batch, dim) and (batch, dim); see ``mse_loss``."""
        return mse_loss(embedding, target, **self.options)


def margin_mse_loss(
    anchor: Tensor,
    positive: Tensor,
    negatives: Tensor,
    teacher_scores: Tensor,
    *,
    similarity: Similarity = "dot",
    check_finite: bool = True,
) -> Tensor:
    """Mean squared error between the student's and the teacher's margin of a positive over each negative.

    ``loss = 1/(batch * n) sum_ij ((s(anchor_i, positive_i) - s(anchor_i, negative_ij)) - (t_i0 - t_ij))^2``

    with the similarity ``s`` and the teacher's scores ``t``. Computed in fp32 (fp64 for fp64 inputs). A batch without
    a negative gives a zero attached to the graph. ``check_finite`` reads one flag back from the embeddings' device.

    Args:
        anchor: (batch, dim), any floating-point type.
        positive: (batch, dim).
        negatives: (batch, n, dim).
        teacher_scores: The teacher's score of the positive, then of the negatives, (batch, 1 + n); or its margins
            ``t_i0 - t_ij``, (batch, n), for one negative also (batch,). No gradient reaches them.
        similarity: ``"dot"`` or ``"cosine"``; to be chosen so that margins as wide as the teacher's can be reached.
        check_finite: Refuse NaN and infinity among embeddings and scores.

    Returns:
        The loss, a scalar.

    Raises:
        ValueError: If shapes or devices do not fit, embeddings are not floating point or not finite, scores are not
            finite, or the similarity is not allowed.

    Source: Hofstätter et al. 2020 (arXiv:2010.02666).
    """
    scores = _scores(anchor, positive, negatives, similarity)
    margins = scores[:, :1] - scores[:, 1:]
    check_same_device("anchor", anchor, "teacher_scores", teacher_scores)
    teacher_margins = _teacher_margins(teacher_scores.detach().to(scores), negatives)
    if margins.numel() == 0:
        return zero_loss(margins)
    loss = (margins - teacher_margins).square().mean()
    rows = teacher_scores.reshape(len(anchor), -1)
    return finite(loss, check_finite, anchor=anchor, positive=positive, negatives=negatives, teacher_scores=rows)


def _teacher_margins(teacher_scores: Tensor, negatives: Tensor) -> Tensor:
    """(batch, n) from either form of the teacher's scores."""
    check_tensor("teacher_scores", teacher_scores)
    batch, n = negatives.shape[:2]
    if teacher_scores.shape == (batch, 1 + n):
        return teacher_scores[:, :1] - teacher_scores[:, 1:]
    if teacher_scores.shape == (batch, n) or (n == 1 and teacher_scores.shape == (batch,)):
        return teacher_scores.view(batch, n)
    raise ValueError(
        f"teacher_scores must have shape (batch, 1 + n) = ({batch}, {1 + n}), or (batch, n) = ({batch}, {n}) for "
        f"margins, found {tuple(teacher_scores.shape)}"
    )


class MarginMSELoss(Loss):
    """``margin_mse_loss`` as a module: ``MarginMSELoss()(anchor, positive, negatives, teacher_scores)``."""

    embeddings = ("anchor", "positive", "negatives")

    def __init__(self, *, similarity: Similarity = "dot", check_finite: bool = True) -> None:
        super().__init__()
        check_choice("similarity", similarity, ("dot", "cosine"))
        self.similarity = similarity
        self.check_finite = check_finite

    def forward(self, anchor: Tensor, positive: Tensor, negatives: Tensor, teacher_scores: Tensor) -> Tensor:
        """The loss of (batch, dim), (batch, dim), (batch, n, dim) and (batch, 1 + n); see ``margin_mse_loss``."""
        return margin_mse_loss(anchor, positive, negatives, teacher_scores, **self.options)


def distill_kl_div_loss(
    anchor: Tensor,
    positive: Tensor,
    negatives: Tensor,
    teacher_scores: Tensor,
    *,
    temperature: float = 1.0,
    teacher_temperature: float | None = None,
    similarity: Similarity = "dot",
    check_finite: bool = True,
) -> Tensor:
    """Kullback-Leibler divergence of the student's ranking of each anchor's candidates from the teacher's.

    ``loss = T^2 * mean_i sum_c P_ic log(P_ic / Q_ic)``, ``P_i = softmax_c(t_ic / T_teacher)``,
    ``Q_i = softmax_c(s(anchor_i, c) / T)``

    where ``c`` runs over the anchor's positive and its own negatives. The factor keeps the gradient's size as the
    temperature ``T`` grows. Computed in fp32 (fp64 for fp64 inputs). A batch of 0, and one without a negative, give a
    zero attached to the graph. ``check_finite`` reads one flag back from the embeddings' device.

    Args:
        anchor: (batch, dim), any floating-point type.
        positive: (batch, dim).
        negatives: (batch, n, dim).
        teacher_scores: The teacher's score of the positive, then of the negatives, (batch, 1 + n); -inf takes a
            candidate out of the teacher's ranking. No gradient reaches them.
        temperature: Divides the student's similarities; above 0.
        teacher_temperature: Divides the teacher's scores; above 0; None for the same.
        similarity: ``"dot"`` or ``"cosine"``; cosines need a temperature far below 1 to tell candidates apart.
        check_finite: Refuse NaN and infinity, but -inf as above.

    Returns:
        The loss, a scalar.

    Raises:
        ValueError: If shapes or devices do not fit, embeddings are not floating point or not finite, scores hold NaN
            or +inf or a row of nothing but -inf, or an option is not allowed.

    Source: Hinton, Vinyals & Dean 2015 (arXiv:1503.02531), section 2; Lin, Yang & Lin 2020 (arXiv:2010.11386).
    """
    teacher_temperature = temperature if teacher_temperature is None else teacher_temperature
    check_above_zero("temperature", temperature)
    check_above_zero("teacher_temperature", teacher_temperature)
    scores = _scores(anchor, positive, negatives, similarity)
    check_rows("teacher_scores", teacher_scores, anchor, width=scores.shape[1])
    if len(scores) == 0:
        return zero_loss(scores)
    student = torch.log_softmax(scores / temperature, dim=1)
    teacher = torch.softmax(teacher_scores.detach().to(scores) / teacher_temperature, dim=1)
    loss = F.kl_div(student, teacher, reduction="batchmean") * temperature**2
    return finite(
        loss, check_finite, anchor=anchor, positive=positive, negatives=negatives, teacher_scores=teacher_scores
    )


class DistillKLDivLoss(Loss):
    """``distill_kl_div_loss`` as a module: ``DistillKLDivLoss()(anchor, positive, negatives, teacher_scores)``."""

    embeddings = ("anchor", "positive", "negatives")

    def __init__(
        self,
        *,
        temperature: float = 1.0,
        teacher_temperature: float | None = None,
        similarity: Similarity = "dot",
        check_finite: bool = True,
    ) -> None:
        super().__init__()
        check_above_zero("temperature", temperature)
        if teacher_temperature is not None:
            check_above_zero("teacher_temperature", teacher_temperature)
        check_choice("similarity", similarity, ("dot", "cosine"))
        self.temperature = temperature
        self.teacher_temperature = teacher_temperature
        self.similarity = similarity
        self.check_finite = check_finite

    def forward(self, anchor: Tensor, positive: Tensor, negatives: Tensor, teacher_scores: Tensor) -> Tensor:
        """The loss of (batch, dim), (batch, dim), (batch, n, dim) and (batch, 1 + n); see ``distill_kl_div_loss``."""
        return distill_kl_div_loss(anchor, positive, negatives, teacher_scores, **self.options)


def _scores(anchor: Tensor, positive: Tensor, negatives: Tensor, similarity: Similarity) -> Tensor:
    """(batch, 1 + n): how similar each anchor is to its positive, then to its negatives."""
    check_choice("similarity", similarity, ("dot", "cosine"))
    check_pairs("anchor", anchor, "positive", positive)
    check_negatives(anchor, negatives)
    anchors = working(anchor).unsqueeze(1)
    candidates = torch.cat([working(positive).unsqueeze(1), working(negatives)], dim=1)
    if similarity == "cosine":
        return F.cosine_similarity(anchors, candidates, dim=-1)
    # Not as a matrix product: autocast would put that back into half precision.
    return (anchors * candidates).sum(-1)
