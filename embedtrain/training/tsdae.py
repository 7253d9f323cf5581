"""TSDAE: an encoder learns a domain by telling a decoder, in one vector, what a damaged sentence said.

Wang, Reimers & Gurevych 2021, "TSDAE: Using Transformer-based Sequential Denoising Auto-Encoder for Unsupervised
Sentence Embedding Learning".
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import pandas as pd
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from embedtrain.data.noise import Noise
from embedtrain.data.noise_kinds import WordsName
from embedtrain.losses import DenoisingLoss
from embedtrain.models.decoders import Decoder, decoder_for
from embedtrain.models.hardware import autocast
from embedtrain.models.packing import backbone_of
from embedtrain.training.denoising_rows import DenoisingTable
from embedtrain.training.held_out import fit_to_sentences, reading_length
from embedtrain.training.history import DevMetric, DevResult, History
from embedtrain.training.settings import EngineSettings, TrainingSettings
from embedtrain.training.tasks import Task

logger = logging.getLogger(__name__)

# What a decoder that was given a vector says of the next token of a sentence it never saw: 1 would be certainty.
TOKEN_PROBABILITY = "token_probability"


class DenoisingAdapter(nn.Module):
    """The denoising loss in the form that the engine calls.

    Args:
        model: The encoder that is trained.
        loss: Called with embeddings, target tokens and their mask.
        precision: ``bf16`` for autocast, ``tf32`` or ``fp32``.
    """

    def __init__(self, model: nn.Module, loss: DenoisingLoss, *, precision: str) -> None:
        super().__init__()
        self.model = model
        self.loss = loss
        self.precision = precision

    @property
    def token_table(self) -> nn.Embedding:
        """The token embeddings that the decoder's output layer is made of."""
        return cast(Decoder, self.loss.decoder).table

    def forward(self, columns: Sequence[Mapping[str, Tensor]], target: Tensor | None = None) -> Tensor:
        """The loss of one batch: the features of damaged sentences and of the same ones whole."""
        source, whole = columns
        with autocast(source["input_ids"].device.type, self.precision):
            embedding = self.model(dict(source))["sentence_embedding"]
            return self.loss(embedding, whole["input_ids"], whole["attention_mask"])


def train_tsdae(
    model: SentenceTransformer,
    sentences: pd.Series,
    *,
    noise: Noise,
    held_out: pd.Series | None = None,
    dev_metric: DevMetric | None = None,
    metric: str = TOKEN_PROBABILITY,
    words: WordsName = "tokenizer",
    max_length: int | None = None,
    decoder_layers: int | None = None,
    untrained: DevResult | Literal["score", "skip"] = "skip",
    settings: TrainingSettings,
    engine: EngineSettings | None = None,
    max_steps: int | None = None,
    seed: int = 42,
    precision: str = "fp32",
    description: str = "TSDAE",
    checkpoints: Path | None = None,
) -> History:
    """Adapt an encoder in place to sentences without labels; it ends with its best weights.

    The best weights are those that score best on dev, or, without one, those from which the decoder tells held-out
    sentences best.

    Args:
        model: The encoder, on the device to train on.
        sentences: The texts, (rows,); their index names them in messages.
        noise: How each is damaged.
        held_out: Sentences to choose the weights by where there is no ``dev_metric``.
        dev_metric: Scores the encoder on dev.
        metric: The key of its scores that decides; higher is better.
        words: What a word is: what the tokenizer splits at, or what jieba does in Chinese.
        max_length: Tokens of a sentence at most; by default what the model reads.
        decoder_layers: Layers of a decoder of its own; by default it shares the encoder's where they can be shared.
        untrained: As for ``fit``; only of use with a ``dev_metric``.
        settings: Batch size, learning rate, evaluations, patience.
        engine: How it is computed; by default as ``EngineSettings()`` says.
        max_steps: Optimiser steps at most; by default ``settings.epochs`` passes over the sentences.
        seed: Of the noise, the decoder's own weights, the order of batches and dropout.
        precision: ``bf16`` (autocast), ``tf32`` or ``fp32``.
        description: Name on the progress bar.
        checkpoints: A folder to keep checkpoints in, and to go on from when there are some.

    Returns:
        What happened.

    Raises:
        ValueError: The model holds no transformer, or there is nothing to choose the weights by.
        UserError: When the loss is not finite, with the step and the texts.
    """
    backbone = backbone_of(model)
    if backbone is None:
        raise ValueError("TSDAE needs an encoder that is a transformer")
    dim = model.get_embedding_dimension()
    decoder, choice = decoder_for(backbone, layers=decoder_layers, embedding_dim=dim, seed=seed)
    logger.info("%s: decoder %s", description, choice)
    loss = DenoisingLoss(decoder.to(model.device))
    adapter = DenoisingAdapter(model, loss, precision=precision)
    reads: dict[str, Any] = {
        "tokenizer": model.tokenizer,
        "max_length": max_length or reading_length(model),
        "words": words,
        "seed": seed,
        "noise": noise,
    }
    return fit_to_sentences(
        model,
        Task("sentences", pd.DataFrame({"text": sentences}), loss),
        adapter=adapter,
        make_table=lambda path, texts: DenoisingTable(path, texts, **reads),
        sentences=sentences,
        held_out=held_out,
        held_out_metric=TOKEN_PROBABILITY,
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
