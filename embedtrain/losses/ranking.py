"""The ranking loss on positive pairs and n-tuples: rank an anchor's positive above everything else in the batch."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from embedtrain.losses import blockwise
from embedtrain.losses.checks import check_above_zero, check_choice, check_negatives, check_pairs, finite, zero_loss
from embedtrain.losses.distances import working
from embedtrain.losses.gathering import world_size
from embedtrain.losses.inbatch import KNOWN_POSITIVES, InBatch, KnownPositives, Side
from embedtrain.losses.module import Loss
from embedtrain.losses.softmax import HardnessMode, SoftmaxBlocks

Direction = Literal["query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc"]
PartitionMode = Literal["joint", "per_direction"]
MEETINGS: dict[Direction, list[tuple[Side, Side]]] = {
    "query_to_doc": [("anchor", "positive"), ("anchor", "negatives")],
    "query_to_query": [("anchor", "anchor")],
    "doc_to_query": [("positive", "anchor")],
    "doc_to_doc": [("positive", "positive"), ("positive", "negatives")],
}
QUERY_TO_DOC: tuple[Direction, ...] = ("query_to_doc",)


def multiple_negatives_ranking_loss(
    anchor: Tensor,
    positive: Tensor,
    negatives: Tensor | None = None,
    *,
    ids: Tensor | None = None,
    negative_ids: Tensor | None = None,
    mask: Tensor | None = None,
    scale: float = 20.0,
    similarity: Literal["cosine", "dot"] = "cosine",
    directions: Sequence[Direction] = QUERY_TO_DOC,
    partition_mode: PartitionMode = "joint",
    hardness_mode: HardnessMode | None = None,
    hardness_strength: float = 0.0,
    known_positives: KnownPositives = "ignore",
    gather: bool = False,
    check_finite: bool = True,
) -> Tensor:
    """InfoNCE: each anchor picks its positive among all positives and all hard negatives of the batch.

    ``loss = mean_i -log( exp(s(anchor_i, positive_i)) / sum_c exp(s(anchor_i, c)) )``,  ``s = scale * cos``

    where ``c`` runs over the batch's positives and over every row's negatives, batch * (1 + n) candidates in all.

    Directions add candidates to row i. ``query_to_query``: the other anchors; ``doc_to_query``: the anchors as seen
    from positive_i; ``doc_to_doc``: other rows' positives and negatives as seen from positive_i. ``joint`` puts all of
    them under one softmax (with all four: the GTE loss); ``per_direction`` gives each its own and takes the mean (with
    ``query_to_doc`` and ``doc_to_query``: the symmetric loss).

    Texts that match in more than one row are no negatives of each other. Rows of one id (or candidates in the mask)
    are known positives: left out of the softmax, or positives as well, whose mean of ``-log softmax`` is then taken.
    Among anchors and among documents the same id is left out in any case, and from ``doc_to_query`` of a joint softmax,
    where only ``query_to_doc`` has positives.

    Similarities are computed in blocks, in fp32 whatever the input type; memory grows with batch * dim, not with
    batch * batch. A batch of 0 gives a zero attached to the graph.

    Args:
        anchor: Embeddings of the anchors, (batch, dim), any floating-point type.
        positive: Embedding of each anchor's match, (batch, dim).
        negatives: Embeddings of each anchor's hard negatives, (batch, n, dim), or None for in-batch negatives alone.
        ids: What each row is about, (batch,) whole numbers; rows of one id match each other.
        negative_ids: The same of each hard negative, (batch, n).
        mask: (batch, candidates) of bool, True where a candidate is known to match the anchor: positives first, then
            negatives row by row, of all ranks with ``gather``. Only for ``query_to_doc``, which it speaks of.
        scale: Factor on the similarity, the inverse of the temperature; above 0.
        similarity: ``cosine`` or ``dot``.
        directions: Which similarities count; ``query_to_doc`` must be among them.
        partition_mode: ``joint`` or ``per_direction``.
        hardness_mode: Which negatives of ``query_to_doc`` weigh more the nearer they are.
        hardness_strength: Their logit grows by this factor on the cosine, without gradient; at least 0.
        known_positives: ``ignore`` or ``positive``.
        gather: Take the candidates of all ranks; the ranks' mean gradient is then that of the joined batch.
        check_finite: Say which embeddings hold NaN or infinity; reads one flag back from the device.

    Returns:
        The loss, a scalar in fp32.

    Raises:
        ValueError: If shapes, types, devices or options do not fit.

    Source: Henderson et al. 2017 (arXiv:1705.00652), section 4.4; van den Oord et al. 2018 (arXiv:1807.03748), eq. 4;
    Li et al. 2023 (GTE, arXiv:2308.03281), eq. 2; Lan et al. 2025 (LLaVE, arXiv:2503.04812), eq. 5 (hardness);
    Khosla et al. 2020 (arXiv:2004.11362), eq. 2 (several positives).
    """
    directions = _as_tuple(directions)
    _check_options(scale, similarity, directions, partition_mode, hardness_mode, hardness_strength, known_positives)
    if mask is not None and directions != QUERY_TO_DOC:
        raise ValueError(f"mask speaks of query_to_doc alone, found directions {directions}; give ids instead")
    nothing_known = ids is None and negative_ids is None and mask is None
    plain = nothing_known and hardness_mode is None and directions == QUERY_TO_DOC and world_size(gather) == 1
    if plain and _is_small(anchor, positive, negatives):
        loss = _plain_loss(anchor, positive, negatives, scale=scale, similarity=similarity)
        return finite(loss, check_finite, anchor=anchor, positive=positive, negatives=negatives)
    ordered = [direction for direction in MEETINGS if direction in directions]
    batch = InBatch(
        anchor,
        positive,
        negatives,
        meetings=[pair for direction in ordered for pair in MEETINGS[direction]],
        ids=ids,
        negative_ids=negative_ids,
        mask=mask,
        gather=gather,
    )
    if batch.empty:
        return zero_loss(*(tensor for tensor in (anchor, positive, negatives) if tensor is not None))
    block_loss = SoftmaxBlocks(
        batch,
        separate=partition_mode == "per_direction",
        known_positives=known_positives,
        hardness_mode=hardness_mode,
        hardness=hardness_strength / scale,
        narrow=_is_narrow(batch, scale + hardness_strength, similarity),
    )
    loss = batch.mean_loss(block_loss, normalize=similarity == "cosine", scale=scale)
    return finite(loss, check_finite, anchor=anchor, positive=positive, negatives=negatives)


def _is_small(anchor: Tensor, positive: Tensor, negatives: Tensor | None) -> bool:
    """Whether all similarities may stand in memory at once; the embeddings are checked on the way."""
    check_pairs("anchor", anchor, "positive", positive)
    candidates = positive.shape[0]
    if negatives is not None:
        check_negatives(anchor, negatives)
        candidates += negatives.shape[0] * negatives.shape[1]
    return 0 < anchor.shape[0] * candidates <= blockwise.PLAIN_ELEMENTS


def _plain_loss(anchor: Tensor, positive: Tensor, negatives: Tensor | None, *, scale: float, similarity: str) -> Tensor:
    """The formula as it stands, for small batches, where blocks are only overhead."""
    with blockwise.full_products([anchor, positive]):
        candidates = positive if negatives is None else torch.cat([positive, negatives.flatten(0, 1)])
        anchor, candidates = working(anchor), working(candidates)
        logits = anchor @ candidates.T * scale
        if similarity == "cosine":
            # Dividing the few similarities is cheaper than dividing the embeddings.
            lengths, more_lengths = (torch.linalg.vector_norm(side, dim=-1) for side in (anchor, candidates))
            logits = logits / (lengths + (lengths == 0)).unsqueeze(1) / (more_lengths + (more_lengths == 0))
        return F.cross_entropy(logits, torch.arange(anchor.shape[0], device=anchor.device))


def _is_narrow(batch: InBatch, reach: float, similarity: str) -> bool:
    """Whether no two logits can be so far apart that the smaller one's share of a softmax rounds to 0 in fp32."""
    if similarity == "dot":
        if batch.local["anchor"].device.type != "cpu":
            # Asking would make the program wait for the device.
            return False
        sides = [*batch.local.values(), *batch.columns.values()]
        reach *= max((working(side.detach()).norm(dim=1).amax().item() for side in sides if len(side)), default=0) ** 2
    return 2 * reach < 80


class MultipleNegativesRankingLoss(Loss):
    """``multiple_negatives_ranking_loss`` as a module: ``MultipleNegativesRankingLoss()(anchor, positive)``.

    Its options are the function's: scale, similarity, directions, partition_mode, hardness_mode, hardness_strength,
    known_positives, gather, check_finite.
    """

    embeddings = ("anchor", "positive", "negatives")

    def __init__(
        self,
        *,
        scale: float = 20.0,
        similarity: Literal["cosine", "dot"] = "cosine",
        directions: Sequence[Direction] = QUERY_TO_DOC,
        partition_mode: PartitionMode = "joint",
        hardness_mode: HardnessMode | None = None,
        hardness_strength: float = 0.0,
        known_positives: KnownPositives = "ignore",
        gather: bool = False,
        check_finite: bool = True,
    ) -> None:
        super().__init__()
        directions = _as_tuple(directions)
        _check_options(scale, similarity, directions, partition_mode, hardness_mode, hardness_strength, known_positives)
        self.scale = scale
        self.similarity = similarity
        self.directions = directions
        self.partition_mode = partition_mode
        self.hardness_mode = hardness_mode
        self.hardness_strength = hardness_strength
        self.known_positives = known_positives
        self.gather = gather
        self.check_finite = check_finite

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
        """The loss of (batch, dim), (batch, dim) and (batch, n, dim); see ``multiple_negatives_ranking_loss``."""
        return multiple_negatives_ranking_loss(
            anchor, positive, negatives, ids=ids, negative_ids=negative_ids, mask=mask, **self.options
        )


def _as_tuple(directions: Sequence[Direction]) -> tuple[Direction, ...]:
    if isinstance(directions, str):
        raise ValueError(f"directions must be a sequence of names, found the string {directions!r}")
    return tuple(directions)


# Asked in every call, and the same options nearly every time.
@lru_cache(maxsize=64)
def _check_options(
    scale: float,
    similarity: str,
    directions: Sequence[Direction],
    partition_mode: PartitionMode,
    hardness_mode: HardnessMode | None,
    hardness_strength: float,
    known_positives: KnownPositives,
) -> None:
    check_above_zero("scale", scale)
    check_choice("similarity", similarity, ("cosine", "dot"))
    check_choice("known_positives", known_positives, KNOWN_POSITIVES)
    _check_directions(directions, partition_mode)
    _check_hardness(hardness_mode, hardness_strength)


def _check_directions(directions: Sequence[Direction], partition_mode: PartitionMode) -> None:
    for direction in directions:
        check_choice("directions", direction, tuple(MEETINGS))
    if "query_to_doc" not in directions:
        raise ValueError(f"directions must hold 'query_to_doc', found {tuple(directions)}")
    check_choice("partition_mode", partition_mode, ("joint", "per_direction"))
    without = [direction for direction in directions if direction in ("query_to_query", "doc_to_doc")]
    if partition_mode == "per_direction" and without:
        raise ValueError(
            f"partition_mode 'per_direction' needs a positive in every direction, and {', '.join(without)} has none; "
            "expected partition_mode 'joint'"
        )


def _check_hardness(mode: HardnessMode | None, strength: float) -> None:
    if mode is not None:
        check_choice("hardness_mode", mode, ("in_batch_negatives", "hard_negatives", "all_negatives"))
    if not 0 <= strength < float("inf"):
        raise ValueError(f"hardness_strength must be a finite number of at least 0, found {strength}")
    if (mode is None) != (strength == 0):
        raise ValueError(
            f"hardness_mode {mode!r} and hardness_strength {strength} have no effect alone: set both or neither"
        )
