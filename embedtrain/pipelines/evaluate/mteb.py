"""``embedtrain evaluate mteb``: tasks on local files, results in mteb's own files, nothing done twice."""

import importlib.metadata
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from embedtrain.evaluation.mteb.checking import Checked
from embedtrain.evaluation.mteb.embedding_cache import EmbeddingCache
from embedtrain.evaluation.mteb.encoder import LocalEncoder, bare_meta, model_meta
from embedtrain.evaluation.mteb.running import Done, Results
from embedtrain.files import whole_file, write_json
from embedtrain.models import ModelSource, load_biencoder
from embedtrain.models.hardware import tf32_products
from embedtrain.pipelines.evaluate.mteb_inputs import MTEBInputs, collect_mteb_inputs
from embedtrain.pipelines.evaluate.mteb_options import MTEBOptions
from embedtrain.pipelines.evaluate.mteb_scores import part_scores, task_entry
from embedtrain.pipelines.run import Run

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class MTEBEvaluation:
    """What was found: ``metrics`` is the content of ``metrics.json``, ``folder`` holds the result files, too."""

    metrics: dict[str, Any]
    folder: Path


def evaluate_mteb(options: MTEBOptions) -> MTEBEvaluation:
    """Run every task for every model, as far as that is not done yet.

    Writes, in ``options.output``: ``results/`` (mteb's own files; ``mteb.ResultCache(folder)`` loads them),
    ``metrics.json``, ``scores.csv`` (a row for each model, task, split and subset), ``embeddings/`` (the cache), and
    what each result and verdict was made of.

    Raises:
        UserError: With every mistake in options, files and model names, before any model is loaded.
    """
    inputs = collect_mteb_inputs(options)
    with Run(options.output, config=options.as_dict()) as run:
        run.note(models={name: asdict(source) for name, source in inputs.models.items()}, mteb=_mteb_version())
        run.note_choices(device=inputs.device, precision=inputs.precision)
        results = Results(run.folder)
        done = {name: _run_model(name, source, inputs, results, options) for name, source in inputs.models.items()}
        metrics = _metrics(inputs, done)
        write_json(run.folder / "metrics.json", metrics)
        _write_scores(run.folder / "scores.csv", inputs, done)
    return MTEBEvaluation(metrics, run.folder)


def _run_model(
    name: str, source: ModelSource, inputs: MTEBInputs, results: Results, options: MTEBOptions
) -> dict[str, Done]:
    precision = inputs.precision.name
    meta = bare_meta(source, precision=precision)
    done: dict[str, Done] = {}
    for one in inputs.checked:
        kept = results.kept(one.data, meta, fingerprint=one.fingerprint)
        if kept is not None:
            done[one.data.name] = kept
    left = [one for one in inputs.checked if one.data.name not in done]
    if done:
        logger.info("%s: %d of %d tasks are done already", name, len(done), len(inputs.checked))
    if not left:
        return done
    model = load_biencoder(source, device=inputs.device.name)
    cache = EmbeddingCache(
        results.folder / "embeddings",
        model=f"{source.fingerprint};{inputs.device.name};{precision}",
        max_bytes=int(options.cache_gib * 2**30),
    )
    encoder = LocalEncoder(
        model,
        meta=model_meta(source, model, precision=precision),
        cache=cache,
        precision=precision,
        batch_size=options.batch_size,
    )
    with tf32_products(precision):
        for at, one in enumerate(left, start=1):
            logger.info("%s: %s (%d of %d)", name, one.data.name, at, len(left))
            done[one.data.name] = results.run(encoder, one.data, fingerprint=one.fingerprint)
            logger.info("%s: %s took %.1f s", name, one.data.name, done[one.data.name].seconds)
    logger.info("%s: %d embeddings computed, %d from the cache", name, cache.computed, cache.reused)
    return done


def _metrics(inputs: MTEBInputs, done: dict[str, dict[str, Done]]) -> dict[str, Any]:
    tasks = [
        task_entry(one, {model: results[one.data.name] for model, results in done.items()}, inputs.reference)
        for one in inputs.checked
    ]
    benchmarks = []
    for coverage in inputs.coverage:
        is_whole = not coverage.missing
        benchmarks.append({**asdict(coverage), "says": str(coverage), "is_whole": is_whole})
    return {
        "mteb": _mteb_version(),
        "precision": asdict(inputs.precision),
        "device": asdict(inputs.device),
        "models": {name: source.location for name, source in inputs.models.items()},
        "tasks": tasks,
        "benchmarks": benchmarks,
        "mean": _means(tasks, list(done)),
    }


def _means(tasks: Sequence[dict[str, Any]], models: Sequence[str]) -> dict[str, Any]:
    """Over all tasks, and over the means of each type of task."""
    table = pd.DataFrame({task["task"]: task["scores"] for task in tasks}).T
    types = [task["type"] for task in tasks]
    return {
        model: {
            "over_tasks": float(table[model].mean()),
            "over_types": float(table[model].groupby(types).mean().mean()),
            "tasks": len(tasks),
        }
        for model in models
    }


def _write_scores(path: Path, inputs: MTEBInputs, done: dict[str, dict[str, Done]]) -> None:
    rows = [
        {
            "model": model,
            "model_revision": bare_meta(inputs.models[model], precision=inputs.precision.name).revision,
            "task": one.data.name,
            "split": split,
            "subset": subset,
            "main_score": score,
            "main_score_metric": one.data.task.metadata.main_score,
            "dataset_revision": results[one.data.name].result.dataset_revision,
            "mteb_version": results[one.data.name].result.mteb_version,
            "data": _data_words(one),
        }
        for model, results in done.items()
        for one in inputs.checked
        for (split, subset), score in part_scores(one.data, results[one.data.name]).items()
    ]
    with whole_file(path) as beside:
        pd.DataFrame(rows).to_csv(beside, index=False)


def _data_words(one: Checked) -> str:
    return "own data" if one.verdict is None else str(one.verdict)


def _mteb_version() -> str:
    return importlib.metadata.version("mteb")
