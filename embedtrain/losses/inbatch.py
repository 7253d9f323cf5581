"""Which row meets which candidates in a batch of anchors, positives and hard negatives, and what is known of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from embedtrain.losses.blockwise import BlockLoss, blockwise_loss
from embedtrain.losses.checks import check_classes, check_negatives, check_pairs, check_same_device, check_tensor
from embedtrain.losses.distances import working
from embedtrain.losses.gathering import gather_rows, world_size

Side = Literal["anchor", "positive", "negatives"]
KnownPositives = Literal["ignore", "positive"]
KNOWN_POSITIVES = ("ignore", "positive")


@dataclass(frozen=True)
class Part:
    """Columns ``start`` to ``stop`` of a row's similarities: one side of the batch against another."""

    rows: Side
    columns: Side
    start: int
    stop: int

    @property
    def span(self) -> slice:
        """The part's columns."""
        return slice(self.start, self.stop)

    @property
    def holds_positives(self) -> bool:
        """Whether a row's match stands among the columns."""
        return {self.rows, self.columns} == {"anchor", "positive"}

    @property
    def one_kind(self) -> bool:
        """Anchors against anchors, or documents against documents: nothing here is a match to be found."""
        return (self.rows == "anchor") == (self.columns == "anchor")


class InBatch:
    """A batch in which every row meets the candidates of all rows, on this rank or on all.

    Args:
        anchor: (batch, dim).
        positive: (batch, dim).
        negatives: (batch, n, dim) or None.
        meetings: Which side meets which, in the order of the columns; those with negatives are left out without any.
        ids: (batch,) whole numbers: an anchor's and its positive's, or None.
        negative_ids: (batch, n) whole numbers, or None.
        mask: (batch, candidates), True where a candidate is known to match the anchor, or None. Candidates are the
            positives, then the negatives row by row, of all ranks when gathered.
        gather: Meet the candidates of all ranks.

    Raises:
        ValueError: If anything does not fit together.
    """

    def __init__(
        self,
        anchor: Tensor,
        positive: Tensor,
        negatives: Tensor | None = None,
        *,
        meetings: Sequence[tuple[Side, Side]],
        ids: Tensor | None = None,
        negative_ids: Tensor | None = None,
        mask: Tensor | None = None,
        gather: bool = False,
    ) -> None:
        check_pairs("anchor", anchor, "positive", positive)
        if negatives is not None:
            check_negatives(anchor, negatives)
        _check_ids(anchor, negatives, ids, negative_ids)
        self.ranks = world_size(gather)
        if self.ranks > 1:
            # Gradients from all ranks are summed before they are rounded to the embeddings' type.
            anchor, positive = working(anchor), working(positive)
            negatives = None if negatives is None else working(negatives)
        self.local: dict[Side, Tensor] = {"anchor": anchor, "positive": positive}
        self.negatives_per_row = 0 if negatives is None else negatives.shape[1]
        if negatives is not None and self.negatives_per_row:
            self.local["negatives"] = negatives.flatten(0, 1)
        meetings = [pair for pair in meetings if pair[1] in self.local]
        needed = {columns for _, columns in meetings}
        joined = {side: gather_rows(self.local[side], gather=gather) for side in sorted(needed)}
        self.first, self.total = joined["positive"].first, joined["positive"].total
        self.columns = {side: rows.rows for side, rows in joined.items()}
        self.row_ids = ids
        self.column_ids = _joined_ids(ids, negative_ids, needed, gather)
        self.parts = []
        start = 0
        for rows, columns in meetings:
            stop = start + len(self.columns[columns])
            self.parts.append(Part(rows, columns, start, stop))
            start = stop
        self.mask = mask
        if mask is not None:
            _check_mask(mask, anchor, candidates=sum(p.stop - p.start for p in self.parts if p.rows == "anchor"))

    @property
    def anything_known(self) -> bool:
        """Whether ids or a mask say which rows match."""
        return self.row_ids is not None or self.mask is not None

    @property
    def empty(self) -> bool:
        """Whether no rank holds a row."""
        return self.total == 0

    def mean_loss(self, block_loss: BlockLoss, *, normalize: bool = True, scale: float = 1.0) -> Tensor:
        """The mean over all ranks' rows of a loss on their similarities; the ranks' mean is the joined batch's."""
        embeddings: list[Tensor] = []

        def index(tensor: Tensor) -> int:
            # What is both row and column is taken once.
            for k, known in enumerate(embeddings):
                if known is tensor:
                    return k
            embeddings.append(tensor)
            return len(embeddings) - 1

        terms = [(index(self.local[part.rows]), index(self.columns[part.columns])) for part in self.parts]
        weight = self.ranks / self.total
        return blockwise_loss(embeddings, terms, block_loss, normalize=normalize, scale=scale, weight=weight)

    def own(self, part: Part, block: Tensor, start: int) -> Tensor:
        """What a block of a part's columns holds of each row's own: a view, (rows,), or (n, rows) of negatives."""
        first, rows = self.first + start, len(block)
        if part.columns != "negatives":
            return block.diagonal(first)
        n = self.negatives_per_row
        return block[:, first * n : (first + rows) * n].unflatten(1, (rows, n)).diagonal(dim1=0, dim2=1)

    def known(self, part: Part, start: int, rows: int) -> Tensor | None:
        """Columns of a part known to match each row of a block: (rows, columns) of bool, or None if nothing is known.

        A row's own positive is not among them.
        """
        found = None
        if self.row_ids is not None and part.columns in self.column_ids:
            found = self.row_ids[start : start + rows].unsqueeze(1) == self.column_ids[part.columns]
        if self.mask is not None and part.rows == "anchor":
            masked = self.mask[start : start + rows, part.span]
            found = masked.clone() if found is None else found | masked
        if found is not None and part.holds_positives:
            self.own(part, found, start).fill_(False)
        return found


def _check_ids(anchor: Tensor, negatives: Tensor | None, ids: Tensor | None, negative_ids: Tensor | None) -> None:
    if ids is not None:
        check_classes("ids", ids, anchor)
    if negative_ids is None:
        return
    if ids is None or negatives is None:
        missing = "ids" if ids is None else "negatives"
        raise ValueError(f"negative_ids has no use without {missing}")
    check_tensor("negative_ids", negative_ids)
    if negative_ids.shape != negatives.shape[:2]:
        raise ValueError(
            f"negative_ids must have shape (batch, n) = {tuple(negatives.shape[:2])} beside negatives of shape "
            f"{tuple(negatives.shape)}, found {tuple(negative_ids.shape)}"
        )
    check_classes("negative_ids", negative_ids.flatten(), negatives.flatten(0, 1))


def _check_mask(mask: Tensor, anchor: Tensor, *, candidates: int) -> None:
    check_tensor("mask", mask)
    if mask.dtype != torch.bool:
        raise ValueError(f"mask must be boolean, found {mask.dtype}")
    if mask.shape != (len(anchor), candidates):
        raise ValueError(
            f"mask must have shape (batch, candidates) = ({len(anchor)}, {candidates}), found {tuple(mask.shape)}"
        )
    check_same_device("anchor", anchor, "mask", mask)


def _joined_ids(ids: Tensor | None, negative_ids: Tensor | None, needed: set[Side], gather: bool) -> dict[Side, Tensor]:
    if ids is None:
        return {}
    joined = gather_rows(ids, gather=gather).rows
    found: dict[Side, Tensor] = {"anchor": joined, "positive": joined}
    if negative_ids is not None and "negatives" in needed:
        found["negatives"] = gather_rows(negative_ids.flatten(), gather=gather).rows
    return found
