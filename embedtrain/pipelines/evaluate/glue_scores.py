"""What encoders score on GLUE: estimates of each task and their average, as plain values and as a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedtrain.data.glue import TASKS, GLUETask
from embedtrain.evaluation.classification import mean_of_estimates, over_runs, score_predictions
from embedtrain.evaluation.comparing import Estimate, compare_models
from embedtrain.evaluation.items import Items
from embedtrain.evaluation.kept_items import KeptScore, PartItems
from embedtrain.pipelines.evaluate.glue_inputs import TaskRows
from embedtrain.pipelines.evaluate.glue_options import GLUEOptions
from embedtrain.pipelines.evaluate.judging import (
    comparison_verdict,
    differences_table,
    interval_words,
    main_scores,
    resampling_warnings,
    short_names,
)
from embedtrain.pipelines.wording import aligned, points

LABELS = {
    "matthews": "Matthews",
    "f1": "F1",
    "accuracy": "accuracy",
    "pearson": "Pearson",
    "spearman": "Spearman",
}


@dataclass(frozen=True)
class TaskScores:
    """One model on one task.

    Attributes:
        score: The task's score: the mean of its metrics, parts and trainings.
        metrics: Each metric, by its name (of several parts ``accuracy, matched``), the mean of the trainings.
        seeds: The score of each training.
        histories: What happened in each.
    """

    score: Estimate
    metrics: Mapping[str, Estimate]
    seeds: list[float]
    histories: list[dict[str, Any]]


def score_task(
    rows: TaskRows,
    runs: Sequence[tuple[Mapping[str, NDArray[np.float64]], dict[str, Any]]],
    *,
    samples: int,
    seed: int,
) -> TaskScores:
    """The scores of one model on one task.

    Args:
        rows: The task's rows.
        runs: For each training, what it says of each part of dev, and its history.
        samples: Number of bootstrap resamples.
        seed: Of the resampling; other models with the same seed are measured on the same resamples.
    """
    task = rows.task
    # Each task and part draws rows of its own: resamples of one say nothing about those of another.
    drawing = 100 * (seed + 1) + 10 * list(TASKS).index(task.name)
    by_run: list[dict[str, Estimate]] = []
    for predictions, _ in runs:
        found: dict[str, Estimate] = {}
        for place, (part, dev) in enumerate(rows.data.dev.items()):
            scored = score_predictions(
                predictions[part], dev["label"], metrics=task.metrics, samples=samples, seed=drawing + place
            )
            found |= {name if len(rows.data.dev) == 1 else f"{name}, {part}": one for name, one in scored.items()}
        by_run.append(found)
    of_runs = [mean_of_estimates(list(found.values())) for found in by_run]
    return TaskScores(
        over_runs(of_runs, seed=drawing),
        {name: over_runs([found[name] for found in by_run], seed=drawing) for name in by_run[0]},
        [one.value for one in of_runs],
        [history for _, history in runs],
    )


def kept_score(model: str, rows: TaskRows, said: Sequence[Mapping[str, NDArray[np.float64]]]) -> KeptScore:
    """A model's score on a task with the rows behind it, for ``embedtrain compare``.

    Args:
        model: Its name.
        rows: The task's rows.
        said: What it says of each part of dev, for each training.
    """
    task, hashes = rows.task, rows.hashes
    measure: Any = " and ".join(task.metrics)
    parts = {}
    for part, dev in rows.data.dev.items():
        by_training = {f"predicted_{number}": one[part] for number, one in enumerate(said)}
        items = Items(measure, "rows", {"gold": dev["label"].to_numpy(dtype=np.float64), **by_training})
        parts[part, "default"] = PartItems(items.score, hashes[part], items)
    return KeptScore(model, task.name, "GLUE", _label(task), parts)


def glue_metrics(
    options: GLUEOptions, tasks: Sequence[TaskRows], scores: Mapping[str, Mapping[str, TaskScores]]
) -> dict[str, Any]:
    """Everything for ``metrics.json``."""
    average = f"average over {len(tasks)} of {len(TASKS)} tasks"
    estimates = {model: {name: one.score for name, one in by_task.items()} for model, by_task in scores.items()}
    data: dict[str, dict[str, Any]] = {rows.task.name: _facts(rows) for rows in tasks}
    if len(tasks) > 1:
        data[average] = {"tasks": ", ".join(rows.task.name for rows in tasks), "label": "mean of the tasks' scores"}
        for by_task in estimates.values():
            by_task[average] = mean_of_estimates(list(by_task.values()))
    differences = compare_models(estimates)
    main = main_scores(estimates)
    return {
        "task": "glue",
        "metric": {"name": "score", "label": "score"},
        "data": data,
        "average": average if len(tasks) > 1 else None,
        "models": {model: {name: _plain(one) for name, one in by_task.items()} for model, by_task in scores.items()},
        "main": main,
        "differences": [one.as_dict() for one in differences],
        "verdict": comparison_verdict(differences, label="score") or _verdict(main, average, tasks),
        "warnings": [
            *_warnings(options, tasks),
            *resampling_warnings(differences, samples=options.bootstrap_samples),
        ],
    }


def score_rows(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each model, task and metric, the task's score and the average among them."""
    rows = []
    for model, by_set in metrics["main"].items():
        for name, main in by_set.items():
            of_metrics = metrics["models"][model].get(name, {"metrics": {}})["metrics"]
            for metric, one in {"score": main, **of_metrics}.items():
                low, high = one["ci95"]
                rows.append(
                    {"model": model, "data": name, "metric": metric, "score": one["score"], "low": low, "high": high}
                )
    return rows


def glue_table(metrics: Mapping[str, Any]) -> str:
    """The results as a table for a terminal, scores x 100 with 95 % intervals."""
    called = short_names(metrics["main"])
    rows = [["x 100", "model", "score", "95 % interval", "which is the mean of", "dev rows"]]
    for name, facts in metrics["data"].items():
        for model, by_set in metrics["main"].items():
            main, found = by_set[name], metrics["models"][model].get(name)
            is_average = found is None
            rows.append(
                [
                    name if model == next(iter(metrics["main"])) else "",
                    called[model],
                    points(main["score"]),
                    interval_words(main["ci95"]),
                    "" if is_average else _metric_words(found),
                    "" if is_average else f"{facts['dev rows']:,}",
                ]
            )
    parts = ["\n".join(aligned(rows))]
    compared = differences_table(metrics)
    return "\n\n".join([*parts, *([compared] if compared else [])])


def _metric_words(found: Mapping[str, Any]) -> str:
    words = ", ".join(f"{LABELS[name.split(',')[0]]}{_part(name)} {points(one['score'])}"
                      for name, one in found["metrics"].items())  # fmt: skip
    seeds = found["seeds"]
    return words if len(seeds) == 1 else f"{words}; {len(seeds)} seeds {points(min(seeds))} to {points(max(seeds))}"


def _part(metric: str) -> str:
    _, comma, part = metric.partition(", ")
    return f" {part}" if comma else ""


def _facts(rows: TaskRows) -> dict[str, Any]:
    task = rows.task
    return {
        "train rows": len(rows.data.train),
        "dev rows": sum(map(len, rows.data.dev.values())),
        "label": _label(task),
    }


def _label(task: GLUETask) -> str:
    return " and ".join(LABELS[name] for name in task.metrics)


def _plain(one: TaskScores) -> dict[str, Any]:
    return {
        "metrics": main_scores({"": dict(one.metrics)})[""],
        "seeds": one.seeds,
        "training": [
            {
                "best_step": history["best_step"],
                "max_steps": history["max_steps"],
                "stopped_early": history["stopped_early"],
                "seconds": history["seconds"],
            }
            for history in one.histories
        ],
    }


def _verdict(main: Mapping[str, Mapping[str, Any]], average: str, tasks: Sequence[TaskRows]) -> str:
    ((model, by_set),) = main.items()
    name = average if len(tasks) > 1 else tasks[0].task.name
    one = by_set[name]
    where = f"on {name}"
    return (
        f"The encoder of {short_names([model])[model]} scores {points(one['score'])} {where}, 95 % interval "
        f"{points(one['ci95'][0])} to {points(one['ci95'][1])}."
    )


def _warnings(options: GLUEOptions, tasks: Sequence[TaskRows]) -> list[str]:
    told = []
    notes = [rows.data.note for rows in tasks if rows.data.note]
    if notes:
        told.append(f"These are not GLUE's own dev rows, so do not compare with published scores: {'; '.join(notes)}.")
    drawn = [rows.drawn for rows in tasks if rows.drawn]
    if drawn:
        told.append(f"Some rows were drawn out of all, so do not compare with published scores: {'; '.join(drawn)}.")
    if options.choose_on == "dev":
        told.append(
            "The weights were chosen by the very rows that they are measured on, so the scores flatter a little."
        )
    return told
