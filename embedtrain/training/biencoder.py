"""Contrastive SBERT training: a bi-encoder from scored, labelled or positive pairs, triplets and more, by dev."""

import logging
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer

from embedtrain.evaluation.statistics import pearson, spearman
from embedtrain.evaluation.sts import cosine_of_pairs
from embedtrain.losses import CosineSimilarityLoss, MultipleNegativesRankingLoss
from embedtrain.models.hardware import autocast
from embedtrain.models.prompts import prompt_before
from embedtrain.training.adapter import LossAdapter
from embedtrain.training.history import DevMetric, DevResult, History
from embedtrain.training.settings import EngineSettings, TrainingSettings
from embedtrain.training.tasks import LABEL, Task
from embedtrain.training.taught import TaughtRows
from embedtrain.training.tokens import TextTable, TokenTable
from embedtrain.training.trainer import fit

logger = logging.getLogger(__name__)

BiEncoderLoss = Literal["cosine", "mnrl"]
ROWS_COMPARED = 8


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
    """Fit a bi-encoder to scored pairs in place; it ends with the weights of its best dev Spearman.

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
    table = pairs[["sentence1", "sentence2"]]
    if loss == "cosine":
        table = table.assign(label=pairs["score"].astype("float32"))
        task = Task("pairs", table, CosineSimilarityLoss())
    else:
        task = Task("pairs", table, MultipleNegativesRankingLoss(), batches="unique")

    def dev_metric(current: SentenceTransformer) -> DevResult:
        with autocast(current.device.type, precision):
            cosines = cosine_of_pairs(current, dev["sentence1"].tolist(), dev["sentence2"].tolist())
        return scored(cosines, dev)

    return train_tasks(
        model,
        [task],
        dev_metric=dev_metric,
        untrained=untrained or "score",
        settings=settings,
        max_steps=max_steps or settings.steps_for(len(pairs)),
        seed=seed,
        precision=precision,
        description=description,
    )


def train_tasks(
    model: SentenceTransformer,
    tasks: Sequence[Task],
    *,
    dev_metric: DevMetric,
    metric: str = "spearman",
    untrained: DevResult | Literal["score", "skip"] = "score",
    settings: TrainingSettings,
    engine: EngineSettings | None = None,
    max_steps: int | None = None,
    until_share: float | None = None,
    seed: int = 42,
    precision: str = "fp32",
    description: str = "bi-encoder",
    checkpoints: Path | None = None,
) -> History:
    """Fit a bi-encoder in place to one table or several, each with its own loss; it ends with its best weights on dev.

    Args:
        model: The encoder, on the device to train on.
        tasks: Tables with their losses.
        dev_metric: Scores the model on dev.
        metric: The key of its scores that decides; higher is better.
        untrained: What the model scores as it is, where that is known; ``score`` to find out, ``skip`` not to.
        settings: Batch size, learning rate, evaluations, patience.
        engine: How it is computed; by default as ``EngineSettings()`` says.
        max_steps: Optimiser steps at most; by default ``settings.epochs`` passes over all tables.
        until_share: Leave off at the first evaluation after this share of the steps; a later call with the same
            checkpoints goes on.
        seed: Of the order of batches and of dropout.
        precision: ``bf16`` (autocast) or ``fp32``.
        description: Name on the progress bar.
        checkpoints: A folder to keep checkpoints in, and to go on from when there are some. It belongs to one training:
            what else it was given is not compared.

    Returns:
        What happened.

    Raises:
        UserError: When the loss is not finite, with the step and the texts.
    """
    with tempfile.TemporaryDirectory(prefix="embedtrain-tokens-") as folder:
        tables = [tokenised(model, task, Path(folder) / f"{number}.arrow") for number, task in enumerate(tasks)]
        return fit(
            SentenceTransformerTrainer,
            model,
            tasks=tasks,
            tables=tables,
            adapters=[LossAdapter(model, task.loss, precision=precision, guide=task.guide) for task in tasks],
            dev_metric=dev_metric,
            metric=metric,
            untrained=untrained,
            settings=settings,
            engine=engine or EngineSettings(),
            max_steps=max_steps,
            until_share=until_share,
            seed=seed,
            precision=precision,
            description=description,
            checkpoints=checkpoints,
        )


def tokenised(model: SentenceTransformer, task: Task, path: Path) -> TokenTable | TextTable:
    """A task's texts as tokens on disk; or as they are, for models that do more than look tokens up.

    The model's prompts stand before them, by what each column is for.

    Args:
        model: The encoder whose tokenizer is used.
        task: The rows.
        path: Where the tokens are kept.
    """
    columns = {name: task.table[name] for name in task.text_columns}
    labels: np.ndarray | TaughtRows | None = task.table[LABEL].to_numpy() if LABEL in task.table else None
    if task.taught is not None:
        labels = task.taught.of(task.table[task.text_columns])

    prompts = {name: prompt for name in columns if (prompt := prompt_before(model, name))}
    if prompts:
        listed = ", ".join(f"{name} {prompt!r}" for name, prompt in prompts.items())
        logger.info("%s: prompts before the texts: %s", task.name, listed)

    def preprocess(name: str, texts: list[str]) -> Any:
        return model.preprocess(texts, prompt=prompts[name]) if name in prompts else model.preprocess(texts)

    def tokenise(name: str, texts: list[str]) -> Any:
        return model.tokenizer(
            [prompts[name] + text for text in texts] if name in prompts else texts,
            truncation=True,
            max_length=model.max_seq_length,
            return_attention_mask=False,
            verbose=False,
        )

    first, texts = next(iter(columns)), next(iter(columns.values())).iloc[:ROWS_COMPARED].tolist()
    # Where pooling leaves the prompt out, it has to be told how long it is.
    pools_prompt = all(getattr(module, "include_prompt", True) for module in model)
    if (prompts and not pools_prompt) or not _same_as_preprocess(
        partial(preprocess, first), partial(tokenise, first), texts
    ):
        logger.info("%s: this model reads texts batch by batch, not as tokens", task.name)
        return TextTable(columns, preprocess=preprocess, labels=labels)
    pad = model.tokenizer.pad_token_id or 0
    return TokenTable(path, columns, tokenise=tokenise, labels=labels, pad_id=pad)


def _same_as_preprocess(preprocess: Any, tokenise: Any, texts: list[str]) -> bool:
    """Whether tokenising alone gives what the model makes of texts itself."""
    try:
        wanted = preprocess(texts)
        got = tokenise(texts)["input_ids"]
        mask = wanted["attention_mask"].bool()
        return all(wanted["input_ids"][row][mask[row]].tolist() == ids for row, ids in enumerate(got))
    except (TypeError, KeyError, AttributeError, ValueError):
        return False
