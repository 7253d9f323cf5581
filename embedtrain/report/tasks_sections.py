"""What the page on scores over tasks shows, section by section: of MTEB, and of evaluations beside each other."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from embedtrain.report.evaluate_sections import LEVEL, ROLES, letters_of
from embedtrain.report.reading import RunFiles, bounds, entries, mapping, number
from embedtrain.report.sections import Column, Section, heading
from embedtrain.report.strips import Dot, Scale, axis, strip

# How strongly the cell is tinted that is farthest from its row's mean, per cent.
_STRONGEST = 42


def results(run: Path) -> Section:
    """The verdict, the models with their means, and every task with its scores and intervals."""
    files = RunFiles(run)
    metrics = files.json("metrics.json")
    letters, roles = letters_of(metrics), _roles(metrics)
    main, overall = mapping(metrics.get("main")), mapping(metrics.get("overall"))
    means = mapping(overall.get("models"))
    models = [
        {
            "mark": roles[model],
            "name": letters[model],
            "what": model,
            "chosen": False,
            "main": mapping(means.get(model)),
        }
        for model in main
    ]
    rows = [_task_row(metrics, task, letters, roles) for task in mapping(metrics.get("data"))]
    dots = [dot for row in rows for dot in row["dots"] if dot is not None]
    scale = Scale.of(dots) if dots else None
    for row in rows:
        row["strip"] = strip(row["dots"], scale, label="Scores") if scale and any(row["dots"]) else None
    shared = overall.get("tasks")
    number_shared = len(shared) if isinstance(shared, list) else 0
    kinds = "shared tasks" if len(main) > 1 else "tasks"
    title = f"Mean of {number_shared} {kinds}" if number_shared != 1 else "The one shared task"
    shown = {
        **heading(metrics),
        "models": models,
        "groups": [(title, [Column("Score", "main", "score", "ci95")])] if number_shared else [],
        "notes": [entry.get("says") for entry in entries(metrics.get("benchmarks"))],
        "types": _grouped(rows),
        "axis": axis(scale, label="the scores") if scale else None,
        "left_out": [one for one in metrics.get("left_out") or [] if isinstance(one, str)],
    }
    return Section(files.missing, shown)


def types(run: Path) -> Section:
    """A heat map: the mean of each model over the shared tasks of each type."""
    metrics = RunFiles(run).json("metrics.json")
    letters = letters_of(metrics)
    rows: list[dict[str, Any]] = []
    for name, entry in mapping(metrics.get("types")).items():
        found = mapping(mapping(entry).get("models"))
        scores = [number(found.get(model)) for model in letters]
        known = [score for score in scores if score is not None]
        if len(known) < 2 or len(known) < len(scores):
            continue
        mean = sum(known) / len(known)
        tasks = mapping(entry).get("tasks")
        rows.append(
            {
                "name": name,
                "tasks": len(tasks) if isinstance(tasks, list) else 0,
                "cells": [{"score": score, "apart": score - mean} for score in known],
            }
        )
    farthest = max((abs(cell["apart"]) for row in rows for cell in row["cells"]), default=0.0)
    for row in rows:
        for cell in row["cells"]:
            cell["tint"] = round(_STRONGEST * abs(cell["apart"]) / farthest) if farthest else 0
            cell["side"] = "above" if cell["apart"] >= 0 else "below"
    return Section([], {"rows": rows, "models": list(letters.values()), "farthest": farthest})


def differences(run: Path) -> Section:
    """Every paired difference, for each two models by itself, and the difference of their means."""
    metrics = RunFiles(run).json("metrics.json")
    letters = letters_of(metrics)
    pairs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for entry in entries(metrics.get("differences")):
        row = _difference_row(entry, letters, name=entry.get("data"))
        if row is not None:
            pairs.setdefault(row["pair"], []).append(row)
    overall = mapping(metrics.get("overall"))
    shared = overall.get("tasks")
    if isinstance(shared, list) and len(shared) > 1:
        for entry in entries(overall.get("differences")):
            row = _difference_row(entry, letters, name=f"mean of {len(shared)} shared tasks")
            if row is not None and row["pair"] in pairs:
                pairs[row["pair"]].append({**row, "is_mean": True})
    dots = [row["dot"] for rows in pairs.values() for row in rows]
    scale = Scale.of(dots, around_zero=True) if dots else None
    groups = [
        {
            "name": f"{first} minus {second}",
            "rows": [
                {**row, "strip": strip([row["dot"]], scale, label="Difference", differences=True)}
                for row in rows
                if scale is not None
            ],
        }
        for (first, second), rows in pairs.items()
    ]
    drawn = axis(scale, label="the differences", differences=True) if scale else None
    return Section([], {"groups": groups, "axis": drawn})


def _roles(metrics: Mapping[str, Any]) -> dict[str, str]:
    return {model: ROLES[place % len(ROLES)] for place, model in enumerate(mapping(metrics.get("main")))}


def _task_row(
    metrics: Mapping[str, Any], task: str, letters: Mapping[str, str], roles: Mapping[str, str]
) -> dict[str, Any]:
    facts = mapping(mapping(metrics.get("data")).get(task))
    checked = next((one for one in entries(metrics.get("tasks")) if one.get("task") == task), {})
    scores: list[dict[str, Any]] = []
    dots: list[Dot | None] = []
    for model, by_task in mapping(metrics.get("main")).items():
        main = mapping(mapping(by_task).get(task))
        score = number(main.get("score"))
        scores.append({"letter": letters[model], "main": main if score is not None else None})
        dots.append(None if score is None else Dot(roles[model], letters[model], score, bounds(main.get("ci95"))))
    differs = bool(checked.get("differences"))
    data = "" if differs else checked.get("data")
    said = [facts.get("metric"), facts.get("items"), data, checked.get("coverage")]
    return {
        "name": task,
        "type": str(facts.get("type", "other")),
        "said": [one for one in said if one],
        "differs": checked.get("data") if differs else None,
        "scores": scores,
        "dots": dots,
    }


def _grouped(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"name": type_, "rows": [row for row in rows if row["type"] == type_]}
        for type_ in dict.fromkeys(row["type"] for row in rows)
    ]


def _difference_row(entry: Mapping[str, Any], letters: Mapping[str, str], *, name: object) -> dict[str, Any] | None:
    gain = number(entry.get("difference"))
    pair = tuple(letters.get(str(entry.get(side)), "") for side in ("first", "second"))
    if gain is None or "" in pair:
        return None
    p = number(entry.get("p_adjusted"))
    says = "" if p is None else "open" if p > LEVEL else "better" if gain > 0 else "worse"
    dot = Dot("augmented", f"{pair[0]} minus {pair[1]}", gain, bounds(entry.get("ci95")))
    return {**entry, "name": name, "pair": pair, "says": says, "p": p, "dot": dot, "is_mean": False}
