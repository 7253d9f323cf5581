"""Losses on scored pairs: bring the similarity of two embeddings to a given score, or at least in its order."""

import torch
from torch import Tensor
from torch.nn import functional as F

from embedtrain.losses.checks import check_above_zero, check_pairs, check_rows, check_scores, finite, zero_loss
from embedtrain.losses.distances import inverse_norms, row_cosines, working
from embedtrain.losses.gathering import gather_rows
from embedtrain.losses.module import Loss


def cosine_similarity_loss(
    embedding1: Tensor, embedding2: Tensor, score: Tensor, *, check_finite: bool = True
) -> Tensor:
    """Mean squared error between the cosine of each pair and its score.

    ``loss = mean_i (cos(embedding1_i, embedding2_i) - score_i)^2``

    Computed in fp32 whatever the input type. An all-zero embedding has cosine 0 with everything. A batch of 0 pairs
    gives a zero attached to the graph. Checking the scores reads one flag back from their device.

    Args:
        embedding1: Embeddings of the first sentences, (batch, dim), any floating-point type.
        embedding2: Embeddings of the second sentences, (batch, dim).
        score: Wanted similarity of each pair, (batch,), in [0, 1].
        check_finite: Say which embeddings hold NaN or infinity; reads one flag back from the device.

    Returns:
        The loss, a scalar in fp32.

    Raises:
        ValueError: If shapes, types or devices do not fit, or a score is NaN or outside [0, 1].

    Source: Reimers & Gurevych 2019, Sentence-BERT (arXiv:1908.10084), section 3, regression objective.
    """
    check_pairs("embedding1", embedding1, "embedding2", embedding2)
    check_scores(score, embedding1)
    if len(embedding1) == 0:
        return zero_loss(embedding1, embedding2)
    cosine = row_cosines(embedding1, embedding2)
    return finite(F.mse_loss(cosine, score.to(cosine)), check_finite, embedding1=embedding1, embedding2=embedding2)


class CosineSimilarityLoss(Loss):
    """``cosine_similarity_loss`` as a module: ``CosineSimilarityLoss()(embedding1, embedding2, score)``.

    Args:
        check_finite: Say which embeddings hold NaN or infinity.
    """

    embeddings = ("embedding1", "embedding2")

    def __init__(self, *, check_finite: bool = True) -> None:
        super().__init__()
        self.check_finite = check_finite

    def forward(self, embedding1: Tensor, embedding2: Tensor, score: Tensor) -> Tensor:
        """The loss of (batch, dim), (batch, dim) and (batch,); see ``cosine_similarity_loss``."""
        return cosine_similarity_loss(embedding1, embedding2, score, **self.options)


def cosent_loss(
    embedding1: Tensor,
    embedding2: Tensor,
    score: Tensor,
    *,
    scale: float = 20.0,
    gather: bool = False,
    check_finite: bool = True,
) -> Tensor:
    """Pairs with a higher score shall have a higher cosine than pairs with a lower one.

    ``loss = log( 1 + sum_{score_i > score_j} exp(scale * (cos_j - cos_i)) )``

    The scores' order alone counts, so any range will do. Sorting by score turns the double sum into running sums:
    batch * log(batch) steps, and memory for a few numbers a pair. Computed in fp32 whatever the input type. Where no
    score is above another (also for a batch of 0) the loss is a zero attached to the graph.

    Args:
        embedding1: Embeddings of the first sentences, (batch, dim), any floating-point type.
        embedding2: Embeddings of the second sentences, (batch, dim).
        score: Similarity of each pair, (batch,), any numbers.
        scale: Factor on the cosine, the inverse of the temperature; above 0.
        gather: Compare the pairs of all ranks; the ranks' mean gradient is then that of the joined batch.
        check_finite: Say which embeddings hold NaN or infinity; reads one flag back from the device.

    Returns:
        The loss, a scalar in fp32.

    Raises:
        ValueError: If shapes, types, devices or options do not fit, or a score is NaN.

    Source: Su 2022, CoSENT (kexue.fm/archives/8847).
    """
    check_pairs("embedding1", embedding1, "embedding2", embedding2)
    cosine = row_cosines(embedding1, embedding2)
    loss = _order_loss(cosine, score, embedding1, scale=scale, gather=gather)
    return finite(loss, check_finite, embedding1=embedding1, embedding2=embedding2)


class CoSENTLoss(Loss):
    """``cosent_loss`` as a module: ``CoSENTLoss()(embedding1, embedding2, score)``.

    Args:
        scale: Factor on the cosine, the inverse of the temperature; above 0.
        gather: Compare the pairs of all ranks.
        check_finite: Say which embeddings hold NaN or infinity.
    """

    embeddings = ("embedding1", "embedding2")

    def __init__(self, *, scale: float = 20.0, gather: bool = False, check_finite: bool = True) -> None:
        super().__init__()
        check_above_zero("scale", scale)
        self.scale = scale
        self.gather = gather
        self.check_finite = check_finite

    def forward(self, embedding1: Tensor, embedding2: Tensor, score: Tensor) -> Tensor:
        """The loss of (batch, dim), (batch, dim) and (batch,); see ``cosent_loss``."""
        return cosent_loss(embedding1, embedding2, score, **self.options)


def angle_loss(
    embedding1: Tensor,
    embedding2: Tensor,
    score: Tensor,
    *,
    scale: float = 20.0,
    gather: bool = False,
    check_finite: bool = True,
) -> Tensor:
    """``cosent_loss`` with the angle between complex numbers in place of the cosine, which saturates near 1.

    ``loss = log( 1 + sum_{score_i > score_j} exp(scale * (angle_j - angle_i)) )``

    The first half of an embedding holds real parts, the second half imaginary parts (of an odd dim, a 0 is added).
    With both embeddings u, v at length 1, ``angle = | Re(sum_k u_k conj(v_k)) + Im(sum_k u_k conj(v_k)) |``.

    Memory, types and the empty case are those of ``cosent_loss``.

    Args:
        embedding1: Embeddings of the first sentences, (batch, dim), any floating-point type.
        embedding2: Embeddings of the second sentences, (batch, dim).
        score: Similarity of each pair, (batch,), any numbers.
        scale: Factor on the angle, the inverse of the temperature; above 0.
        gather: Compare the pairs of all ranks; the ranks' mean gradient is then that of the joined batch.
        check_finite: Say which embeddings hold NaN or infinity; reads one flag back from the device.

    Returns:
        The loss, a scalar in fp32.

    Raises:
        ValueError: If shapes, types, devices or options do not fit, or a score is NaN.

    Source: Li & Li 2023, AnglE (arXiv:2309.12871), section 3.
    """
    check_pairs("embedding1", embedding1, "embedding2", embedding2)
    loss = _order_loss(_angle_similarity(embedding1, embedding2), score, embedding1, scale=scale, gather=gather)
    return finite(loss, check_finite, embedding1=embedding1, embedding2=embedding2)


class AnglELoss(Loss):
    """``angle_loss`` as a module: ``AnglELoss()(embedding1, embedding2, score)``.

    Args:
        scale: Factor on the angle, the inverse of the temperature; above 0.
        gather: Compare the pairs of all ranks.
        check_finite: Say which embeddings hold NaN or infinity.
    """

    embeddings = ("embedding1", "embedding2")

    def __init__(self, *, scale: float = 20.0, gather: bool = False, check_finite: bool = True) -> None:
        super().__init__()
        check_above_zero("scale", scale)
        self.scale = scale
        self.gather = gather
        self.check_finite = check_finite

    def forward(self, embedding1: Tensor, embedding2: Tensor, score: Tensor) -> Tensor:
        """The loss of (batch, dim), (batch, dim) and (batch,); see ``angle_loss``."""
        return angle_loss(embedding1, embedding2, score, **self.options)


def _order_loss(similarity: Tensor, score: Tensor, embeddings: Tensor, *, scale: float, gather: bool) -> Tensor:
    """log(1 + sum over score_i > score_j of exp(scale * (similarity_j - similarity_i))), by sorting."""
    check_above_zero("scale", scale)
    check_rows("score", score, embeddings)
    score = gather_rows(score.int() if score.dtype == torch.bool else score, gather=gather).rows
    logits = scale * gather_rows(similarity, gather=gather).rows
    # After gathering: every rank must stop where one has to.
    if score.isnan().any():
        raise ValueError(f"score must not be NaN, found it in row {int(score.isnan().nonzero()[0])}")
    if len(score) == 0:
        return zero_loss(logits)
    score, order = score.sort()
    logits = logits[order]
    below = torch.searchsorted(score, score)
    # Entry k of the running sums: log of the sum of exp(logit) over the k pairs with the lowest scores.
    running = torch.cat([logits.new_full((1,), -torch.inf), logits.logcumsumexp(dim=0)])
    outranked = below > 0
    violations = running[below[outranked]] - logits[outranked]
    return torch.cat([violations, logits.new_zeros(1)]).logsumexp(dim=0) + 0 * logits.sum()


def _angle_similarity(first: Tensor, second: Tensor) -> Tensor:
    """(batch,): real plus imaginary part of each pair's complex product at length 1, as an absolute value."""
    # In pieces, so that what the gradient needs on its way is never there for the whole batch at once.
    pieces = zip(first.split(4096), second.split(4096), strict=True)
    return torch.cat([_angles(some_first, some_second) for some_first, some_second in pieces])


def _angles(first: Tensor, second: Tensor) -> Tensor:
    first, second = (F.pad(working(side), (0, side.shape[1] % 2)) for side in (first, second))
    real, imaginary = second.chunk(2, dim=-1)
    # The imaginary part of u conj(v) is the real product of u with v turned by a right angle.
    turned = torch.cat([real - imaginary, real + imaginary], dim=-1)
    lengths = inverse_norms(first) * inverse_norms(second)
    return ((first * turned).sum(dim=-1) * lengths.squeeze(-1)).abs()
