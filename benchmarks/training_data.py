"""The tables of pairs that ``training.py`` trains on, from the folder in EMBEDTRAIN_DATA."""

import os
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from embedtrain.data import read_scored_pairs

ROOT = Path(__file__).resolve().parent.parent


def data_folder(needed: Sequence[str] = ("stsb", "medquad")) -> Path:
    """The folder with the real data; the benchmark ends where a part that it needs is not there."""
    folder = Path(os.environ.get("EMBEDTRAIN_DATA", ROOT.parent / "shared" / "data"))
    for part in needed:
        if not (folder / part).is_dir():
            held = " and ".join(f"{name}/" for name in needed)
            sys.exit(f"no data at {folder / part}: set EMBEDTRAIN_DATA to the folder that holds {held}")
    return folder


def scored_pairs(folder: Path, split: str) -> pd.DataFrame:
    """STS benchmark, English: ``sentence1``, ``sentence2``, ``label`` from 0 to 1."""
    pairs = read_scored_pairs(folder / "stsb" / f"en_{split}.tsv", score_range=(0, 5))
    return pairs[["sentence1", "sentence2"]].assign(label=pairs["score"].astype("float32"))


def question_pairs(folder: Path) -> pd.DataFrame:
    """Each medical question (``anchor``) with itself less about three in ten of its words (``positive``)."""
    draw = random.Random(0)
    anchors: list[str] = []
    positives: list[str] = []
    seen: set[str] = set()
    for question in _lines(folder / "medquad" / "medquad_questions.tsv"):
        words = question.split()
        kept = [word for word in words if draw.random() >= 0.3]
        positive = " ".join(kept or words[:1])
        # No text twice in the whole table: every side of the comparison then makes the same number of batches.
        if question != positive and not {question, positive} & seen:
            anchors.append(question)
            positives.append(positive)
            seen |= {question, positive}
    return pd.DataFrame({"anchor": anchors, "positive": positives})


def varied_pairs(folder: Path, sentences: int, *, seed: int) -> pd.DataFrame:
    """As many sentences as asked for, two a pair, with random scores: real ones, each less one word drawn at random.

    They are drawn with repeats, so that tables of any size have the same lengths and words.
    """
    pairs = scored_pairs(folder, "train")
    known = [*pairs["sentence1"], *pairs["sentence2"], *_lines(folder / "medquad" / "medquad_questions.tsv")]
    words = [sentence.split() for sentence in known]
    draw = random.Random(seed)

    def vary() -> str:
        chosen = draw.choice(words)
        left_out = draw.randrange(len(chosen)) if len(chosen) > 1 else None
        return " ".join(word for place, word in enumerate(chosen) if place != left_out)

    half = sentences // 2
    columns = {name: [vary() for _ in range(half)] for name in ("sentence1", "sentence2")}
    return pd.DataFrame({**columns, "label": np.random.default_rng(seed).random(half, dtype=np.float32)})


def parts_of(table: pd.DataFrame, rows: int, count: int) -> list[pd.DataFrame]:
    """The first ``count`` parts of ``rows`` rows of a table in random order; no row is in two of them."""
    if rows * count > len(table):
        raise ValueError(f"{count} parts of {rows} rows do not fit into {len(table)} rows")
    mixed = table.sample(frac=1, random_state=0)
    return [mixed.iloc[number * rows : (number + 1) * rows].reset_index(drop=True) for number in range(count)]


def _lines(file: Path) -> list[str]:
    return [line for line in file.read_text(encoding="utf-8").splitlines()[1:] if line.strip()]
