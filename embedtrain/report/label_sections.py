"""What the page on a labelling shows, section by section."""

from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from embedtrain.report import plots, score_plots, sections, wording
from embedtrain.report.reading import RunFiles, bounds, entries, mapping, number
from embedtrain.report.score_plots import ScoreSet
from embedtrain.report.sections import METRICS, SAMPLED_BY, Column, Section, heading, spread_by_score

KINDS = {"cross-encoder": "a cross-encoder", "bi-encoder": "a bi-encoder, by its cosine"}
AT_THIS_RATE = (1_000_000, 100_000_000)
# Where the shards of a run lie, in the order of looking for them.
SHARD_FOLDERS = ("shards", "labels/shards", "labels")


def results(run: Path) -> Section:
    """Verdict, warnings, and the teachers' dev scores beside the student's."""
    files = RunFiles(run)
    metrics = files.json("metrics.json")
    teachers = entries(metrics.get("teachers"))
    rows = [
        _row("teacher", "Teacher" if len(teachers) == 1 else f"Teacher {place}", teacher)
        for place, teacher in enumerate(teachers, start=1)
    ]
    labels = mapping(metrics.get("labels"))
    applied = mapping(metrics.get("calibration")).get("applied") is True
    # One teacher's scores as they are have been told already.
    if mapping(labels.get("dev")) and (len(teachers) > 1 or applied):
        what = [*(["the mean of the teachers"] if len(teachers) > 1 else []), *(["calibrated"] if applied else [])]
        rows.append(_row("augmented", "Labels", {"name": ", ".join(what), "dev": labels["dev"]}))
    student = mapping(metrics.get("student"))
    if student:
        rows.append(_row("zero_shot", "Student", student))
    dots: list[plots.Dot] = [
        (row["mark"], row["name"], spearman, bounds(row["dev"].get("ci95")))
        for row in rows
        if (spearman := number(row["dev"].get("spearman"))) is not None
    ]
    beside = [metric for metric in ("spearman", "pearson") if any(metric in row["dev"] for row in rows)]
    shown = {
        **heading(metrics),
        "teachers": [str(teacher.get("name", "")) for teacher in teachers],
        "student": bool(student),
        "rows": rows,
        "measured": bool(dots),
        "groups": [("On dev", [Column(METRICS[m][0], "dev", m, METRICS[m][1]) for m in beside])] if beside else [],
        "dev_pairs": next((row["dev"]["pairs"] for row in rows if row["dev"].get("pairs")), None),
        "plot": plots.model_intervals(dots, axis="Spearman on dev") if len(dots) > 1 else None,
    }
    return Section(files.missing, shown)


def distribution(run: Path) -> Section:
    """Silver scores beside gold's, and the shares that thresholds leave."""
    files = RunFiles(run)
    metrics = files.json("metrics.json")
    told = mapping(metrics.get("distribution"))
    edges = told.get("edges")
    thresholds = mapping(metrics.get("thresholds"))
    cuts = number(thresholds.get("negative")), number(thresholds.get("positive"))
    dropped = (cuts[0], cuts[1]) if cuts[0] is not None and cuts[1] is not None else None
    gold, silver = (_score_set(told, name, edges) for name in ("gold", "silver"))
    histogram: Markup | None = None
    if gold or silver:
        histogram = score_plots.score_histogram(gold, silver, np.array(edges, dtype=np.float64), dropped=dropped)
    shown = {
        "histogram": histogram,
        "gold": gold,
        "silver": silver,
        "wasserstein": number(told.get("wasserstein")),
        "outside": told.get("outside") or 0,
        "thresholds": thresholds,
        "shares": _shares(thresholds, metrics.get("pairs")),
    }
    if metrics and histogram is None:
        files.missing.append("metrics.json has no distribution of the scores.")
    return Section(files.missing, shown)


def calibration(run: Path) -> Section:
    """How far the teacher's scores can be taken at their word, as given and calibrated."""
    told = mapping(RunFiles(run).json("metrics.json").get("calibration"))
    before, after = (_bins(told.get(f"reliability_{when}")) for when in ("before", "after"))
    shown = {
        "diagram": score_plots.reliability_diagram(before, after) if before else None,
        "bins": before,
        "before": number(told.get("error_before")),
        "after": number(told.get("error_after")),
        "applied": told.get("applied") is True,
        "pairs": told.get("pairs"),
    }
    return Section([], shown)


def pairs(run: Path) -> Section:
    """Labelled pairs from the lowest to the highest score."""
    files = RunFiles(run)
    columns, beside = ("sentence1", "sentence2", "score"), ("sampled_by", "row")
    frame = spread_by_score(files.table("examples.parquet", columns, numeric=("score",), optional=beside))
    if "sampled_by" in frame.columns:
        frame = frame.assign(note=frame["sampled_by"].replace(SAMPLED_BY))
    elif "row" in frame.columns:
        frame = frame.assign(note=[f"row {row}" for row in frame["row"]])
    else:
        frame = frame.assign(note="")
    return Section(files.missing, {"examples": frame.to_dict("records")})


def speed(run: Path) -> Section:
    """How fast it went, and what more pairs would take."""
    files = RunFiles(run)
    metrics = files.json("metrics.json")
    rate = number(metrics.get("pairs_per_second"))
    shown = {
        "pairs": number(metrics.get("pairs")),
        "seconds": number(metrics.get("seconds")),
        "rate": rate,
        "more": [(pairs, pairs / rate) for pairs in AT_THIS_RATE] if rate else [],
    }
    if metrics and not rate:
        files.missing.append("metrics.json does not say how fast it went.")
    return Section(files.missing, shown)


def environment(run: Path) -> Section:
    """As for every run, with the labelling itself among the stages that took time."""
    section = sections.environment(run)
    seconds = number(RunFiles(run).json("metrics.json").get("seconds"))
    if seconds is not None:
        section.shown["seconds"] = {**section.shown["seconds"], "label": seconds}
        section.shown["total"] += seconds
    return section


def labels(run: Path) -> Section:
    """Code that reads the labels."""
    folder = next((run / name for name in SHARD_FOLDERS if any((run / name).glob("*.parquet"))), None)
    if folder is None:
        return Section(["No labels are in this run folder yet."], {"code": None, "shards": 0})
    code = f"import pandas as pd\n\nsilver = pd.read_parquet({folder.as_posix()!r})\nprint(silver.head())\n"
    return Section([], {"code": wording.printable(code, 4000), "shards": len(list(folder.glob("*.parquet")))})


def _row(mark: str, name: str, model: dict[str, Any]) -> dict[str, Any]:
    kind = model.get("kind")
    return {
        "mark": mark,
        "name": name,
        "what": str(model.get("name", "")),
        "kind": KINDS.get(str(kind), str(kind)) if kind else "",
        "chosen": False,
        "dev": mapping(model.get("dev")),
    }


def _score_set(told: dict[str, Any], name: str, edges: Any) -> ScoreSet | None:
    counts, mean = told.get(f"{name}_hist"), number(told.get(f"{name}_mean"))
    if not isinstance(counts, list) or not isinstance(edges, list) or len(edges) != len(counts) + 1 or not sum(counts):
        return None
    return ScoreSet(np.array(counts, dtype=np.float64), mean if mean is not None else float("nan"), sum(counts))


def _shares(thresholds: dict[str, Any], pairs: Any) -> list[dict[str, Any]]:
    """The three parts that two thresholds make of the pairs, from the lowest scores up."""
    total = number(pairs)
    parts = (
        ("negative", f"at or below {wording.plain(thresholds.get('negative'))}", "label 0"),
        ("dropped", "between", "no hard label"),
        ("positive", f"at or above {wording.plain(thresholds.get('positive'))}", "label 1"),
    )
    told = []
    for part, scores, label in parts:
        share = number(thresholds.get(f"{part}_share"))
        if share is not None:
            count = None if total is None else share * total
            told.append({"part": part, "scores": scores, "label": label, "share": share, "pairs": count})
    return told


def _bins(value: Any) -> list[dict[str, Any]]:
    return [one for one in entries(value) if None not in (number(one.get("score")), number(one.get("gold")))]
