"""Losses on tensors inside sentence-transformers' trainer, which hands a loss tokenised columns instead."""

import inspect
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from embedtrain.losses import GradCache, MatryoshkaLoss
from embedtrain.losses.module import Loss, call_loss
from embedtrain.models.hardware import autocast
from embedtrain.models.packing import is_packed

# What a second pass costs on a CPU, in tokens that could have been computed instead.
PASS_COST_TOKENS = 100
PADDED_KEYS = {"input_ids", "attention_mask", "token_type_ids"}


def encode_columns(model: nn.Module, columns: list[Mapping[str, Any]]) -> list[Tensor]:
    """Embed several tokenised columns of one batch together.

    One pass over twice the rows keeps the matrix units busier than a pass for each column. On a CPU, where padding
    costs more than a second pass, the texts of a model that cannot do without padding are sorted by length and split
    where that saves most.
    Columns that carry anything beside token tensors are embedded one by one.

    Args:
        model: A SentenceTransformer, or one wrapped for distribution.
        columns: What the model's tokenizer made of each column: tensors of shape (batch, tokens).

    Returns:
        One tensor of embeddings a column, (batch, dim).
    """
    if not _can_be_joined(columns):
        return [model(dict(column))["sentence_embedding"] for column in columns]
    token_keys = {key for key, value in columns[0].items() if isinstance(value, Tensor)}
    longest = max(column["input_ids"].shape[1] for column in columns)
    joined: dict[str, Any] = dict(columns[0])
    for key in token_keys:
        # The value under a zero attention mask is never read, so 0 serves every tokenizer.
        padded = [F.pad(column[key], (0, longest - column[key].shape[1])) for column in columns]
        joined[key] = torch.cat(padded)
    passes = [] if is_packed(model) else _passes_of_like_length(joined)
    if len(passes) <= 1:
        embeddings = model(joined)["sentence_embedding"]
    else:
        parts = []
        for rows, width in passes:
            part = {key: value[rows, :width] if key in token_keys else value for key, value in joined.items()}
            parts.append(model(part)["sentence_embedding"])
        embeddings = torch.cat(parts)[torch.cat([rows for rows, _ in passes]).argsort()]
    return list(embeddings.split([len(column["input_ids"]) for column in columns]))


def _passes_of_like_length(joined: Mapping[str, Any]) -> list[tuple[Tensor, int]]:
    """(row numbers, tokens of the longest) of each pass over a padded batch, (rows, tokens)."""
    mask = joined.get("attention_mask")
    rows, longest = joined["input_ids"].shape
    whole = [(torch.arange(rows), longest)]
    if mask is None or mask.device.type != "cpu" or (dist.is_available() and dist.is_initialized()):
        return whole  # a model wrapped for distribution is to be called equally often by all processes
    # Padding on the left cannot be cut off without moving the positions of the real tokens.
    if not bool(mask[:, 0].all()):
        return whole
    lengths, order = mask.sum(dim=1).sort(stable=True)
    # With the k shortest in a pass of their own, those k rows are as wide as the k-th.
    saved = torch.arange(1, rows + 1) * (longest - lengths)
    split = int(saved.argmax())
    if saved[split] <= PASS_COST_TOKENS:
        return whole
    return [(order[: split + 1], int(lengths[split])), (order[split + 1 :], longest)]


def _can_be_joined(columns: list[Mapping[str, Any]]) -> bool:
    """Whether all columns are token tensors of the usual names, and alike in whatever else they say."""
    for column in columns:
        tokens = {key for key, value in column.items() if isinstance(value, Tensor)}
        if not tokens <= PADDED_KEYS or "input_ids" not in tokens or column["input_ids"].dim() != 2:
            return False
        if column.keys() != columns[0].keys() or any(column[key] != columns[0][key] for key in column.keys() - tokens):
            return False
    return True


class LossAdapter(nn.Module):
    """A loss on embeddings in the form that ``SentenceTransformerTrainer`` calls.

    ``LossAdapter(model, CosineSimilarityLoss())``: the columns are embedded together and passed to the loss in their
    order, followed by the labels when the data set has a label column. A loss with negatives gets every column after
    the positive as one more negative. A ``GradCache`` embeds the columns itself, one chunk at a time.

    Args:
        model: The SentenceTransformer that is trained.
        loss: A module called as ``loss(*embeddings)`` or ``loss(*embeddings, labels)``.
        precision: ``bf16`` keeps the weights that autocast converts from one pass over a batch to the next; the passes
            themselves run in what the trainer chose.
        guide: A second SentenceTransformer for ``GISTEmbedLoss``, with the same tokenizer; it is not trained.

    Raises:
        ValueError: If the guide's vocabulary is another one, or it reads fewer tokens.
    """

    def __init__(
        self, model: nn.Module, loss: nn.Module, *, precision: str = "fp32", guide: nn.Module | None = None
    ) -> None:
        super().__init__()
        if isinstance(model, Loss):
            raise TypeError(f"the model comes first: LossAdapter(model, {type(model).__name__}(...))")
        if guide is not None and "guide_anchor" not in inspect.signature(self._inner(loss).forward).parameters:
            raise ValueError(f"{type(self._inner(loss)).__name__} takes no guide; expected GISTEmbedLoss")
        # The trainer looks for `model` to swap in the distributed wrapper.
        self.model = model
        self.loss = loss
        self.precision = precision
        # In a list, the guide is no part of what is trained, moved to train mode or saved.
        self._guide = [guide] if guide is not None else []
        for other in self._guide:
            if _vocabulary(model) != _vocabulary(other):
                raise ValueError(
                    "the guide has another vocabulary than the model, and would read its tokens as other words; "
                    "expected a guide with the same tokenizer"
                )
            read, needed = (getattr(each, "max_seq_length", None) or 0 for each in (other, model))
            if 0 < read < needed:
                raise ValueError(
                    f"the guide reads {read} tokens and the model {needed}; expected a guide that reads as many, or a "
                    "lower max_seq_length of the model"
                )
            other.eval()

    def forward(self, features: Iterable[Mapping[str, Any]], labels: Tensor | None = None) -> Tensor:
        """The loss of one batch of tokenised columns, and labels (batch,) or None."""
        columns = list(features)
        targets = [] if labels is None else [labels]
        named = self._guidance(columns)
        if isinstance(self.loss, GradCache):
            return self.loss(self.model, columns, *targets, **named)
        device = next(self.model.parameters()).device
        # Without bf16 of its own it must not end an autocast that is on around it.
        with autocast(device.type, "bf16") if self.precision == "bf16" else nullcontext():
            embeddings = encode_columns(self.model, columns)
        return call_loss(self.loss, embeddings, targets, **named)

    def _guidance(self, columns: list[Mapping[str, Any]]) -> dict[str, Tensor]:
        if not self._guide:
            return {}
        device = next(value.device for column in columns for value in column.values() if isinstance(value, Tensor))
        with torch.no_grad():
            anchor, positive, *negatives = encode_columns(self._guide[0].to(device), columns)
        named = {"guide_anchor": anchor, "guide_positive": positive}
        return {**named, "guide_negatives": torch.stack(negatives, dim=1)} if negatives else named

    @staticmethod
    def _inner(loss: nn.Module) -> nn.Module:
        """The loss itself inside what goes around it."""
        while isinstance(loss, (GradCache, MatryoshkaLoss)):
            loss = loss.loss
        return loss


def _vocabulary(model: nn.Module) -> Any:
    tokenizer: Any = getattr(model, "tokenizer", None)
    return tokenizer.get_vocab() if hasattr(tokenizer, "get_vocab") else None
