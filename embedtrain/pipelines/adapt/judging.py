"""The models of an adaptation beside each other, the paired differences to what they have to beat, and words."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedtrain.evaluation.holdout import DevSet
from embedtrain.pipelines.wording import aligned, points
from embedtrain.report.adapt_sections import name_of

Predictions = Mapping[tuple[str, str], NDArray[np.float64]]


def judge_adaptation(
    predictions: Predictions,
    measures: Mapping[str, DevSet],
    *,
    models: Sequence[str],
    fallback: str,
    bootstrap_samples: int,
    seed: int,
) -> dict[str, Any]:
    """Scores with intervals, each model against what it has to beat, the winner by dev, the verdict and warnings.

    Args:
        predictions: What each model predicted for each split, (rows,).
        measures: What each split is measured by; empty where there are no pairs.
        models: ``zero_shot``, the arms, and with gold ``gold`` and ``<arm>+gold``, in the order of the table.
        fallback: What is kept where no dev set chooses.
        bootstrap_samples: Resamples behind each interval.
        seed: Of the resampling.

    Returns:
        ``models``, ``metrics``, ``baseline``, ``differences``, ``winner``, ``verdict``, ``warnings``; fractions.
    """
    scores = {
        model: {
            split: measure.summary(predictions[model, split], samples=bootstrap_samples, seed=seed)
            for split, measure in measures.items()
        }
        for model in models
    }
    baseline = "gold" if "gold" in models else "zero_shot"
    judged = "test" if "test" in measures else "dev" if "dev" in measures else None
    differences = []
    # With gold in play an adaptation alone is a step on the way; what counts is what it does for the model with gold.
    compared = [model for model in models if model != baseline and ("gold" in model.split("+") or baseline != "gold")]
    for model in compared if judged else []:
        assert judged is not None
        interval = measures[judged].difference(
            predictions[model, judged], predictions[baseline, judged], samples=bootstrap_samples, seed=seed
        )
        differences.append(
            {
                "of": f"{model} - {baseline}",
                "model": model,
                "split": judged,
                "metric": measures[judged].metric,
                "difference": interval.value,
                "ci95": [interval.low, interval.high],
            }
        )
    winner = fallback
    if "dev" in measures:
        metric = measures["dev"].metric
        # On equal dev scores the simpler model, which stands first, is kept.
        winner = max(models, key=lambda model: scores[model]["dev"][metric])
    return {
        "models": scores,
        "metrics": {split: {"name": m.metric, "label": m.label} for split, m in measures.items()},
        "baseline": baseline,
        "differences": differences,
        "winner": winner,
        "verdict": _verdict(differences, winner, baseline, measures, scores),
        "warnings": _warnings(measures, scores),
    }


def adaptation_table(metrics: Mapping[str, Any]) -> str | None:
    """The results as a table for a terminal, scores x 100 with 95 % intervals; None where nothing was measured."""
    splits = list(metrics["metrics"])
    if not splits:
        return None
    by_model = {entry["model"]: entry for entry in metrics["differences"]}
    header = ["x 100"]
    for split in splits:
        header += [f"{metrics['metrics'][split]['label']}, {split}", "95 % interval"]
    header.append(f"against {name_of(metrics['baseline'])}")
    rows = [header]
    for model, found in metrics["models"].items():
        row = [name_of(model) + (" *" if model == metrics["winner"] else "")]
        for split in splits:
            low, high = found[split]["ci95"]
            row += [points(found[split][metrics["metrics"][split]["name"]]), f"{points(low)} ... {points(high)}"]
        entry = by_model.get(model)
        row.append(_signed(entry) if entry else "")
        rows.append(row)
    chosen = "chosen by dev" if "dev" in splits else "there is no dev set to choose by"
    return "\n".join([*aligned(rows), f"* kept in model/, {chosen}"])


def _signed(entry: Mapping[str, Any]) -> str:
    low, high = entry["ci95"]
    return f"{100 * entry['difference']:+.2f} ({100 * low:+.2f} ... {100 * high:+.2f})"


def _verdict(
    differences: Sequence[Mapping[str, Any]],
    winner: str,
    baseline: str,
    measures: Mapping[str, DevSet],
    scores: Mapping[str, Any],
) -> str:
    if not measures:
        return (
            f"Nothing was measured: there are no pairs with scores or labels. Kept in model/: {name_of(winner)}. "
            "Whether it is better than before only pairs can tell: give some with --dev and --test."
        )
    split = differences[0]["split"] if differences else "dev"
    helped = [entry for entry in differences if entry["ci95"][0] > 0]
    hurt = [entry for entry in differences if entry["ci95"][1] < 0]
    against = name_of(baseline)

    def listed(entries: Sequence[Mapping[str, Any]]) -> str:
        return ", ".join(f"{name_of(entry['model'])} {_signed(entry)}" for entry in entries)

    label = measures[split].label
    said = []
    if helped:
        said.append(f"Better than {against} on {split} ({label} points, 95 % interval): {listed(helped)}.")
    if hurt:
        said.append(f"Worse than {against} on {split}: {listed(hurt)}.")
    open_ = [entry for entry in differences if entry not in helped and entry not in hurt]
    if open_:
        said.append(f"No difference to {against} that {split} can show: {listed(open_)}.")
    if "dev" in measures:
        metric = measures["dev"].metric
        by = f"by dev ({points(scores[winner]['dev'][metric])} against {points(scores[baseline]['dev'][metric])})"
        said.append(
            f"Kept in model/: {name_of(winner)}, {by}."
            if winner != baseline
            else f"Kept in model/: {name_of(winner)}: no adapted model scored better on dev."
        )
    else:
        said.append(f"Kept in model/: {name_of(winner)}; without --dev nothing chooses between the models.")
    return " ".join(said)


def _warnings(measures: Mapping[str, DevSet], scores: Mapping[str, Any]) -> list[str]:
    found = []
    if "dev" in measures:
        metric, label = measures["dev"].metric, measures["dev"].label
        perfect = [model for model, of_model in scores.items() if of_model["dev"][metric] >= 1]
        if len(perfect) > 1:
            found.append(
                f"Dev cannot tell the models apart: {len(perfect)} of {len(scores)} reach the highest {label} there "
                "is, so it chose neither weights nor model by merit. Its pairs are too easy; give others with --dev, "
                "of the kind that the model will meet."
            )
    if "dev" in measures and "test" not in measures:
        found.append(
            "There is no test set. Dev chose the weights and the model, so its scores flatter; give pairs with --test."
        )
    return found
