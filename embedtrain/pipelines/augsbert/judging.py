"""The four models beside each other on dev and test, the paired difference, and what they mean in words."""

from typing import Any

import pandas as pd

from embedtrain.evaluation.statistics import Interval, paired_bootstrap_difference
from embedtrain.evaluation.sts import score_predictions
from embedtrain.pipelines.wording import aligned, points

LABELS = {
    "zero_shot": "zero-shot",
    "teacher": "teacher",
    "gold_only": "gold only",
    "augmented": "gold + silver",
}


def judge(predictions: pd.DataFrame, *, teacher: str, bootstrap_samples: int, seed: int) -> dict[str, Any]:
    """Scores with intervals, the paired difference, the winner by dev, the verdict and the warnings.

    Gold + silver is the winner where it is better than gold only on dev. Where the teacher is not, there is little that
    its labels could have taught: the gain has to be more than chance (its 95 % interval above zero).

    Args:
        predictions: One row a model and pair: ``model`` (zero_shot, teacher, gold_only, augmented), ``split``
            (dev, test), ``score`` (gold) and ``prediction``; rows of a split in the same order for every model.
        teacher: What the teacher is, for people, such as ``cross-encoder``.
        bootstrap_samples: Resamples behind each interval.
        seed: Of the resampling.

    Returns:
        ``models``, ``paired_difference``, ``winner``, ``verdict``, ``warnings``; correlations as fractions.
    """
    parts = dict(list(predictions.groupby(["model", "split"], sort=False)))
    models: dict[str, Any] = {
        model: {
            split: score_predictions(
                parts[model, split]["prediction"],
                parts[model, split]["score"],
                samples=bootstrap_samples,
                seed=seed,
            )
            for split in ("dev", "test")
        }
        for model in LABELS
    }

    def compared(model: str, other: str, split: str) -> Interval:
        mine, theirs = parts[model, split], parts[other, split]
        return paired_bootstrap_difference(
            mine["prediction"], theirs["prediction"], mine["score"], samples=bootstrap_samples, seed=seed
        )

    interval = compared("augmented", "gold_only", "test")
    difference = {
        "of": "augmented - gold_only",
        "metric": "spearman",
        "split": "test",
        "difference": interval.value,
        "ci95": [interval.low, interval.high],
    }
    dev = {model: scores["dev"]["spearman"] for model, scores in models.items()}
    silver_gain = compared("augmented", "gold_only", "dev")
    believed = dev["teacher"] > dev["gold_only"]
    # On equal dev scores the simpler model is kept.
    winner = "augmented" if (silver_gain.value if believed else silver_gain.low) > 0 else "gold_only"
    return {
        "models": models,
        "paired_difference": difference,
        "winner": winner,
        "verdict": verdict(models, difference, winner, teacher=teacher, silver_gain=silver_gain),
        "warnings": warnings(
            models,
            winner,
            teacher=teacher,
            gain=compared(winner, "zero_shot", "dev"),
            dev_pairs=len(parts[winner, "dev"]),
        ),
    }


def teacher_warning(teacher: str, teacher_dev: float, gold_only_dev: float, *, zero_shot_dev: float) -> str | None:
    """What to tell before labelling when the teacher knows no more than gold alone teaches the student, else None."""
    if teacher_dev > gold_only_dev:
        return None
    likely = "likely to hurt" if teacher_dev <= zero_shot_dev else "unlikely to pay"
    training = "teacher-training" if "cross-encoder" in teacher else "bi-encoder-training"
    return (
        f"The teacher ({teacher}) is no better than the student that gold alone makes: dev Spearman "
        f"{points(teacher_dev)} against {points(gold_only_dev)} ({points(zero_shot_dev)} before any training). Its "
        f"silver labels are {likely}. A larger --teacher-base, --teacher auto, more gold pairs or more "
        f"--{training}.epochs may help."
    )


def verdict(
    models: dict[str, Any], difference: dict[str, Any], winner: str, *, teacher: str, silver_gain: Interval
) -> str:
    """One paragraph, the answer first: did the silver labels help, was the teacher good enough, which model is kept.

    Args:
        models: Scores of the four models.
        difference: Of gold + silver over gold only, on test.
        winner: The student that is kept.
        teacher: What the teacher is, for people.
        silver_gain: Of gold + silver over gold only, on dev.
    """
    change, (low, high) = difference["difference"], difference["ci95"]
    if low > 0:
        silver = "The silver labels helped."
    elif high < 0:
        silver = "The silver labels hurt."
    else:
        silver = "The silver labels made no difference that this test set can show."
    amount = (
        f"Gold + silver against gold only: {100 * change:+.2f} Spearman points on test, "
        f"95 % interval {100 * low:+.2f} to {100 * high:+.2f}."
    )
    dev = {model: scores["dev"]["spearman"] for model, scores in models.items()}
    comparison = "better" if dev["teacher"] > dev["gold_only"] else "no better"
    taught = (
        f"The teacher ({teacher}) was {comparison} than the student that gold alone makes "
        f"({points(dev['teacher'])} against {points(dev['gold_only'])} on dev)."
    )
    loser = "gold_only" if winner == "augmented" else "augmented"
    by_dev = f"{points(dev[winner])} against {points(dev[loser])}"
    kept = f"Kept in model/: {LABELS[winner]}, by dev ({by_dev})."
    if dev[winner] < dev[loser]:
        kept = (
            f"Kept in model/: {LABELS[winner]} ({by_dev} on dev, 95 % interval of the gain "
            f"{100 * silver_gain.low:+.2f} to {100 * silver_gain.high:+.2f}): with such a teacher the gain has to be "
            "more than chance."
        )
    return f"{silver} {amount} {taught} {kept}"


def warnings(models: dict[str, Any], winner: str, *, teacher: str, gain: Interval, dev_pairs: int) -> list[str]:
    """What a reader of the results should not overlook.

    Args:
        models: Scores of the four models.
        winner: The student that is kept.
        teacher: What the teacher is, for people.
        gain: Of the winner over the untrained model, on dev.
        dev_pairs: How many pairs chose.
    """
    dev = {model: scores["dev"]["spearman"] for model, scores in models.items()}
    found = [teacher_warning(teacher, dev["teacher"], dev["gold_only"], zero_shot_dev=dev["zero_shot"])]
    if gain.value <= 0:
        found.append(
            f"Training did not improve the model on dev: {points(dev[winner])} for the student that is kept, "
            f"{points(dev['zero_shot'])} before training."
        )
    elif gain.low <= 0:
        found.append(
            f"Whether training improved the model cannot be told from {dev_pairs} dev pairs: {points(dev[winner])} for "
            f"the student that is kept, {points(dev['zero_shot'])} before training, 95 % interval of the difference "
            f"{100 * gain.low:+.2f} to {100 * gain.high:+.2f}. On other texts than these it may be worse; more dev "
            "pairs, of the kind that the model will meet, would tell."
        )
    return [warning for warning in found if warning]


def results_table(metrics: dict[str, Any]) -> str:
    """The results as a table for a terminal, correlations x 100 with 95 % intervals."""
    header = ("Spearman x 100", "dev", "test", "95 % interval", "Pearson, test")
    rows = [header]
    for model, label in LABELS.items():
        dev, test = metrics["models"][model]["dev"], metrics["models"][model]["test"]
        low, high = test["ci95"]
        if model == "teacher":
            label = f"{label} ({metrics['teacher']['name']})"
        kept = " *" if model == metrics["winner"] else ""
        rows.append(
            (
                label + kept,
                points(dev["spearman"]),
                points(test["spearman"]),
                f"{points(low)} ... {points(high)}",
                points(test["pearson"]),
            )
        )
    return "\n".join([*aligned(rows), "* kept in model/, chosen by dev"])
