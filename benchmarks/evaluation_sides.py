"""One task on one side of ``evaluation.py``, in a worker process of its own."""

import shutil
import time
import warnings
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import mteb

from embedtrain.evaluation.mteb.embedding_cache import EmbeddingCache
from embedtrain.evaluation.mteb.encoder import LocalEncoder, model_meta
from embedtrain.evaluation.mteb.mirror import Mirror
from embedtrain.evaluation.mteb.running import Results
from embedtrain.evaluation.mteb.task_data import LocalData, fill, find_data
from embedtrain.models import DEFAULT_MODEL, choose_precision, load_biencoder, resolve_model

# mteb with sentence-transformers at its defaults, and this project in the precision that it chooses.
Side = Literal["mteb", "ours"]
SUBSETS = {"STSBenchmarkMultilingualSTS": ["zh"]}


class Result(NamedTuple):
    """What one task took, on the clock and of all threads together, and its score."""

    seconds: float
    cpu_seconds: float
    score: float


class Watch:
    """Seconds since it was made, on the clock and of this process."""

    def __init__(self) -> None:
        self.started = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        """Both."""
        return time.perf_counter() - self.started[0], time.process_time() - self.started[1]


def run_task(side: Side, name: str, mirror: Path, work: Path) -> Result:
    """Evaluate a task; loading the model is not timed.

    For ours the clock runs from the files of the mirror to the result file; mteb's own data is in place before.

    Args:
        side: Whose code.
        name: The task.
        mirror: Where the data is.
        work: Where ours keeps embeddings and results; an empty folder computes everything anew.
    """
    return _ours(name, mirror, work) if side == "ours" else _plain(name, mirror)


def warm_up(side: Side, mirror: Path, work: Path) -> None:
    """Load the model and run once on little."""
    # Scikit-learn's on intents that are never predicted, once for each measure.
    warnings.simplefilter("ignore")
    run_task(side, "STSBenchmark", mirror, work)
    shutil.rmtree(work, ignore_errors=True)


def _plain(name: str, mirror: Path) -> Result:
    model, data = _plain_model(), _data(name, mirror)
    fill(data)
    watch = Watch()
    found = mteb.evaluate(model, data.task, cache=None, co2_tracker=False, show_progress_bar=False)
    return Result(*watch.read(), float(found.task_results[0].get_score()))


def _ours(name: str, mirror: Path, work: Path) -> Result:
    source, model = _our_model()
    precision = choose_precision("cpu").name
    meta = model_meta(source, model, precision=precision)
    data = _data(name, mirror)
    watch = Watch()
    cache_ = EmbeddingCache(work / "embeddings", model=precision, max_bytes=2**30)
    encoder = LocalEncoder(model, meta=meta, cache=cache_, precision=precision)
    done = Results(work).run(encoder, data, fingerprint="")
    return Result(*watch.read(), float(done.result.get_score()))


def _data(name: str, mirror: Path) -> LocalData:
    task = mteb.get_task(name, eval_splits=["test"], hf_subsets=SUBSETS.get(name))
    return find_data(task, Mirror.at(mirror).folder(name))


@cache
def _plain_model() -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(resolve_model(DEFAULT_MODEL).location, device="cpu")


@cache
def _our_model() -> tuple[Any, Any]:
    source = resolve_model(DEFAULT_MODEL)
    return source, load_biencoder(source, device="cpu")
