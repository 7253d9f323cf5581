"""What the page on a training shows, section by section."""

from pathlib import Path
from typing import Any

from embedtrain.report import plots, wording
from embedtrain.report.reading import RunFiles, entries, mapping, number
from embedtrain.report.sections import SPLITS, Section, heading, measured_models, metric_label, paired_difference

MODELS = {
    "zero_shot": ("zero_shot", "Before training", "the base model as it came"),
    "trained": ("augmented", "Trained", "with the weights of its best dev score"),
}


def results(run: Path) -> Section:
    """Verdict, warnings, the model before and after training with intervals, and the paired difference."""
    files = RunFiles(run)
    metrics = files.json("metrics.json")
    models = mapping(metrics.get("models"))
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
        **measured_models(rows, metrics),
    }
    return Section(files.missing, shown)


def training(run: Path) -> Section:
    """Loss and dev curve, and the seeds beside each other where there were several."""
    files = RunFiles(run)
    history = files.json("stages/train/history.json")
    metrics = RunFiles(run).json("metrics.json")
    deciding = mapping(mapping(metrics.get("metrics")).get("dev"))
    metric, label = str(deciding.get("name", "spearman")), metric_label(deciding)
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
    return plots.model_intervals(dots, axis=f"{wording.capital(label)} on dev", name="seeds")
