"""Scores of MTEB's tasks as plain values, and as a table for a terminal."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from embedtrain.evaluation.mteb.checking import Checked
from embedtrain.evaluation.mteb.running import Done
from embedtrain.evaluation.mteb.task_data import LocalData, Part
from embedtrain.pipelines.evaluate.judging import short_names
from embedtrain.pipelines.wording import aligned, points


def part_scores(data: LocalData, done: Done) -> dict[Part, float]:
    """The main score of each split and subset."""
    found = {
        (split, str(entry["hf_subset"])): float(entry["main_score"])
        for split, entries in done.result.scores.items()
        for entry in entries
    }
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
    rows = reference[(reference["model"] == model) & (reference["task"] == data.name)]
    places = zip(rows["split"], rows["subset"], strict=True)
    scores: dict[Part, float] = dict(zip(places, rows["main_score"].to_numpy(dtype=float).tolist(), strict=True))
    if any(part not in scores for part in data.parts):
        return None
    return sum(scores[part] for part in data.parts) / len(data.parts)


def mteb_table(metrics: Mapping[str, Any]) -> str:
    """Tasks and scores x 100 in lines, then what there is to say about data, coverage and means."""
    models = list(metrics["models"])
    called = short_names(models)
    tasks = metrics["tasks"]
    has_published = any(task["published"] for task in tasks)
    header = ["task", "type", "metric", "data"]
    for model in models:
        header += [called[model], *(["published"] if has_published else [])]
    rows = [header]
    for task in tasks:
        row = [task["task"], task["type"], task["metric"], _data_word(task)]
        for model in models:
            row.append(points(task["scores"][model]))
            if has_published:
                row.append(points(task["published"][model]) if model in task["published"] else "")
        rows.append(row)
    lines = aligned(rows)
    notes = [f"{task['task']}: {task['data']}" for task in tasks if task["differences"] or _is_unknown(task)]
    notes += [f"{task['task']}: {task['coverage']}" for task in tasks if task["coverage"]]
    notes += _mean_notes(metrics, called)
    return "\n".join([*lines, *(["", *notes] if notes else [])])


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
    means = ", ".join(f"{called[model]} {points(mean['over_tasks'])}" for model, mean in metrics["mean"].items())
    return [*notes, f"mean{of_what}: {means}"]
