"""One training of one side of ``training.py``, in a worker process of its own.

Each side has a process to itself because ours changes how the C library handles freed memory, which would outlive our
training and slow down or speed up whatever runs after it in the same process.
"""

import tempfile
import time
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import torch
from sentence_transformers import SentenceTransformer

from embedtrain import losses
from embedtrain.evaluation.statistics import spearman
from embedtrain.evaluation.sts import cosine_of_pairs
from embedtrain.models import DEFAULT_MODEL, load_biencoder, resolve_model
from embedtrain.models.hardware import choose_precision
from embedtrain.training.biencoder import train_tasks
from embedtrain.training.history import DevResult
from embedtrain.training.settings import TrainingSettings
from embedtrain.training.tasks import Task

# The library at its defaults, the library with bf16=True, this project.
Side = Literal["default", "bf16", "ours"]
Times = dict[str, float]


@dataclass(frozen=True)
class Recipe:
    """What all sides share; one epoch unless ``max_steps`` says otherwise."""

    loss: Literal["cosine", "mnrl"] = "cosine"
    batch_size: int = 16
    learning_rate: float = 2e-5
    warmup_share: float = 0.1
    max_steps: int | None = None
    seed: int = 0
    device: str = "cpu"


def timed(side: Side, table: pd.DataFrame, recipe: Recipe) -> Times:
    """Seconds of one training.

    ``train`` is the trainer's ``train()`` alone, ``call`` everything from the table to the trained model.
    """
    times = train(side, table, recipe)[1]
    if recipe.device == "cuda":
        # For the side that comes next.
        torch.cuda.empty_cache()
    return times


def train(side: Side, table: pd.DataFrame, recipe: Recipe) -> tuple[SentenceTransformer, Times]:
    """Train a fresh model; loading it is not timed."""
    return train_ours(table, recipe) if side == "ours" else train_library(table, recipe, bf16=side == "bf16")


def train_ours(table: pd.DataFrame, recipe: Recipe) -> tuple[SentenceTransformer, Times]:
    """Through the engine, with a dev metric that costs nothing and is asked once, at the end."""
    model = load_biencoder(resolve_model(DEFAULT_MODEL), device=recipe.device)
    ranking = recipe.loss == "mnrl"
    loss = losses.MultipleNegativesRankingLoss() if ranking else losses.CosineSimilarityLoss()
    settings = TrainingSettings(
        min_steps=1,
        batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        warmup_share=recipe.warmup_share,
        weight_decay=0.0,
        evaluations=1,
        patience=0,
    )
    started = time.perf_counter()
    history = train_tasks(
        model,
        [Task("benchmark", table, loss, batches="unique" if ranking else "like_length")],
        dev_metric=lambda _: DevResult({"spearman": 0.0}, np.zeros(0)),
        untrained="skip",
        settings=settings,
        max_steps=recipe.max_steps,
        seed=recipe.seed,
        precision=choose_precision(recipe.device).name,
    )
    synchronize(recipe.device)
    return model, {"train": history.seconds, "call": time.perf_counter() - started, "steps": history.max_steps}


def train_library(table: pd.DataFrame, recipe: Recipe, *, bf16: bool) -> tuple[SentenceTransformer, Times]:
    """Through sentence-transformers' trainer as its examples set it up, without evaluations and checkpoints."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.base.sampler import BatchSamplers
    from sentence_transformers.sentence_transformer import losses as library
    from transformers import PrinterCallback

    attention = {"attn_implementation": "sdpa"} if recipe.device == "cuda" else None
    location = resolve_model(DEFAULT_MODEL).location
    model = SentenceTransformer(location, device=recipe.device, model_kwargs=attention)
    ranking = recipe.loss == "mnrl"
    loss = library.MultipleNegativesRankingLoss(model) if ranking else library.CosineSimilarityLoss(model)
    with tempfile.TemporaryDirectory(prefix="embedtrain-benchmark-") as scratch:
        started = time.perf_counter()
        arguments = SentenceTransformerTrainingArguments(
            output_dir=scratch,
            num_train_epochs=1,
            max_steps=recipe.max_steps or -1,
            per_device_train_batch_size=recipe.batch_size,
            learning_rate=recipe.learning_rate,
            warmup_steps=recipe.warmup_share,
            # What its examples for this loss ask for.
            batch_sampler=BatchSamplers.NO_DUPLICATES if ranking else BatchSamplers.BATCH_SAMPLER,
            bf16=bf16,
            use_cpu=recipe.device == "cpu",
            seed=recipe.seed,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        # Ours uses one GPU, so the library does too.
        arguments._n_gpu = min(arguments.n_gpu, 1)
        rows = Dataset.from_dict(table.to_dict("list"))
        trainer = SentenceTransformerTrainer(model=model, args=arguments, train_dataset=rows, loss=loss)
        trainer.remove_callback(PrinterCallback)
        begun = time.perf_counter()
        trainer.train()
        synchronize(recipe.device)
        ended = time.perf_counter()
    return model, {"train": ended - begun, "call": ended - started, "steps": trainer.state.global_step}


def synchronize(device: str) -> None:
    """Wait for the GPU where there is one."""
    if device == "cuda":
        torch.cuda.synchronize()


def spearman_after(side: Side, table: pd.DataFrame, test: pd.DataFrame, recipe: Recipe) -> float:
    """Spearman on test, in fp32, after training on a table."""
    model, _ = train(side, table, recipe)
    cosines = cosine_of_pairs(model, test["sentence1"].tolist(), test["sentence2"].tolist())
    return float(spearman(cosines, test["label"]))


def token_count(table: pd.DataFrame) -> int:
    """Real tokens of all texts of a table, without padding, each text cut as the model cuts it."""
    model = load_biencoder(resolve_model(DEFAULT_MODEL), device="cpu")
    texts = [text for name in table.columns if name != "label" for text in table[name]]
    encoded = model.tokenizer(texts, truncation=True, max_length=model.max_seq_length)
    return sum(len(ids) for ids in encoded["input_ids"])
