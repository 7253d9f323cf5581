"""What each section of the report shows, read from its own part of the run folder."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from embedtrain.report import plots, wording
from embedtrain.report.reading import RunFiles

MODELS = {
    "zero_shot": ("Zero-shot", "the base bi-encoder, untrained"),
    "cross_encoder": ("Cross-encoder", "the teacher, trained on gold"),
    "gold_only": ("Gold only", "the bi-encoder, trained on gold"),
    "augmented": ("Augmented", "the bi-encoder, trained on gold and silver"),
}
TRAINED = (("teacher", "cross_encoder"), ("gold_only", "gold_only"), ("augmented", "augmented"))
SAMPLED_BY = {"semantic": "semantic search", "bm25": "BM25", "semantic+bm25": "both"}
SILVER_EXAMPLES = 20
AUDIT_EXAMPLES = 25


@dataclass
class Section:
    """What one section shows, and sentences on what is missing from it."""

    missing: list[str]
    shown: dict[str, Any] = field(default_factory=dict)


def _number(value: object) -> float | None:
    return float(value) if wording.is_number(value) else None


def _bounds(value: object) -> tuple[float, float] | None:
    return (value[0], value[1]) if isinstance(value, list) and wording.interval(value) else None


def results(run: Path) -> Section:
    """Verdict, warnings, the four models' correlations and the paired difference."""
    files = RunFiles(run)
    metrics = files.json("metrics.json")
    models = metrics.get("models") or {}
    rows: list[dict[str, Any]] = []
    dots = []
    for role, (name, what) in MODELS.items():
        splits = models.get(role) or {}
        if metrics and not splits:
            files.missing.append(f"metrics.json has no figures of the model {role}.")
        measured: dict[str, Any] = {split: splits.get(split) or {} for split in ("dev", "test")}
        row = {"role": role, "name": name, "what": what, "chosen": role == metrics.get("winner")}
        rows.append(row | measured)
        spearman = _number(measured["test"].get("spearman"))
        if spearman is not None:
            dots.append((role, name, spearman, _bounds(measured["test"].get("ci95"))))
    difference = metrics.get("paired_difference") or {}
    bounds = _bounds(difference.get("ci95"))
    shown = {
        **wording.headline(metrics.get("verdict") or ""),
        "warnings": metrics.get("warnings") or [],
        "rows": rows if models else [],
        "plot": plots.model_intervals(dots) if dots else None,
        "pairs": {s: next((row[s]["pairs"] for row in rows if row[s].get("pairs")), None) for s in ("dev", "test")},
        "difference": difference if _number(difference.get("difference")) is not None else None,
        "sign": None if bounds is None else "above" if bounds[0] > 0 else "below" if bounds[1] < 0 else "astride",
    }
    return Section(files.missing, shown)


def training(run: Path) -> Section:
    """Loss and dev curves of the teacher and of both students."""
    files = RunFiles(run)
    dev = {
        role: _number(((models or {}).get("dev") or {}).get("spearman"))
        for role, models in (RunFiles(run).json("metrics.json").get("models") or {}).items()
    }
    histories = {role: files.json(f"stages/{stage}/history.json") for stage, role in TRAINED}
    # The two students are to be compared with one another, so they share their dev axis.
    student_dev = [
        entry["spearman"]
        for role in ("gold_only", "augmented")
        for entry in histories[role].get("evaluations", [])
        if wording.is_number(entry.get("spearman"))
    ]
    limits = (min(student_dev), max(student_dev)) if student_dev else None
    curves = []
    for role, history in histories.items():
        if history:
            name = MODELS[role][0]
            best = [e for e in history.get("evaluations", []) if e["step"] == history.get("best_step")]
            svg = plots.training_curve(
                history,
                role=role,
                name="cross-encoder" if role == "cross_encoder" else f"student, {name.lower()}",
                zero_shot=dev.get("zero_shot"),
                dev_limits=None if role == "cross_encoder" else limits,
            )
            logged = [*history.get("steps", []), *history.get("evaluations", [])]
            last = max((entry["step"] for entry in logged), default=None)
            curves.append(
                {
                    "name": name,
                    "svg": svg,
                    "best": best[0] if best else None,
                    "last_step": last,
                    "window": plots.smoothing_window(len(history.get("steps", []))),
                    **{
                        key: history.get(key)
                        for key in ("train_pairs", "max_steps", "stopped_early", "seconds", "pairs_per_second")
                    },
                }
            )
    return Section(files.missing, {"curves": curves, "zero_shot": dev.get("zero_shot")})


def labels(run: Path) -> Section:
    """Gold beside silver scores, and the teacher against gold on dev."""
    files = RunFiles(run)
    gold = files.table("stages/read/gold.parquet", ("score",), numeric=("score",))["score"].to_numpy(float)
    silver = files.table("stages/label/scored.parquet", ("score",), numeric=("score",))["score"].to_numpy(float)
    judged = files.table(
        "stages/predict/predictions.parquet", ("model", "split", "score", "prediction"), numeric=("score", "prediction")
    )
    dev = judged[(judged["model"] == "cross_encoder") & (judged["split"] == "dev")]
    spearman = None
    if dev["score"].nunique() > 1 and dev["prediction"].nunique() > 1:
        spearman = float(spearmanr(dev["score"], dev["prediction"]).statistic)
    scatter = None
    if len(dev):
        scatter = plots.teacher_scatter(
            dev["score"].to_numpy(float), dev["prediction"].to_numpy(float), spearman=spearman
        )
    shown = {
        "histogram": plots.score_histogram(gold, silver) if len(gold) or len(silver) else None,
        "gold": {"pairs": len(gold), "mean": float(np.mean(gold)) if len(gold) else None},
        "silver": {"pairs": len(silver), "mean": float(np.mean(silver)) if len(silver) else None},
        "scatter": scatter,
        "dev_pairs": len(dev),
        "plotted": min(len(dev), plots.MAX_POINTS),
    }
    return Section(files.missing, shown)


def silver(run: Path) -> Section:
    """Silver pairs evenly spread over the ranks of their score."""
    files = RunFiles(run)
    columns = ("sentence1", "sentence2", "score", "sampled_by")
    frame = files.table("stages/label/scored.parquet", columns, numeric=("score",))
    frame = frame.sort_values(["score", "sentence1", "sentence2"], kind="stable")
    ranks = np.unique(np.linspace(0, max(len(frame) - 1, 0), min(SILVER_EXAMPLES, len(frame))).round().astype(int))
    frame["sampled_by"] = frame["sampled_by"].replace(SAMPLED_BY)
    shown = {
        "examples": frame.iloc[ranks].to_dict("records"),
        "pairs": len(frame),
        "counts": sorted(frame["sampled_by"].value_counts().items()),
    }
    return Section(files.missing, shown)


def audit(run: Path) -> Section:
    """What was read, kept and dropped, with examples."""
    files = RunFiles(run)
    audit = files.json("stages/read/audit.json")
    findings = []
    for finding in audit.get("findings") or []:
        examples = (finding.get("examples") or [])[:AUDIT_EXAMPLES]
        columns = list(dict.fromkeys(column for example in examples for column in example))
        findings.append({**finding, "examples": examples, "columns": columns})
    return Section(files.missing, {"read": bool(audit), "tables": audit.get("tables") or {}, "findings": findings})


def loading(run: Path) -> Section:
    """Code that loads the model, with a pair of the user's own where a short one exists."""
    here = (run / "model").is_dir()
    sentences = pd.DataFrame()
    if (run / "stages/read/dev.parquet").is_file():
        sentences = RunFiles(run).table("stages/read/dev.parquet", ("sentence1", "sentence2"), numeric=())
    pair = ["A man is playing a guitar.", "Someone plays an instrument."]
    fits = sentences.map(lambda text: bool(8 <= len(wording.plain(text)) <= 60))
    short = sentences[fits.all(axis=1)]
    if len(short):
        pair = [wording.printable(text) for text in short.iloc[0]]
    code = (
        "from sentence_transformers import SentenceTransformer\n\n"
        f"model = SentenceTransformer({(run / 'model').as_posix()!r})\n"
        f"embeddings = model.encode([\n    {pair[0]!r},\n    {pair[1]!r},\n])\n"
        "print(model.similarity(embeddings, embeddings))\n"
    )
    missing = [] if here else ["model/ is not in this run folder, so there is nothing to load yet."]
    return Section(missing, {"code": wording.printable(code, 4000) if here else None})


def environment(run: Path) -> Section:
    """Settings, machine, packages and seconds per stage."""
    files = RunFiles(run)
    manifest = files.json("manifest.json")
    settings = wording.flattened(files.yaml("config.yaml"))
    stages = {name: (stage or {}).get("seconds") for name, stage in (manifest.get("stages") or {}).items()}
    finished = [(stage or {}).get("finished") for stage in (manifest.get("stages") or {}).values()]
    seconds = stages or (RunFiles(run).json("metrics.json").get("seconds") or {})
    shown = {
        "manifest": manifest,
        "settings": settings,
        "packages": sorted((manifest.get("packages") or {}).items()),
        "seconds": seconds,
        "total": sum(_number(value) or 0.0 for value in seconds.values()),
        "finished": max((str(when) for when in finished if when), default=None),
    }
    return Section(files.missing, shown)
