"""What the page on an Augmented SBERT run shows, section by section."""

from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from embedtrain.report import plots, score_plots, wording
from embedtrain.report.drawing import MAX_POINTS
from embedtrain.report.reading import RunFiles, bounds, entries, mapping, number
from embedtrain.report.sections import (
    METRICS,
    SAMPLED_BY,
    Column,
    Section,
    heading,
    paired_difference,
    spread_by_score,
)

MODELS = {
    "zero_shot": ("Zero-shot", "the base bi-encoder, untrained"),
    "teacher": ("Teacher", "trained on gold"),
    "gold_only": ("Gold only", "the bi-encoder, trained on gold"),
    "augmented": ("Augmented", "the bi-encoder, trained on gold and silver"),
}
# What is trained: its stage, whose colour its curve has, and its name. The third there is with silver before gold.
CURVES = {
    "teacher": ("teacher", "Teacher"),
    "gold_only": ("gold_only", "Gold only"),
    "silver_only": ("augmented", "Augmented, first on silver"),
    "augmented": ("augmented", "Augmented"),
}
HISTOGRAM_EDGES = np.linspace(0, 1, 21)


def results(run: Path) -> Section:
    """Verdict, warnings, the four models' correlations and the paired difference."""
    files = RunFiles(run)
    metrics = files.json("metrics.json")
    models = mapping(metrics.get("models"))
    teacher = mapping(metrics.get("teacher")).get("name")
    rows: list[dict[str, Any]] = []
    dots: list[plots.Dot] = []
    for model, (name, what) in MODELS.items():
        splits = mapping(models.get(model))
        if metrics and not splits:
            files.missing.append(f"metrics.json has no figures of the model {model}.")
        measured: dict[str, Any] = {split: mapping(splits.get(split)) for split in ("dev", "test")}
        what = f"{teacher}, {what}" if model == "teacher" and teacher else what
        rows.append({"mark": model, "name": name, "what": what, "chosen": model == metrics.get("winner")} | measured)
        spearman = number(measured["test"].get("spearman"))
        if spearman is not None:
            dots.append((model, name, spearman, bounds(measured["test"].get("ci95"))))
    shown = {
        **heading(metrics),
        **paired_difference(metrics),
        "rows": rows if models else [],
        "groups": [
            (METRICS[metric][0], [Column(split, split, metric, METRICS[metric][1]) for split in ("dev", "test")])
            for metric in ("spearman", "pearson")
        ],
        "plot": plots.model_intervals(dots) if dots else None,
        "pairs": {s: next((row[s]["pairs"] for row in rows if row[s].get("pairs")), None) for s in ("dev", "test")},
    }
    return Section(files.missing, shown)


def training(run: Path) -> Section:
    """Loss and dev curves of the teacher and of both students, and what else might have been the teacher."""
    files = RunFiles(run)
    metrics = RunFiles(run).json("metrics.json")
    untrained = mapping(mapping(mapping(metrics.get("models")).get("zero_shot")).get("dev"))
    zero_shot = number(untrained.get("spearman"))
    # The stage of an earlier run with other options may lie there as well.
    stages = [stage for stage in CURVES if stage != "silver_only" or stage in mapping(metrics.get("seconds"))]
    histories = {stage: files.json(f"stages/{stage}/history.json") for stage in stages}
    # The students are to be compared with one another, so they share their dev axis.
    student_dev = [
        entry["spearman"]
        for stage in stages
        if stage != "teacher"
        for entry in histories[stage].get("evaluations", [])
        if wording.is_number(entry.get("spearman"))
    ]
    limits = (min(student_dev), max(student_dev)) if student_dev else None
    curves = []
    for stage, history in histories.items():
        if history:
            role, name = CURVES[stage]
            svg = plots.training_curve(
                history,
                role=role,
                name="teacher" if stage == "teacher" else f"student, {name.lower()}",
                zero_shot=zero_shot,
                dev_limits=None if stage == "teacher" else limits,
            )
            curves.append({"name": name, "svg": svg, **plots.curve_facts(history, metric="spearman")})
    teacher = mapping(metrics.get("teacher"))
    candidates = entries(teacher.get("candidates"))
    shown = {
        "curves": curves,
        "zero_shot": zero_shot,
        "teacher": teacher,
        "candidates": candidates if len(candidates) > 1 else [],
        "several": len(entries(teacher.get("members"))) > 1,
    }
    return Section(files.missing, shown)


def labels(run: Path) -> Section:
    """Gold beside silver scores, and the teacher against gold on dev."""
    files = RunFiles(run)
    gold, silver = (
        score_plots.ScoreSet.of(
            files.table(name, ("score",), numeric=("score",))["score"].to_numpy(float), HISTOGRAM_EDGES
        )
        for name in ("stages/read/gold.parquet", "stages/label/scored.parquet")
    )
    judged = files.table(
        "stages/predict/predictions.parquet", ("model", "split", "score", "prediction"), numeric=("score", "prediction")
    )
    dev = judged[(judged["model"] == "teacher") & (judged["split"] == "dev")]
    spearman = None
    if dev["score"].nunique() > 1 and dev["prediction"].nunique() > 1:
        spearman = float(spearmanr(dev["score"], dev["prediction"]).statistic)
    scatter = None
    if len(dev):
        scatter = score_plots.teacher_scatter(
            dev["score"].to_numpy(float), dev["prediction"].to_numpy(float), spearman=spearman
        )
    shown = {
        "histogram": score_plots.score_histogram(gold, silver, HISTOGRAM_EDGES) if gold or silver else None,
        "gold": gold,
        "silver": silver,
        "facts": mapping(RunFiles(run).json("metrics.json").get("silver")),
        "scatter": scatter,
        "dev_pairs": len(dev),
        "plotted": min(len(dev), MAX_POINTS),
    }
    return Section(files.missing, shown)


def silver(run: Path) -> Section:
    """Silver pairs evenly spread over the ranks of their score."""
    files = RunFiles(run)
    columns = ("sentence1", "sentence2", "score", "sampled_by")
    frame = files.table("stages/label/scored.parquet", columns, numeric=("score",))
    frame["note"] = frame["sampled_by"].replace(SAMPLED_BY)
    shown = {
        "examples": spread_by_score(frame).to_dict("records"),
        "pairs": len(frame),
        "counts": sorted(frame["note"].value_counts().items()),
    }
    return Section(files.missing, shown)
