"""What ``mining.py`` mines and labels: sentences, embeddings, pairs and teachers, made once and kept in files."""

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from training_data import scored_pairs

from embedtrain.models import (
    DEFAULT_MODEL,
    autocast,
    choose_precision,
    load_biencoder,
    load_crossencoder,
    resolve_model,
)

# How far a drawn embedding lies from the real one that it is made of: the length of the noise beside a vector of 1.
NOISE = 0.5
PAIRS_AT_ONCE = 50_000
MEDQUAD_SENTENCES = 116_855


def medquad_sentences(folder: Path, count: int) -> list[str]:
    """The first sentences of the answers of MedQuAD, each text once."""
    file = folder / "medquad" / "medquad_answer_sentences.tsv"
    with file.open(encoding="utf-8") as opened:
        texts = (line.rstrip("\n") for line in itertools.islice(opened, 1, None))
        found = list(itertools.islice(dict.fromkeys(text for text in texts if text.strip()), count))
    if len(found) < count:
        raise ValueError(f"{file} has {len(found)} sentences that differ, expected {count}")
    return found


def many_sentences(folder: Path, count: int) -> list[str]:
    """Sentences of MedQuAD; once there are no more of them, the same ones less a word drawn at random."""
    real = medquad_sentences(folder, min(count, MEDQUAD_SENTENCES))
    words = [text.split() for text in real]
    return real + _less_one_word(words, np.random.default_rng(count), count - len(real))


def text_pairs(folder: Path) -> pd.DataFrame:
    """All pairs of STS benchmark's train split, in random order."""
    return scored_pairs(folder, "train")[["sentence1", "sentence2"]].sample(frac=1, random_state=0, ignore_index=True)


def make_teacher(folder: Path) -> None:
    """A cross-encoder of the default model's weights that every side loads from the same files.

    Its head is drawn at random and made steep, so that scores spread as those of a trained teacher do.
    """
    if folder.is_dir():
        return
    model = load_crossencoder(resolve_model(DEFAULT_MODEL), device="cpu", seed=0)
    with torch.no_grad():
        model.model.classifier.weight.mul_(20)
    model.save_pretrained(str(folder))


def make_small_teacher(folder: Path) -> None:
    """A cross-encoder of one layer and 64 dimensions that reads the default model's tokens.

    It labels a million pairs within minutes on two cores; what has to be shown with it, how memory and time grow with
    the number of pairs, is a matter of everything around the teacher.
    """
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    if folder.is_dir():
        return
    location = resolve_model(DEFAULT_MODEL).location
    config = AutoConfig.from_pretrained(location)
    config.update({"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 128})
    config.num_labels = 1
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(location).save_pretrained(folder)


def write_pairs(folder: Path, rows: int, file: Path) -> None:
    """Pairs of real sentences, each less one word drawn at random: any number of them, with the same lengths."""
    if file.is_file():
        return
    pairs = scored_pairs(folder, "train")
    words = [text.split() for text in dict.fromkeys([*pairs["sentence1"], *pairs["sentence2"]])]
    schema = pa.schema([("sentence1", pa.string()), ("sentence2", pa.string())])
    with pq.ParquetWriter(file, schema) as writer:
        for start in range(0, rows, PAIRS_AT_ONCE):
            count = min(PAIRS_AT_ONCE, rows - start)
            draw = np.random.default_rng([rows, start])
            columns = [_less_one_word(words, draw, count) for _ in range(2)]
            writer.write_table(pa.table([pa.array(column, pa.string()) for column in columns], schema=schema))


def _less_one_word(words: list[list[str]], draw: np.random.Generator, count: int) -> list[str]:
    chosen = [words[place] for place in draw.integers(len(words), size=count)]
    left_out = draw.random(count)
    return [
        " ".join(text[: (at := int(share * len(text)))] + text[at + 1 :]) if len(text) > 1 else text[0]
        for text, share in zip(chosen, left_out, strict=True)
    ]


def encode_sentences(folder: Path, count: int, file: Path) -> float:
    """Embeddings of so many sentences of MedQuAD by the default model, float32, into a file; seconds of encoding."""
    sentences = medquad_sentences(folder, count)
    model = load_biencoder(resolve_model(DEFAULT_MODEL), device="cuda" if torch.cuda.is_available() else "cpu")
    device = model.device.type
    with autocast(device, choose_precision(device).name):
        model.encode(sentences[:64], show_progress_bar=False)
        started = time.perf_counter()
        found = model.encode(sentences, batch_size=64, convert_to_tensor=True, show_progress_bar=False)
        embeddings = found.float().cpu().numpy()
        seconds = time.perf_counter() - started
    np.save(file, embeddings)
    return seconds


def spread_embeddings(source: Path, count: int, file: Path) -> None:
    """As many unit vectors as asked for, drawn from real embeddings with noise, where encoding would take too long."""
    if file.is_file():
        return
    real = np.load(source)
    made = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=(count, real.shape[1]))
    for start, vectors in _noisy(real, count):
        made[start : start + len(vectors)] = vectors
    made.flush()


def _noisy(real: np.ndarray, count: int) -> Iterator[tuple[int, np.ndarray]]:
    for start in range(0, count, PAIRS_AT_ONCE):
        draw = np.random.default_rng([count, start])
        rows = draw.integers(len(real), size=min(PAIRS_AT_ONCE, count - start))
        noise = draw.standard_normal((len(rows), real.shape[1]), dtype=np.float32) * (NOISE / real.shape[1] ** 0.5)
        vectors = real[rows] / np.linalg.norm(real[rows], axis=1, keepdims=True) + noise
        yield start, vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def load_embeddings(file: Path) -> torch.Tensor:
    """Embeddings from their file, (n, dim), float32."""
    return torch.from_numpy(np.load(file))
