"""What the page over many runs shows: each run's facts in a row, and scores on the same test data beside each other."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from embedtrain.report import plots, wording
from embedtrain.report.kinds import command_of, model_name
from embedtrain.report.reading import RunFiles, bounds, mapping, number

# Whose colour and mark a run has in the plots, by its command.
_ROLES = {"augsbert": "augmented", "train": "gold_only", "tsdae": "simcse", "adapt": "teacher"}
_OTHER_ROLE = "zero_shot"
_DATA = ("data", "gold", "sentences", "unlabeled", "pairs")


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """One run on the page.

    Attributes:
        folder: Of the run.
        command: What made it, or None.
        base: What it started from, or the models that it measured.
        data: Names of the files that it read.
        test: Name of the test file, or of the rows measured on.
        test_hash: The same for the same test rows in whatever file; None where that is not known.
        metric: What the score is, for people.
        split: What it is a score on.
        score: The main score, a fraction.
        ci95: Its interval.
        winner: The model that was kept.
        seconds: Of computing.
        reason: Why it is no row of the table; empty for a run that is whole.
    """

    folder: Path
    command: str | None = None
    base: str = ""
    data: str = ""
    test: str = ""
    test_hash: str | None = None
    metric: str = ""
    split: str = ""
    score: float | None = None
    ci95: tuple[float, float] | None = None
    winner: str = ""
    seconds: float | None = None
    reason: str = ""

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.resolve().name


def read_run(folder: Path, *, data_hash: str | None) -> RunRow:
    """What a run folder says of itself; a broken or unfinished one gives the reason.

    Args:
        folder: Of the run.
        data_hash: Of its test set, see :class:`RunRow`.
    """
    if not (folder / "manifest.json").is_file():
        return RunRow(folder=folder, reason="no run: manifest.json is not in this folder")
    files = RunFiles(folder)
    manifest, config = files.json("manifest.json"), files.yaml("config.yaml")
    if files.missing:
        return RunRow(folder=folder, reason=" ".join(files.missing))
    stages = mapping(manifest.get("stages"))
    if not (folder / "metrics.json").is_file():
        done = ", ".join(str(name) for name in stages) or "none"
        command = command_of(config, {})
        if command is None and not stages:
            return RunRow(folder=folder, reason="no stage is done, and there is no metrics.json")
        return RunRow(folder=folder, command=command, reason=f"not finished; stages done: {done}")
    metrics = files.json("metrics.json")
    command = command_of(config, metrics)
    if files.missing or command is None:
        reason = " ".join(files.missing) or "metrics.json holds nothing that is known"
        return RunRow(folder=folder, command=command, reason=reason)
    seconds = [number(mapping(stage).get("seconds")) for stage in stages.values()]
    shared: dict[str, Any] = {
        "folder": folder,
        "command": command,
        "data": _names(config, _DATA),
        "seconds": sum(found for found in seconds if found is not None),
    }
    if "main" in metrics:
        return RunRow(**shared, **_measured(metrics))
    models = {role: mapping(model).get("name") for role, model in mapping(manifest.get("models")).items()}
    used = [models["base"]] if models.get("base") else [name for name in models.values() if name]
    base = ", ".join(_file_name(name) for name in used)
    return RunRow(
        **shared, base=base, test=_names(config, ("test",)), test_hash=data_hash, **_trained(command, metrics)
    )


def overview(rows: Sequence[RunRow], start: Path) -> dict[str, Any]:
    """The table, the plots and the runs that are left out.

    Args:
        rows: The runs.
        start: Folder of the page, from which links are counted.
    """
    whole = [row for row in rows if not row.reason]
    shown = [
        {"number": number_, "row": row, "link": _link(row, start), "mark": _ROLES.get(row.command or "", _OTHER_ROLE)}
        for number_, row in enumerate(whole, start=1)
    ]
    return {
        "rows": shown,
        "groups": _groups(shown),
        "left_out": [row for row in rows if row.reason],
    }


def _groups(shown: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    by_test: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for entry in shown:
        row: RunRow = entry["row"]
        if row.test_hash is not None and row.score is not None and row.split == "test":
            by_test.setdefault((row.test_hash, row.metric), []).append(entry)
    groups: list[dict[str, Any]] = []
    for (test_hash, metric), members in by_test.items():
        ordered = sorted(members, key=lambda entry: -entry["row"].score)
        dots: list[plots.Dot] = [
            (entry["mark"], f"run {entry['number']}", entry["row"].score, entry["row"].ci95) for entry in ordered
        ]
        axis = wording.capital(wording.printable(metric, 60))
        groups.append(
            {
                "names": list(dict.fromkeys(entry["row"].test for entry in members)),
                "hash": test_hash[:12],
                "metric": metric,
                "members": ordered,
                "plot": plots.model_intervals(dots, axis=f"{axis} on test", name=f"test-{len(groups) + 1}"),
            }
        )
    return groups


def _trained(command: str, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Score and name of the model that a run kept."""
    models, winner = mapping(metrics.get("models")), str(metrics.get("winner") or "trained")
    splits = mapping(models.get(winner))
    measured_by = mapping(metrics.get("metrics"))
    found: dict[str, Any] = {"winner": model_name(command, winner) if models else ""}
    for split in ("test", "dev"):
        figures, told = mapping(splits.get(split)), mapping(measured_by.get(split))
        score = number(figures.get(str(told.get("name", "spearman"))))
        if score is not None:
            label = str(told.get("label", "Spearman"))
            return found | {"score": score, "ci95": bounds(figures.get("ci95")), "metric": label, "split": split}
    return found


def _measured(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Of an evaluation the score, where it is one model's on one set of rows."""
    main = mapping(metrics.get("main"))
    sets = list(mapping(metrics.get("data")))
    label = str(mapping(metrics.get("metric")).get("label", "score"))
    found: dict[str, Any] = {"base": ", ".join(_file_name(model) for model in main), "metric": label}
    found["test"] = ", ".join(_file_name(name) for name in sets[:3]) + (
        f" and {len(sets) - 3} more" if sets[3:] else ""
    )
    if len(main) == len(sets) == 1:
        only = mapping(mapping(next(iter(main.values()))).get(sets[0]))
        found |= {"score": number(only.get("score")), "ci95": bounds(only.get("ci95")), "split": "its data"}
    return found


def _names(config: Mapping[str, Any], keys: Sequence[str]) -> str:
    values = [value for key in keys for value in _as_list(config.get(key))]
    return ", ".join(dict.fromkeys(_file_name(value) for value in values if isinstance(value, str)))


def _as_list(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _file_name(value: object) -> str:
    path = Path(str(value))
    # A run keeps its model in a folder of that name, which tells nothing.
    path = path.parent if path.name == "model" else path
    return path.name


def _link(row: RunRow, start: Path) -> str | None:
    page = row.folder / "report.html"
    if not page.is_file():
        return None
    try:
        return quote(Path(os.path.relpath(page.resolve(), start.resolve())).as_posix())
    except ValueError:  # on another drive of Windows
        return page.resolve().as_uri()
