"""Contrastive SBERT training: a bi-encoder from scored or positive pairs, the best weights by dev."""

from typing import Literal

import numpy as np
import pandas as pd
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer

from embedtrain.data.batching import like_length_batches, unique_batches
from embedtrain.evaluation.statistics import pearson, spearman
from embedtrain.evaluation.sts import cosine_of_pairs
from embedtrain.losses import CosineSimilarityLoss, MultipleNegativesRankingLoss
from embedtrain.models.hardware import autocast
from embedtrain.training.adapter import LossAdapter
from embedtrain.training.settings import TrainingSettings
from embedtrain.training.trainer import DevResult, History, fit

BiEncoderLoss = Literal["cosine", "mnrl"]


def token_counts(model: SentenceTransformer, texts: list[str]) -> np.ndarray:
    """Tokens of each text as the model sees it (special tokens included, cut at its maximum length), (texts,)."""
    encoded = model.tokenizer(texts, truncation=True, max_length=model.max_seq_length, return_attention_mask=False)
    return np.array([len(ids) for ids in encoded["input_ids"]])


def scored(predictions: np.ndarray, pairs: pd.DataFrame) -> DevResult:
    """Spearman and Pearson correlation of predictions, (pairs,), with the scores of the pairs."""
    scores = {"spearman": spearman(predictions, pairs["score"]), "pearson": pearson(predictions, pairs["score"])}
    return DevResult(scores, predictions)


def train_biencoder(
    model: SentenceTransformer,
    pairs: pd.DataFrame,
    *,
    dev: pd.DataFrame,
    loss: BiEncoderLoss = "cosine",
    settings: TrainingSettings,
    max_steps: int | None = None,
    seed: int = 42,
    precision: str = "fp32",
    description: str = "bi-encoder",
    untrained: DevResult | None = None,
) -> History:
    """Fit a bi-encoder in place; it ends with the weights of its best dev Spearman.

    Args:
        model: The encoder, on the device to train on.
        pairs: Scored pairs (``sentence1``, ``sentence2``, ``score`` in [0, 1]). The ranking loss (``mnrl``) takes each
            of them as a positive pair and does not look at the score.
        dev: Scored pairs to choose the weights by.
        loss: ``cosine`` (Reimers & Gurevych 2019) or ``mnrl`` (Henderson et al. 2017).
        settings: Batch size, learning rate, evaluations, patience.
        max_steps: Optimiser steps at most; by default ``settings.epochs`` passes over the pairs.
        seed: Of the order of batches and of dropout.
        precision: ``bf16`` (autocast) or ``fp32``.
        description: Name on the progress bar.
        untrained: What the model scores on dev as it is, where that is known already.

    Returns:
        What happened.
    """
    columns = {name: pairs[name].tolist() for name in ("sentence1", "sentence2")}
    if loss == "cosine":
        # Both sentences of a pair run in one pass, padded to the longest of the batch, so the longer one decides.
        lengths = np.maximum(*(token_counts(model, texts) for texts in columns.values()))

        def batches_of_epoch(epoch: int) -> list[list[int]]:
            return like_length_batches(lengths, batch_size=settings.batch_size, seed=seed, epoch=epoch)

        columns["label"] = pairs["score"].astype("float32").tolist()
    else:
        texts = list(columns.values())

        def batches_of_epoch(epoch: int) -> list[list[int]]:
            return unique_batches(texts, batch_size=settings.batch_size, seed=seed, epoch=epoch)

    def dev_metric(current: SentenceTransformer) -> DevResult:
        with autocast(current.device.type, precision):
            cosines = cosine_of_pairs(current, dev["sentence1"].tolist(), dev["sentence2"].tolist())
        return scored(cosines, dev)

    return fit(
        SentenceTransformerTrainer,
        model,
        pairs=Dataset.from_dict(columns),
        batches_of_epoch=batches_of_epoch,
        loss=LossAdapter(
            model,
            CosineSimilarityLoss() if loss == "cosine" else MultipleNegativesRankingLoss(),
            precision=precision,
        ),
        dev_metric=dev_metric,
        metric="spearman",
        untrained=untrained or "score",
        settings=settings,
        max_steps=max_steps or settings.steps_for(len(pairs)),
        seed=seed,
        precision=precision,
        description=description,
    )
