"""Models and runs beside each other on the same rows, with paired differences corrected over the sets of rows."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from embedtrain.evaluation.comparing import Estimate, compare_models
from embedtrain.evaluation.holdout import DEV_SETS, DevSet
from embedtrain.evaluation.resampling import Floats
from embedtrain.files import write_parquet
from embedtrain.models import ModelSource
from embedtrain.pipelines.compare.evaluations import are_evaluations, compare_evaluations, read_evaluations
from embedtrain.pipelines.compare.options import CompareOptions
from embedtrain.pipelines.compare.reading import Compared, RowSet, collect_compared
from embedtrain.pipelines.evaluate.judging import (
    comparison_verdict,
    differences_table,
    interval_words,
    main_scores,
    resampling_warnings,
    short_names,
)
from embedtrain.pipelines.evaluate.task_judging import tasks_table
from embedtrain.pipelines.evaluate.workspace import EvaluateWorkspace, Evaluation, open_workspace
from embedtrain.pipelines.wording import aligned, points

logger = logging.getLogger(__name__)


def check_comparison(options: CompareOptions) -> None:
    """Find out what is wrong with options, files, folders and model names; no model is loaded.

    Raises:
        UserError: With every problem.
    """
    if are_evaluations(options):
        read_evaluations(options)
    else:
        collect_compared(options)


def compare(options: CompareOptions) -> Evaluation:
    """Measure models on the same rows and test their differences.

    A run's own predictions for its test set are taken as they are kept, where the set is the same; any other model is
    loaded and predicts. Folders of evaluations are compared by what they keep: see ``compare_evaluations``.

    Returns:
        ``metrics`` holds the scores of each model on each set by the metric that suits its kind, with 95 % intervals;
        the paired differences of all models with Holm's correction over the sets; warnings and a verdict.

    Raises:
        UserError: With every mistake in options, files and model names, before any model is loaded.
    """
    if are_evaluations(options):
        return compare_evaluations(options)
    compared = collect_compared(options)
    drawing = {"samples": options.bootstrap_samples, "seed": options.seed}
    with open_workspace(options, compared.evaluated) as work:
        measures = {name: DEV_SETS[one.kind](one.table) for name, one in compared.sets.items()}
        found: dict[str, dict[str, Any]] = {}
        estimates: dict[str, dict[str, Estimate]] = {}
        for source in compared.evaluated.models:
            found[source.name], estimates[source.name] = {}, {}
            for name, measure in measures.items():
                predictions = _predictions(work, compared, source, name, measure)
                resampled = measure.resampled(predictions, **drawing)
                estimates[source.name][name] = Estimate(measure.scores(predictions)[measure.metric], resampled)
                found[source.name][name] = measure.summary(predictions, **drawing)
        differences = compare_models(estimates)
        labels = list(dict.fromkeys(measure.label for measure in measures.values()))
        metrics: dict[str, Any] = {
            "task": "compare",
            "metric": {"name": "main", "label": labels[0] if len(labels) == 1 else "main score"},
            "data": {name: _facts(compared.sets[name], measure) for name, measure in measures.items()},
            "models": found,
            "main": main_scores(estimates),
            "differences": [one.as_dict() for one in differences],
            "verdict": comparison_verdict(differences, label=labels[0] if len(labels) == 1 else "the main score"),
            "leakage": [one.as_dict() for one in compared.leaks],
            "warnings": [
                *map(str, compared.leaks),
                *resampling_warnings(differences, samples=options.bootstrap_samples),
            ],
        }
        return work.finish(metrics, _score_rows(metrics))


def comparison_table(metrics: dict[str, Any]) -> str:
    """The results as tables for a terminal, scores x 100 with 95 % intervals."""
    if "overall" in metrics:
        return tasks_table(metrics)
    models, sets = short_names(metrics["models"]), short_names(metrics["data"])
    titles = [f"{sets[name]}: {facts['rows']:,} {facts['kind']}, {facts['label']}" for name, facts in _sets(metrics)]
    header = ["x 100"]
    for name, _ in _sets(metrics):
        header += [sets[name], "95 % interval"]
    rows = [header]
    for model, by_set in metrics["models"].items():
        row = [models[model]]
        for name, facts in _sets(metrics):
            row += [points(by_set[name][facts["metric"]]), interval_words(by_set[name]["ci95"])]
        rows.append(row)
    compared = differences_table(metrics)
    return "\n\n".join(["\n".join([*titles, "", *aligned(rows)]), *([compared] if compared else [])])


def _predictions(
    work: EvaluateWorkspace, compared: Compared, source: ModelSource, name: str, measure: DevSet
) -> Floats:
    fingerprint = compared.sets[name].fingerprint
    kept = compared.kept.get((source.name, fingerprint))
    if kept is not None:
        logger.info("%s: what the run kept of its test set is taken", source.name)
        return kept

    def predict(folder: Path) -> None:
        with work.loaded(source) as model:
            write_parquet(folder / "predictions.parquet", pd.DataFrame({"prediction": measure.predict(model)}))

    used = {"model": source.fingerprint, "data": fingerprint}
    folder = work.stage(["compare", source.name, name], inputs=used, work=predict)
    return pd.read_parquet(folder / "predictions.parquet")["prediction"].to_numpy(dtype=np.float64)


def _facts(one: RowSet, measure: DevSet) -> dict[str, Any]:
    return {"rows": len(one.table), "kind": one.kind.name, "metric": measure.metric, "label": measure.label}


def _sets(metrics: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return list(metrics["data"].items())


def _score_rows(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for model, by_set in metrics["models"].items():
        for name, facts in _sets(metrics):
            low, high = by_set[name]["ci95"]
            found = {"model": model, "data": name, "metric": facts["metric"], "rows": facts["rows"]}
            rows.append({**found, "score": by_set[name][facts["metric"]], "low": low, "high": high})
    return rows
