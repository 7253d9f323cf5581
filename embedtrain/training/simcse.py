"""SimCSE without labels: a sentence is to find itself, read a second time under other dropout, among its batch.

Gao, Yao & Chen 2021, "SimCSE: Simple Contrastive Learning of Sentence Embeddings".
"""

from pathlib import Path
from typing import Literal

import pandas as pd
from sentence_transformers import SentenceTransformer

from embedtrain.losses import MultipleNegativesRankingLoss
from embedtrain.training.adapter import LossAdapter
from embedtrain.training.biencoder import tokenised
from embedtrain.training.held_out import fit_to_sentences
from embedtrain.training.history import DevMetric, DevResult, History
from embedtrain.training.settings import EngineSettings, TrainingSettings
from embedtrain.training.tasks import Task

# Of a held-out sentence, to find itself among its batch: 1 would be certainty.
FINDING_PROBABILITY = "finding_probability"


def train_simcse(
    model: SentenceTransformer,
    sentences: pd.Series,
    *,
    temperature: float = 0.05,
    held_out: pd.Series | None = None,
    dev_metric: DevMetric | None = None,
    metric: str = FINDING_PROBABILITY,
    max_length: int | None = None,
    untrained: DevResult | Literal["score", "skip"] = "score",
    settings: TrainingSettings,
    engine: EngineSettings | None = None,
    max_steps: int | None = None,
    seed: int = 42,
    precision: str = "fp32",
    description: str = "SimCSE",
    checkpoints: Path | None = None,
) -> History:
    """Adapt an encoder in place to sentences without labels; it ends with its best weights.

    Args:
        model: The encoder, on the device to train on; its dropout is what makes the two readings differ.
        sentences: The texts, (rows,); no two are equal.
        temperature: Divisor of the cosines (0.05 in the paper).
        held_out: Sentences to choose the weights by where there is no ``dev_metric``.
        dev_metric: Scores the encoder on dev.
        metric: The key of its scores that decides; higher is better.
        max_length: Tokens of a sentence at most; by default what the model reads.
        untrained: As for ``fit``.
        settings: Batch size (the other sentences of a batch are the negatives), learning rate, evaluations, patience.
        engine: How it is computed; by default as ``EngineSettings()`` says.
        max_steps: Optimiser steps at most; by default ``settings.epochs`` passes over the sentences.
        seed: Of the order of batches and dropout.
        precision: ``bf16`` (autocast), ``tf32`` or ``fp32``.
        description: Name on the progress bar.
        checkpoints: A folder to keep checkpoints in, and to go on from when there are some.

    Returns:
        What happened.

    Raises:
        ValueError: There is nothing to choose the weights by.
        UserError: When the loss is not finite, with the step and the texts.
    """
    loss = MultipleNegativesRankingLoss(scale=1 / temperature)
    adapter = LossAdapter(model, loss, precision=precision)
    task = Task("sentences", twice(sentences), loss, "unique")
    read_before = model.max_seq_length
    if max_length is not None:
        model.max_seq_length = max_length
    try:
        return fit_to_sentences(
            model,
            task,
            adapter=adapter,
            make_table=lambda path, texts: tokenised(model, Task("sentences", twice(texts), loss), path),
            sentences=sentences,
            held_out=held_out,
            held_out_metric=FINDING_PROBABILITY,
            dropout=seed,
            dev_metric=dev_metric,
            metric=metric,
            untrained=untrained,
            settings=settings,
            engine=engine,
            max_steps=max_steps,
            seed=seed,
            precision=precision,
            description=description,
            checkpoints=checkpoints,
        )
    finally:
        model.max_seq_length = read_before


def twice(sentences: pd.Series) -> pd.DataFrame:
    """Each sentence beside itself."""
    return pd.DataFrame({"anchor": sentences, "positive": sentences})
