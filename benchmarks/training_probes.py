"""Where the time and the memory of our training go: measured from outside, for ``training.py``."""

import contextlib
import ctypes
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch.profiler import ProfilerActivity, profile
from training_data import varied_pairs
from training_sides import Recipe, Times, timed

from embedtrain.training.adapter import LossAdapter
from embedtrain.training.engine import Engine
from embedtrain.training.tokens import TokenTable

# What PyTorch calls products of matrices; those that are made of others count there.
PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::mkldnn_linear")


def time_split(table: pd.DataFrame, recipe: Recipe) -> Times:
    """Seconds of one training of ours by what they were spent on; on a CPU, where nothing runs beside Python."""
    from accelerate.optimizer import AcceleratedOptimizer

    watch = Stopwatch()
    stages = [
        (LossAdapter, "forward", "forward"),
        (torch.Tensor, "backward", "backward"),
        (Engine, "_clip_grad_norm", "clipping"),
        (AcceleratedOptimizer, "step", "optimizer"),
    ]
    with watch.around(stages):
        times = timed("ours", table, recipe)
    inside = sum(watch.seconds.values())
    return {**times, **watch.seconds, "outside_share": 1 - inside / times["call"]}


def product_seconds(table: pd.DataFrame, recipe: Recipe) -> Times:
    """Seconds that one training of ours spends in matrix products alone: no engine that makes them takes less."""
    with profile(activities=[ProfilerActivity.CPU]) as watched:
        times = timed("ours", table, recipe)
    spent = {event.key: event.self_cpu_time_total / 1e6 for event in watched.key_averages()}
    return {**times, "products": sum(spent.get(name, 0.0) for name in PRODUCTS)}


class Stopwatch:
    """Adds up the time spent in functions; a function called by another of them counts as part of that one."""

    def __init__(self) -> None:
        self.seconds: Times = {}
        self._inside = False

    @contextmanager
    def around(self, stages: list[tuple[Any, str, str]]) -> Iterator[None]:
        """Measure (owner, function's name, stage's name) while the context lasts."""
        originals = [(owner, name, getattr(owner, name)) for owner, name, _ in stages]
        for (owner, name, original), (_, _, stage) in zip(originals, stages, strict=True):
            self.seconds.setdefault(stage, 0.0)
            setattr(owner, name, self._measured(original, stage))
        try:
            yield
        finally:
            for owner, name, original in originals:
                setattr(owner, name, original)

    def _measured(self, function: Callable[..., Any], stage: str) -> Callable[..., Any]:
        def measured(*args: Any, **kwargs: Any) -> Any:
            if self._inside:
                return function(*args, **kwargs)
            self._inside = True
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[stage] += time.perf_counter() - started
                self._inside = False

        return measured


def growth(folder: Path, sentences: int, recipe: Recipe) -> dict[str, float | None]:
    """Speed and memory of a few steps of ours on a table of many sentences, in a fresh process.

    Tokens are real ones, without padding; their rate is that of the steps alone, from the third to the last. Start-up
    is everything before the first step, from loading the model on. Memory is in MB beyond what was there with the table
    loaded: the whole resident size, and the part of it that is not mapped from a file; ``held`` is what the first step
    found, tokens, lengths and order of batches among it, and peaks during the steps are those of the longest batch.
    """
    before = memory()
    table = varied_pairs(folder, sentences, seed=recipe.seed)
    # What making the table has freed must not count as memory that was there before.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    loaded = memory()
    held: dict[str, int] = {}
    entered: list[float] = []
    tokens: list[int] = []
    original = LossAdapter.forward
    watch, tokenising = MemoryWatch(), Stopwatch()

    def forward(self: LossAdapter, features: Any, *args: Any, **kwargs: Any) -> Any:
        columns = list(features)
        if not entered:
            held.update(memory())
            watch.next_phase()
        entered.append(time.perf_counter())
        tokens.append(sum(int(column["attention_mask"].sum()) for column in columns))
        return original(self, columns, *args, **kwargs)

    LossAdapter.forward = forward  # type: ignore[method-assign]
    try:
        with watch, tokenising.around([(TokenTable, "__init__", "tokenising")]):
            began = time.perf_counter()
            # The model is loaded inside: the same for every size.
            timed("ours", table, recipe)
    finally:
        LossAdapter.forward = original  # type: ignore[method-assign]
    startup, steps = watch.peaks

    def megabytes(peak: dict[str, int], start: dict[str, int], key: str) -> float | None:
        return (peak[key] - start[key]) / 1024 if start else None

    return {
        "tokens_per_second": sum(tokens[2:-1]) / (entered[-1] - entered[2]),
        "tokenised_sentences_per_second": sentences / tokenising.seconds["tokenising"],
        "startup_seconds": entered[0] - began,
        "table_mb": megabytes(loaded, before, "RssAnon"),
        "startup_peak_mb": megabytes(startup, loaded, "VmRSS"),
        "startup_peak_unmapped_mb": megabytes(startup, loaded, "RssAnon"),
        "held_mb": megabytes(held, loaded, "VmRSS"),
        "held_unmapped_mb": megabytes(held, loaded, "RssAnon"),
        "steps_peak_mb": megabytes(steps, loaded, "VmRSS"),
        "steps_peak_unmapped_mb": megabytes(steps, loaded, "RssAnon"),
    }


def memory() -> dict[str, int]:
    """This process's resident memory in kB, whole and without mapped files; empty where the system does not tell."""
    file = Path("/proc/self/status")
    if not file.exists():
        return {}
    pairs = (line.split()[:2] for line in file.read_text().splitlines() if line.startswith(("VmRSS", "RssAnon")))
    return {key.rstrip(":"): int(value) for key, value in pairs}


class MemoryWatch:
    """The highest memory of each phase, looked at every 20 ms: the system's own high-water mark counts mapped files."""

    def __init__(self) -> None:
        self.peaks: list[dict[str, int]] = [{}]
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def next_phase(self) -> None:
        """Start anew."""
        self.peaks.append({})

    def __enter__(self) -> "MemoryWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._done.wait(0.02):
            peak = self.peaks[-1]
            for key, value in memory().items():
                peak[key] = max(peak.get(key, 0), value)
