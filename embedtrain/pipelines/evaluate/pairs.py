"""Models on labelled pairs: average precision, best F1 and accuracy, and the differences between models."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from embedtrain.evaluation.comparing import Estimate, compare_models
from embedtrain.evaluation.items import Items, Measure
from embedtrain.evaluation.kept_items import ONLY_PART, KeptScore, PartItems
from embedtrain.evaluation.pairs import resampled_average_precision, score_pairs
from embedtrain.evaluation.sts import cosine_of_pairs
from embedtrain.files import write_parquet
from embedtrain.models import ModelSource
from embedtrain.pipelines.evaluate.inputs import items_hash, read_pair_tables
from embedtrain.pipelines.evaluate.judging import (
    comparison_verdict,
    differences_table,
    interval_words,
    main_scores,
    resampling_warnings,
    short_names,
)
from embedtrain.pipelines.evaluate.options import PairsOptions
from embedtrain.pipelines.evaluate.workspace import EvaluateWorkspace, Evaluation, open_workspace
from embedtrain.pipelines.wording import aligned, points

MAIN = "average_precision"
LABEL = "average precision"
MEASURE: Measure = "average precision"


def evaluate_pairs(options: PairsOptions) -> Evaluation:
    """Measure models on labelled pairs.

    Returns:
        ``metrics`` holds, for each model and table, what ``evaluation.pairs.score_pairs`` says; the paired differences
        between the models in average precision; the warnings and a verdict. Scores are fractions.

    Raises:
        UserError: With every mistake in options, files and model names, before any model is loaded.
    """
    evaluated, tables = read_pair_tables(options)
    with open_workspace(options, evaluated) as work:
        found: dict[str, dict[str, Any]] = {}
        estimates: dict[str, dict[str, Estimate]] = {}
        kept: list[KeptScore] = []
        for source in evaluated.models:
            found[source.name], estimates[source.name] = {}, {}
            for name, table in tables.by_name.items():
                cosines, labels = _cosines(work, source, name, table), table["label"].to_numpy()
                drawing = {"samples": options.bootstrap_samples, "seed": options.seed}
                scores = score_pairs(labels, cosines, **drawing)
                resampled = resampled_average_precision(labels == 1, cosines, **drawing)
                found[source.name][name] = scores
                estimates[source.name][name] = Estimate(scores[MAIN], resampled)
                columns = {"prediction": cosines.astype(np.float64), "gold": labels.astype(np.float64)}
                part = PartItems(scores[MAIN], items_hash(table), Items(MEASURE, "pairs", columns))
                kept.append(KeptScore(source.name, name, "PairClassification", MAIN, {ONLY_PART: part}))
        differences = compare_models(estimates)
        metrics: dict[str, Any] = {
            "task": "pairs",
            "metric": {"name": MAIN, "label": LABEL},
            "data": {
                name: {"pairs": len(table), "matches": int(table["label"].sum())}
                for name, table in tables.by_name.items()
            },
            "models": found,
            "main": main_scores(estimates),
            "differences": [one.as_dict() for one in differences],
            "verdict": comparison_verdict(differences, label=LABEL),
            "leakage": [one.as_dict() for one in tables.leaks],
            "warnings": [
                *tables.warnings,
                *resampling_warnings(differences, samples=options.bootstrap_samples),
            ],
        }
        return work.finish(metrics, _score_rows(metrics), kept)


def pairs_table(metrics: dict[str, Any]) -> str:
    """The results as tables for a terminal, scores x 100 with 95 % intervals; thresholds are cosines."""
    called, parts = short_names(metrics["models"]), []
    header = ["x 100", LABEL, "95 % interval", "best F1", "95 % interval", "from cosine"]
    for name, facts in metrics["data"].items():
        rows = [[*header, "best accuracy", "95 % interval", "from cosine"]]
        for model, by_table in metrics["models"].items():
            scores = by_table[name]
            row = [called[model], points(scores[MAIN]), interval_words(scores["ci95"])]
            for metric in ("f1", "accuracy"):
                row += [points(scores[metric]), interval_words(scores[f"{metric}_ci95"])]
                row.append(f"{scores[f'{metric}_threshold']:.3f}")
            rows.append(row)
        share = points(facts["matches"] / facts["pairs"])
        title = f"{name}: {facts['pairs']:,} pairs, {facts['matches']:,} match; guessing has {LABEL} {share}"
        parts.append("\n".join([title, *aligned(rows)]))
    parts.append(
        "F1 and accuracy choose their threshold on the very pairs that they measure, so they flatter a little."
    )
    compared = differences_table(metrics)
    return "\n\n".join([*parts, *([compared] if compared else [])])


def _cosines(work: EvaluateWorkspace, source: ModelSource, name: str, table: pd.DataFrame) -> np.ndarray:
    def predict(folder: Path) -> None:
        with work.loaded(source) as model:
            cosines = cosine_of_pairs(
                model, table["sentence1"].tolist(), table["sentence2"].tolist(), batch_size=work.batch_size
            )
        write_parquet(folder / "predictions.parquet", pd.DataFrame({"cosine": cosines}))

    used = {"model": source.fingerprint, "data": items_hash(table)}
    folder = work.stage(["pairs", source.name, name], inputs=used, work=predict)
    return pd.read_parquet(folder / "predictions.parquet")["cosine"].to_numpy()


def _score_rows(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "model": model,
            "data": name,
            "metric": metric,
            "score": scores[metric],
            "low": scores["ci95" if metric == MAIN else f"{metric}_ci95"][0],
            "high": scores["ci95" if metric == MAIN else f"{metric}_ci95"][1],
            "threshold": scores.get(f"{metric}_threshold"),
        }
        for model, by_table in metrics["models"].items()
        for name, scores in by_table.items()
        for metric in (MAIN, "f1", "accuracy")
    ]
