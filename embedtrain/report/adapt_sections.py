"""What the page on a domain adaptation shows, section by section."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from embedtrain.report import plots, wording
from embedtrain.report.reading import RunFiles, bounds, entries, mapping, number
from embedtrain.report.sections import SPLITS, Section, heading, measured_models, metric_label, side_of_zero

# A model is named by what was done to it, such as ``tsdae+gold``. For each of these steps: role in plots, and name.
# A model has the role of the way in which it was adapted, whatever was done before or after.
STEPS = {
    "zero_shot": ("zero_shot", "zero-shot"),
    "mlm": ("teacher", "MLM"),
    "tsdae": ("augmented", "TSDAE"),
    "simcse": ("simcse", "SimCSE"),
    "gold": ("gold_only", "gold"),
}
# What chooses the weights where there is no dev: a score on sentences held out of the text, by its key in the history.
HELD_OUT = {"token_probability": "token probability", "finding_probability": "finding probability"}
SIGNS = {"above": "better", "below": "worse", "astride": "open", None: ""}


def name_of(model: str) -> str:
    """A model's name for people: ``tsdae+gold`` is "TSDAE → gold"."""
    names = [STEPS[step][1] for step in model.split("+")]
    return "gold only" if names == ["gold"] else " → ".join(names)


def role_of(model: str) -> str:
    """The role whose colour and mark a model has."""
    steps = model.split("+")
    return STEPS[next((step for step in steps if step != "gold"), "gold")][0]


def results(run: Path) -> Section:
    """Whether the adaptation helped, by how much, what was kept, and every model with its intervals."""
    files = RunFiles(run)
    metrics = files.json("metrics.json")
    models = mapping(metrics.get("models"))
    measured = any(mapping(figures) for figures in models.values())
    rows: list[dict[str, Any]] = []
    for model in _known(models):
        figures = mapping(models[model])
        if measured and not figures:
            files.missing.append(f"metrics.json has no figures of the model {model}.")
        splits = {split: mapping(figures.get(split)) for split in SPLITS}
        chosen = model == metrics.get("winner")
        named = {"mark": role_of(model), "name": wording.capital(name_of(model)), "what": _made_by(model)}
        rows.append(named | {"chosen": chosen} | splits)
    said = heading(metrics)
    answer = _answer(metrics)
    if answer:
        reasons = " ".join(part for part in (said["verdict"], said["reasons"]) if part)
        said |= {"verdict": answer, "reasons": reasons}
    has_dev = "dev" in mapping(metrics.get("metrics"))
    badge = "chosen on dev" if has_dev else "kept"
    return Section(files.missing, {**said, "rows": rows, "badge": badge, **measured_models(rows, metrics)})


def differences(run: Path) -> Section:
    """Each model against the one that it has to beat, on the same rows."""
    metrics = RunFiles(run).json("metrics.json")
    baseline = str(metrics.get("baseline"))
    rows: list[dict[str, Any]] = [
        {
            **entry,
            "mark": role_of(entry["model"]),
            "name": wording.capital(name_of(entry["model"])),
            "says": SIGNS[side_of_zero(entry.get("ci95"))],
        }
        for entry in _differences(metrics)
    ]
    if not rows or baseline not in STEPS:
        return Section([], {"rows": []})
    split, label = rows[0].get("split"), _label(metrics, rows[0])
    dots: list[plots.Dot] = [
        (row["mark"], row["name"], float(row["difference"]), bounds(row.get("ci95"))) for row in rows
    ]
    shown = {
        "rows": rows,
        "baseline": name_of(baseline),
        "split": split,
        "label": label,
        "plot": plots.model_intervals(dots, axis=f"Difference on {split}", name="differences", differences=True),
    }
    return Section([], shown)


def training(run: Path) -> Section:
    """Loss and the score that chose the weights, of each model that was trained: on the text, and on gold."""
    files = RunFiles(run)
    metrics = RunFiles(run).json("metrics.json")
    stages = mapping(metrics.get("stages")) or _stages_found(run)
    histories = {
        model: files.json(f"stages/{stages[model]}/history.json") for model in _known(stages) if model != "zero_shot"
    }
    deciding = mapping(mapping(metrics.get("metrics")).get("dev"))
    metric = str(deciding.get("name", "spearman"))
    untrained = mapping(mapping(mapping(metrics.get("models")).get("zero_shot")).get("dev"))
    before = number(untrained.get(metric))
    groups: list[dict[str, Any]] = []
    # Gold comes first where the order was supervised-first.
    for on_gold in dict.fromkeys(model.endswith("gold") for model in histories):
        trained = {model: history for model, history in histories.items() if model.endswith("gold") == on_gold}
        drawn = _curves(trained, metric=metric, label=metric_label(deciding), before=before)
        title, unit = ("On gold", "rows") if on_gold else ("On the text", "sentences")
        groups += [{"title": title, "unit": unit, "curves": drawn}] if drawn else []
    curves = [curve for group in groups for curve in group["curves"]]
    shown = {
        "groups": groups,
        "windows": list(dict.fromkeys(curve["window"] for curve in curves)),
        "before": before,
        "on_dev": any(curve["where"] == "dev" for curve in curves),
        "held_out": {curve["metric"] for curve in curves if curve["metric"] in HELD_OUT},
    }
    return Section(files.missing, shown)


def domain(run: Path) -> Section:
    """What the text holds, and what the tokenizer makes of it."""
    metrics = RunFiles(run).json("metrics.json")
    audit = RunFiles(run).json("stages/read/audit.json")
    # Both files are named as missing by the sections that are about them.
    name = RunFiles(run).yaml("config.yaml").get("sentences")
    table = mapping(mapping(audit.get("tables")).get(str(name)))
    found = {finding.get("kind"): finding for finding in entries(audit.get("findings")) if finding.get("table") == name}

    def dropped(kind: str) -> float:
        return number(found.get(kind, {}).get("dropped")) or 0

    shown = {
        "seen": mapping(metrics.get("text")),
        "read": number(table.get("rows_read")),
        "kept": number(table.get("rows_kept")),
        "repeated": dropped("repeated_sentence"),
        "empty": dropped("empty_text"),
        "in_test": number(found.get("sentence_in_test", {}).get("count")),
    }
    return Section([], shown)


def _known(models: Iterable[str]) -> list[str]:
    return [model for model in models if all(step in STEPS for step in model.split("+"))]


def _made_by(model: str) -> str:
    if model == "zero_shot":
        return "the base model as it came"
    steps = model.split("+")
    adapted = "adapted to the text" if len(steps) == 1 else "adapted"
    return ", then ".join("trained on gold" if step == "gold" else adapted for step in steps)


def _differences(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        entry
        for entry in entries(metrics.get("differences"))
        if number(entry.get("difference")) is not None and _known([str(entry.get("model"))])
    ]


def _label(metrics: Mapping[str, Any], difference: Mapping[str, Any]) -> str:
    return metric_label(mapping(mapping(metrics.get("metrics")).get(str(difference.get("split")))))


def _answer(metrics: Mapping[str, Any]) -> str:
    """Whether it helped, by how much, and what is kept, in two short sentences; empty where nothing was measured."""
    winner, baseline = str(metrics.get("winner")), str(metrics.get("baseline"))
    by_model = {entry["model"]: entry for entry in _differences(metrics)}
    if not by_model or winner not in _known(mapping(metrics.get("models"))) or baseline not in STEPS:
        return ""
    kept, against = f"Kept: {name_of(winner)}.", name_of(baseline)
    if winner not in by_model:
        # What is kept without having beaten the baseline was chosen by dev.
        if winner == baseline:
            return f"Adaptation did not help: no adapted model beats {against} on dev. {kept}"
        return f"Training on gold did not help on dev. {kept}"
    entry = by_model[winner]
    split = entry.get("split")
    size = f"{wording.points(entry['difference'], plus=True)} points of {_label(metrics, entry)}"
    answers = {
        "above": f"Adaptation helped: {size} on {split} against {against}.",
        "below": f"Adaptation did harm: {size} on {split} against {against}.",
    }
    unsure = f"Adaptation made no difference that {split} can show: {size} against {against}."
    return f"{answers.get(str(side_of_zero(entry.get('ci95'))), unsure)} {kept}"


def _curves(
    histories: Mapping[str, dict[str, Any]], *, metric: str, label: str, before: float | None
) -> list[dict[str, Any]]:
    """Plot and caption of each training; what they score on dev shares its axis, for it is to be compared."""
    scored = [
        score
        for history in histories.values()
        for entry in entries(history.get("evaluations"))
        if (score := number(entry.get(metric))) is not None
    ]
    curves = []
    for model, history in histories.items():
        if not history:
            continue
        logged = {key for entry in entries(history.get("evaluations")) for key in entry}
        key = next((name for name in HELD_OUT if name in logged), metric)
        on_dev = key == metric
        where = "dev" if on_dev else "held-out text"
        svg = plots.training_curve(
            history,
            role=role_of(model),
            name=f"model {name_of(model)}",
            metric=key,
            label=HELD_OUT.get(key, label),
            zero_shot=before if on_dev else None,
            dev_limits=(min(scored), max(scored)) if scored and on_dev else None,
            where=where,
            key=model.replace("+", "-"),
        )
        facts = plots.curve_facts(history, metric=key)
        named = {"name": wording.capital(name_of(model)), "metric": key, "label": HELD_OUT.get(key, label)}
        curves.append({**named, "where": where, "svg": svg, **facts})
    return curves


def _stages_found(run: Path) -> dict[str, str]:
    """Model and stage of every training that came to its end, of a run that did not."""
    stages = sorted(path.parent.name for path in run.glob("stages/*/history.json"))
    return {stage.replace("_", "+"): stage for stage in stages}
