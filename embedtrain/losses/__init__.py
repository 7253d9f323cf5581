"""Losses for any training loop: embeddings in, a scalar out; this room needs torch and nothing else."""

from embedtrain.losses.ranking import MultipleNegativesRankingLoss, multiple_negatives_ranking_loss
from embedtrain.losses.similarity import CosineSimilarityLoss, cosine_similarity_loss

__all__ = [
    "CosineSimilarityLoss",
    "MultipleNegativesRankingLoss",
    "cosine_similarity_loss",
    "multiple_negatives_ranking_loss",
]
