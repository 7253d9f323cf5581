"""Training side by side: sentence-transformers' trainer at its defaults, the same with bf16, and this project's engine.

    python benchmarks/training.py                                 # every part: about an hour on two cores
    python benchmarks/training.py --parts speed mnrl outside      # the speed alone: a quarter of an hour
    python benchmarks/training.py --quick                         # a few minutes, only to see that it runs

Model: all-MiniLM-L6-v2. Parts, each written into the same JSON file (with machine, versions, command and date of its
own) as soon as it is measured, and all of them into a CSV file beside it:

- ``speed``: STS benchmark train, cosine loss, batch 16. The sides take turns: each round is one epoch of each of them
  over the same part of the data, which no other round sees. A ratio is the median over rounds.
- ``mnrl``: the same with the ranking loss and batch 64, medical questions paired with themselves less three in ten
  of their words, against the library's bf16.
- ``outside``: the share of our time on the whole of STS benchmark train that is not spent in forward, backward,
  clipping and optimiser: tokenising, batches, Python, trainer.
- ``limit``: how fast training would be if nothing but our matrix products took time, against the library's defaults:
  what no engine exceeds with these products on this machine.
- ``quality``: test Spearman after one epoch on STS benchmark with the same hyperparameters on both sides, over seeds.
- ``scaling``: ours on 5 thousand, 50 thousand and 500 thousand sentences: tokens/s and memory.
- ``gpu``: only with a CUDA device, tokens/s in bf16, each side with the best of some batch sizes.

What is timed: for the library ``trainer.train()`` alone, data loading and tokenising inside; for ours the whole call
from a table to a trained model, so also tokenising beforehand, building the trainer and putting the best weights back.
Where the two clocks differ, it counts against us; the ratios with both clocks on the whole call are in the JSON file.
No side evaluates or writes checkpoints; our dev metric costs nothing and is asked once, at the end. Each side runs in
a process of its own, idle while the others have their turn, after a warm-up that is not counted. Data: the folder in
EMBEDTRAIN_DATA, or ../shared/data beside the project. The last line is JSON; null is what was not measured.
"""

import argparse
import datetime
import json
import os
import statistics
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pandas as pd
import torch
from figures import Bar, Figures, Row, in_a_process, lines, median_of, print_bars, values_of, write_record
from machine import describe
from training_data import data_folder, parts_of, question_pairs, scored_pairs, varied_pairs
from training_probes import growth, product_seconds, time_split
from training_sides import Recipe, Side, spearman_after, timed, token_count


@dataclass(frozen=True)
class Sizes:
    """How much of everything is measured."""

    rounds: int = 6
    batches: int = 59
    mnrl_rounds: int = 6
    mnrl_batches: int = 30
    split_rounds: int = 3
    split_rows: int = 5749
    quality_seeds: tuple[int, ...] = (42, 43, 44)
    quality_rows: int = 5749
    test_rows: int = 1379
    scaling_rounds: int = 3
    scaling_sentences: tuple[int, ...] = (5_000, 50_000, 500_000)
    scaling_steps: int = 60
    gpu_rounds: int = 6
    gpu_pairs: int = 30_000
    gpu_batch_sizes: tuple[int, ...] = (32, 64, 128, 256, 512, 1024)


QUICK = Sizes(2, 6, 2, 4, 1, 320, (42,), 160, 200, 1, (1_000, 10_000), 8, 2, 6_000, (64, 256))


BARS = (
    Bar("vs_default", "pairs/s against the library's defaults, CPU", at_least=6),
    Bar("vs_bf16", "pairs/s against its bf16=True, CPU", at_least=2),
    Bar("mnrl_vs_bf16", "MNRL, batch 64, against its bf16=True, CPU", at_least=2),
    Bar("outside_model_share", "share of time not spent in the model", at_most=0.05),
    Bar("gpu_vs_reference", "tokens/s against its bf16 at its best batch size, GPU", at_least=1.5),
    Bar("spearman_points_apart", "test Spearman, points between the sides' means", at_most=0.3),
    Bar("tokens_per_second_kept", "slowest by fastest tokens/s, over the sizes of the table", at_least=0.85),
)
LAST_LINE = ("vs_default", "vs_bf16", "mnrl_vs_bf16", "outside_model_share", "gpu_vs_reference")


def main() -> None:
    """Measure the parts asked for, write both files, print table and summary."""
    options = parse_options()
    sizes = QUICK if options.quick else Sizes()
    data = data_folder()
    record = json.loads(options.output.read_text(encoding="utf-8")) if options.output.exists() else {"parts": {}}
    for name in options.parts:
        if name == "gpu" and not torch.cuda.is_available():
            print("gpu: no CUDA device, not measured")
            continue
        rows, figures = PARTS[name](data, sizes)
        date = datetime.datetime.now(datetime.UTC).date().isoformat()
        about = {**describe("training.py"), "date": date, "quick": options.quick}
        record["parts"][name] = {**about, "figures": figures, "rows": rows}
        record["summary"] = summarize(record["parts"])
        write_record(record, options.output)
    summary = summarize(record["parts"])
    print_bars(BARS, summary)
    print(f"written to {options.output}")
    print(json.dumps({key: summary[key] for key in LAST_LINE}))


def parse_options() -> argparse.Namespace:
    """Command-line options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS), help="default: all")
    parser.add_argument("--quick", action="store_true", help="little of everything; its figures mean nothing")
    parser.add_argument("--output", type=Path, help="JSON file; with --quick by default a temporary one")
    options = parser.parse_args()
    if options.output is None:
        folder = Path(tempfile.mkdtemp(prefix="embedtrain-benchmark-")) if options.quick else Path("benchmarks/results")
        options.output = folder / "training.json"
    return options


def take_turns(recipes: Mapping[Side, Recipe], tables: list[pd.DataFrame], *, part: str) -> list[Row]:
    """Every side trains on every table, in one order and the other by turns, after a warm-up on some of the first."""
    rows: list[Row] = []
    sides = list(recipes)
    with ExitStack() as stack:
        workers = {side: stack.enter_context(in_a_process()) for side in sides}
        for side, recipe in recipes.items():
            workers[side].submit(timed, side, tables[0].head(3 * recipe.batch_size), recipe).result()
        for number, table in enumerate(tables):
            for side in sides if number % 2 == 0 else sides[::-1]:
                recipe = replace(recipes[side], seed=number)
                times = workers[side].submit(timed, side, table, recipe).result()
                values = {**{f"{key}_seconds": times[key] for key in ("train", "call")}, "steps": times["steps"]}
                rows += lines(part, side, number, {**values, "pairs_per_second": len(table) / clock(side, values)})
    return rows


def clock(side: str, values: Mapping[str, float]) -> float:
    """The seconds that count: ours from the table on, the library's inside ``train()``."""
    return values["call_seconds"] if side == "ours" else values["train_seconds"]


def speed_ratio(rows: list[Row], other: Side, *, whole_call: bool = False) -> float:
    """How many times as fast ours is as another side: the median over rounds."""
    theirs = values_of(rows, other, "call_seconds" if whole_call else "train_seconds")
    ours = values_of(rows, "ours", "call_seconds")
    return statistics.median(a / b for a, b in zip(theirs, ours, strict=True))


def measure_speed(data: Path, sizes: Sizes) -> tuple[list[Row], Figures]:
    """Cosine loss at batch 16, all three sides."""
    recipe = Recipe("cosine", batch_size=16)
    tables = parts_of(scored_pairs(data, "train"), recipe.batch_size * sizes.batches, sizes.rounds)
    sides: tuple[Side, ...] = ("default", "bf16", "ours")
    rows = take_turns(dict.fromkeys(sides, recipe), tables, part="speed")
    figures: Figures = {f"{side}_pairs_per_second": median_of(rows, side, "pairs_per_second") for side in sides}
    for other in sides[:2]:
        figures[f"vs_{other}"] = speed_ratio(rows, other)
        figures[f"vs_{other}_whole_call"] = speed_ratio(rows, other, whole_call=True)
    return rows, figures


def measure_mnrl(data: Path, sizes: Sizes) -> tuple[list[Row], Figures]:
    """The ranking loss at batch 64, ours and the library with bf16."""
    recipe = Recipe("mnrl", batch_size=64)
    tables = parts_of(question_pairs(data), recipe.batch_size * sizes.mnrl_batches, sizes.mnrl_rounds)
    rows = take_turns({"bf16": recipe, "ours": recipe}, tables, part="mnrl")
    return rows, {
        **{f"{side}_pairs_per_second": median_of(rows, side, "pairs_per_second") for side in ("bf16", "ours")},
        "mnrl_vs_bf16": speed_ratio(rows, "bf16"),
        "mnrl_vs_bf16_whole_call": speed_ratio(rows, "bf16", whole_call=True),
    }


def measure_outside(data: Path, sizes: Sizes) -> tuple[list[Row], Figures]:
    """What of our time is not forward, backward, clipping or optimiser."""
    rows: list[Row] = []
    table = scored_pairs(data, "train").head(sizes.split_rows)
    with in_a_process() as worker:
        worker.submit(timed, "ours", table.head(64), Recipe()).result()
        for number in range(sizes.split_rounds):
            split = worker.submit(time_split, table, Recipe(seed=number)).result()
            rows += lines("outside", "ours", number, split)
    return rows, {"outside_model_share": median_of(rows, "ours", "outside_share")}


def measure_limit(data: Path, sizes: Sizes) -> tuple[list[Row], Figures]:
    """The library's defaults against the matrix products alone of ours, cosine loss at batch 16, in turns."""
    rows: list[Row] = []
    recipe = Recipe()
    tables = parts_of(scored_pairs(data, "train"), recipe.batch_size * sizes.batches, sizes.split_rounds)
    with in_a_process() as library, in_a_process() as ours:
        for worker, side in ((library, "default"), (ours, "ours")):
            worker.submit(timed, side, tables[0].head(3 * recipe.batch_size), recipe).result()
        for number, table in enumerate(tables):
            default = library.submit(timed, "default", table, recipe).result()["train"]
            found = ours.submit(product_seconds, table, recipe).result()
            ratios = {"limit_vs_default": default / found["products"], "share": found["products"] / found["call"]}
            rows += lines("limit", "default", number, {"train_seconds": default})
            rows += lines("limit", "ours", number, {**found, **ratios})
    return rows, {
        "limit_vs_default": median_of(rows, "ours", "limit_vs_default"),
        "products_share": median_of(rows, "ours", "share"),
    }


def measure_quality(data: Path, sizes: Sizes) -> tuple[list[Row], Figures]:
    """Test Spearman of ours, in the precision that it chooses, and of the library at its default, fp32."""
    table = scored_pairs(data, "train").head(sizes.quality_rows)
    test = scored_pairs(data, "test").head(sizes.test_rows)
    rows: list[Row] = []
    sides: tuple[Side, ...] = ("default", "ours")
    for seed in sizes.quality_seeds:
        for side in sides:
            with in_a_process() as worker:
                found = worker.submit(spearman_after, side, table, test, Recipe(seed=seed)).result()
            rows += lines("quality", side, seed, {"test_spearman": found})
    means = {side: statistics.mean(values_of(rows, side, "test_spearman")) for side in sides}
    return rows, {
        **{f"{side}_test_spearman": mean for side, mean in means.items()},
        "spearman_points_apart": 100 * abs(means["ours"] - means["default"]),
    }


def measure_scaling(data: Path, sizes: Sizes) -> tuple[list[Row], Figures]:
    """Tokens/s and memory by the size of the table; every figure from a fresh process."""
    rows: list[Row] = []
    recipe = Recipe(batch_size=64, max_steps=sizes.scaling_steps)
    for number in range(sizes.scaling_rounds):
        for sentences in sizes.scaling_sentences[:: 1 if number % 2 == 0 else -1]:
            with in_a_process() as worker:
                found = worker.submit(growth, data, sentences, replace(recipe, seed=number)).result()
            rows += lines("scaling", str(sentences), number, found)
    smallest, *_, largest = cases = [str(sentences) for sentences in sizes.scaling_sentences]
    speeds = [statistics.median(values_of(rows, case, "tokens_per_second")) for case in cases]

    def grown(figure: str) -> float | None:
        ends = [median_of(rows, case, figure) for case in (smallest, largest)]
        return None if ends[0] is None or ends[1] is None else ends[1] - ends[0]

    memory = ("table_mb", "startup_peak_unmapped_mb", "held_mb", "held_unmapped_mb", "steps_peak_unmapped_mb")
    return rows, {"tokens_per_second_kept": min(speeds) / max(speeds), **{f"grown_{key}": grown(key) for key in memory}}


def measure_gpu(data: Path, sizes: Sizes) -> tuple[list[Row], Figures]:
    """Tokens/s in bf16 on a GPU, each side with its own best batch size."""
    pairs = varied_pairs(data, 2 * sizes.gpu_pairs, seed=0)
    sides: tuple[Side, ...] = ("bf16", "ours")
    tokens = token_count(pairs)
    search: list[Row] = []
    for batch_size in sizes.gpu_batch_sizes:
        recipe = Recipe(batch_size=batch_size, device="cuda")
        search += take_turns(dict.fromkeys(sides, recipe), [pairs], part=f"gpu batch {batch_size}")
    best = {side: fastest(search, side) for side in sides}
    recipes = {side: Recipe(batch_size=batch_size, device="cuda") for side, batch_size in best.items()}
    rows = take_turns(recipes, [pairs] * sizes.gpu_rounds, part="gpu")
    speeds = {side: [tokens / len(pairs) * v for v in values_of(rows, side, "pairs_per_second")] for side in sides}
    return search + rows, {
        **{f"{side}_batch_size": size for side, size in best.items()},
        **{f"{side}_tokens_per_second": statistics.median(found) for side, found in speeds.items()},
        "gpu_vs_reference": speed_ratio(rows, "bf16"),
    }


def fastest(search: list[Row], side: Side) -> int:
    """The batch size with which a side was fastest."""
    found = [row for row in search if row["case"] == side and row["figure"] == "pairs_per_second"]
    return int(max(found, key=lambda row: row["value"])["part"].rsplit(" ", 1)[1])


PARTS: dict[str, Callable[[Path, Sizes], tuple[list[Row], Figures]]] = {
    "speed": measure_speed,
    "mnrl": measure_mnrl,
    "outside": measure_outside,
    "limit": measure_limit,
    "quality": measure_quality,
    "scaling": measure_scaling,
    "gpu": measure_gpu,
}


def summarize(parts: Mapping[str, Mapping[str, Any]]) -> Figures:
    """The figure of every bar; None where its part was not measured."""
    known = {key: value for part in parts.values() for key, value in part["figures"].items()}
    return {bar.key: known.get(bar.key) for bar in BARS}


if __name__ == "__main__":
    main()
