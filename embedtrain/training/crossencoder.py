"""Training the teacher: a cross-encoder on scored pairs, both orders of each, the best weights by dev."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sentence_transformers import CrossEncoder
from sentence_transformers.cross_encoder import CrossEncoderTrainer
from torch import Tensor, nn
from torch.nn import functional as F

from embedtrain.mining.labeling import score_pairs
from embedtrain.training.biencoder import scored
from embedtrain.training.history import DevResult, History
from embedtrain.training.settings import EngineSettings, TrainingSettings
from embedtrain.training.tasks import Task
from embedtrain.training.tokens import TokenTable
from embedtrain.training.trainer import fit


class SoftScoreLoss(nn.Module):
    """Binary cross-entropy between a cross-encoder's logit and a soft score in [0, 1], for tokenised pairs.

    Args:
        model: The cross-encoder, with one output.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, columns: Sequence[Mapping[str, Any]], target: Tensor) -> Tensor:
        """The mean over one batch: ``columns`` holds the pairs' tokens, ``target`` their scores, (batch,)."""
        (pairs,) = columns
        logits = self.model(dict(pairs))["scores"].view(-1).float()
        return F.binary_cross_entropy_with_logits(logits, target)


def train_crossencoder(
    model: CrossEncoder,
    pairs: pd.DataFrame,
    *,
    dev: pd.DataFrame,
    settings: TrainingSettings,
    engine: EngineSettings | None = None,
    seed: int = 42,
    precision: str = "fp32",
    description: str = "cross-encoder",
    checkpoints: Path | None = None,
) -> History:
    """Fit a cross-encoder in place; it ends with the weights of its best dev Spearman.

    A cross-encoder reads its two sentences in an order, similarity has none: each pair is trained in both orders and
    scored as the mean of both (Thakur et al. 2021, section 3). The loss is binary cross-entropy against the soft score.

    Args:
        model: A cross-encoder with one output, on the device to train on.
        pairs: Scored pairs (``sentence1``, ``sentence2``, ``score`` in [0, 1]).
        dev: Scored pairs to choose the weights by.
        settings: Batch size (rows, two a pair), learning rate, epochs, evaluations, patience.
        engine: How it is computed; by default as ``EngineSettings()`` says.
        seed: Of the order of batches and of dropout.
        precision: ``bf16`` (autocast) or ``fp32``.
        description: Name on the progress bar.
        checkpoints: A folder to keep checkpoints in, and to go on from when there are some.

    Returns:
        What happened; ``train_pairs`` counts both orders.
    """
    turned = pairs.rename(columns={"sentence1": "sentence2", "sentence2": "sentence1"})
    rows = pd.concat([pairs, turned])[["sentence1", "sentence2"]]
    rows["label"] = np.tile(pairs["score"].to_numpy(dtype="float32"), 2)
    dtype = torch.bfloat16 if precision == "bf16" else None

    def tokenise(_: str, texts: list[tuple[str, str]]) -> Any:
        first, second = (list(side) for side in zip(*texts, strict=True))
        return model.tokenizer(first, second, truncation="longest_first", return_attention_mask=False, verbose=False)

    def dev_metric(current: CrossEncoder) -> DevResult:
        return scored(score_pairs(current, dev["sentence1"].tolist(), dev["sentence2"].tolist(), dtype=dtype), dev)

    with tempfile.TemporaryDirectory(prefix="embedtrain-tokens-") as folder:
        together = list(zip(rows["sentence1"], rows["sentence2"], strict=True))
        table = TokenTable(
            Path(folder) / "pairs.arrow",
            {"pair": together},
            tokenise=tokenise,
            labels=rows["label"].to_numpy(),
            pad_id=model.tokenizer.pad_token_id or 0,
        )
        return fit(
            CrossEncoderTrainer,
            model,
            tasks=[Task("pairs", rows, nn.Identity())],
            tables=[table],
            adapters=[SoftScoreLoss(model)],
            dev_metric=dev_metric,
            metric="spearman",
            untrained="skip",  # its new head says nothing yet
            settings=settings,
            engine=engine or EngineSettings(),
            max_steps=settings.steps_for(len(rows)),
            seed=seed,
            precision=precision,
            description=description,
            checkpoints=checkpoints,
        )
