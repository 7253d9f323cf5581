"""Training on sentences without labels, and choosing weights by the same loss on sentences held out."""

import math
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
from torch import nn

from embedtrain.models.hardware import own_random_numbers
from embedtrain.training.engine import within_one_rank
from embedtrain.training.history import DevMetric, DevResult, History
from embedtrain.training.settings import EngineSettings, TrainingSettings
from embedtrain.training.tasks import Task
from embedtrain.training.tokens import TextTable, TokenTable
from embedtrain.training.trainer import fit

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
        # Of several processes the first alone looks.
        with torch.no_grad(), drawing, within_one_rank(self.adapter):
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


def fit_to_sentences(
    model: SentenceTransformer,
    task: Task,
    *,
    adapter: nn.Module,
    make_table: Callable[[Path, pd.Series], TokenTable | TextTable],
    sentences: pd.Series,
    held_out: pd.Series | None,
    held_out_metric: str,
    dropout: int | None = None,
    dev_metric: DevMetric | None,
    settings: TrainingSettings,
    engine: EngineSettings | None,
    **fitting: Any,
) -> History:
    """What TSDAE, masked language modelling and SimCSE have in common.

    Args:
        model: The encoder, trained in place.
        task: The sentences and their loss, for batches and messages.
        adapter: The loss as the engine calls it.
        make_table: From a file to write and texts to what the loss is fed with.
        sentences: The texts, (rows,).
        held_out: Sentences to choose the weights by where there is no ``dev_metric``.
        held_out_metric: What their score is called.
        dropout: Seed of the dropout that the loss is about; by default held-out sentences are read without any.
        dev_metric: Scores the encoder on dev.
        settings: Batch size, learning rate, evaluations, patience.
        engine: How it is computed; by default as ``EngineSettings()`` says.
        **fitting: As for ``fit``.

    Raises:
        ValueError: There is nothing to choose the weights by.
        UserError: When the loss is not finite, with the step and the texts.
    """
    with tempfile.TemporaryDirectory(prefix="embedtrain-tokens-") as folder:
        table = make_table(Path(folder) / "sentences.arrow", sentences)
        if dev_metric is None:
            if held_out is None:
                raise ValueError("give held_out sentences or a dev_metric to choose the weights by")
            apart = make_table(Path(folder) / "held_out.arrow", held_out)
            dev_metric = HeldOutLoss(
                adapter, apart, name=held_out_metric, batch_size=settings.batch_size, dropout=dropout
            )
        return fit(
            SentenceTransformerTrainer,
            model,
            tasks=[task],
            tables=[table],
            adapters=[adapter],
            dev_metric=dev_metric,
            settings=settings,
            engine=engine or EngineSettings(),
            **fitting,
        )
