"""Which command made a run folder, told from what the folder holds, and how its models are called."""

from collections.abc import Mapping
from typing import Any

from embedtrain.report import adapt_sections, augsbert_sections, train_sections, wording
from embedtrain.report.reading import mapping


def command_of(config: Mapping[str, Any], metrics: Mapping[str, Any]) -> str | None:
    """The command's name as it is typed after ``embedtrain``; None for what no run looks like.

    Args:
        config: Content of ``config.yaml``.
        metrics: Content of ``metrics.json``, empty for a run that did not come to its end.
    """
    models = mapping(metrics.get("models"))
    if "augmented" in models or "teacher_members" in config:
        return "augsbert"
    if "baseline" in metrics or "arms" in config:
        return "tsdae" if config.get("arms") == ["tsdae"] else "adapt"
    if "trained" in models or "mix" in config:
        return "train"
    if "distribution" in metrics or "one_order" in config:
        return "label"
    task = metrics.get("task")
    if isinstance(task, str):
        return task if task == "compare" else f"evaluate {task}"
    return None


def model_name(command: str, model: str) -> str:
    """What people call a model of a run, by its key in ``metrics.json``."""
    if command == "augsbert":
        return augsbert_sections.MODELS.get(model, (model,))[0]
    if command == "train":
        return train_sections.MODELS.get(model, ("", model))[1]
    known = all(step in adapt_sections.STEPS for step in model.split("+"))
    return wording.capital(adapt_sections.name_of(model) if known else model)
