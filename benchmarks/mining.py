"""Mining and labelling side by side: sentence-transformers' own functions and this project's.

    python benchmarks/mining.py                              # every part: about an hour on two cores
    python benchmarks/mining.py --parts label topk           # the two speeds alone: some minutes
    python benchmarks/mining.py --quick                      # a few minutes, only to see that it runs

Models: all-MiniLM-L6-v2 as the encoder, and as a cross-encoder with a random head as the teacher. Parts, each written
into the same JSON file (with machine, versions, command and date of its own) as soon as it is measured, and all of
them into a CSV file and a plot beside it:

- ``label``: pairs of STS benchmark train, ``CrossEncoder.predict`` at its defaults, the same with bf16 weights, and
  ours in the precision that it chooses. The sides take turns: each round is a part of the pairs that no other round
  sees, in one order, from texts to scores. A ratio is the median over rounds. Beside the speed stands how far each
  side's scores lie from the library's in fp32.
- ``topk``: the ten nearest others of 50,000 sentences of MedQuAD, embeddings given, against ``semantic_search`` and
  ``paraphrase_mining_embeddings``. The bar is held against the faster of the two. Beside it stands the share of
  neighbours that ours and ``semantic_search`` have in common: they may part where two are equally near.
- ``bm25``: the ten best others of the same sentences by BM25, time and peak memory. The reference's script needs an
  Elasticsearch server; there is nothing of it to measure here.
- ``memory``: ``embedtrain label`` on 10 thousand, 100 thousand and a million pairs, from a Parquet file to labelled
  shards and report, both orders: peak memory of the process, and seconds of labelling. The teacher is a very small one
  (one layer, 64 dimensions), so that a million pairs take minutes; the memory around it is the same under any teacher.
- ``growth``: seconds of encoding, exact search and BM25 by the number of sentences N, from 10 thousand to a million.
  Where a case's name ends in ``sampled``, some of the N were searched for among all of them and the seconds are scaled
  up. Embeddings are real ones with noise, since encoding a million sentences would take an hour; sentences beyond the
  117 thousand of MedQuAD are the same ones less a word.
- ``gpu``: only with a CUDA device: pairs/s against ``predict`` with bf16 weights at its best batch size.

Each side runs in a process of its own, idle while the others have their turn, after a warm-up that is not counted;
everything that tells memory runs in a fresh process. Peak memory is the kernel's own high-water mark of the process,
libraries and model included. Data: the folder in EMBEDTRAIN_DATA, or ../shared/data beside the project. The last line
is JSON; null is what was not measured.
"""

import argparse
import json
import os
import shutil
import statistics
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
import pandas as pd
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
    times_as_fast,
    values_of,
    write_record,
)
from mining_data import (
    encode_sentences,
    make_small_teacher,
    make_teacher,
    spread_embeddings,
    text_pairs,
    write_pairs,
)
from mining_plot import plot_growth
from mining_sides import LabelSide, SearchSide, bm25, label, label_file, search, search_all, search_some
from training_data import data_folder, parts_of, varied_pairs

from embedtrain.evaluation.statistics import spearman

LIBRARY_BATCH = 32  # the default of CrossEncoder.predict


@dataclass(frozen=True)
class Sizes:
    """How much of everything is measured."""

    label_rounds: int = 5
    label_pairs: int = 1_149
    topk_rounds: int = 3
    topk_sentences: int = 50_000
    bm25_sentences: int = 50_000
    memory_pairs: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    encoded: tuple[int, ...] = (2_000, 10_000, 50_000)
    searched: tuple[int, ...] = (10_000, 30_000, 100_000)
    sampled: tuple[int, ...] = (300_000, 1_000_000)
    queries: int = 4_096
    bm25_growth: tuple[int, ...] = (10_000, 25_000, 100_000)
    bm25_sampled: tuple[int, ...] = (300_000, 1_000_000)
    gpu_rounds: int = 5
    gpu_pairs: int = 30_000
    gpu_batch_sizes: tuple[int, ...] = (32, 64, 128, 256, 512, 1024)


QUICK = Sizes(
    label_rounds=2,
    label_pairs=96,
    topk_rounds=1,
    topk_sentences=600,
    bm25_sentences=1_000,
    memory_pairs=(500, 2_000),
    encoded=(200, 600),
    searched=(300, 600),
    sampled=(3_000,),
    queries=128,
    bm25_growth=(200, 600),
    bm25_sampled=(2_000,),
    gpu_rounds=1,
    gpu_pairs=2_000,
    gpu_batch_sizes=(64, 256),
)
K = 10

BARS = (
    Bar("label_vs_default", "pairs/s against CrossEncoder.predict at its defaults, CPU", at_least=3),
    Bar("label_vs_bf16", "pairs/s against CrossEncoder.predict with bf16 weights, CPU", at_least=1.3),
    Bar("topk_vs_reference", "top-10 against the faster of the library's two, CPU", at_least=2),
    Bar("label_memory_ratio", "peak memory, most pairs of the table by fewest", at_most=1.1),
    Bar("gpu_label_vs_reference", "pairs/s against predict in bf16 at its best batch size, GPU", at_least=1.5),
)


@dataclass(frozen=True)
class Place:
    """Where the data lies, and where this run keeps what it makes of it."""

    data: Path
    work: Path

    @property
    def teacher(self) -> Path:
        """The teacher whose speed is measured; made when it is first asked for."""
        folder = self.work / "teacher"
        if not folder.is_dir():
            alone(make_teacher, folder)
        return folder

    @property
    def small_teacher(self) -> Path:
        """The teacher whose own cost does not matter."""
        folder = self.work / "small-teacher"
        if not folder.is_dir():
            alone(make_small_teacher, folder)
        return folder

    def embeddings(self, sentences: int) -> Path:
        """Embeddings of so many sentences of MedQuAD."""
        file = self.work / f"embeddings-{sentences}.npy"
        if not file.is_file():
            alone(encode_sentences, self.data, sentences, file)
        return file


def main() -> None:
    """Measure the parts asked for, write all files, print table and summary."""
    options = parse_options()
    sizes = QUICK if options.quick else Sizes()
    work = Path(options.work or tempfile.mkdtemp(prefix="embedtrain-benchmark-"))
    work.mkdir(parents=True, exist_ok=True)
    place = Place(data_folder(), work)
    record = read_record(options.output)
    for name in options.parts:
        if name == "gpu" and not torch.cuda.is_available():
            print("gpu: no CUDA device, not measured")
            continue
        rows, figures = PARTS[name](place, sizes)
        record_part(record, name, script="mining.py", quick=options.quick, figures=figures, rows=rows)
        record["summary"] = {bar.key: known_figures(record).get(bar.key) for bar in BARS}
        write_record(record, options.output)
        plot_growth([row for part in record["parts"].values() for row in part["rows"]], options.output)
    if not options.work:
        shutil.rmtree(work)
    figures = known_figures(record)
    print_bars(BARS, figures)
    print(f"written to {options.output}")
    print(json.dumps({bar.key: figures.get(bar.key) for bar in BARS}))


def parse_options() -> argparse.Namespace:
    """Command-line options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS), help="default: all")
    parser.add_argument("--quick", action="store_true", help="little of everything; its figures mean nothing")
    parser.add_argument("--output", type=Path, help="JSON file; with --quick by default a temporary one")
    parser.add_argument("--work", help="keep embeddings, pairs and teachers here, and use those that are there")
    options = parser.parse_args()
    if options.output is None:
        folder = Path(tempfile.mkdtemp(prefix="embedtrain-benchmark-")) if options.quick else Path("benchmarks/results")
        options.output = folder / "mining.json"
    return options


def label_in_turns(
    tables: list[pd.DataFrame], teacher: Path, sides: Mapping[LabelSide, int], *, device: str, part: str
) -> tuple[list[Row], dict[LabelSide, np.ndarray]]:
    """Every side scores every table, in one order and the other by turns; all scores in the order of the tables."""
    rows: list[Row] = []
    scores: dict[LabelSide, list[np.ndarray]] = {side: [] for side in sides}
    names = list(sides)
    with ExitStack() as stack:
        workers = {side: stack.enter_context(in_a_process()) for side in names}

        def measure(side: LabelSide, table: pd.DataFrame) -> tuple[float, np.ndarray]:
            texts = table["sentence1"].tolist(), table["sentence2"].tolist()
            return workers[side].submit(label, side, teacher, *texts, device, sides[side]).result()

        for side in names:
            measure(side, tables[0].head(4 * LIBRARY_BATCH))
        for number, table in enumerate(tables):
            for side in names if number % 2 == 0 else names[::-1]:
                seconds, found = measure(side, table)
                scores[side].append(found)
                rows += lines(part, side, number, {"seconds": seconds, "pairs_per_second": len(table) / seconds})
    return rows, {side: np.concatenate(parts) for side, parts in scores.items()}


def measure_label(place: Place, sizes: Sizes) -> tuple[list[Row], Figures]:
    """Scores of STS benchmark pairs on a CPU."""
    tables = parts_of(text_pairs(place.data), sizes.label_pairs, sizes.label_rounds)
    sides: dict[LabelSide, int] = dict.fromkeys(("default", "bf16", "ours", "ours fp32"), LIBRARY_BATCH)
    rows, scores = label_in_turns(tables, place.teacher, sides, device="cpu", part="label")
    figures: Figures = {f"{side}_pairs_per_second": median_of(rows, side, "pairs_per_second") for side in sides}
    for other in ("default", "bf16"):
        figures[f"label_vs_{other}"] = times_as_fast(rows, other)
    figures["label_fp32_vs_default"] = times_as_fast(rows, "default", ours="ours fp32")
    for side in ("bf16", "ours", "ours fp32"):
        apart = np.abs(scores[side] - scores["default"])
        figures[f"{side}_mean_distance_to_default"] = float(apart.mean())
        figures[f"{side}_spearman_with_default"] = float(spearman(scores[side], scores["default"]))
    return rows, figures


def measure_topk(place: Place, sizes: Sizes) -> tuple[list[Row], Figures]:
    """The ten nearest others of each sentence, exactly."""
    file = place.embeddings(sizes.topk_sentences)
    sides: tuple[SearchSide, ...] = ("semantic_search", "paraphrase_mining", "ours")
    rows: list[Row] = []
    found = {}
    with ExitStack() as stack:
        workers = {side: stack.enter_context(in_a_process()) for side in sides}
        for side in sides:
            workers[side].submit(search, side, file, K, 500).result()
        for number in range(sizes.topk_rounds):
            for side in sides if number % 2 == 0 else sides[::-1]:
                result = workers[side].submit(search, side, file, K).result()
                found[side] = result.indices
                rows += lines("topk", side, number, {"seconds": result.seconds})
    ratios = {f"topk_vs_{side}": times_as_fast(rows, side) for side in sides[:2]}
    same = [len({*a} & {*b}) for a, b in zip(found["ours"].tolist(), found["semantic_search"].tolist(), strict=True)]
    return rows, {
        **{f"{side}_seconds": median_of(rows, side, "seconds") for side in sides},
        **ratios,
        "topk_vs_reference": min(ratios.values()),
        "topk_same_neighbours": statistics.mean(same) / K,
    }


def measure_bm25(place: Place, sizes: Sizes) -> tuple[list[Row], Figures]:
    """BM25 without a server."""
    rows = lines("bm25", "ours", sizes.bm25_sentences, alone(bm25, place.data, sizes.bm25_sentences, K))
    return rows, {f"bm25_{key}": median_of(rows, "ours", key) for key in ("seconds", "peak_mb", "peak_mb_beyond_start")}


def measure_memory(place: Place, sizes: Sizes) -> tuple[list[Row], Figures]:
    """Labelling more and more pairs, from Parquet to Parquet, each number in a fresh process."""
    rows: list[Row] = []
    for pairs in sizes.memory_pairs:
        file = place.work / f"pairs-{pairs}.parquet"
        alone(write_pairs, place.data, pairs, file)
        measured = alone(label_file, place.small_teacher, file, place.work)
        rows += lines("memory", "small teacher", pairs, {**measured, "pairs_per_second": pairs / measured["seconds"]})
    peaks = values_of(rows, "small teacher", "peak_mb")
    beyond = values_of(rows, "small teacher", "peak_mb_beyond_start")
    return rows, {
        "label_memory_ratio": peaks[-1] / peaks[0],
        "label_peak_mb_fewest_pairs": peaks[0],
        "label_peak_mb_most_pairs": peaks[-1],
        # The libraries and the model are the same on both sides of the ratio above; this is without them.
        "label_memory_ratio_beyond_start": beyond[-1] / beyond[0] if beyond else None,
    }


def measure_growth(place: Place, sizes: Sizes) -> tuple[list[Row], Figures]:
    """Seconds by the number of sentences."""
    rows: list[Row] = []
    for count in sizes.encoded:
        seconds = alone(encode_sentences, place.data, count, place.work / f"embeddings-{count}.npy")
        rows += lines("growth", "encode", count, {"seconds": seconds, "sentences_per_second": count / seconds})
    real = place.work / f"embeddings-{sizes.encoded[-1]}.npy"

    def spread(count: int) -> Path:
        file = place.work / f"spread-{count}.npy"
        alone(spread_embeddings, real, count, file)
        return file

    for count in sizes.searched:
        rows += lines("growth", "search", count, alone(search_all, spread(count), count, K))
    for count in sizes.sampled:
        measured = alone(search_some, spread(count), sizes.queries, K)
        measured = {**measured, "measured_seconds": measured["seconds"]}
        measured["seconds"] *= count / sizes.queries
        rows += lines("growth", "search sampled", count, measured)
    for count in sizes.bm25_growth:
        rows += lines("growth", "bm25", count, alone(bm25, place.data, count, K))
    for count in sizes.bm25_sampled:
        rows += lines("growth", "bm25 sampled", count, alone(bm25, place.data, count, K, sizes.queries))
    return rows, {"encode_sentences_per_second": values_of(rows, "encode", "sentences_per_second")[-1]}


def measure_gpu(place: Place, sizes: Sizes) -> tuple[list[Row], Figures]:
    """Pairs/s in bf16 on a GPU, the library with its best batch size."""
    table = varied_pairs(place.data, 2 * sizes.gpu_pairs, seed=0)
    found: list[Row] = []
    for batch_size in sizes.gpu_batch_sizes:
        part = f"gpu batch {batch_size}"
        found += label_in_turns([table], place.teacher, {"bf16": batch_size}, device="cuda", part=part)[0]
    fastest = max((row for row in found if row["figure"] == "pairs_per_second"), key=lambda row: row["value"])
    best = int(fastest["part"].rsplit(" ", 1)[1])
    tables = [varied_pairs(place.data, 2 * sizes.gpu_pairs, seed=1 + number) for number in range(sizes.gpu_rounds)]
    sides: dict[LabelSide, int] = {"bf16": best, "ours": best}
    rows, scores = label_in_turns(tables, place.teacher, sides, device="cuda", part="gpu")
    return found + rows, {
        "gpu_reference_batch_size": best,
        **{f"gpu_{side}_pairs_per_second": median_of(rows, side, "pairs_per_second") for side in sides},
        "gpu_label_vs_reference": times_as_fast(rows, "bf16"),
        "gpu_spearman_of_sides": float(spearman(scores["ours"], scores["bf16"])),
    }


PARTS: dict[str, Callable[[Place, Sizes], tuple[list[Row], Figures]]] = {
    "label": measure_label,
    "topk": measure_topk,
    "bm25": measure_bm25,
    "memory": measure_memory,
    "growth": measure_growth,
    "gpu": measure_gpu,
}


if __name__ == "__main__":
    main()
