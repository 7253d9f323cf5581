"""One TSDAE training of one side of ``tsdae.py``, in a worker process of its own."""

import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from sentence_transformers import SentenceTransformer
from training_probes import MemoryWatch, memory
from training_sides import synchronize

from embedtrain.data.noise import Noise
from embedtrain.models import DEFAULT_MODEL, load_biencoder, resolve_model
from embedtrain.models.hardware import choose_precision
from embedtrain.training.history import DevResult
from embedtrain.training.settings import TrainingSettings
from embedtrain.training.tsdae import train_tsdae

# sentence-transformers' loss and trainer as its script sets them up, the same with bf16=True, and this project.
Side = Literal["default", "bf16", "ours"]
# What the library's script calls its ratio is the share of words that stay: so many are deleted on both sides.
DELETED = 0.4


@dataclass(frozen=True)
class Recipe:
    """What all sides share; one epoch unless ``max_steps`` says otherwise."""

    batch_size: int = 16
    learning_rate: float = 3e-5
    max_steps: int | None = None
    seed: int = 0
    device: str = "cpu"


def timed(side: Side, sentences: Sequence[str], recipe: Recipe) -> dict[str, float]:
    """Seconds of one training: ``train`` inside the trainer, ``call`` from the sentences to the trained model."""
    times = train_ours(sentences, recipe) if side == "ours" else train_library(sentences, recipe, bf16=side == "bf16")
    if recipe.device == "cuda":
        torch.cuda.empty_cache()
    return times


def train_ours(sentences: Sequence[str], recipe: Recipe) -> dict[str, float]:
    """Through the engine, with a dev metric that costs nothing and is asked once, at the end."""
    model = load_biencoder(resolve_model(DEFAULT_MODEL), device=recipe.device)
    settings = TrainingSettings(
        min_steps=1,
        batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        warmup_share=0.0,
        weight_decay=0.0,
        evaluations=1,
        patience=0,
    )
    started = time.perf_counter()
    history = train_tsdae(
        model,
        pd.Series(sentences),
        noise=Noise(delete_ratio=DELETED),
        dev_metric=lambda _: DevResult({"none": 0.0}, np.zeros(0)),
        metric="none",
        settings=settings,
        max_steps=recipe.max_steps,
        seed=recipe.seed,
        precision=choose_precision(recipe.device).name,
    )
    synchronize(recipe.device)
    return {"train": history.seconds, "call": time.perf_counter() - started, "steps": history.max_steps}


def train_library(sentences: Sequence[str], recipe: Recipe, *, bf16: bool) -> dict[str, float]:
    """Through sentence-transformers, noise drawn anew in every epoch by a transform, as its example scripts do it."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.losses import DenoisingAutoEncoderLoss
    from transformers import PrinterCallback

    location = resolve_model(DEFAULT_MODEL).location
    model = SentenceTransformer(location, device=recipe.device)
    loss = DenoisingAutoEncoderLoss(model, tie_encoder_decoder=True).to(recipe.device)
    random.seed(recipe.seed)
    with tempfile.TemporaryDirectory(prefix="embedtrain-benchmark-") as scratch:
        started = time.perf_counter()
        rows = Dataset.from_dict({"text": list(sentences)})
        rows.set_transform(damaged, columns=["text"], output_all_columns=True)
        half = {"fp16": True} if recipe.device == "cuda" else {"bf16": bf16}
        arguments = SentenceTransformerTrainingArguments(
            output_dir=scratch,
            num_train_epochs=1,
            max_steps=recipe.max_steps or -1,
            per_device_train_batch_size=recipe.batch_size,
            learning_rate=recipe.learning_rate,
            weight_decay=0.0,
            lr_scheduler_type="constant",
            use_cpu=recipe.device == "cpu",
            seed=recipe.seed,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            **half,
        )
        arguments._n_gpu = min(arguments.n_gpu, 1)
        trainer = SentenceTransformerTrainer(model=model, args=arguments, train_dataset=rows, loss=loss)
        trainer.remove_callback(PrinterCallback)
        begun = time.perf_counter()
        trainer.train()
        synchronize(recipe.device)
        ended = time.perf_counter()
    return {"train": ended - begun, "call": ended - started, "steps": trainer.state.global_step}


def damaged(batch: dict[str, list[str]]) -> dict[str, list[str]]:
    """Texts less the words that a draw leaves out, and the texts: nltk's words, one draw a word, one at least stays."""
    from nltk import word_tokenize
    from nltk.tokenize.treebank import TreebankWordDetokenizer

    join = TreebankWordDetokenizer()
    noisy = []
    for text in batch["text"]:
        # On one line the words are found without a model of sentences, which would have to be downloaded.
        words = word_tokenize(text, preserve_line=True)
        kept = [word for word in words if random.random() >= DELETED]
        noisy.append(join.detokenize(kept or [random.choice(words)]) if words else text)
    return {"noisy": noisy, "text": batch["text"]}


def peak_memory(side: Side, sentences: Sequence[str], recipe: Recipe) -> dict[str, float]:
    """MB that a training takes at its peak beyond what was there with all libraries loaded, in a fresh process.

    On a GPU what was allocated at the peak. The model is loaded inside, by both sides.
    """
    before = memory()
    if recipe.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        timed(side, sentences, recipe)
        return {"peak_mb": torch.cuda.max_memory_allocated() / 2**20}
    with MemoryWatch() as watch:
        timed(side, sentences, recipe)
    peak: Any = watch.peaks[-1]
    return {
        "peak_mb": (peak["VmRSS"] - before["VmRSS"]) / 1024,
        "peak_unmapped_mb": (peak["RssAnon"] - before["RssAnon"]) / 1024,
    }
