"""One labelling or one search of one side of ``mining.py``, in a worker process of its own."""

import contextlib
import ctypes
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from mining_data import load_embeddings, many_sentences

from embedtrain.mining.bm25 import BM25Index
from embedtrain.mining.labeling import score_pairs
from embedtrain.mining.search import top_k
from embedtrain.models import ModelSource, choose_precision, load_crossencoder
from embedtrain.pipelines.label.options import LabelOptions
from embedtrain.pipelines.label.pipeline import label as run_label

# The library at its defaults, the library with bf16 weights, this project in the precision that it chooses and in fp32.
LabelSide = Literal["default", "bf16", "ours", "ours fp32"]
SearchSide = Literal["semantic_search", "paraphrase_mining", "ours"]
Scores = np.ndarray
Measured = dict[str, float]


class Labels(NamedTuple):
    """Scores of pairs, and the seconds from their texts to them."""

    seconds: float
    scores: Scores


class Neighbours(NamedTuple):
    """Indices of each vector's neighbours, (n, k), where a side gives them, and the seconds it took."""

    seconds: float
    indices: np.ndarray | None


def label(
    side: LabelSide, teacher: Path, sentence1: Sequence[str], sentence2: Sequence[str], device: str, batch_size: int
) -> Labels:
    """Score pairs in the order given; loading the teacher is not timed."""
    scorer = labeller(side, teacher, device, batch_size)
    synchronize(device)
    started = time.perf_counter()
    scores = scorer(sentence1, sentence2)
    return Labels(time.perf_counter() - started, scores)


@cache
def labeller(
    side: LabelSide, teacher: Path, device: str, batch_size: int
) -> Callable[[Sequence[str], Sequence[str]], Scores]:
    """What scores pairs on one side, its teacher loaded; ``batch_size`` is the library's alone."""
    from sentence_transformers import CrossEncoder

    if side in ("ours", "ours fp32"):
        model = load_crossencoder(ModelSource("teacher", str(teacher), "folder"), device=device)
        fast = side == "ours" and choose_precision(device).name == "bf16"
        # The library scores one order, and so does ours.
        return partial(score_pairs, model, both_orders=False, dtype=torch.bfloat16 if fast else None)
    weights = {"torch_dtype": torch.bfloat16} if side == "bf16" else {}
    theirs = CrossEncoder(str(teacher), device=device, model_kwargs=weights)

    def predict(sentence1: Sequence[str], sentence2: Sequence[str]) -> Scores:
        pairs = list(zip(sentence1, sentence2, strict=True))
        return theirs.predict(pairs, batch_size=batch_size, show_progress_bar=False)

    return predict


def search(side: SearchSide, file: Path, k: int, rows: int | None = None) -> Neighbours:
    """The k nearest others of each of the first vectors of a file; reading the file is not timed."""
    embeddings = load_embeddings(file)[:rows]
    started = time.perf_counter()
    if side == "ours":
        found, _ = top_k(embeddings, k=k)
        return Neighbours(time.perf_counter() - started, found.numpy())
    from sentence_transformers.util import paraphrase_mining_embeddings, semantic_search

    if side == "paraphrase_mining":
        paraphrase_mining_embeddings(embeddings, top_k=k)
        return Neighbours(time.perf_counter() - started, None)
    # One more, because it finds each vector itself, too.
    hits = semantic_search(embeddings, embeddings, top_k=k + 1)
    seconds = time.perf_counter() - started
    others = [[hit["corpus_id"] for hit in row if hit["corpus_id"] != place][:k] for place, row in enumerate(hits)]
    return Neighbours(seconds, np.array(others))


def search_some(file: Path, queries: int, k: int) -> Measured:
    """Seconds and memory of the k nearest others of some vectors of a file, spread evenly, among all of them."""
    embeddings = load_embeddings(file)
    rows = torch.linspace(0, len(embeddings) - 1, queries).long()
    watch = Watch()
    top_k(embeddings[rows], embeddings, k=k, exclude=torch.stack([torch.arange(queries), rows], dim=1))
    return watch.read()


def search_all(file: Path, rows: int, k: int) -> Measured:
    """Seconds and memory of the k nearest others of each of the first vectors of a file."""
    embeddings = load_embeddings(file)[:rows]
    watch = Watch()
    top_k(embeddings, k=k)
    return watch.read()


def bm25(folder: Path, count: int, k: int, queries: int | None = None) -> Measured:
    """Seconds and memory of the k best others by BM25 of each of so many sentences, indexing counted.

    With ``queries``, only so many of them, spread evenly, are searched for, and the seconds of searching are scaled up.
    """
    sentences = many_sentences(folder, count)
    rows = range(0, count, max(1, count // (queries or count)))
    watch = Watch()
    index = BM25Index(sentences)
    indexed = time.perf_counter() - watch.started
    index.top_k(rows, k=k)
    measured = watch.read()
    searched = measured["seconds"] - indexed
    return {**measured, "seconds": indexed + searched * count / len(rows), "index_seconds": indexed}


def label_file(teacher: Path, pairs: Path, work: Path) -> Measured:
    """Memory of ``embedtrain label`` on a file of pairs, from first to last, and the seconds of labelling alone."""
    with tempfile.TemporaryDirectory(dir=work) as folder:
        watch = Watch()
        options = LabelOptions(pairs=[str(pairs)], teacher=[str(teacher)], output=f"{folder}/run", device="cpu")
        metrics = run_label(options).metrics
        return {**watch.read(), "seconds": metrics["seconds"]}


class Watch:
    """Seconds since it was made, and the highest memory of this process, whole and beyond what was there then."""

    def __init__(self) -> None:
        # What reading the inputs has freed must not count as memory that was there before.
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)
            Path("/proc/self/clear_refs").write_text("5")
        self.before = resident_megabytes()
        self.started = time.perf_counter()

    def read(self) -> Measured:
        """Seconds, peak of the whole process in MB, and the part of it beyond the start."""
        seconds = time.perf_counter() - self.started
        peak = peak_megabytes()
        measured = {"seconds": seconds, "peak_mb": peak}
        return measured if self.before is None else {**measured, "peak_mb_beyond_start": peak - self.before}


def peak_megabytes() -> float:
    """The highest resident size of this process since the last watch was made, or ever where that is not told."""
    # getrusage counts what the parent held when it started this process; the kernel's own line does not.
    found = _status("VmHWM")
    if found is not None:
        return found
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def resident_megabytes() -> float | None:
    """The resident size of this process now; None where the system does not tell."""
    return _status("VmRSS")


def _status(key: str) -> float | None:
    file = Path("/proc/self/status")
    if not file.exists():
        return None
    return next(int(line.split()[1]) / 1024 for line in file.read_text().splitlines() if line.startswith(key))


def synchronize(device: str) -> None:
    """Wait for the GPU where there is one."""
    if device == "cuda":
        torch.cuda.synchronize()
