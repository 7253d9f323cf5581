"""Masked language modelling on raw text: the oldest way to adapt an encoder, and the one to beat.

Devlin et al. 2019, "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding", section 3.1;
before the fine-tuning on a task: Gururangan et al. 2020, "Don't Stop Pretraining".
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from embedtrain.data.token_spelling import replacement_ids
from embedtrain.losses.denoising import linear_cross_entropy
from embedtrain.models.hardware import autocast, own_random_numbers
from embedtrain.models.packing import backbone_of
from embedtrain.models.token_gradients import as_output_weight
from embedtrain.training.denoising_rows import IGNORED, MaskedTable
from embedtrain.training.held_out import fit_to_sentences, reading_length
from embedtrain.training.history import DevMetric, DevResult, History
from embedtrain.training.settings import EngineSettings, TrainingSettings
from embedtrain.training.tasks import Task

logger = logging.getLogger(__name__)

# What is given to a hidden token of a held-out sentence: 1 would be certainty.
TOKEN_PROBABILITY = "token_probability"
INITIAL_STD = 0.02


class TokenHead(nn.Module):
    """From hidden states to what the token embeddings are compared with, as in BERT: a layer, GELU and a norm.

    Args:
        dim: Length of the hidden states.
        embeddings: The encoder's token embeddings, which serve as output layer.
    """

    def __init__(self, dim: int, embeddings: nn.Embedding) -> None:
        super().__init__()
        width = embeddings.embedding_dim
        self.dense = nn.Linear(dim, width)
        nn.init.normal_(self.dense.weight, std=INITIAL_STD)
        nn.init.zeros_(self.dense.bias)
        self.norm = nn.LayerNorm(width)
        self.bias = nn.Parameter(embeddings.weight.new_zeros(embeddings.num_embeddings))
        # In a list, the weights are the encoder's alone, and come once among the parameters.
        self._embeddings = [embeddings]

    @property
    def table(self) -> nn.Embedding:
        """The encoder's token embeddings."""
        return self._embeddings[0]

    def forward(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy of ``targets``, (tokens,), given hidden states, (tokens, dim)."""
        states = self.norm(F.gelu(self.dense(hidden)))
        return linear_cross_entropy(states, as_output_weight(self.table), targets, bias=self.bias)


class MaskingAdapter(nn.Module):
    """The loss on hidden tokens in the form that the engine calls.

    Args:
        model: The encoder that is trained.
        head: Predicts tokens.
        precision: ``bf16`` for autocast, ``tf32`` or ``fp32``.
    """

    def __init__(self, model: nn.Module, head: TokenHead, *, precision: str) -> None:
        super().__init__()
        self.model = model
        self.head = head
        self.precision = precision

    @property
    def token_table(self) -> nn.Embedding:
        """The token embeddings that the head's output layer is made of."""
        return self.head.table

    def forward(self, columns: Sequence[Mapping[str, Tensor]], target: Tensor | None = None) -> Tensor:
        """The loss of one batch: features of the masked sentences, and ``targets``."""
        source, wanted = columns
        targets = wanted["targets"].flatten()
        chosen = (targets != IGNORED).nonzero().squeeze(1)
        with autocast(targets.device.type, self.precision):
            states = self.model(dict(source))["token_embeddings"].flatten(0, 1)
            return self.head(states[chosen], targets[chosen])


def train_mlm(
    model: SentenceTransformer,
    sentences: pd.Series,
    *,
    share: float = 0.15,
    held_out: pd.Series | None = None,
    dev_metric: DevMetric | None = None,
    metric: str = TOKEN_PROBABILITY,
    max_length: int | None = None,
    untrained: DevResult | Literal["score", "skip"] = "skip",
    settings: TrainingSettings,
    engine: EngineSettings | None = None,
    max_steps: int | None = None,
    seed: int = 42,
    precision: str = "fp32",
    description: str = "masked language modelling",
    checkpoints: Path | None = None,
) -> History:
    """Adapt an encoder in place to sentences without labels; it ends with its best weights.

    Args:
        model: The encoder, on the device to train on.
        sentences: The texts, (rows,).
        share: Share of the tokens that are hidden.
        held_out: Sentences to choose the weights by where there is no ``dev_metric``.
        dev_metric: Scores the encoder on dev.
        metric: The key of its scores that decides; higher is better.
        max_length: Tokens of a sentence at most; by default what the model reads.
        untrained: As for ``fit``; only of use with a ``dev_metric``.
        settings: Batch size, learning rate, evaluations, patience.
        engine: How it is computed; by default as ``EngineSettings()`` says.
        max_steps: Optimiser steps at most; by default ``settings.epochs`` passes over the sentences.
        seed: Of what is hidden, the head's weights, the order of batches and dropout.
        precision: ``bf16`` (autocast), ``tf32`` or ``fp32``.
        description: Name on the progress bar.
        checkpoints: A folder to keep checkpoints in, and to go on from when there are some.

    Returns:
        What happened.

    Raises:
        ValueError: The model holds no transformer, its tokenizer no mask token, or there is nothing to choose the
            weights by.
        UserError: When the loss is not finite, with the step and the texts.
    """
    backbone = backbone_of(model)
    embeddings = None if backbone is None else backbone.get_input_embeddings()
    if backbone is None or not isinstance(embeddings, nn.Embedding):
        raise ValueError("masked language modelling needs an encoder that is a transformer with token embeddings")
    if model.tokenizer.mask_token_id is None:
        raise ValueError("masked language modelling needs a tokenizer with a mask token")
    with own_random_numbers(seed, model.device):
        head = TokenHead(backbone.config.hidden_size, embeddings).to(model.device)
    adapter = MaskingAdapter(model, head, precision=precision)
    reads: dict[str, Any] = {
        "tokenizer": model.tokenizer,
        "max_length": max_length or reading_length(model),
        "mask_id": model.tokenizer.mask_token_id,
        "vocabulary": replacement_ids(model.tokenizer),
        "share": share,
        "seed": seed,
    }
    return fit_to_sentences(
        model,
        Task("sentences", pd.DataFrame({"text": sentences}), head),
        adapter=adapter,
        make_table=lambda path, texts: MaskedTable(path, texts, **reads),
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
