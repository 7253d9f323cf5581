"""Embeddings of many texts, made in shards: what a killed process has done of them is kept."""

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedtrain.mining.names import Engine
from embedtrain.mining.sharded import Encode, encode_sentences
from embedtrain.models import ModelSource, autocast, load_biencoder

BATCH_SIZE = 64
# A minute's work for a small model on two cores: what a kill may cost.
SHARD_ROWS = 32_768


def encode_texts(
    texts: Sequence[str],
    source: ModelSource,
    *,
    device: str,
    precision: str,
    engine: Engine,
    folder: Path,
    prompt: str | None = None,
) -> NDArray[np.float32]:
    """Embeddings of texts, float32 (n, dim).

    Args:
        texts: What is encoded.
        source: The model.
        device: Where it runs.
        precision: Of its matrix products.
        engine: What makes the shards.
        folder: Keeps them until all are there.
        prompt: What is put before each of them; by default the model's default prompt.
    """
    embeddings = encode_sentences(
        texts,
        partial(load_encoder, source, device, precision, prompt),
        folder=folder,
        fingerprint=";".join([source.fingerprint, device, precision, *([] if prompt is None else [prompt])]),
        engine=engine,
        shard_rows=SHARD_ROWS,
    )
    shutil.rmtree(folder, ignore_errors=True)
    return embeddings.numpy()


def load_encoder(source: ModelSource, device: str, precision: str, prompt: str | None = None) -> Encode:
    """Load a model; what comes back makes embeddings of a list of texts."""
    model = load_biencoder(source, device=device)

    def encode(texts: list[str]) -> NDArray[np.float32]:
        with autocast(device, precision):
            made = model.encode(
                texts, prompt=prompt, batch_size=BATCH_SIZE, convert_to_tensor=True, show_progress_bar=False
            )
        return made.float().cpu().numpy()

    return encode
