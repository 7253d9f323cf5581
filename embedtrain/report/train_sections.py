"""What the page on a training shows, section by section."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embedtrain.report import plots, wording
from embedtrain.report.reading import RunFiles, bounds, entries, mapping, number
from embedtrain.report.sections import METRICS, Column, Section, heading, paired_difference

MODELS = {
    "zero_shot": ("zero_shot", "Before training", "the base model as it came"),
    "trained": ("augmented", "Trained", "with the weights of its best dev score"),
}
SPLITS = ("dev", "test")
COUNTS = ("rows", "pairs")


def results(run: Path) -> Section:
    """Verdict, warnings, the model before and after training with intervals, and the paired difference."""
    files = RunFiles(run)
    metrics = files.json("metrics.json")
    models = mapping(metrics.get("models"))
    measured_by = mapping(metrics.get("metrics"))
    deciding = {split: mapping(measured_by[split]) for split in SPLITS if split in measured_by}
    rows: list[dict[str, Any]] = []
    for model, (mark, name, what) in MODELS.items():
        measured = mapping(models.get(model))
        if metrics and not measured:
            files.missing.append(f"metrics.json has no figures of the model {model}.")
        splits = {split: mapping(measured.get(split)) for split in SPLITS}
        rows.append({"mark": mark, "name": name, "what": what, "chosen": False} | splits)
    shown = {
        **heading(metrics),
        **paired_difference(metrics),
        "rows": rows if models else [],
        "groups": [(split.capitalize(), _columns(split, metric, rows)) for split, metric in deciding.items()],
        "plot": None,
        "plot_split": None,
        "plot_title": None,
        "label": None,
        "pairs": {split: _count(rows, split) for split in SPLITS},
        "has_test": "test" in deciding,
    }
    split = "test" if "test" in deciding else "dev"
    if split in deciding:
        metric, label = deciding[split].get("name"), _label(deciding[split])
        dots = [
            (row["mark"], row["name"], score, bounds(row[split].get("ci95")))
            for row in rows
            if (score := number(row[split].get(metric))) is not None
        ]
        shown |= {
            "plot": plots.model_intervals(dots, axis=f"{_capital(label)} on {split}") if dots else None,
            "plot_split": split,
            "label": label,
            "plot_title": f"{_capital(label)} on {split}",
        }
    return Section(files.missing, shown)


def training(run: Path) -> Section:
    """Loss and dev curve, and the seeds beside each other where there were several."""
    files = RunFiles(run)
    history = files.json("stages/train/history.json")
    metrics = RunFiles(run).json("metrics.json")
    deciding = mapping(mapping(metrics.get("metrics")).get("dev"))
    metric, label = str(deciding.get("name", "spearman")), _label(deciding)
    before = mapping(mapping(mapping(metrics.get("models")).get("zero_shot")).get("dev")).get(metric)
    seeds = [note for note in entries(metrics.get("seeds")) if number(note.get(metric)) is not None]
    facts = plots.curve_facts(history, metric=metric) if history else {}
    curve = None
    if history:
        curve = plots.training_curve(
            history, role="augmented", name="model", metric=metric, label=label, zero_shot=number(before), width=350
        )
    shown = {
        "curve": curve,
        "facts": facts,
        "label": label,
        "before": number(before),
        "seeds": seeds,
        "seed_plot": _seed_plot(seeds, metric, label),
        "best_seed": max(seeds, key=lambda note: note[metric])["seed"] if seeds else None,
        "seeds_at": next((note.get("step") for note in seeds), None),
    }
    return Section(files.missing, shown)


def _seed_plot(seeds: list[dict[str, Any]], metric: str, label: str) -> Any:
    if not seeds:
        return None
    best = max(seeds, key=lambda note: note[metric])
    dots: list[plots.Dot] = [
        ("augmented" if note is best else "zero_shot", f"seed {note.get('seed')}", float(note[metric]), None)
        for note in seeds
    ]
    return plots.model_intervals(dots, axis=f"{_capital(label)} on dev", name="seeds")


def _columns(split: str, deciding: Mapping[str, Any], rows: list[dict[str, Any]]) -> list[Column]:
    """The metric that decides and those beside it, each under its label."""
    name = str(deciding.get("name"))
    beside = [
        metric
        for metric in dict.fromkeys(key for row in rows for key in row[split])
        if metric in METRICS and metric != name
    ]
    return [
        Column(_capital(_label(deciding)), split, name, "ci95"),
        *(Column(METRICS[metric][0], split, metric, METRICS[metric][1]) for metric in beside),
    ]


def _count(rows: list[dict[str, Any]], split: str) -> int | None:
    return next((row[split][key] for row in rows for key in COUNTS if row[split].get(key)), None)


def _label(deciding: Mapping[str, Any]) -> str:
    return wording.printable(deciding.get("label", "Spearman"), 60)


def _capital(label: str) -> str:
    return label[:1].upper() + label[1:]
