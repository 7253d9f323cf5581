"""Embeddings and BM25 candidates in shards on disk, made here or by a Ray cluster; what is done is not done again."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from embedtrain.files import sha256_of_file, sha256_of_value, whole_file
from embedtrain.mining.bm25 import BM25Index
from embedtrain.mining.label_store import LabelStore
from embedtrain.mining.names import SHARD_ROWS, Engine
from embedtrain.mining.ray_engine import ANY_WORKERS, RayWorkers, ShardWork, fill_with_ray
from embedtrain.progress import progress

# From texts to their embeddings, float32 (n, dim).
Encode = Callable[[list[str]], NDArray[np.float32]]

# Adding up lists of an index keeps one thread busy, and no GPU.
SEARCHING_WORKERS = RayWorkers(threads=1, gpus=0)


def encode_sentences(
    sentences: Sequence[str],
    load_encoder: Callable[[], Encode],
    *,
    folder: str | Path,
    fingerprint: str,
    engine: Engine = "local",
    workers: RayWorkers = ANY_WORKERS,
    shard_rows: int = SHARD_ROWS,
) -> torch.Tensor:
    """Embeddings of sentences, made shard by shard.

    A shard is encoded by itself whatever the engine, so both give the same bits on machines of the same kind.

    Args:
        sentences: The n texts.
        load_encoder: Called once in each process; what it returns makes embeddings of a list of texts. Picklable, for
            Ray.
        folder: Keeps texts and shards; the same call with the same folder goes on where it was cut off.
        fingerprint: Hash of everything that an embedding depends on but its text: weights, precision.
        engine: Where it is computed: in this process, or by the workers of a Ray cluster.
        workers: What works, with Ray.
        shard_rows: Sentences in a shard.

    Returns:
        Float32 of shape (n, dim), on the CPU.

    Raises:
        UserError: See :func:`~embedtrain.mining.ray_engine.fill_with_ray`.
    """
    folder = Path(folder).resolve()
    texts = _kept_texts(sentences, folder, shard_rows)
    store = LabelStore(
        folder / "embeddings",
        rows=len(sentences),
        inputs={"sentences": sha256_of_file(texts), "encoder": fingerprint},
        shard_rows=shard_rows,
        on_change="restart",
    )
    _fill(store, partial(_encoding, store, texts, load_encoder), engine, workers, what="encoding")
    embeddings: torch.Tensor | None = None
    for first, frame in store.frames():
        part = np.stack(frame["embedding"].tolist())
        if embeddings is None:
            embeddings = torch.empty((len(sentences), part.shape[1]), dtype=torch.float32)
        embeddings[first : first + len(part)] = torch.from_numpy(part)
    assert embeddings is not None  # a store has at least one shard
    return embeddings


def bm25_candidates(
    sentences: Sequence[str],
    *,
    k: int,
    folder: str | Path,
    exclude: torch.Tensor | None = None,
    engine: Engine = "local",
    workers: RayWorkers = SEARCHING_WORKERS,
    shard_rows: int = SHARD_ROWS,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What :func:`~embedtrain.mining.bm25.bm25_top_k` gives, made shard by shard.

    Every worker holds the whole index, and searches it for the sentences of a shard at a time.

    Args:
        sentences: The n texts, each of them query and document.
        k: Neighbours wanted for each.
        folder: Keeps texts and shards; the same call with the same folder goes on where it was cut off.
        exclude: Integer tensor of shape (pairs, 2): rows of (query, document) never returned, in that direction only.
        engine: Where it is computed: in this process, or by the workers of a Ray cluster.
        workers: What works, with Ray.
        shard_rows: Sentences in a shard.

    Returns:
        Indices, int64 of shape (n, k), and scores, float32 of shape (n, k), high to low; filled up with index -1 and
        score -inf.

    Raises:
        UserError: See :func:`~embedtrain.mining.ray_engine.fill_with_ray`.
    """
    folder = Path(folder).resolve()
    texts = _kept_texts(sentences, folder, shard_rows)
    store = LabelStore(
        folder / "bm25",
        rows=len(sentences),
        inputs={
            "sentences": sha256_of_file(texts),
            "k": k,
            "exclude": None if exclude is None else sha256_of_value(exclude.tolist()),
        },
        shard_rows=shard_rows,
        on_change="restart",
    )
    _fill(store, partial(_searching, store, texts, k, exclude), engine, workers, what="BM25")
    indices, scores = torch.empty((len(sentences), k), dtype=torch.int64), torch.empty((len(sentences), k))
    for first, frame in store.frames():
        rows = slice(first, first + len(frame))
        indices[rows] = torch.from_numpy(np.stack(frame["neighbors"].tolist()))
        scores[rows] = torch.from_numpy(np.stack(frame["scores"].tolist()))
    return indices, scores


def _fill(
    store: LabelStore, load_work: Callable[[], ShardWork], engine: Engine, workers: RayWorkers, *, what: str
) -> None:
    if engine == "ray":
        fill_with_ray(store, load_work, workers=workers)
    elif missing := store.missing():
        work = load_work()
        for shard in progress(missing, what=what, unit="shard"):
            work(shard)
    store.finish()


def _kept_texts(sentences: Sequence[str], folder: Path, shard_rows: int) -> Path:
    """A Parquet file of the texts that has a row group for every shard, so that a worker reads only its own."""
    file = folder / "sentences.parquet"
    with whole_file(file) as beside:
        pq.write_table(pa.table({"text": pa.array(sentences, pa.string())}), beside, row_group_size=shard_rows)
    return file


def _encoding(store: LabelStore, texts: Path, load_encoder: Callable[[], Encode]) -> ShardWork:
    return partial(_encode_shard, store, texts, load_encoder())


def _encode_shard(store: LabelStore, texts: Path, encode: Encode, shard: int) -> pd.DataFrame:
    started = time.perf_counter()
    with pq.ParquetFile(texts) as file:
        found = encode(file.read_row_group(shard).column("text").to_pylist())
    frame = pd.DataFrame({"embedding": list(np.asarray(found, dtype=np.float32))})
    store.write(shard, frame, seconds=time.perf_counter() - started)
    return frame


def _searching(store: LabelStore, texts: Path, k: int, exclude: torch.Tensor | None) -> ShardWork:
    index = BM25Index(pq.read_table(texts).column("text").to_pylist())
    return partial(_search_shard, store, index, k, exclude)


def _search_shard(
    store: LabelStore, index: BM25Index, k: int, exclude: torch.Tensor | None, shard: int
) -> pd.DataFrame:
    started = time.perf_counter()
    indices, scores = index.top_k(range(*store.bounds(shard)), k=k, exclude=exclude)
    frame = pd.DataFrame({"neighbors": list(indices.numpy()), "scores": list(scores.numpy())})
    store.write(shard, frame, seconds=time.perf_counter() - started)
    return frame
