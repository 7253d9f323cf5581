"""A loss on pairs with a class, such as entailment, neutral and contradiction."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from embedtrain.losses.checks import (
    check_at_least,
    check_classes,
    check_embeddings,
    check_pairs,
    check_same_device,
    finite,
    zero_loss,
)
from embedtrain.losses.distances import working
from embedtrain.losses.module import Loss


def softmax_loss(
    embedding1: Tensor,
    embedding2: Tensor,
    labels: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    check_finite: bool = True,
) -> Tensor:
    """Cross-entropy of a linear classifier on both embeddings of a pair and their difference.

    ``loss = mean_i -log softmax(weight [u_i; v_i; |u_i - v_i|] + bias)[label_i]``

    with ``u``, ``v`` for ``embedding1``, ``embedding2``. Computed in fp32 (fp64 for fp64 embeddings), under autocast
    too. A batch of 0 pairs gives a zero attached to the graph, the classifier's included. Checking the labels reads
    one flag back from their device, ``check_finite`` another.

    Args:
        embedding1: (batch, dim), any floating-point type.
        embedding2: (batch, dim).
        labels: The class of each pair, (batch,), whole numbers from 0 to num_labels - 1.
        weight: The classifier's, (num_labels, 3 * dim).
        bias: The classifier's, (num_labels,), or None.
        check_finite: Refuse NaN and infinity among embeddings and weights.

    Returns:
        The loss, a scalar.

    Raises:
        ValueError: If shapes or devices do not fit, embeddings are not floating point or not finite, or labels are
            not whole numbers within the classifier's.

    Source: Reimers & Gurevych 2019, Sentence-BERT (arXiv:1908.10084), section 3, classification objective.
    """
    check_pairs("embedding1", embedding1, "embedding2", embedding2)
    check_classes("labels", labels, embedding1)
    _check_classifier(weight, bias, embedding1)
    _check_range(labels, num_labels=len(weight))
    first, second = working(embedding1), working(embedding2)
    features = torch.cat([first, second, (first - second).abs()], dim=1)
    # Autocast would put this one product back into half precision.
    with torch.autocast(features.device.type, enabled=False):
        logits = F.linear(features, weight.to(features), None if bias is None else bias.to(features))
        if len(logits) == 0:
            return zero_loss(logits)
        loss = F.cross_entropy(logits, labels.long())
    return finite(loss, check_finite, embedding1=embedding1, embedding2=embedding2, weight=weight)


class SoftmaxLoss(Loss):
    """``softmax_loss`` with its own classifier: ``SoftmaxLoss(dim=384, num_labels=3)(embedding1, embedding2, labels)``.

    The classifier's parameters belong in the optimizer beside the model's; after training they are of no more use.

    Args:
        dim: Length of an embedding.
        num_labels: How many classes there are; at least 2.
        check_finite: Refuse NaN and infinity among embeddings and weights.

    Attributes:
        classifier: The linear layer, 3 * dim to num_labels.
    """

    embeddings = ("embedding1", "embedding2")

    def __init__(self, *, dim: int, num_labels: int, check_finite: bool = True) -> None:
        super().__init__()
        check_at_least("dim", dim, 1)
        check_at_least("num_labels", num_labels, 2)
        self.dim = dim
        self.num_labels = num_labels
        self.check_finite = check_finite
        self.classifier = nn.Linear(3 * dim, num_labels)

    def forward(self, embedding1: Tensor, embedding2: Tensor, labels: Tensor) -> Tensor:
        """The loss of (batch, dim), (batch, dim) and (batch,); see ``softmax_loss``."""
        check_embeddings("embedding1", embedding1)
        if embedding1.shape[1] != self.dim:
            raise ValueError(f"embedding1 must have the loss's dim {self.dim}, found shape {tuple(embedding1.shape)}")
        return softmax_loss(
            embedding1, embedding2, labels, self.classifier.weight, self.classifier.bias, check_finite=self.check_finite
        )


def _check_classifier(weight: Tensor, bias: Tensor | None, embeddings: Tensor) -> None:
    dim = embeddings.shape[1]
    if weight.dim() != 2 or weight.shape[1] != 3 * dim:
        raise ValueError(
            f"weight must have shape (num_labels, 3 * dim) = (num_labels, {3 * dim}) beside embeddings of shape "
            f"{tuple(embeddings.shape)}, found {tuple(weight.shape)}"
        )
    check_same_device("embedding1", embeddings, "weight", weight)
    if bias is None:
        return
    if bias.shape != weight.shape[:1]:
        raise ValueError(
            f"bias must have shape (num_labels,) = ({len(weight)},) beside a weight of shape "
            f"{tuple(weight.shape)}, found {tuple(bias.shape)}"
        )
    check_same_device("embedding1", embeddings, "bias", bias)


def _check_range(labels: Tensor, *, num_labels: int) -> None:
    outside = (labels < 0) | (labels >= num_labels)
    if outside.any():
        row = int(outside.nonzero()[0])
        raise ValueError(
            f"labels must lie in [0, {num_labels - 1}], found {labels[row].item()} in row {row} "
            f"({int(outside.sum())} of {len(labels)} rows)"
        )
