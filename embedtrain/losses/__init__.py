"""Losses for any training loop: embeddings in, a scalar out; this room needs torch and nothing else."""

from embedtrain.losses.batch_triplet import (
    BatchAllTripletLoss,
    BatchHardTripletLoss,
    BatchSemiHardTripletLoss,
    batch_all_triplet_loss,
    batch_hard_triplet_loss,
    batch_semi_hard_triplet_loss,
)
from embedtrain.losses.classification import SoftmaxLoss, softmax_loss
from embedtrain.losses.contrastive import (
    ContrastiveLoss,
    OnlineContrastiveLoss,
    TripletLoss,
    contrastive_loss,
    online_contrastive_loss,
    triplet_loss,
)
from embedtrain.losses.denoising import DenoisingLoss
from embedtrain.losses.distillation import (
    DistillKLDivLoss,
    MarginMSELoss,
    MSELoss,
    distill_kl_div_loss,
    margin_mse_loss,
    mse_loss,
)
from embedtrain.losses.gist import GISTEmbedLoss, gist_embed_loss
from embedtrain.losses.gradcache import GradCache
from embedtrain.losses.output_layer import linear_cross_entropy
from embedtrain.losses.ranking import MultipleNegativesRankingLoss, multiple_negatives_ranking_loss
from embedtrain.losses.sigmoid import SigmoidContrastiveLoss, sigmoid_contrastive_loss
from embedtrain.losses.similarity import (
    AnglELoss,
    CoSENTLoss,
    CosineSimilarityLoss,
    angle_loss,
    cosent_loss,
    cosine_similarity_loss,
)
from embedtrain.losses.similarity_distillation import SimilarityDistillationLoss, similarity_distillation_loss
from embedtrain.losses.supcon import SupConLoss, sup_con_loss
from embedtrain.losses.wrappers import MatryoshkaLoss, WeightedSum

__all__ = [
    "AnglELoss",
    "BatchAllTripletLoss",
    "BatchHardTripletLoss",
    "BatchSemiHardTripletLoss",
    "CoSENTLoss",
    "ContrastiveLoss",
    "CosineSimilarityLoss",
    "DenoisingLoss",
    "DistillKLDivLoss",
    "GISTEmbedLoss",
    "GradCache",
    "MSELoss",
    "MarginMSELoss",
    "MatryoshkaLoss",
    "MultipleNegativesRankingLoss",
    "OnlineContrastiveLoss",
    "SigmoidContrastiveLoss",
    "SimilarityDistillationLoss",
    "SoftmaxLoss",
    "SupConLoss",
    "TripletLoss",
    "WeightedSum",
    "angle_loss",
    "batch_all_triplet_loss",
    "batch_hard_triplet_loss",
    "batch_semi_hard_triplet_loss",
    "contrastive_loss",
    "cosent_loss",
    "cosine_similarity_loss",
    "distill_kl_div_loss",
    "gist_embed_loss",
    "linear_cross_entropy",
    "margin_mse_loss",
    "mse_loss",
    "multiple_negatives_ranking_loss",
    "online_contrastive_loss",
    "sigmoid_contrastive_loss",
    "similarity_distillation_loss",
    "softmax_loss",
    "sup_con_loss",
    "triplet_loss",
]
