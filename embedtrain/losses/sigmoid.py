"""Sigmoid contrastive loss: every pair of the batch is a yes-or-no question of its own."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from embedtrain.losses.checks import check_above_zero, check_choice, finite, zero_loss
from embedtrain.losses.distances import unit
from embedtrain.losses.inbatch import KNOWN_POSITIVES, InBatch, KnownPositives
from embedtrain.losses.module import Loss


def sigmoid_contrastive_loss(
    anchor: Tensor,
    positive: Tensor,
    negatives: Tensor | None = None,
    *,
    ids: Tensor | None = None,
    negative_ids: Tensor | None = None,
    mask: Tensor | None = None,
    scale: float | Tensor = 10.0,
    bias: float | Tensor = -10.0,
    known_positives: KnownPositives = "ignore",
    gather: bool = False,
    check_finite: bool = True,
) -> Tensor:
    """SigLIP: is this pair a match? Asked of every anchor and candidate of the batch.

    ``loss = mean_i sum_c log(1 + exp(-z_ic * (scale * cos(anchor_i, c) + bias)))``

    where ``c`` runs over the batch's positives and all hard negatives, and ``z_ic`` is 1 for a match and -1 otherwise.
    Without a softmax, a row's loss does not depend on how many candidates there are. Computed in blocks, in fp32
    whatever the input type; memory grows with batch * dim. A batch of 0 gives a zero attached to the graph.

    Args:
        anchor: Embeddings of the anchors, (batch, dim), any floating-point type.
        positive: Embedding of each anchor's match, (batch, dim).
        negatives: Embeddings of each anchor's hard negatives, (batch, n, dim), or None.
        ids: What each row is about, (batch,) whole numbers; rows of one id match each other.
        negative_ids: The same of each hard negative, (batch, n).
        mask: (batch, candidates) of bool, True where a candidate is known to match the anchor: positives first, then
            negatives row by row, of all ranks with ``gather``.
        scale: Factor on the cosine, above 0; a tensor of one number gets a gradient.
        bias: Added to it: about the logarithm of the share of matches; a tensor of one number gets a gradient.
        known_positives: ``ignore`` leaves known positives out, ``positive`` counts them as matches.
        gather: Take the candidates of all ranks; the ranks' mean gradient is then that of the joined batch.
        check_finite: Say which embeddings hold NaN or infinity; reads one flag back from the device.

    Returns:
        The loss, a scalar in fp32.

    Raises:
        ValueError: If shapes, types, devices or options do not fit.

    Source: Zhai et al. 2023, SigLIP (arXiv:2303.15343), algorithm 1.
    """
    check_choice("known_positives", known_positives, KNOWN_POSITIVES)
    if not isinstance(scale, Tensor):
        check_above_zero("scale", scale)
    batch = InBatch(
        anchor,
        positive,
        negatives,
        meetings=[("anchor", "positive"), ("anchor", "negatives")],
        ids=ids,
        negative_ids=negative_ids,
        mask=mask,
        gather=gather,
    )
    if batch.empty:
        return zero_loss(*(given for given in (anchor, positive, negatives, scale, bias) if isinstance(given, Tensor)))
    # scale * cos + bias as one product, so that both get their gradient like any other part of an embedding.
    batch.local["anchor"] = _with_column(batch.local["anchor"], bias, scale)
    batch.columns = {side: _with_column(embeddings, 1.0, 1.0) for side, embeddings in batch.columns.items()}
    loss = batch.mean_loss(_SigmoidBlocks(batch, known_positives), normalize=False)
    return finite(loss, check_finite, anchor=anchor, positive=positive, negatives=negatives)


class SigmoidContrastiveLoss(Loss):
    """``sigmoid_contrastive_loss`` as a module: ``SigmoidContrastiveLoss()(anchor, positive)``.

    Args:
        scale: Where the scale starts; above 0.
        bias: Where the bias starts.
        learnable: Train both: ``log_scale`` and ``bias`` are parameters, to be given to the optimiser.
        known_positives: ``ignore`` or ``positive``.
        gather: Take the candidates of all ranks. Each rank then finds its share of the gradient of scale and bias:
            average it over the ranks as the model's, for instance by wrapping the loss as the model is wrapped.
        check_finite: Say which embeddings hold NaN or infinity.
    """

    embeddings = ("anchor", "positive", "negatives")

    def __init__(
        self,
        *,
        scale: float = 10.0,
        bias: float = -10.0,
        learnable: bool = True,
        known_positives: KnownPositives = "ignore",
        gather: bool = False,
        check_finite: bool = True,
    ) -> None:
        super().__init__()
        check_above_zero("scale", scale)
        check_choice("known_positives", known_positives, KNOWN_POSITIVES)
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)), requires_grad=learnable)
        self.bias = nn.Parameter(torch.tensor(float(bias)), requires_grad=learnable)
        self.known_positives = known_positives
        self.gather = gather
        self.check_finite = check_finite

    def extra_repr(self) -> str:
        """The options and where scale and bias stand, for ``print(loss)``."""
        return f"scale={self.log_scale.exp().item():.4g}, bias={self.bias.item():.4g}, {super().extra_repr()}"

    def forward(
        self,
        anchor: Tensor,
        positive: Tensor,
        negatives: Tensor | None = None,
        *,
        ids: Tensor | None = None,
        negative_ids: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """The loss of (batch, dim), (batch, dim) and (batch, n, dim); see ``sigmoid_contrastive_loss``."""
        given: dict[str, Any] = {"ids": ids, "negative_ids": negative_ids, "mask": mask}
        return sigmoid_contrastive_loss(
            anchor, positive, negatives, scale=self.log_scale.exp(), bias=self.bias, **given, **self.options
        )


class _SigmoidBlocks:
    """Binary cross-entropy of every pair of a block, and probability minus truth as the derivative."""

    def __init__(self, batch: InBatch, known_positives: KnownPositives) -> None:
        self.batch = batch
        self.ignore = known_positives == "ignore"

    def __call__(self, similarities: Tensor, start: int, *, with_gradient: bool) -> tuple[Tensor, Tensor | None]:
        logits, rows = similarities, len(similarities)
        matches = torch.zeros_like(logits, dtype=torch.bool)
        for part in self.batch.parts:
            known = self.batch.known(part, start, rows)
            if known is not None and self.ignore:
                logits[:, part.span].masked_fill_(known, -torch.inf)
            elif known is not None:
                matches[:, part.span] = known
            if part.holds_positives:
                self.batch.own(part, matches[:, part.span], start).fill_(True)
        value = F.softplus(torch.where(matches, -logits, logits)).sum()
        return value, logits.sigmoid_().sub_(matches.to(logits.dtype)) if with_gradient else None


def _with_column(embeddings: Tensor, column: float | Tensor, factor: float | Tensor) -> Tensor:
    """(rows, dim + 1): unit vectors times a factor, with one more number at their end."""
    longer = unit(embeddings) * factor
    return torch.cat([longer, torch.as_tensor(column).to(longer).expand(len(longer), 1)], dim=1)
