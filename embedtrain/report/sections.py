"""What sections of more than one page show, each read from its own part of the run folder."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from embedtrain.report import wording
from embedtrain.report.reading import RunFiles, bounds, mapping, number

AUDIT_EXAMPLES = 25
PAIRS_SHOWN = 20
SAMPLED_BY = {"semantic": "semantic search", "bm25": "BM25", "semantic+bm25": "both"}
CHOICES = ("device", "precision", "attention")
# Further figures beside the one that decides, with the key of their interval.
METRICS = {
    "spearman": ("Spearman", "ci95"),
    "pearson": ("Pearson", "pearson_ci95"),
    "accuracy_at_1": ("Accuracy at 1", ""),
}


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
    interval = bounds(difference.get("ci95"))
    return {
        "difference": difference if number(difference.get("difference")) is not None else None,
        "sign": None if interval is None else "above" if interval[0] > 0 else "below" if interval[1] < 0 else "astride",
    }


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
    code = (
        "from sentence_transformers import SentenceTransformer\n\n"
        f"model = SentenceTransformer({(run / 'model').as_posix()!r})\n"
        f"embeddings = model.encode([\n    {first!r},\n    {second!r},\n])\n"
        "print(model.similarity(embeddings, embeddings))\n"
    )
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
    for columns in (("sentence1", "sentence2"), ("anchor", "positive")):
        if not (run / "stages/read/dev.parquet").is_file():
            break
        sentences = RunFiles(run).table("stages/read/dev.parquet", columns, numeric=())
        fits = sentences.map(lambda text: bool(8 <= len(wording.plain(text)) <= 60))
        short = sentences[fits.all(axis=1)]
        if len(short):
            first, second = short.iloc[0]
            return wording.printable(first), wording.printable(second)
    return "A man is playing a guitar.", "Someone plays an instrument."
