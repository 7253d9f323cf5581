"""Time and memory of the losses, against their plain dense form and against sentence-transformers' loss of that name.

    python benchmarks/losses.py --output benchmarks/results/losses.csv            # some ten minutes on two cores
    python benchmarks/losses.py --quick --output /tmp/losses.csv                  # two minutes, smaller batches

Time is forward plus backward, the median over rounds in which all sides take turns in one process. Memory is the
highest resident size during forward plus backward beyond what was there with the inputs, gradients included, each in a
process of its own; on a GPU it is the allocator's peak beyond the inputs. The dense form is
``cross_entropy(a @ b.T * scale)``, once on the embeddings as they are (ours with ``similarity="dot"``) and once on
their cosines. The last line is JSON.
"""

import argparse
import contextlib
import csv
import ctypes
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from machine import describe
from torch import Tensor, nn
from torch.nn import functional as F

from embedtrain import losses

DIM = 384
Case = dict[str, Callable[..., Tensor]]


def dense_ranking(anchor: Tensor, positive: Tensor) -> Tensor:
    """Softmax over all dot products."""
    return F.cross_entropy(anchor @ positive.T * 20, torch.arange(len(anchor), device=anchor.device))


def dense_cosine_ranking(anchor: Tensor, positive: Tensor) -> Tensor:
    """Softmax over all cosines."""
    return dense_ranking(F.normalize(anchor, dim=-1), F.normalize(positive, dim=-1))


def dense_order(similarity: Tensor, score: Tensor) -> Tensor:
    """CoSENT over all pairs of pairs."""
    logits = 20 * (similarity[None, :] - similarity[:, None])
    logits = logits.masked_fill(score[:, None] <= score[None, :], -torch.inf).flatten()
    return torch.cat([logits, logits.new_zeros(1)]).logsumexp(0)


def theirs(name: str, **options: Any) -> Callable[..., Tensor]:
    """sentence-transformers' loss as a function of embeddings and labels."""
    from sentence_transformers.sentence_transformer import losses as library

    loss = getattr(library, name)(model=nn.Identity(), **options)
    takes_label = name not in ("MultipleNegativesRankingLoss", "TripletLoss")

    def call(*inputs: Tensor) -> Tensor:
        embeddings, label = (list(inputs[:-1]), inputs[-1]) if takes_label else (list(inputs), None)
        return loss.compute_loss_from_embeddings(embeddings, label)

    return call


def cases(name: str) -> Case:
    """The sides of one comparison."""
    if name == "MultipleNegativesRankingLoss":
        return {
            "ours": losses.MultipleNegativesRankingLoss(),
            "ours, dot": losses.MultipleNegativesRankingLoss(similarity="dot"),
            "dense": dense_cosine_ranking,
            "dense, dot": dense_ranking,
            "sentence-transformers": theirs(name),
        }
    sides: Case = {"ours": getattr(losses, name)()}
    if name == "CoSENTLoss":
        sides["dense"] = lambda a, b, score: dense_order(F.cosine_similarity(a, b), score)
    sides["sentence-transformers"] = theirs(name)
    return sides


def inputs(name: str, batch: int, dim: int = DIM, *, device: str = "cpu", dtype: torch.dtype = torch.float32) -> list:
    """Embeddings of length 1 and targets for a loss; matches are near each other."""
    torch.manual_seed(0)
    first = torch.randn(batch, dim, device=device)
    second = F.normalize(first + torch.randn(batch, dim, device=device), dim=-1)
    third = F.normalize(torch.randn(batch, dim, device=device), dim=-1)
    first, second, third = (side.to(dtype).requires_grad_() for side in (F.normalize(first, dim=-1), second, third))
    if name == "MultipleNegativesRankingLoss":
        return [first, second]
    if name == "TripletLoss":
        return [first, second, third]
    if name.startswith("Batch"):
        return [first, torch.arange(batch, device=device) // 4]
    if "Contrastive" in name:
        return [first, second, torch.arange(batch, device=device) % 2]
    return [first, second, torch.rand(batch, device=device)]


def step(loss: Callable[..., Tensor], tensors: list[Tensor]) -> None:
    """Forward and backward, as a training step would."""
    for tensor in tensors:
        tensor.grad = None
    loss(*tensors).backward()


def seconds(name: str, batch: int, *, rounds: int, only: list[str] | None = None, **where: Any) -> dict[str, float]:
    """Median seconds of each side, taking turns."""
    sides = {side: loss for side, loss in cases(name).items() if only is None or side in only}
    tensors = inputs(name, batch, **where)
    # A small batch takes many steps a round: single ones are too short for the clock.
    repeats = max(1, min(200, 200_000 // batch**2))
    times: dict[str, list[float]] = {side: [] for side in sides}
    for warm in (True, *[False] * rounds):
        for side, loss in sides.items():
            synchronize(tensors)
            started = time.perf_counter()
            for _ in range(repeats):
                step(loss, tensors)
            synchronize(tensors)
            if not warm:
                times[side].append((time.perf_counter() - started) / repeats)
    return {side: statistics.median(values) for side, values in times.items()}


def synchronize(tensors: list[Tensor]) -> None:
    """Wait for the GPU where there is one."""
    if tensors[0].is_cuda:
        torch.cuda.synchronize()


def peak_megabytes(name: str, side: str, batch: int, **where: Any) -> float | None:
    """Highest memory of forward plus backward beyond the inputs; None where this system does not tell."""
    if where.get("device") == "cuda":
        return gpu_peak(name, side, batch, **where)
    if not Path("/proc/self/clear_refs").exists():
        return None
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(resident_peak, (name, side, batch))


def resident_peak(name: str, side: str, batch: int) -> float:
    """Megabytes by the system's own high-water mark, in a fresh process."""
    loss = cases(name)[side]
    # What the libraries set up once is none of the loss's memory.
    step(loss, inputs(name, 64))
    tensors = inputs(name, batch)
    # What making the inputs has freed must not count as memory that was there before.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    step(loss, tensors)
    return (status("VmHWM") - before) / 1024


def status(key: str) -> int:
    """A line of this process's memory figures, in kilobytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))


def gpu_peak(name: str, side: str, batch: int, **where: Any) -> float:
    """Megabytes by the allocator's high-water mark."""
    loss = cases(name)[side]
    step(loss, inputs(name, 64, **where))
    tensors = inputs(name, batch, **where)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step(loss, tensors)
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def encoder_step(cached: bool, batch: int) -> tuple[float, float]:
    """Seconds and megabytes of one step of all-MiniLM-L6-v2 on pairs of 32 tokens, in a fresh process."""
    from sentence_transformers import SentenceTransformer

    from embedtrain.models import DEFAULT_MODEL, resolve_model

    model = SentenceTransformer(resolve_model(DEFAULT_MODEL).location, device="cpu").train()
    loss = losses.MultipleNegativesRankingLoss()

    def columns(rows: int) -> list[dict[str, Tensor]]:
        tokens = torch.randint(1000, 20_000, (2, rows, 32), generator=torch.Generator().manual_seed(0))
        return [{"input_ids": ids, "attention_mask": torch.ones_like(ids)} for ids in tokens]

    def run(rows: int) -> None:
        model.zero_grad()
        if cached:
            losses.GradCache(loss, chunk_size=32)(model, columns(rows)).backward()
        else:
            loss(*(model(column)["sentence_embedding"] for column in columns(rows))).backward()

    run(64)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before, started = status("VmRSS"), time.perf_counter()
    run(batch)
    return time.perf_counter() - started, (status("VmHWM") - before) / 1024


class Table:
    """The rows measured so far, written after each."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.rows: list[dict[str, Any]] = []

    def add(self, loss: str, batch: int, figure: str, sides: dict[str, float | None], device: str = "cpu") -> None:
        """One line a side, and all of them on the terminal."""
        for side, value in sides.items():
            row = {"loss": loss, "device": device, "batch": batch, "side": side, "figure": figure}
            self.rows.append({**row, "value": None if value is None else round(value, 6)})
        self.output.parent.mkdir(parents=True, exist_ok=True)
        with self.output.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(self.rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows)
        print(
            f"{loss} {device} {batch} {figure}: " + ", ".join(f"{k} {v:.4g}" for k, v in sides.items() if v is not None)
        )

    def value(self, loss: str, batch: int, figure: str, side: str, device: str = "cpu") -> float | None:
        """A measured figure, or None where it was not measured."""
        key = {"loss": loss, "batch": batch, "figure": figure, "side": side, "device": device}
        return next((row["value"] for row in self.rows if key.items() <= row.items()), None)

    def ratio(self, loss: str, batch: int, ours: str, other: str, device: str = "cpu") -> float | None:
        """Seconds of ours by seconds of another side."""
        sides = [self.value(loss, batch, "seconds", side, device) for side in (ours, other)]
        return None if None in sides else round(sides[0] / sides[1], 3)


def main() -> None:
    """Measure, write the table, print the summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="leave the largest batches out")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/losses.csv"))
    options = parser.parse_args()
    table = Table(options.output)
    ranking = "MultipleNegativesRankingLoss"
    for batch, rounds in [(64, 30), (512, 30), (2048, 10)] + ([] if options.quick else [(8192, 7), (16384, 3)]):
        table.add(ranking, batch, "seconds", seconds(ranking, batch, rounds=rounds))
    for batch in [2048] if options.quick else [8192, 32768]:
        sides = list(cases(ranking)) if batch < 32768 else ["ours", "ours, dot"]
        table.add(ranking, batch, "peak_mb", {side: peak_megabytes(ranking, side, batch) for side in sides})
    for name in ("CoSENTLoss", "AnglELoss"):
        batch = 2048 if options.quick else 16384
        table.add(name, batch, "peak_mb", {side: peak_megabytes(name, side, batch) for side in cases(name)})
        table.add(name, batch, "seconds", seconds(name, batch, rounds=5, only=["ours", "sentence-transformers"]))
    others = ["CosineSimilarityLoss", "ContrastiveLoss", "OnlineContrastiveLoss", "TripletLoss"]
    triplets = ["BatchHardTripletLoss", "BatchSemiHardTripletLoss", "BatchAllTripletLoss"]
    for name in others + triplets:
        batch = 512 if name in triplets else 4096
        table.add(name, batch, "seconds", seconds(name, batch, rounds=7))
        table.add(name, batch, "peak_mb", {side: peak_megabytes(name, side, batch) for side in cases(name)})
    measure_grad_cache(table, 256 if options.quick else 1024)
    if torch.cuda.is_available():
        measure_gpu(table)
    summary = summarize(table)
    record = {**describe("losses.py"), "quick": options.quick, "summary": summary}
    options.output.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(summary))


def measure_grad_cache(table: Table, batch: int) -> None:
    """A whole training step, encoder included, with and without GradCache."""
    if not Path("/proc/self/clear_refs").exists():
        return
    measured = {}
    for side, cached in (("GradCache", True), ("plain", False)):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            measured[side] = pool.apply(encoder_step, (cached, batch))
    for place, figure in enumerate(("seconds", "peak_mb")):
        table.add("MiniLM-L6 with MNRL", batch, figure, {side: values[place] for side, values in measured.items()})


def measure_gpu(table: Table) -> None:
    """bf16 embeddings of 768 numbers on a GPU."""
    ranking = "MultipleNegativesRankingLoss"
    where: dict[str, Any] = {"device": "cuda", "dtype": torch.bfloat16, "dim": 768}
    table.add(ranking, 16384, "seconds", seconds(ranking, 16384, rounds=20, **where), "cuda")
    table.add(ranking, 65536, "peak_mb", {"ours": peak_megabytes(ranking, "ours", 65536, **where)}, "cuda")
    tensors = inputs(ranking, 1 << 20, **where)
    synchronize(tensors)
    started = time.perf_counter()
    step(losses.MultipleNegativesRankingLoss(), tensors)
    synchronize(tensors)
    table.add(ranking, 1 << 20, "seconds", {"ours": time.perf_counter() - started}, "cuda")


def summarize(table: Table) -> dict[str, float | None]:
    """The figures by name; null where not measured."""
    ranking = "MultipleNegativesRankingLoss"

    def worst(batch: int, device: str = "cpu") -> float | None:
        found = [
            table.ratio(ranking, batch, "ours", "dense", device),
            table.ratio(ranking, batch, "ours, dot", "dense, dot", device),
        ]
        return None if None in found else max(found)

    return {
        "mnrl_32768_peak_mb": table.value(ranking, 32768, "peak_mb", "ours"),
        # The worse of the cosine and the dot form, each against its dense twin.
        **{f"mnrl_{batch}_time_ratio": worst(batch) for batch in (64, 512, 8192, 16384)},
        **{
            f"mnrl_{batch}_time_ratio_sentence_transformers": table.ratio(
                ranking, batch, "ours", "sentence-transformers"
            )
            for batch in (64, 512, 8192)
        },
        "cosent_16384_peak_mb": table.value("CoSENTLoss", 16384, "peak_mb", "ours"),
        "angle_16384_peak_mb": table.value("AnglELoss", 16384, "peak_mb", "ours"),
        "grad_cache_1024_peak_mb": table.value("MiniLM-L6 with MNRL", 1024, "peak_mb", "GradCache"),
        "plain_1024_peak_mb": table.value("MiniLM-L6 with MNRL", 1024, "peak_mb", "plain"),
        "gpu_mnrl_65536_peak_mb": table.value(ranking, 65536, "peak_mb", "ours", "cuda"),
        "gpu_mnrl_16384_time_ratio": worst(16384, "cuda"),
        "gpu_mnrl_1048576_seconds": table.value(ranking, 1 << 20, "seconds", "ours", "cuda"),
    }


if __name__ == "__main__":
    sys.exit(main())
