"""Choosing weights without labels: by a training loss on sentences that are not trained on."""

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from torch import nn

from embedtrain.training.history import DevResult
from embedtrain.training.tokens import TextTable, TokenTable

# What is drawn for held-out sentences is that of an epoch that no training reaches, and always the same.
HELD_OUT_EPOCH = 2**31 - 1


class HeldOutLoss:
    """A dev metric without labels: exp(-loss), which is a probability for the losses that predict something.

    Args:
        adapter: The loss that is trained, called with the columns of a batch.
        table: The sentences.
        name: What the metric is called.
        batch_size: Sentences at once.
        dropout: Seed of the dropout that the loss is about; by default there is none.
    """

    def __init__(
        self,
        adapter: nn.Module,
        table: TokenTable | TextTable,
        *,
        name: str,
        batch_size: int,
        dropout: int | None = None,
    ) -> None:
        self.adapter = adapter
        self.table = table
        self.name = name
        self.dropout = dropout
        order = np.argsort(table.longest, kind="stable")
        self.batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]

    def __call__(self, model: nn.Module) -> DevResult:
        """The geometric mean over the sentences, and the loss of each one's batch, (sentences,)."""
        device = next(model.parameters()).device
        was_training = self.adapter.training
        losses = np.empty(len(self.table))
        drawing = nullcontext() if self.dropout is None else own_random_numbers(self.dropout, device)
        with torch.no_grad(), drawing:
            self.adapter.train(self.dropout is not None)
            for rows in self.batches:
                columns: Any = self.table.batch(rows.tolist(), HELD_OUT_EPOCH)
                columns = [{name: value.to(device) for name, value in column.items()} for column in columns]
                losses[rows] = float(self.adapter(columns))
        self.adapter.train(was_training)
        return DevResult({self.name: math.exp(-losses.mean())}, losses)


def reading_length(model: SentenceTransformer) -> int:
    """Tokens that a model reads of a text at most."""
    return int(model.max_seq_length or model.tokenizer.model_max_length)


@contextmanager
def own_random_numbers(seed: int, device: torch.device) -> Iterator[None]:
    """Random numbers from a seed, and the generators afterwards as they were."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
