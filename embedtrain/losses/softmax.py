"""Softmax cross-entropy over a row's candidates in the batch, one block of rows at a time."""

from typing import Literal

import torch
from torch import Tensor

from embedtrain.losses.guide import Guide
from embedtrain.losses.inbatch import InBatch, KnownPositives, Part

HardnessMode = Literal["in_batch_negatives", "hard_negatives", "all_negatives"]


class SoftmaxBlocks:
    """Softmax cross-entropy of a block of rows: its loss, and softmax minus target as the derivative."""

    def __init__(
        self,
        batch: InBatch,
        *,
        separate: bool = False,
        known_positives: KnownPositives = "ignore",
        hardness_mode: HardnessMode | None = None,
        hardness: float = 0.0,
        guide: Guide | None = None,
        narrow: bool = False,
    ) -> None:
        self.batch = batch
        # Logits near enough to each other for the logarithm of a probability: cheaper than log_softmax and exp.
        self.narrow = narrow
        self.separate = separate
        self.several = known_positives == "positive" and batch.anything_known
        self.hardness_mode = hardness_mode
        self.hardness = hardness
        self.guide = guide
        self.prepared = (
            batch.anything_known or hardness_mode is not None or guide is not None
            or any(part.one_kind for part in batch.parts)
        )  # fmt: skip
        # One softmax over the columns of each group of parts; the first part of each holds the rows' own positives.
        sides = dict.fromkeys(part.rows for part in batch.parts) if separate else [None]
        self.groups = [[part for part in batch.parts if side in (None, part.rows)] for side in sides]

    def __call__(self, similarities: Tensor, start: int, *, with_gradient: bool) -> tuple[Tensor, Tensor | None]:
        """The sum of a block's losses, and its derivative; overwrites the similarities."""
        logits = similarities
        targets = torch.zeros_like(logits) if self.several else None
        if self.prepared:
            for part in self.batch.parts:
                self._prepare(part, logits[:, part.span], start, None if targets is None else targets[:, part.span])
        values = []
        for group in self.groups:
            span = slice(group[0].start, group[-1].stop)
            whole = len(self.groups) == 1
            target = None if targets is None else targets[:, span]
            values.append(self._cross_entropy(group, logits if whole else logits[:, span], target, start))
        if len(values) == 1:
            return values[0], logits
        return torch.stack(values).mean(), logits.div_(len(values))

    def _cross_entropy(self, group: list[Part], logits: Tensor, target: Tensor | None, start: int) -> Tensor:
        """The loss under one softmax; leaves its derivative in place of the logits."""
        if self.narrow:
            torch.softmax(logits, dim=1, out=logits)
        else:
            torch.log_softmax(logits, dim=1, out=logits)
        own = self.batch.own(group[0], logits, start)
        if target is None:
            value = (own.log() if self.narrow else own).sum().neg()
        else:
            target = target / target.sum(dim=1, keepdim=True)
            # 0 * -inf where a candidate is left out.
            value = torch.where(target > 0, target * (logits.log() if self.narrow else logits), 0).sum().neg()
        if not self.narrow:
            logits.exp_()
        if target is None:
            own.sub_(1)
        else:
            logits.sub_(target)
        return value

    def _prepare(self, part: Part, logits: Tensor, start: int, targets: Tensor | None) -> None:
        """Weigh the hard, leave out what is no negative, and mark the positives of one part, all in place."""
        batch = self.batch
        known = batch.known(part, start, len(logits))
        if self.hardness_mode and part.rows == "anchor" and part.columns != "anchor":
            self._add_hardness(part, logits, start, known)
        if targets is not None and not part.one_kind and (part.rows == "anchor" or self.separate):
            if known is not None:
                targets.masked_fill_(known, 1.0)
            if part.holds_positives:
                batch.own(part, targets, start).fill_(1.0)
        elif known is not None:
            logits.masked_fill_(known, -torch.inf)
        if part.one_kind:
            batch.own(part, logits, start).fill_(-torch.inf)
        if self.guide is not None:
            logits.masked_fill_(self.guide.too_similar(part, start, len(logits)), -torch.inf)

    def _add_hardness(self, part: Part, logits: Tensor, start: int, known: Tensor | None) -> None:
        own = self.batch.own(part, logits, start)
        own_before = own.clone()
        # Known positives are no negatives, hard or not.
        known_before = logits[known] if known is not None else own_before
        if self.hardness_mode == "hard_negatives":
            if part.columns == "negatives":
                own.mul_(1 + self.hardness)
        else:
            logits.mul_(1 + self.hardness)
            if part.columns == "positive" or self.hardness_mode == "in_batch_negatives":
                own.copy_(own_before)
        if known is not None:
            logits[known] = known_before
