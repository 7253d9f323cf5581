"""Evaluation without a network: published scores again, wall time beside plain mteb, and what intervals cover.

    python benchmarks/evaluation.py                        # every part: about an hour on two cores
    python benchmarks/evaluation.py --parts intervals      # a minute
    python benchmarks/evaluation.py --quick                # some minutes, only to see that it runs

Model: all-MiniLM-L6-v2. Tasks: STSBenchmark, Banking77Classification, SciFact and the Chinese part of
STSBenchmarkMultilingualSTS, from a mirror that is written from the data folder first. Parts, each written into the same
JSON file (with machine, versions, command and date of its own) as soon as it is measured, and all of them into a CSV
file beside it:

- ``scores``: ``embedtrain evaluate mteb`` in fp32, and whether it takes the data for the official data.
- ``speed``: seconds of the four tasks on a CPU, against ``mteb.evaluate`` with a SentenceTransformer, both at their
  defaults, and how far scores lie apart. Ours computes in bf16 where the processor has instructions for it. Each side
  does all tasks in one process, its model loaded before; the sides take turns task by task, in one order and the other
  by turns. A round begins without embeddings and results, and its ratio is that of the sums over tasks. The clock of
  ours includes reading the mirror and writing all files; the other side has its data in place. ``cpu_ratio`` is the
  same of the processor's time, which other work on the machine disturbs less.
- ``intervals``: pairs drawn from a bivariate normal distribution with correlation rho have the Spearman correlation
  6 / pi * asin(rho / 2) (Pearson 1907); how often does the 95 % bootstrap interval cover it? Of several settings the
  share farthest from 95 % counts.

Data: the folder in EMBEDTRAIN_DATA, or ../shared/data beside the project. The last line is JSON; null is what was not
measured.
"""

import argparse
import json
import math
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
from evaluation_data import FOLDERS, TASKS, write_mirror
from evaluation_sides import Side, run_task, warm_up
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
from training_data import data_folder

from embedtrain.evaluation import bootstrap_correlation
from embedtrain.models import DEFAULT_MODEL
from embedtrain.pipelines.evaluate.mteb import evaluate_mteb
from embedtrain.pipelines.evaluate.mteb_options import MTEBOptions


@dataclass(frozen=True)
class Sizes:
    """How much of everything is measured."""

    rows: int | None = None
    rounds: int = 3
    repeats: int = 1_000


QUICK = Sizes(rows=150, rounds=2, repeats=100)
WARM_UP_ROWS = 40
SIDES: tuple[Side, ...] = ("mteb", "ours")
# Pearson correlation of the distribution, and pairs in each repeat.
INTERVAL_SETTINGS = ((0.85, 500), (0.4, 200))
RESAMPLES = 1_000

BARS = (
    Bar("STSBenchmark", "STSBenchmark test, fp32, Spearman", at_least=0.82022, at_most=0.82042),
    Bar("Banking77Classification", "Banking77Classification, fp32, accuracy", at_least=0.796, at_most=0.804),
    Bar("SciFact", "SciFact, fp32, nDCG@10", at_least=0.6431, at_most=0.6471),
    Bar("STSBenchmarkMultilingualSTS", "the same in Chinese, fp32, Spearman", at_least=0.3964, at_most=0.3984),
    Bar("wall_ratio", "wall time of the four tasks by plain mteb's, CPU", at_most=0.5),
    Bar("largest_score_difference", "between the scores of the two", at_most=0.002),
    Bar("interval_coverage", "share of 95 % intervals that cover the truth", at_least=0.93, at_most=0.97),
)
LAST_LINE = ("wall_ratio", "largest_score_difference", *TASKS, "interval_coverage")


@dataclass(frozen=True)
class Place:
    """Where the data lies, and where this run keeps what it makes of it."""

    data: Path
    work: Path

    def mirror(self, rows: int | None) -> Path:
        """The mirror with so many rows of each task, written when it is first asked for."""
        folder = self.work / f"mirror-{rows or 'all'}"
        if not folder.is_dir():
            write_mirror(self.data, folder, rows=rows)
        return folder


def main() -> None:
    """Measure the parts asked for, write both files, print table and summary."""
    options = parse_options()
    sizes = QUICK if options.quick else Sizes()
    sizes = sizes if options.rounds is None else replace(sizes, rounds=options.rounds)
    work = Path(options.work or tempfile.mkdtemp(prefix="embedtrain-benchmark-"))
    work.mkdir(parents=True, exist_ok=True)
    place = Place(data_folder(FOLDERS), work)
    record = read_record(options.output)
    for name in options.parts:
        rows, figures, notes = PARTS[name](place, sizes)
        record_part(record, name, script="evaluation.py", quick=options.quick, figures=figures, rows=rows)
        record["parts"][name].update(notes)
        record["summary"] = {key: known_figures(record).get(key) for key in LAST_LINE}
        write_record(record, options.output)
    if not options.work:
        shutil.rmtree(work)
    figures = known_figures(record)
    print_bars(BARS, figures)
    print(f"written to {options.output}")
    print(json.dumps({key: figures.get(key) for key in LAST_LINE}))


def parse_options() -> argparse.Namespace:
    """Command-line options."""
    parser = argparse.ArgumentParser(
        description=__doc__.replace("%", "%%"), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS), help="default: all")
    parser.add_argument("--quick", action="store_true", help="little of everything; its figures mean nothing")
    parser.add_argument("--rounds", type=int, help=f"of part speed, default {Sizes.rounds}")
    parser.add_argument("--output", type=Path, help="JSON file; with --quick by default a temporary one")
    parser.add_argument("--work", help="keep the mirror here, and use the one that is there")
    options = parser.parse_args()
    if options.rounds is not None and options.rounds < 1:
        parser.error(f"--rounds must be at least 1, found {options.rounds}")
    if options.output is None:
        folder = Path(tempfile.mkdtemp(prefix="embedtrain-benchmark-")) if options.quick else Path("benchmarks/results")
        options.output = folder / "evaluation.json"
    return options


Measured = tuple[list[Row], Figures, dict[str, Any]]


def measure_scores(place: Place, sizes: Sizes) -> Measured:
    """Each task by the command that users have, and what it says of the data."""
    tasks = alone(evaluate_all, place.mirror(sizes.rows), place.work)
    rows: list[Row] = []
    for task in tasks:
        print(f"{task['task']}: {task['data']}", flush=True)
        rows += lines("scores", task["task"], 0, {"score": task["score"], "seconds": task["seconds"]})
    return (
        rows,
        {task["task"]: task["score"] for task in tasks},
        {"data": {task["task"]: task["data"] for task in tasks}},
    )


def evaluate_all(mirror: Path, work: Path) -> list[dict[str, Any]]:
    """Each task's name, score, seconds and word on its data."""
    with tempfile.TemporaryDirectory(dir=work) as folder:
        options = MTEBOptions(model=[DEFAULT_MODEL], data_root=str(mirror), output=f"{folder}/run", device="cpu")
        found = evaluate_mteb(options).metrics["tasks"]
    (model,) = found[0]["scores"]
    entries = {
        task["task"]: {
            "task": task["task"],
            "score": task["scores"][model],
            "seconds": task["seconds"][model],
            "data": task["data"],
        }
        for task in found
    }
    return [entries[name] for name in TASKS]


def measure_speed(place: Place, sizes: Sizes) -> Measured:
    """The four tasks on both sides, in turns."""
    rows: list[Row] = []
    scores: dict[Side, dict[str, float]] = {side: {} for side in SIDES}
    mirror, small = place.mirror(sizes.rows), place.mirror(WARM_UP_ROWS)
    with ExitStack() as stack:
        workers = {side: stack.enter_context(in_a_process()) for side in SIDES}
        for side in SIDES:
            workers[side].submit(warm_up, side, small, place.work / "warm-up").result()
        for number in range(sizes.rounds):
            with tempfile.TemporaryDirectory(dir=place.work) as folder:
                for at, task in enumerate(TASKS):
                    for side in SIDES if (number + at) % 2 == 0 else SIDES[::-1]:
                        result = workers[side].submit(run_task, side, task, mirror, Path(folder)).result()
                        scores[side][task] = result.score
                        rows += lines(f"speed {task}", side, number, result._asdict())
            for side in SIDES:
                rows += lines("speed total", side, number, totals_of(rows, side, number))
    apart = {task: abs(scores["ours"][task] - scores["mteb"][task]) for task in TASKS}
    return (
        rows,
        {
            **{f"{side}_seconds": median_of(of_part(rows, "total"), side, "seconds") for side in SIDES},
            **{f"{task}_wall_ratio": ratio(of_part(rows, task)) for task in TASKS},
            **{f"{task}_score_difference": apart[task] for task in TASKS},
            "wall_ratio": ratio(of_part(rows, "total")),
            "cpu_ratio": ratio(of_part(rows, "total"), "cpu_seconds"),
            "largest_score_difference": max(apart.values()),
        },
        {},
    )


def of_part(rows: list[Row], name: str) -> list[Row]:
    """The rows of one task, or of their totals."""
    return [row for row in rows if row["part"] == f"speed {name}"]


def totals_of(rows: list[Row], side: Side, number: int) -> dict[str, float]:
    """What the tasks of one round took together."""
    mine = [row for row in rows if row["case"] == side and row["round"] == number]
    return {
        figure: sum(row["value"] for row in mine if row["figure"] == figure) for figure in ("seconds", "cpu_seconds")
    }


def ratio(rows: list[Row], figure: str = "seconds") -> float:
    """The median over rounds of ours by plain mteb's."""
    pairs = zip(values_of(rows, "ours", figure), values_of(rows, "mteb", figure), strict=True)
    return statistics.median(ours / theirs for ours, theirs in pairs)


def measure_intervals(_: Place, sizes: Sizes) -> Measured:
    """How often intervals cover the truth, where it is known."""
    rows: list[Row] = []
    for number, (rho, pairs) in enumerate(INTERVAL_SETTINGS):
        rows += lines("intervals", f"rho {rho}, {pairs} pairs", number, coverage(rho, pairs, sizes.repeats))
    shares = [row["value"] for row in rows if row["figure"] == "coverage"]
    return rows, {"interval_coverage": max(shares, key=lambda share: abs(share - 0.95))}, {}


def coverage(rho: float, pairs: int, repeats: int) -> dict[str, float]:
    """Share of intervals that cover the truth, its standard error, the mean width of an interval and the seconds."""
    truth = 6 / math.pi * math.asin(rho / 2)
    generator = np.random.default_rng(0)
    covered, widths = 0, []
    started = time.perf_counter()
    for repeat in range(repeats):
        a, noise = generator.normal(size=(2, pairs))
        b = rho * a + math.sqrt(1 - rho**2) * noise
        interval = bootstrap_correlation(a, b, method="spearman", samples=RESAMPLES, seed=repeat)
        covered += interval.low <= truth <= interval.high
        widths.append(interval.high - interval.low)
    share = covered / repeats
    return {
        "coverage": share,
        "standard_error": math.sqrt(share * (1 - share) / repeats),
        "true_spearman": truth,
        "mean_width": statistics.mean(widths),
        "repeats": repeats,
        "seconds": time.perf_counter() - started,
    }


PARTS: dict[str, Callable[[Place, Sizes], Measured]] = {
    "scores": measure_scores,
    "speed": measure_speed,
    "intervals": measure_intervals,
}

if __name__ == "__main__":
    main()
