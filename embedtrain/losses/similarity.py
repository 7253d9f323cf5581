"""Losses on scored pairs: bring the similarity of two embeddings to a given score."""

from torch import Tensor, nn
from torch.nn import functional as F

from embedtrain.losses.checks import check_embeddings, check_same_shape, zero_loss


def cosine_similarity_loss(embedding1: Tensor, embedding2: Tensor, score: Tensor) -> Tensor:
    """Mean squared error between the cosine of each pair and its score.

    ``loss = mean_i (cos(embedding1_i, embedding2_i) - score_i)^2``

    Computed in fp32 whatever the input type. An all-zero embedding has cosine 0 with everything. A batch of 0 pairs
    gives a zero attached to the graph. Checking the scores reads one flag back from their device.

    Args:
        embedding1: Embeddings of the first sentences, (batch, dim), any floating-point type.
        embedding2: Embeddings of the second sentences, (batch, dim).
        score: Wanted similarity of each pair, (batch,), in [0, 1].

    Returns:
        The loss, a scalar in fp32.

    Raises:
        ValueError: If shapes do not fit, an embedding is not floating point, or a score is NaN or outside [0, 1].

    Source: Reimers & Gurevych 2019, Sentence-BERT (arXiv:1908.10084), section 3, regression objective.
    """
    check_embeddings("embedding1", embedding1)
    check_embeddings("embedding2", embedding2)
    check_same_shape("embedding1", embedding1, "embedding2", embedding2)
    _check_scores(score, batch=len(embedding1))
    if len(embedding1) == 0:
        return zero_loss(embedding1, embedding2)
    return F.mse_loss(F.cosine_similarity(embedding1.float(), embedding2.float(), dim=-1), score.float())


class CosineSimilarityLoss(nn.Module):
    """``cosine_similarity_loss`` as a module: ``CosineSimilarityLoss()(embedding1, embedding2, score)``."""

    def forward(self, embedding1: Tensor, embedding2: Tensor, score: Tensor) -> Tensor:
        """The loss of (batch, dim), (batch, dim) and (batch,); see ``cosine_similarity_loss``."""
        return cosine_similarity_loss(embedding1, embedding2, score)


def _check_scores(score: Tensor, *, batch: int) -> None:
    if score.shape != (batch,):
        raise ValueError(f"score must have shape (batch,) = ({batch},), found {tuple(score.shape)}")
    # NaN compares false with everything, so the negation catches it too.
    outside = ~((score >= 0) & (score <= 1))
    if outside.any():
        row = int(outside.nonzero()[0])
        raise ValueError(
            f"score must lie in [0, 1], found {score[row].item()} in row {row} ({int(outside.sum())} of {batch} rows)"
        )
