"""What a guide model says about a batch: which candidates are more similar to a row than its own positive."""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor

from embedtrain.losses.checks import check_choice, check_embeddings, check_same_device, finite
from embedtrain.losses.distances import unit
from embedtrain.losses.gathering import gather_rows
from embedtrain.losses.inbatch import InBatch, Part, Side

MarginStrategy = Literal["absolute", "relative"]


class Guide(ABC):
    """Similarities by the guide, a block at a time."""

    def __init__(self, batch: InBatch) -> None:
        self.batch = batch

    @abstractmethod
    def block(self, part: Part, start: int, rows: int) -> Tensor:
        """Guide similarities of a block of rows with a part's columns, (rows, columns)."""

    @abstractmethod
    def positives(self) -> Tensor:
        """Guide similarity of each anchor of this rank with its positive, (batch,)."""

    def set_margin(self, strategy: MarginStrategy, margin: float) -> None:
        """Fix for each row the similarity above which a candidate is no negative."""
        check_choice("margin_strategy", strategy, ("absolute", "relative"))
        similarity = self.positives()
        self.threshold = similarity - margin * (similarity.abs() if strategy == "relative" else 1)

    def too_similar(self, part: Part, start: int, rows: int) -> Tensor:
        """(rows, columns) of bool: candidates to leave out, never a row's own positive."""
        found = self.block(part, start, rows) > self.threshold[start : start + rows].unsqueeze(1)
        if part.holds_positives:
            self.batch.own(part, found, start).fill_(False)
        return found


class GuideEmbeddings(Guide):
    """Cosines of the guide's embeddings, computed when a block asks for them."""

    def __init__(
        self,
        batch: InBatch,
        anchor: Tensor | None,
        positive: Tensor | None,
        negatives: Tensor | None,
        *,
        gather: bool,
        check_finite: bool,
    ) -> None:
        super().__init__(batch)
        sides = {"anchor": anchor, "positive": positive, "negatives": negatives}
        given = {side: tensor for side, tensor in sides.items() if tensor is not None}
        missing = [f"guide_{side}" for side in batch.local if side not in given]
        if missing:
            raise ValueError(f"the guide's embeddings are missing: {', '.join(missing)} (or give guide_similarity)")
        self.local: dict[Side, Tensor] = {}
        for side, own in batch.local.items():
            name, tensor = f"guide_{side}", given[side]
            check_embeddings(name, tensor, layout="(batch, n, dim)" if side == "negatives" else "(batch, dim)")
            flat = tensor.flatten(0, 1) if side == "negatives" else tensor
            if len(flat) != len(own):
                raise ValueError(
                    f"{name} must hold one embedding for each of the {len(own)} in {side}, "
                    f"found shape {tuple(tensor.shape)}"
                )
            if flat.shape[-1] != given["anchor"].shape[-1]:
                raise ValueError(
                    f"{name} must have the dim of guide_anchor, found {tuple(tensor.shape)} and "
                    f"{tuple(given['anchor'].shape)}"
                )
            check_same_device(side, own, name, tensor)
            self.local[side] = unit(flat.detach())
            finite(self.local[side].sum(), check_finite, **{name: tensor})
        self.columns = {side: gather_rows(self.local[side], gather=gather).rows for side in sorted(self.local)}

    def block(self, part: Part, start: int, rows: int) -> Tensor:
        """Guide similarities of a block of rows with a part's columns, (rows, columns)."""
        with torch.autocast(self.threshold.device.type, enabled=False):
            return self.local[part.rows][start : start + rows] @ self.columns[part.columns].T

    def positives(self) -> Tensor:
        """Guide similarity of each anchor of this rank with its positive, (batch,)."""
        return (self.local["anchor"] * self.local["positive"]).sum(dim=1)


class GuideSimilarities(Guide):
    """A given matrix of similarities between all items: anchors, positives, negatives row by row."""

    def __init__(self, batch: InBatch, similarity: Tensor) -> None:
        super().__init__(batch)
        if batch.ranks > 1:
            raise ValueError("guide_similarity knows this rank's items alone; with gather give the guide's embeddings")
        self.offsets: dict[Side, int] = {}
        items = 0
        for side, tensor in batch.local.items():
            self.offsets[side] = items
            items += len(tensor)
        if similarity.shape != (items, items):
            raise ValueError(
                f"guide_similarity must have shape (items, items) = ({items}, {items}), where items are the anchors, "
                f"then the positives, then the negatives row by row; found {tuple(similarity.shape)}"
            )
        check_same_device("anchor", batch.local["anchor"], "guide_similarity", similarity)
        self.similarity = similarity.detach()

    def block(self, part: Part, start: int, rows: int) -> Tensor:
        """Guide similarities of a block of rows with a part's columns, (rows, columns)."""
        top, left = self.offsets[part.rows] + start, self.offsets[part.columns]
        return self.similarity[top : top + rows, left : left + part.stop - part.start]

    def positives(self) -> Tensor:
        """Guide similarity of each anchor with its positive, (batch,)."""
        batch = len(self.batch.local["anchor"])
        return self.similarity[:batch, self.offsets["positive"] : self.offsets["positive"] + batch].diagonal()
