"""Training the teacher: a cross-encoder on scored pairs, both orders of each, the best weights by dev."""

import numpy as np
import pandas as pd
import torch
from datasets import Dataset
from sentence_transformers import CrossEncoder
from sentence_transformers.cross_encoder import CrossEncoderTrainer
from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss

from embedtrain.data.batching import like_length_batches
from embedtrain.mining.labeling import score_pairs
from embedtrain.training.biencoder import scored
from embedtrain.training.settings import TrainingSettings
from embedtrain.training.trainer import DevResult, History, fit


def train_crossencoder(
    model: CrossEncoder,
    pairs: pd.DataFrame,
    *,
    dev: pd.DataFrame,
    settings: TrainingSettings,
    seed: int = 42,
    precision: str = "fp32",
    description: str = "cross-encoder",
) -> History:
    """Fit a cross-encoder in place; it ends with the weights of its best dev Spearman.

    A cross-encoder reads its two sentences in an order, similarity has none: each pair is trained in both orders and
    scored as the mean of both (Thakur et al. 2021, section 3). The loss is binary cross-entropy against the soft score.

    Args:
        model: A cross-encoder with one output, on the device to train on.
        pairs: Scored pairs (``sentence1``, ``sentence2``, ``score`` in [0, 1]).
        dev: Scored pairs to choose the weights by.
        settings: Batch size (rows, two a pair), learning rate, epochs, evaluations, patience.
        seed: Of the order of batches and of dropout.
        precision: ``bf16`` (autocast) or ``fp32``.
        description: Name on the progress bar.

    Returns:
        What happened; ``train_pairs`` counts both orders.
    """
    rows = {
        "sentence1": [*pairs["sentence1"], *pairs["sentence2"]],
        "sentence2": [*pairs["sentence2"], *pairs["sentence1"]],
        "label": [*pairs["score"].astype("float32")] * 2,
    }
    dtype = torch.bfloat16 if precision == "bf16" else None
    encoded = model.tokenizer(
        rows["sentence1"], rows["sentence2"], truncation="longest_first", return_attention_mask=False
    )
    lengths = np.array([len(ids) for ids in encoded["input_ids"]])

    def dev_metric(current: CrossEncoder) -> DevResult:
        return scored(score_pairs(current, dev["sentence1"].tolist(), dev["sentence2"].tolist(), dtype=dtype), dev)

    return fit(
        CrossEncoderTrainer,
        model,
        pairs=Dataset.from_dict(rows),
        batches_of_epoch=lambda epoch: like_length_batches(
            lengths, batch_size=settings.batch_size, seed=seed, epoch=epoch
        ),
        loss=BinaryCrossEntropyLoss(model),
        dev_metric=dev_metric,
        metric="spearman",
        untrained="skip",  # its new head says nothing yet
        settings=settings,
        max_steps=settings.steps_for(len(rows["label"])),
        seed=seed,
        precision=precision,
        description=description,
    )
