"""Losses on tensors inside sentence-transformers' trainer, which hands a loss tokenised columns instead."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PADDED_KEYS = {"input_ids", "attention_mask", "token_type_ids"}


def encode_columns(model: nn.Module, columns: list[Mapping[str, Any]]) -> list[Tensor]:
    """Embed several tokenised columns of one batch in a single forward pass.

    One pass over twice the rows keeps the matrix units busier than two passes. Columns that carry anything beside
    token tensors are embedded one by one.

    Args:
        model: A SentenceTransformer, or one wrapped for distribution.
        columns: What the model's tokenizer made of each column: tensors of shape (batch, tokens).

    Returns:
        One tensor of embeddings a column, (batch, dim).
    """
    token_keys = [{key for key, value in column.items() if isinstance(value, Tensor)} for column in columns]
    if any(keys != token_keys[0] or not keys <= PADDED_KEYS for keys in token_keys):
        return [model(dict(column))["sentence_embedding"] for column in columns]
    longest = max(column["input_ids"].shape[1] for column in columns)
    joined: dict[str, Any] = dict(columns[0])
    for key in token_keys[0]:
        # The value under a zero attention mask is never read, so 0 serves every tokenizer.
        padded = [F.pad(column[key], (0, longest - column[key].shape[1])) for column in columns]
        joined[key] = torch.cat(padded)
    embeddings = model(joined)["sentence_embedding"]
    return list(embeddings.split([len(column["input_ids"]) for column in columns]))


class LossAdapter(nn.Module):
    """A loss on embeddings in the form that ``SentenceTransformerTrainer`` calls.

    ``LossAdapter(model, CosineSimilarityLoss())``: the columns are embedded together and passed to the loss in their
    order, followed by the labels when the data set has a label column.

    Args:
        model: The SentenceTransformer that is trained.
        loss: A module called as ``loss(*embeddings)`` or ``loss(*embeddings, labels)``.
    """

    def __init__(self, model: nn.Module, loss: nn.Module) -> None:
        super().__init__()
        # The trainer looks for `model` to swap in the distributed wrapper.
        self.model = model
        self.loss = loss

    def forward(self, features: Iterable[Mapping[str, Any]], labels: Tensor | None = None) -> Tensor:
        """The loss of one batch of tokenised columns, and labels (batch,) or None."""
        embeddings = encode_columns(self.model, list(features))
        return self.loss(*embeddings) if labels is None else self.loss(*embeddings, labels)
