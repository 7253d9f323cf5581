"""What sections of more than one page show, each read from its own part of the run folder."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from embedtrain.report import plots, wording
from embedtrain.report.model_facts import ModelFacts, example_of_use
from embedtrain.report.reading import RunFiles, bounds, mapping, number

AUDIT_EXAMPLES = 25
PAIRS_SHOWN = 20
EXAMPLES_TRIED = 1000
SAMPLED_BY = {"semantic": "semantic search", "bm25": "BM25", "semantic+bm25": "both"}
CHOICES = ("device", "precision", "attention")
SPLITS = ("dev", "test")
# Further figures beside the one that decides, with the key of their interval.
METRICS = {
    "spearman": ("Spearman", "ci95"),
    "pearson": ("Pearson", "pearson_ci95"),
    "accuracy_at_1": ("Accuracy at 1", ""),
    "map_at_100": ("MAP@100", "map_at_100_ci95"),
    "mrr_at_10": ("MRR@10", "mrr_at_10_ci95"),
}
# Where a split's figures say over how many rows they are.
COUNTS = ("rows", "pairs", "queries")


@dataclass
class Section:
    """What one section shows, and sentences on what is missing from it."""

    missing: list[str]
    shown: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Column:
    """One column of a table of models: which figure of which split, and the key of its interval."""

    label: str
    split: str
    metric: str
    bounds: str


def heading(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The verdict as a headline with its reasons, and the warnings."""
    warnings = metrics.get("warnings")
    return {
        **wording.headline(str(metrics.get("verdict") or "")),
        "warnings": warnings if isinstance(warnings, list) else [],
    }


def paired_difference(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The paired difference, if it was measured, and on which side of zero its interval lies."""
    difference = mapping(metrics.get("paired_difference"))
    return {
        "difference": difference if number(difference.get("difference")) is not None else None,
        "sign": side_of_zero(difference.get("ci95")),
    }


def side_of_zero(interval: object) -> str | None:
    """Where the interval of a difference lies: ``above``, ``below`` or ``astride``; None for what is no interval."""
    ends = bounds(interval)
    return None if ends is None else "above" if ends[0] > 0 else "below" if ends[1] < 0 else "astride"


def metric_label(deciding: Mapping[str, Any]) -> str:
    """What people call the metric that decides."""
    return wording.printable(deciding.get("label", "Spearman"), 60)


def measured_models(rows: list[dict[str, Any]], metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Table and plot of models: the columns of each split, and the deciding metric on test, or on dev without one.

    Args:
        rows: The models, each with ``mark``, ``name`` and its figures by metric under each split.
        metrics: The file; its ``metrics`` are ``name`` and ``label`` of the metric that decides on each split.
    """
    measured_by = mapping(metrics.get("metrics"))
    deciding = {split: mapping(measured_by[split]) for split in SPLITS if split in measured_by}
    shown: dict[str, Any] = {
        "groups": [(wording.capital(split), _columns(split, metric, rows)) for split, metric in deciding.items()],
        "plot": None,
        "plot_split": None,
        "plot_title": None,
        "label": None,
        "pairs": {split: _rows_measured(rows, split) for split in SPLITS},
        "asks": {split: any("queries" in row[split] for row in rows) for split in SPLITS},
        "has_test": "test" in deciding,
    }
    split = "test" if "test" in deciding else "dev"
    if split in deciding:
        metric, label = deciding[split].get("name"), metric_label(deciding[split])
        title = f"{wording.capital(label)} on {split}"
        dots = [
            (row["mark"], row["name"], score, bounds(row[split].get("ci95")))
            for row in rows
            if (score := number(row[split].get(metric))) is not None
        ]
        plot = plots.model_intervals(dots, axis=title) if dots else None
        shown |= {"plot": plot, "plot_split": split, "plot_title": title, "label": label}
    return shown


def _columns(split: str, deciding: Mapping[str, Any], rows: list[dict[str, Any]]) -> list[Column]:
    """The metric that decides and those beside it, each under its label."""
    name = str(deciding.get("name"))
    beside = [
        metric
        for metric in dict.fromkeys(key for row in rows for key in row[split])
        if metric in METRICS and metric != name
    ]
    return [
        Column(wording.capital(metric_label(deciding)), split, name, "ci95"),
        *(Column(METRICS[metric][0], split, metric, METRICS[metric][1]) for metric in beside),
    ]


def _rows_measured(rows: list[dict[str, Any]], split: str) -> int | None:
    return next((row[split][key] for row in rows for key in COUNTS if row[split].get(key)), None)


def audit(run: Path) -> Section:
    """What was read, kept and dropped, with examples; for a training also which loss each table has."""
    files = RunFiles(run)
    audit = files.json("stages/read/audit.json")
    findings = []
    for finding in audit.get("findings") or []:
        examples = (finding.get("examples") or [])[:AUDIT_EXAMPLES]
        columns = list(dict.fromkeys(column for example in examples for column in example))
        findings.append({**finding, "examples": examples, "columns": columns})
    losses = mapping(RunFiles(run).json("manifest.json").get("losses"))
    shown = {
        "read": bool(audit), "tables": audit.get("tables") or {}, "findings": findings, "losses": losses,
    }  # fmt: skip
    return Section(files.missing, shown)


def loading(run: Path) -> Section:
    """Code that loads the model, with a pair of the user's own where a short one exists."""
    here = (run / "model").is_dir()
    first, second = _example_pair(run)
    location = run / "model"
    code = example_of_use(location.as_posix(), first, second, has_roles=ModelFacts.of(location).has_roles)
    missing = [] if here else ["model/ is not in this run folder, so there is nothing to load yet."]
    shown = {"code": wording.printable(code, 4000) if here else None, "adapter": (run / "adapter").is_dir()}
    return Section(missing, shown)


def environment(run: Path) -> Section:
    """Settings, models, machine, packages and seconds per stage."""
    files = RunFiles(run)
    manifest = files.json("manifest.json")
    settings = wording.flattened(files.yaml("config.yaml"))
    stages = {name: mapping(stage) for name, stage in mapping(manifest.get("stages")).items()}
    finished = [stage.get("finished") for stage in stages.values()]
    seconds = {name: stage.get("seconds") for name, stage in stages.items()}
    seconds = seconds or mapping(RunFiles(run).json("metrics.json").get("seconds"))
    shown = {
        "manifest": manifest,
        "choices": {name: mapping(manifest.get(name)) for name in CHOICES if mapping(manifest.get(name))},
        "models": {name: mapping(model) for name, model in mapping(manifest.get("models")).items()},
        "settings": settings,
        "packages": sorted(mapping(manifest.get("packages")).items()),
        "seconds": seconds,
        "total": sum(number(value) or 0.0 for value in seconds.values()),
        "finished": max((str(when) for when in finished if when), default=None) or manifest.get("finished"),
    }
    return Section(files.missing, shown)


def spread_by_score(pairs: pd.DataFrame) -> pd.DataFrame:
    """At most ``PAIRS_SHOWN`` pairs evenly spread over the ranks of their score, the lowest and the highest included.

    Args:
        pairs: Columns ``sentence1``, ``sentence2``, ``score`` and any others.
    """
    pairs = pairs.sort_values(["score", "sentence1", "sentence2"], kind="stable")
    ranks = np.linspace(0, max(len(pairs) - 1, 0), min(PAIRS_SHOWN, len(pairs))).round().astype(int)
    return pairs.iloc[np.unique(ranks)]


def _example_pair(run: Path) -> tuple[str, str]:
    for name, columns in (
        ("dev", ("sentence1", "sentence2")),
        ("dev", ("anchor", "positive")),
        ("sentences", ("text",)),
    ):
        if not (run / f"stages/read/{name}.parquet").is_file():
            continue
        texts = RunFiles(run).table(f"stages/read/{name}.parquet", columns, numeric=()).head(EXAMPLES_TRIED)
        fits = texts.map(lambda text: bool(8 <= len(wording.plain(text)) <= 60))
        found = [wording.printable(text) for row in texts[fits.all(axis=1)].to_numpy() for text in row][:2]
        if len(found) == 2:
            return found[0], found[1]
    return "A man is playing a guitar.", "Someone plays an instrument."
