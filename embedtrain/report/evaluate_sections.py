"""What the page on an evaluation or a comparison shows, section by section."""

from pathlib import Path
from typing import Any

from embedtrain.report import plots, wording
from embedtrain.report.reading import RunFiles, bounds, entries, mapping, number
from embedtrain.report.sections import Column, Section, heading

# Colours and marks of models, in turn.
ROLES = ("augmented", "zero_shot", "teacher", "gold_only", "simcse")
LEVEL = 0.05


def results(run: Path) -> Section:
    """The verdict, and on each set of rows every model with its interval."""
    files = RunFiles(run)
    metrics = files.json("metrics.json")
    letters = letters_of(metrics)
    sets: list[dict[str, Any]] = []
    for at, (name, facts) in enumerate(mapping(metrics.get("data")).items()):
        rows: list[dict[str, Any]] = []
        for place, (model, by_set) in enumerate(mapping(metrics.get("main")).items()):
            main = mapping(mapping(by_set).get(name))
            rows.append(
                {
                    "mark": ROLES[place % len(ROLES)],
                    "name": letters[model],
                    "what": model,
                    "chosen": False,
                    "main": main,
                }
            )
        dots: list[plots.Dot] = [
            (row["mark"], row["name"], score, bounds(row["main"].get("ci95")))
            for row in rows
            if (score := number(row["main"].get("score"))) is not None
        ]
        told = mapping(facts)
        label = wording.printable(told.get("label") or _label(metrics), 60)
        sets.append(
            {
                "name": name,
                "facts": [(key.replace("_", " "), told[key]) for key in told if key not in ("metric", "label")],
                "rows": rows,
                "groups": [
                    (
                        "Score",
                        [Column(wording.capital(label), "main", "score", "ci95")],
                    )
                ],
                "plot": plots.model_intervals(dots, axis=label, name=f"intervals-{at}") if dots else None,
            }
        )
    return Section(files.missing, {**heading(metrics), "sets": sets})


def differences(run: Path) -> Section:
    """Every paired difference between two models."""
    metrics = RunFiles(run).json("metrics.json")
    letters = letters_of(metrics)
    rows: list[dict[str, Any]] = []
    for entry in entries(metrics.get("differences")):
        gain, p = number(entry.get("difference")), number(entry.get("p_adjusted"))
        pair = [letters.get(str(entry.get(side))) for side in ("first", "second")]
        if gain is None or None in pair:
            continue
        says = "open" if p is None or p > LEVEL else "better" if gain > 0 else "worse"
        place = _place(metrics, entry)
        name = f"{pair[0]} minus {pair[1]}{f', set {place}' if place else ''}"
        rows.append({**entry, "name": name, "says": says})
    dots: list[plots.Dot] = [
        ("augmented", row["name"], float(row["difference"]), bounds(row.get("ci95"))) for row in rows
    ]
    label = _label(metrics)
    plot = plots.model_intervals(dots, axis=f"Difference of {label}", name="differences", differences=True)
    return Section([], {"rows": rows, "plot": plot if rows else None, "label": label})


def letters_of(metrics: dict[str, Any]) -> dict[str, str]:
    """A short name for each model, for plots hold no text of a user's: A, B, ... Z, A2, ..."""
    return {
        model: chr(ord("A") + place % 26) + (str(place // 26 + 1) if place >= 26 else "")
        for place, model in enumerate(mapping(metrics.get("main")))
    }


def _label(metrics: dict[str, Any]) -> str:
    return wording.printable(mapping(metrics.get("metric")).get("label", "score"), 60)


def _place(metrics: dict[str, Any], row: dict[str, Any]) -> int:
    """Number of a difference's set of rows, from 1; 0 where there is one set."""
    names = list(mapping(metrics.get("data")))
    return names.index(row["data"]) + 1 if len(names) > 1 and row.get("data") in names else 0
