"""Fine-tuning an encoder to classify or score single sentences and pairs, the best weights by dev."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sentence_transformers import CrossEncoder
from sentence_transformers.cross_encoder import CrossEncoderTrainer
from torch import Tensor, nn
from torch.nn import functional as F

from embedtrain.mining.labeling import CPU_TOKENS_PER_THREAD, GPU_TOKEN_BUDGET
from embedtrain.models.hardware import autocast
from embedtrain.training.crossencoder import SoftScoreLoss
from embedtrain.training.history import DevResult, History
from embedtrain.training.settings import EngineSettings, TrainingSettings
from embedtrain.training.tasks import LABEL, Task
from embedtrain.training.tokens import TokenTable
from embedtrain.training.trainer import fit

Outputs = NDArray[np.float32]


class ClassLoss(nn.Module):
    """Cross-entropy over a classifier's outputs, for tokenised rows.

    Args:
        model: The classifier, with an output for each class.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, columns: Sequence[Mapping[str, Any]], target: Tensor) -> Tensor:
        """The mean over one batch: ``columns`` holds the rows' tokens, ``target`` their classes, (batch,)."""
        (rows,) = columns
        return F.cross_entropy(self.model(dict(rows))["scores"].float(), target)


def train_classifier(
    model: CrossEncoder,
    rows: pd.DataFrame,
    *,
    dev: pd.DataFrame,
    measure: Callable[[Outputs], Mapping[str, float]],
    metric: str,
    settings: TrainingSettings,
    engine: EngineSettings | None = None,
    max_length: int | None = None,
    seed: int = 42,
    precision: str = "fp32",
    description: str = "classifier",
    checkpoints: Path | None = None,
) -> History:
    """Fit a classifier, or a scorer, in place; it ends with the weights of its best dev score.

    Args:
        model: A cross-encoder with an output for each class, or with one for a score; on the device to train on.
        rows: ``sentence1``, for pairs ``sentence2``, and ``label``: a class number, or with one output a score in
            [0, 1] (binary cross-entropy against it).
        dev: Rows to choose the weights by.
        measure: From the outputs on dev, see ``predict``, to scores.
        metric: The one of them that decides; higher is better.
        settings: Batch size, learning rate, epochs, evaluations, patience.
        engine: How it is computed; by default as ``EngineSettings()`` says.
        max_length: Tokens that a row is cut to, a pair's both texts together; by default what the model takes.
        seed: Of the order of batches and of dropout.
        precision: ``bf16`` (autocast), ``tf32`` or ``fp32``.
        description: Name on the progress bar.
        checkpoints: A folder to keep checkpoints in, and to go on from when there are some.

    Returns:
        What happened.

    Raises:
        UserError: When the loss is not finite, with the step and the texts.
    """
    with tempfile.TemporaryDirectory(prefix="embedtrain-tokens-") as folder:
        table = _tokenised(model, rows, Path(folder) / "rows.arrow", max_length=max_length)
        dev_table = _tokenised(model, dev, Path(folder) / "dev.arrow", max_length=max_length)

        def dev_metric(current: CrossEncoder) -> DevResult:
            outputs = _outputs(current, dev_table, precision=precision)
            return DevResult(measure(outputs), outputs)

        return fit(
            CrossEncoderTrainer,
            model,
            tasks=[Task(description, rows, nn.Identity())],
            tables=[table],
            adapters=[SoftScoreLoss(model) if model.num_labels == 1 else ClassLoss(model)],
            dev_metric=dev_metric,
            metric=metric,
            untrained="skip",  # its new head says nothing yet
            settings=settings,
            engine=engine or EngineSettings(),
            seed=seed,
            precision=precision,
            description=description,
            checkpoints=checkpoints,
        )


def predict(
    model: CrossEncoder, rows: pd.DataFrame, *, max_length: int | None = None, precision: str = "fp32"
) -> Outputs:
    """What a classifier says of rows: its outputs before any activation, (rows, outputs); see ``train_classifier``."""
    with tempfile.TemporaryDirectory(prefix="embedtrain-tokens-") as folder:
        table = _tokenised(model, rows, Path(folder) / "rows.arrow", max_length=max_length)
        return _outputs(model, table, precision=precision)


def _tokenised(model: CrossEncoder, rows: pd.DataFrame, path: Path, *, max_length: int | None) -> TokenTable:
    is_pair = "sentence2" in rows
    texts: Sequence[Any] = rows["sentence1"].tolist()
    if is_pair:
        texts = list(zip(texts, rows["sentence2"], strict=True))
    longest = min(max_length or model.tokenizer.model_max_length, model.tokenizer.model_max_length)

    def tokenise(_: str, some: list[Any]) -> Any:
        sides = [list(side) for side in zip(*some, strict=True)] if is_pair else [some]
        return model.tokenizer(
            *sides, truncation="longest_first", max_length=longest, return_attention_mask=False, verbose=False
        )

    labels = rows[LABEL].to_numpy()
    if model.num_labels == 1:
        labels = labels.astype(np.float32)
    return TokenTable(path, {"rows": texts}, tokenise=tokenise, labels=labels, pad_id=model.tokenizer.pad_token_id or 0)


def _outputs(model: CrossEncoder, table: TokenTable, *, precision: str) -> Outputs:
    """The outputs for all rows of a table, in batches of like length and like numbers of tokens."""
    on_cpu = model.device.type == "cpu"
    budget = CPU_TOKENS_PER_THREAD * torch.get_num_threads() if on_cpu else GPU_TOKEN_BUDGET
    order = np.argsort(-table.longest, kind="stable")
    outputs = np.empty((len(table), model.num_labels), dtype=np.float32)
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode(), autocast(model.device.type, precision):
            start = 0
            while start < len(order):
                rows = order[start : start + max(1, budget // int(table.longest[order[start]]))]
                (columns,) = table.batch(rows.tolist())
                moved = {name: values.to(model.device) for name, values in columns.items()}
                outputs[rows] = model(moved)["scores"].float().cpu().numpy()
                start += len(rows)
    finally:
        model.train(was_training)
    return outputs
