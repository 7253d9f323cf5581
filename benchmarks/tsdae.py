"""TSDAE side by side: sentence-transformers' loss as its example scripts run it, the same with bf16, and this project.

    python benchmarks/tsdae.py                     # every part: some 40 minutes on two cores; needs nltk
    python benchmarks/tsdae.py --parts noise       # a minute
    python benchmarks/tsdae.py --quick             # a few minutes, only to see that it runs

Model: all-MiniLM-L6-v2, tied decoder, sentences of STS benchmark train, four of ten words deleted on both sides (what
the library's scripts do, whose 0.6 is the share of words that stay). Parts, each written into the same JSON file (with
machine, versions, command and date of its own) as soon as it is measured, and all of them into a CSV file beside it:

- ``speed``: batch 16. The sides take turns: each round is one epoch of each of them over the same sentences, which no
  other round sees. A ratio is the median over rounds.
- ``best_batch``: the same, each side with the best of some batch sizes.
- ``memory``: the peak of a few steps at batch 64 on sentences of 75 tokens, each in a fresh process.
- ``noise``: sentences a second on one core, sentences of up to 12 words, in batches of 1,024.
- ``gpu``: only with a CUDA device, against the library with ``fp16=True``, each side with its best batch size.

What is timed: for the library ``trainer.train()`` alone, its noise and tokenising inside; for ours the whole call from
sentences to a trained encoder. Where the two clocks differ, it counts against us. Each side runs in a process of its
own, idle while the others have their turn, after a warm-up that is not counted. Data: the folder in EMBEDTRAIN_DATA, or
../shared/data beside the project. The last line is JSON; null is what was not measured.
"""

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
import torch
from figures import (
    Bar,
    Figures,
    Row,
    alone,
    in_a_process,
    known_figures,
    lines,
    median_of,
    print_bars,
    read_record,
    record_part,
    values_of,
    write_record,
)
from training_data import data_folder, scored_pairs
from tsdae_sides import Recipe, Side, peak_memory, timed

from embedtrain.data.noise import Noise
from embedtrain.data.ragged import Ragged
from embedtrain.data.words import word_starts
from embedtrain.models import DEFAULT_MODEL, resolve_model


@dataclass(frozen=True)
class Sizes:
    """How much of everything is measured."""

    rounds: int = 5
    sentences: int = 640
    search_batches: int = 12
    batch_sizes: tuple[int, ...] = (8, 16, 32, 64, 128)
    memory_steps: int = 6
    memory_rounds: int = 3
    noise_sentences: int = 50_000
    noise_rounds: int = 9
    gpu_batch_sizes: tuple[int, ...] = (32, 64, 128, 256, 512, 1024)
    gpu_sentences: int = 10_000


QUICK = Sizes(2, 64, 2, (8, 16), 2, 1, 5_000, 3, (64, 256), 2_000)
SIDES: tuple[Side, ...] = ("default", "bf16", "ours")
NOISE_BATCH = 1_024
NOISE_WORDS = 12
MEMORY_BATCH = 64
MEMORY_TOKENS = 75

BARS = (
    Bar("vs_reference", "sentences/s against the library at its defaults, batch 16, CPU", at_least=3),
    Bar("vs_reference_best_batch", "the best of the library's settings, each side's best batch", at_least=3),
    Bar("memory_ratio", "peak memory by the library's, batch 64, 75 tokens", at_most=0.5),
    Bar("noise_per_second", "noise, sentences/s on one core", at_least=200_000),
    Bar("gpu_vs_reference", "GPU, against its fp16, each side's best batch", at_least=3),
)
LAST_LINE = ("vs_reference", "vs_reference_best_batch", "memory_ratio", "noise_per_second", "gpu_vs_reference")


def main() -> None:
    """Measure the parts asked for, write both files, print table and summary."""
    options = parse_options()
    sizes = QUICK if options.quick else Sizes()
    sentences = stsb_sentences(data_folder())
    record = read_record(options.output)
    for name in options.parts:
        if name == "gpu" and not torch.cuda.is_available():
            print("gpu: no CUDA device, not measured")
            continue
        rows, figures = PARTS[name](sentences, sizes)
        record_part(record, name, script="tsdae.py", quick=options.quick, figures=figures, rows=rows)
        write_record(record, options.output)
    known = known_figures(record)
    record["summary"] = {bar.key: known.get(bar.key) for bar in BARS}
    write_record(record, options.output)
    print_bars(BARS, known)
    print(f"written to {options.output}")
    print(json.dumps({key: known.get(key) for key in LAST_LINE}))


def parse_options() -> argparse.Namespace:
    """Command-line options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS), help="default: all")
    parser.add_argument("--quick", action="store_true", help="little of everything; its figures mean nothing")
    parser.add_argument("--output", type=Path, help="JSON file; with --quick by default a temporary one")
    options = parser.parse_args()
    if options.output is None:
        folder = Path(tempfile.mkdtemp(prefix="embedtrain-benchmark-")) if options.quick else Path("benchmarks/results")
        options.output = folder / "tsdae.json"
    return options


def stsb_sentences(data: Path) -> list[str]:
    """The different sentences of STS benchmark train, in random order."""
    pairs = scored_pairs(data, "train")
    sentences = list(dict.fromkeys([*pairs["sentence1"], *pairs["sentence2"]]))
    random.Random(0).shuffle(sentences)
    return sentences


def take_turns(sides: dict[Side, Recipe], tables: Sequence[Sequence[str]], *, part: str) -> list[Row]:
    """Every side trains on every table, in one order and the other by turns, after a warm-up on some of the first."""
    rows: list[Row] = []
    with ExitStack() as stack:
        workers = {side: stack.enter_context(in_a_process()) for side in sides}
        for side, recipe in sides.items():
            workers[side].submit(timed, side, tables[0][: 2 * recipe.batch_size], recipe).result()
        for number, table in enumerate(tables):
            for side in list(sides) if number % 2 == 0 else list(sides)[::-1]:
                times = workers[side].submit(timed, side, table, replace(sides[side], seed=number)).result()
                seconds = times["call"] if side == "ours" else times["train"]
                values = {"seconds": seconds, "sentences_per_second": len(table) / seconds, "steps": times["steps"]}
                rows += lines(part, side, number, values)
    return rows


def ratio(rows: Sequence[Row], other: Side) -> float:
    """How many times as fast ours is as another side: the median over rounds."""
    pairs = zip(
        values_of(rows, "ours", "sentences_per_second"), values_of(rows, other, "sentences_per_second"), strict=True
    )
    return statistics.median(ours / theirs for ours, theirs in pairs)


def measure_speed(sentences: Sequence[str], sizes: Sizes) -> tuple[list[Row], Figures]:
    """Batch 16, all sides."""
    tables = [sentences[n * sizes.sentences : (n + 1) * sizes.sentences] for n in range(sizes.rounds)]
    rows = take_turns(dict.fromkeys(SIDES, Recipe()), tables, part="speed")
    return rows, {
        **{f"{side}_sentences_per_second": median_of(rows, side, "sentences_per_second") for side in SIDES},
        "vs_reference": ratio(rows, "default"),
        "vs_reference_bf16": ratio(rows, "bf16"),
    }


def measure_best_batch(sentences: Sequence[str], sizes: Sizes) -> tuple[list[Row], Figures]:
    """Each side with its best batch size, then the sides against each other."""
    search: list[Row] = []
    for size in sizes.batch_sizes:
        table = sentences[: size * sizes.search_batches]
        search += take_turns(dict.fromkeys(SIDES, Recipe(batch_size=size)), [table], part=f"batch {size}")
    best = {side: fastest(search, side) for side in SIDES}
    largest = max(sizes.sentences, 8 * max(best.values()))
    tables = [(list(sentences) * 2)[n * largest : (n + 1) * largest] for n in range(max(1, sizes.rounds - 2))]
    recipes = {side: Recipe(batch_size=size) for side, size in best.items()}
    rows = take_turns(recipes, tables, part="best batch")
    return search + rows, {
        **{f"{side}_batch_size": size for side, size in best.items()},
        **{f"{side}_best_sentences_per_second": median_of(rows, side, "sentences_per_second") for side in SIDES},
        # Against whichever of the library's two settings is the faster one.
        "vs_reference_best_batch": min(ratio(rows, "default"), ratio(rows, "bf16")),
    }


def fastest(search: Sequence[Row], side: Side) -> int:
    """The batch size with which a side was fastest."""
    found = [row for row in search if row["case"] == side and row["figure"] == "sentences_per_second"]
    return int(max(found, key=lambda row: row["value"])["part"].rsplit(" ", 1)[1])


def measure_memory(sentences: Sequence[str], sizes: Sizes) -> tuple[list[Row], Figures]:
    """Peak memory of a few steps on long sentences."""
    long = long_sentences(sentences, MEMORY_TOKENS, MEMORY_BATCH * sizes.memory_steps)
    rows: list[Row] = []
    for number in range(sizes.memory_rounds):
        for side in SIDES:
            recipe = Recipe(batch_size=MEMORY_BATCH, seed=number)
            rows += lines("memory", side, number, alone(peak_memory, side, long, recipe))
    peaks = {side: median_of(rows, side, "peak_unmapped_mb") or 0.0 for side in SIDES}
    return rows, {
        **{f"{side}_peak_mb": peak for side, peak in peaks.items()},
        # Against whichever of the library's two settings takes less.
        "memory_ratio": peaks["ours"] / min(peaks["default"], peaks["bf16"]),
    }


def long_sentences(sentences: Sequence[str], tokens: int, count: int) -> list[str]:
    """Sentences joined until each has exactly so many tokens, special ones counted, as far as words allow."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(resolve_model(DEFAULT_MODEL).location)
    words = (word for sentence in sentences for word in sentence.split())
    long: list[str] = []
    while len(long) < count:
        text: list[str] = []
        length = 2
        for word in words:
            length += len(tokenizer(word, add_special_tokens=False)["input_ids"])
            text.append(word)
            if length >= tokens:
                break
        else:
            words = (word for sentence in sentences for word in sentence.split())
            continue
        long.append(" ".join(text))
    return long


def measure_noise(sentences: Sequence[str], sizes: Sizes) -> tuple[list[Row], Figures]:
    """Deleting words, tokens and word boundaries given."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(resolve_model(DEFAULT_MODEL).location)
    short = [" ".join(sentence.split()[:NOISE_WORDS]) for sentence in sentences]
    encoded = word_starts(tokenizer, short, max_length=128)
    batches = []
    for first in range(0, sizes.noise_sentences, NOISE_BATCH):
        some = [encoded[place % len(encoded)] for place in range(first, first + NOISE_BATCH)]
        begins = np.concatenate([np.array(starts, dtype=bool) for _, starts in some])
        batches.append((Ragged.from_lists([ids for ids, _ in some]), begins, np.arange(first, first + NOISE_BATCH)))
    noise = Noise()
    rows: list[Row] = []
    for number in range(sizes.noise_rounds):
        started = time.process_time()
        for ids, begins, places in batches:
            noise.apply(ids, begins, places, seed=0, epoch=number)
        seconds = time.process_time() - started
        rows += lines("noise", "delete", number, {"sentences_per_second": len(batches) * NOISE_BATCH / seconds})
    return rows, {"noise_per_second": median_of(rows, "delete", "sentences_per_second")}


def measure_gpu(sentences: Sequence[str], sizes: Sizes) -> tuple[list[Row], Figures]:
    """Against the library's fp16 script on a GPU, each side with its own best batch size."""
    sides: tuple[Side, ...] = ("default", "ours")
    table = (list(sentences) * 2)[: sizes.gpu_sentences]
    search: list[Row] = []
    for size in sizes.gpu_batch_sizes:
        recipe = Recipe(batch_size=size, device="cuda")
        search += take_turns(dict.fromkeys(sides, recipe), [table], part=f"gpu batch {size}")
    best = {side: fastest(search, side) for side in sides}
    recipes = {side: Recipe(batch_size=size, device="cuda") for side, size in best.items()}
    rows = take_turns(recipes, [table] * sizes.rounds, part="gpu")
    return search + rows, {
        **{f"gpu_{side}_batch_size": size for side, size in best.items()},
        "gpu_vs_reference": ratio(rows, "default"),
    }


PARTS: dict[str, Callable[[Sequence[str], Sizes], tuple[list[Row], Figures]]] = {
    "speed": measure_speed,
    "best_batch": measure_best_batch,
    "memory": measure_memory,
    "noise": measure_noise,
    "gpu": measure_gpu,
}

if __name__ == "__main__":
    main()
