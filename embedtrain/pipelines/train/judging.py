"""From predictions to the results of a training: scores with intervals, what training changed, a verdict in words."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedtrain.evaluation.holdout import DevSet
from embedtrain.pipelines.wording import aligned, points

LABELS = {"zero_shot": "before training", "trained": "trained"}


def judge_training(
    predictions: Mapping[tuple[str, str], NDArray[np.float64]],
    measures: Mapping[str, DevSet],
    *,
    held_out: bool,
    bootstrap_samples: int,
    seed: int,
) -> dict[str, Any]:
    """Scores with intervals, the paired difference, the verdict and the warnings.

    Args:
        predictions: What each model (``zero_shot``, ``trained``) predicted on each split, (rows,).
        measures: What each split is measured by: ``dev``, and ``test`` where there is one.
        held_out: Whether dev was held out of the training data.
        bootstrap_samples: Resamples behind each interval.
        seed: Of the resampling.

    Returns:
        ``models``, ``metrics``, ``paired_difference``, ``verdict``, ``warnings``; scores as fractions.
    """
    drawing = {"samples": bootstrap_samples, "seed": seed}
    models = {
        model: {split: measure.summary(predictions[model, split], **drawing) for split, measure in measures.items()}
        for model in LABELS
    }
    split = "test" if "test" in measures else "dev"
    interval = measures[split].difference(predictions["trained", split], predictions["zero_shot", split], **drawing)
    difference = {
        "of": "trained - zero_shot",
        "metric": measures[split].metric,
        "split": split,
        "difference": interval.value,
        "ci95": [interval.low, interval.high],
    }
    return {
        "models": models,
        "metrics": {name: {"name": measure.metric, "label": measure.label} for name, measure in measures.items()},
        "paired_difference": difference,
        "verdict": training_verdict(difference, measures[split].label),
        "warnings": _warnings(models, measures, held_out=held_out),
    }


def training_verdict(difference: Mapping[str, Any], label: str) -> str:
    """One paragraph, the answer first: did training help, by how much, and how sure that is."""
    change, (low, high), split = difference["difference"], difference["ci95"], difference["split"]
    if low > 0:
        answer = "Training helped."
    elif high < 0:
        answer = "Training hurt."
    else:
        answer = f"Training made no difference that {split} can show."
    return (
        f"{answer} The trained model against the untrained one: {100 * change:+.2f} points of {label} on {split}, "
        f"95 % interval {100 * low:+.2f} to {100 * high:+.2f}."
    )


def training_table(metrics: Mapping[str, Any]) -> str:
    """The results as a table for a terminal, scores x 100 with 95 % intervals."""
    splits = list(metrics["metrics"])
    header = ["x 100"]
    for split in splits:
        header += [f"{metrics['metrics'][split]['label']}, {split}", "95 % interval"]
    rows = [header]
    for model, label in LABELS.items():
        row = [label]
        for split in splits:
            scores = metrics["models"][model][split]
            low, high = scores["ci95"]
            row += [points(scores[metrics["metrics"][split]["name"]]), f"{points(low)} ... {points(high)}"]
        rows.append(row)
    return "\n".join(aligned(rows))


def _warnings(models: Mapping[str, Any], measures: Mapping[str, DevSet], *, held_out: bool) -> list[str]:
    metric, label = measures["dev"].metric, measures["dev"].label
    before, after = (models[name]["dev"][metric] for name in ("zero_shot", "trained"))
    found = []
    if after <= before:
        # What is right already cannot become better, however one trains.
        cure = (
            "Dev is too easy to tell one model from another; give harder rows with --dev"
            if before >= 1
            else "A lower --training.learning-rate or more data may help"
        )
        found.append(
            f"Training did not improve the model on dev ({label} {points(before)} before, {points(after)} after): "
            f"model/ holds the weights it began with. {cure}."
        )
    if "test" not in measures:
        whence = "was held out of the training data and " if held_out else ""
        found.append(
            f"There is no test set. Dev {whence}chose the weights, so its scores flatter the trained model; "
            "give scored pairs that nothing is chosen by with --test."
        )
    return found
