"""``embedtrain evaluate mteb``: tasks on local files, results in mteb's own files, nothing done twice."""

import importlib.metadata
import logging
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from embedtrain.evaluation.kept_items import KeptScore, write_index
from embedtrain.evaluation.mteb.checking import Checked
from embedtrain.evaluation.mteb.embedding_cache import EmbeddingCache
from embedtrain.evaluation.mteb.encoder import LocalEncoder, bare_meta, model_meta
from embedtrain.evaluation.mteb.running import Done, Results
from embedtrain.evaluation.mteb.scorable import refuse_data
from embedtrain.models import ModelSource, load_biencoder
from embedtrain.models.hardware import tf32_products
from embedtrain.models.sharing import share_model
from embedtrain.pipelines.evaluate.mteb_inputs import MTEBInputs, collect_mteb_inputs
from embedtrain.pipelines.evaluate.mteb_options import MTEBOptions
from embedtrain.pipelines.evaluate.mteb_scores import mean_verdict, part_scores, reference_warnings, task_entry
from embedtrain.pipelines.evaluate.task_judging import Judged
from embedtrain.pipelines.evaluate.workspace import Evaluation, write_figures
from embedtrain.pipelines.run import Run
from embedtrain.report import write_tasks_report

logger = logging.getLogger(__name__)


def evaluate_mteb(options: MTEBOptions) -> Evaluation:
    """Run every task for every model, as far as that is not done yet.

    Writes, in ``options.output``: ``results/`` (mteb's own files; ``mteb.ResultCache(folder)`` loads them),
    ``metrics.json``, ``scores.csv`` (a row for each model, task, split and subset), ``differences.csv``,
    ``report.html``, ``items/`` with ``items.json`` (what scores are made of, for their intervals and for ``compare``),
    ``embeddings/`` (the cache), and what each result and verdict was made of.

    Raises:
        UserError: With every mistake in options, files and model names, before any model is loaded.
    """
    inputs = collect_mteb_inputs(options)
    with Run(options.output, config=options.as_dict()) as run:
        models = {name: asdict(source) for name, source in inputs.models.items()}
        run.note(models=models, mteb=_mteb_version(), seed=options.seed)
        run.note_choices(device=inputs.device, precision=inputs.precision)
        results = Results(run.folder)
        done = {name: _run_model(name, source, inputs, results, options) for name, source in inputs.models.items()}
        kept = [
            (_kept_score(model, one, results[one.data.name]), results[one.data.name].items_file)
            for model, results in done.items()
            for one in inputs.checked
        ]
        write_index(run.folder, kept)
        judged = Judged.of((score for score, _ in kept), samples=options.bootstrap_samples, seed=options.seed)
        metrics = _metrics(inputs, done) | judged.metrics(samples=options.bootstrap_samples)
        metrics["leakage"] = [one.as_dict() for one in inputs.leaks]
        said = [*map(str, inputs.leaks), *reference_warnings(inputs.reference, metrics["tasks"])]
        metrics["warnings"] = [*said, *metrics["warnings"]]
        metrics["verdict"] = metrics["verdict"] or mean_verdict(metrics)
        write_figures(run.folder, metrics, _score_rows(inputs, done, judged))
        write_tasks_report(run.folder)
    return Evaluation(metrics, run.folder)


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
    device = inputs.device.name
    load = partial(_load_encoder, source, options, device=device, precision=precision)
    encoder = share_model(load, device=device, method="compute")
    with tf32_products(precision):
        for at, one in enumerate(left, start=1):
            logger.info("%s: %s (%d of %d)", name, one.data.name, at, len(left))
            done[one.data.name] = _run_task(results, encoder, one)
            logger.info("%s: %s took %.1f s", name, one.data.name, done[one.data.name].seconds)
    logger.info("%s: %d embeddings computed, %d from the cache", name, encoder.cache.computed, encoder.cache.reused)
    return done


def _run_task(results: Results, encoder: LocalEncoder, one: Checked) -> Done:
    try:
        return results.run(encoder, one.data, fingerprint=one.fingerprint)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        # With the official data this is no mistake of the user's.
        if one.verdict is not None and one.verdict.is_official:
            raise
        logger.debug("%s", one.data.name, exc_info=True)
        raise refuse_data(one.data, error) from error


def _load_encoder(source: ModelSource, options: MTEBOptions, *, device: str, precision: str) -> LocalEncoder:
    model = load_biencoder(source, device=device)
    cache = EmbeddingCache(
        Path(options.output) / "embeddings",
        model=f"{source.fingerprint};{device};{precision}",
        max_bytes=int(options.cache_gib * 2**30),
    )
    meta = model_meta(source, model, precision=precision)
    return LocalEncoder(model, meta=meta, cache=cache, precision=precision, batch_size=options.batch_size)


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
        "task": "mteb",
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


def _kept_score(model: str, one: Checked, done: Done) -> KeptScore:
    metadata = one.data.task.metadata
    return KeptScore(model, one.data.name, str(metadata.type), str(metadata.main_score), done.items)


def _score_rows(inputs: MTEBInputs, done: dict[str, dict[str, Done]], judged: Judged) -> list[dict[str, Any]]:
    rows = []
    for model, results in done.items():
        revision = bare_meta(inputs.models[model], precision=inputs.precision.name).revision
        for one in inputs.checked:
            of_task = results[one.data.name]
            for (split, subset), score in part_scores(one.data, of_task).items():
                estimate = judged.parts[model][one.data.name].get((split, subset))
                interval = None if estimate is None else estimate.interval()
                rows.append(
                    {
                        "model": model,
                        "model_revision": revision,
                        "task": one.data.name,
                        "split": split,
                        "subset": subset,
                        "main_score": score,
                        "low": None if interval is None else interval.low,
                        "high": None if interval is None else interval.high,
                        "main_score_metric": one.data.task.metadata.main_score,
                        "dataset_revision": of_task.result.dataset_revision,
                        "mteb_version": of_task.result.mteb_version,
                        "data": _data_words(one),
                    }
                )
    return rows


def _data_words(one: Checked) -> str:
    return "own data" if one.verdict is None else str(one.verdict)


def _mteb_version() -> str:
    return importlib.metadata.version("mteb")
