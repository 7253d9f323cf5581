"""Scores of MTEB's tasks as plain values, and as a table for a terminal."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from embedtrain.errors import UserError
from embedtrain.evaluation.mteb.checking import Checked
from embedtrain.evaluation.mteb.running import Done
from embedtrain.evaluation.mteb.task_data import LocalData, Part
from embedtrain.pipelines.evaluate.judging import differences_table, interval_words, short_names
from embedtrain.pipelines.evaluate.task_judging import left_out_words, score_cells
from embedtrain.pipelines.wording import aligned, points

_SHOWN = 5


def part_scores(data: LocalData, done: Done) -> dict[Part, float]:
    """The main score of each split and subset."""
    found = {
        (split, str(entry["hf_subset"])): float(entry["main_score"])
        for split, entries in done.result.scores.items()
        for entry in entries
    }
    for (split, subset), score in found.items():
        if math.isnan(score):
            raise UserError(
                f"task {data.name}, {subset} {split}: mteb gives no number as {data.task.metadata.main_score}; "
                f"does the model give the same embedding to every text? Its result is {done.file}"
            )
    return {part: found[part] for part in data.parts}


def task_entry(one: Checked, done: Mapping[str, Done], reference: pd.DataFrame | None) -> dict[str, Any]:
    """What is known of a task: its data, and each model's main score, the mean over splits and subsets.

    Args:
        one: The task.
        done: Its result for each model.
        reference: Published scores, or None.
    """
    parts = {model: part_scores(one.data, result) for model, result in done.items()}
    published = {} if reference is None else {model: _published(reference, model, one.data) for model in done}
    metadata = one.data.task.metadata
    return {
        "task": one.data.name,
        "type": str(metadata.type),
        "metric": str(metadata.main_score),
        "data": "own data" if one.verdict is None else str(one.verdict),
        "is_official": one.verdict is not None and one.verdict.is_official,
        "differences": [] if one.verdict is None else list(one.verdict.differences),
        "coverage": one.data.coverage,
        "origin": one.data.folder.origin,
        "scores": {model: sum(scores.values()) / len(scores) for model, scores in parts.items()},
        "parts": {
            model: {f"{subset}/{split}": score for (split, subset), score in scores.items()}
            for model, scores in parts.items()
        },
        "published": {model: score for model, score in published.items() if score is not None},
        "seconds": {model: result.seconds for model, result in done.items()},
        "files": {model: str(result.file) for model, result in done.items()},
    }


def _published(reference: pd.DataFrame, model: str, data: LocalData) -> float | None:
    """The published mean over the same splits and subsets; None where one of them is not published."""
    # A name without its organisation is the same model's.
    names = (model, model.rpartition("/")[2])
    rows = reference[reference["model"].isin(names) & (reference["task"] == data.name)]
    places = zip(rows["split"], rows["subset"], strict=True)
    scores: dict[Part, float] = dict(zip(places, rows["main_score"].to_numpy(dtype=float).tolist(), strict=True))
    if any(part not in scores for part in data.parts):
        return None
    return sum(scores[part] for part in data.parts) / len(data.parts)


def reference_warnings(reference: pd.DataFrame | None, tasks: Sequence[Mapping[str, Any]]) -> list[str]:
    """A word where published scores were given and none of them belongs to what was measured."""
    if reference is None or any(task["published"] for task in tasks):
        return []
    measured = ", ".join(dict.fromkeys(model for task in tasks for model in task["scores"]))
    named = list(dict.fromkeys(map(str, reference["model"])))
    more = f" and {len(named) - _SHOWN} more" if len(named) > _SHOWN else ""
    return [
        f"--reference: none of its {len(reference)} rows is of the models, tasks, splits and subsets measured here. It "
        f"names the models {', '.join(named[:_SHOWN])}{more}; measured were {measured}."
    ]


def mteb_table(metrics: Mapping[str, Any]) -> str:
    """Tasks and scores x 100 in lines, then what there is to say about data, coverage and means."""
    models = list(metrics["models"])
    called = short_names(models)
    tasks = metrics["tasks"]
    has_published = any(task["published"] for task in tasks)
    header = ["task", "type", "metric", "data"]
    for model in models:
        header += [called[model], "95 % interval", *(["published"] if has_published else [])]
    rows = [header]
    for task in tasks:
        row = [task["task"], task["type"], task["metric"], _data_word(task)]
        for model in models:
            row += score_cells(metrics["main"][model][task["task"]])
            if has_published:
                row.append(points(task["published"][model]) if model in task["published"] else "")
        rows.append(row)
    lines = aligned(rows)
    notes = [f"{task['task']}: {task['data']}" for task in tasks if task["differences"] or _is_unknown(task)]
    notes += [f"{task['task']}: {task['coverage']}" for task in tasks if task["coverage"]]
    notes += [f"{task['task']}: read from {task['origin']}" for task in tasks if task["origin"]]
    notes += _mean_notes(metrics, called)
    notes += [left_out_words(metrics)] if metrics["left_out"] else []
    compared = differences_table(metrics)
    parts = ["\n".join([*lines, *(["", *notes] if notes else [])]), *([compared] if compared else [])]
    return "\n\n".join(parts)


def mean_verdict(metrics: Mapping[str, Any]) -> str:
    """What each model scores on average, a sentence each, for where there is nothing to compare."""
    tasks, called = metrics["overall"]["tasks"], short_names(metrics["models"])
    on = f"on average over {len(tasks)} tasks" if len(tasks) > 1 else f"on {tasks[0]}"
    return " ".join(
        f"{called[model]} scores {points(entry['score'])} {on}"
        + (f", 95 % interval {points(entry['ci95'][0])} to {points(entry['ci95'][1])}." if entry["ci95"] else ".")
        for model, entry in metrics["overall"]["models"].items()
    )


def _data_word(task: Mapping[str, Any]) -> str:
    if task["is_official"] or task["data"] == "own data":
        return str(task["data"])
    return "unknown" if _is_unknown(task) else "differs"


def _is_unknown(task: Mapping[str, Any]) -> bool:
    return str(task["data"]).startswith("unknown")


def _mean_notes(metrics: Mapping[str, Any], called: Mapping[str, str]) -> list[str]:
    notes = [benchmark["says"] for benchmark in metrics["benchmarks"]]
    tasks = metrics["tasks"]
    if len(tasks) < 2:
        return notes
    partly = [benchmark["benchmark"] for benchmark in metrics["benchmarks"] if not benchmark["is_whole"]]
    of_what = f" of {len(tasks)} tasks"
    if partly:
        of_what += f", which is no score of {' or '.join(partly)}"
    if any(not task["is_official"] for task in tasks):
        of_what += ", not all of them on official data"
    means = []
    for model, mean in metrics["mean"].items():
        interval = metrics["overall"]["models"][model]["ci95"]
        between = f" ({interval_words(interval)})" if interval else ""
        means.append(f"{called[model]} {points(mean['over_tasks'])}{between}")
    return [*notes, f"mean{of_what}: {', '.join(means)}"]
