"""The ranking loss under a guide model that says which negatives are none."""

from torch import Tensor

from embedtrain.losses.checks import check_above_zero, check_choice, finite, zero_loss
from embedtrain.losses.guide import Guide, GuideEmbeddings, GuideSimilarities, MarginStrategy
from embedtrain.losses.inbatch import InBatch, Side
from embedtrain.losses.module import Loss
from embedtrain.losses.softmax import SoftmaxBlocks


def gist_embed_loss(
    anchor: Tensor,
    positive: Tensor,
    negatives: Tensor | None = None,
    *,
    guide_anchor: Tensor | None = None,
    guide_positive: Tensor | None = None,
    guide_negatives: Tensor | None = None,
    guide_similarity: Tensor | None = None,
    ids: Tensor | None = None,
    negative_ids: Tensor | None = None,
    scale: float = 100.0,
    margin_strategy: MarginStrategy = "absolute",
    margin: float = 0.0,
    contrast_anchors: bool = True,
    contrast_positives: bool = True,
    gather: bool = False,
    check_finite: bool = True,
) -> Tensor:
    """InfoNCE without the negatives that a guide model finds more similar than the positive.

    ``loss = mean_i -log( exp(s(anchor_i, positive_i)) / sum_c exp(s(anchor_i, c)) )``,  ``s = scale * cos``

    where ``c`` runs over the batch's positives and hard negatives, over the other anchors (``contrast_anchors``) and,
    with ``s(positive_i, c)``, over the other positives (``contrast_positives``), leaving out every ``c`` whose guide
    similarity to row i is above ``g_i - margin`` (``absolute``) or ``g_i - margin * |g_i|`` (``relative``), where
    ``g_i`` is the guide's similarity of anchor_i and positive_i.

    The guide is given by its embeddings, from which similarities are taken block by block (memory grows with
    batch * dim), or as one matrix of similarities. A batch of 0 gives a zero attached to the graph.

    Args:
        anchor: Embeddings of the anchors, (batch, dim), any floating-point type.
        positive: Embedding of each anchor's match, (batch, dim).
        negatives: Embeddings of each anchor's hard negatives, (batch, n, dim), or None.
        guide_anchor: The guide's embeddings of the anchors, (batch, guide dim); with ``guide_positive``, and
            ``guide_negatives`` (batch, n, guide dim) where there are negatives.
        guide_positive: (batch, guide dim).
        guide_negatives: (batch, n, guide dim).
        guide_similarity: Instead of embeddings: (items, items), where items are the anchors, then the positives,
            then the negatives row by row. Not with ``gather``.
        ids: What each row is about, (batch,) whole numbers; rows of one id are left out whatever the guide says.
        negative_ids: The same of each hard negative, (batch, n).
        scale: Factor on the cosine, the inverse of the temperature; above 0.
        margin_strategy: ``absolute`` or ``relative``.
        margin: How far below the positive's guide similarity a negative must stay.
        contrast_anchors: Whether other anchors are candidates.
        contrast_positives: Whether other positives are candidates, as seen from the positive.
        gather: Take the candidates of all ranks; the ranks' mean gradient is then that of the joined batch.
        check_finite: Say which embeddings hold NaN or infinity; reads one flag back from the device.

    Returns:
        The loss, a scalar in fp32.

    Raises:
        ValueError: If shapes, types, devices or options do not fit, or the guide is missing or given twice.

    Source: Solatorio 2024, GISTEmbed (arXiv:2402.16829), section 3; margins: de Souza P. Moreira et al. 2024
    (NV-Retriever, arXiv:2407.15831), section 4.
    """
    check_above_zero("scale", scale)
    meetings: list[tuple[Side, Side]] = [("anchor", "positive")]
    if contrast_anchors:
        meetings.append(("anchor", "anchor"))
    if contrast_positives:
        meetings.append(("positive", "positive"))
    meetings.append(("anchor", "negatives"))
    batch = InBatch(anchor, positive, negatives, meetings=meetings, ids=ids, negative_ids=negative_ids, gather=gather)
    guide: Guide
    if guide_similarity is None:
        given = (guide_anchor, guide_positive, guide_negatives)
        guide = GuideEmbeddings(batch, *given, gather=gather, check_finite=check_finite)
    elif guide_anchor is None and guide_positive is None and guide_negatives is None:
        guide = GuideSimilarities(batch, guide_similarity)
    else:
        raise ValueError("the guide is given twice: expected its embeddings or guide_similarity, not both")
    guide.set_margin(margin_strategy, margin)
    if batch.empty:
        return zero_loss(*(tensor for tensor in (anchor, positive, negatives) if tensor is not None))
    loss = batch.mean_loss(SoftmaxBlocks(batch, guide=guide), scale=scale)
    return finite(loss, check_finite, anchor=anchor, positive=positive, negatives=negatives)


class GISTEmbedLoss(Loss):
    """``gist_embed_loss`` as a module: ``GISTEmbedLoss()(anchor, positive, guide_anchor=..., guide_positive=...)``.

    Its options are the function's: scale, margin_strategy, margin, contrast_anchors, contrast_positives, gather,
    check_finite.
    """

    embeddings = ("anchor", "positive", "negatives")

    def __init__(
        self,
        *,
        scale: float = 100.0,
        margin_strategy: MarginStrategy = "absolute",
        margin: float = 0.0,
        contrast_anchors: bool = True,
        contrast_positives: bool = True,
        gather: bool = False,
        check_finite: bool = True,
    ) -> None:
        super().__init__()
        check_above_zero("scale", scale)
        check_choice("margin_strategy", margin_strategy, ("absolute", "relative"))
        self.scale = scale
        self.margin_strategy = margin_strategy
        self.margin = margin
        self.contrast_anchors = contrast_anchors
        self.contrast_positives = contrast_positives
        self.gather = gather
        self.check_finite = check_finite

    def forward(
        self,
        anchor: Tensor,
        positive: Tensor,
        negatives: Tensor | None = None,
        *,
        guide_anchor: Tensor | None = None,
        guide_positive: Tensor | None = None,
        guide_negatives: Tensor | None = None,
        guide_similarity: Tensor | None = None,
        ids: Tensor | None = None,
        negative_ids: Tensor | None = None,
    ) -> Tensor:
        """The loss of (batch, dim), (batch, dim) and (batch, n, dim) under a guide; see ``gist_embed_loss``."""
        return gist_embed_loss(
            anchor,
            positive,
            negatives,
            guide_anchor=guide_anchor,
            guide_positive=guide_positive,
            guide_negatives=guide_negatives,
            guide_similarity=guide_similarity,
            ids=ids,
            negative_ids=negative_ids,
            **self.options,
        )
