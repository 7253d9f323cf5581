"""Models on scored pairs: every similarity, embeddings whole and made smaller, and the differences between models."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from embedtrain.evaluation.comparing import Estimate, compare_models
from embedtrain.evaluation.compression import sizes
from embedtrain.evaluation.correlations import Method, resampled_correlations
from embedtrain.evaluation.items import Items
from embedtrain.evaluation.kept_items import ONLY_PART, KeptScore, PartItems
from embedtrain.evaluation.resampling import Floats
from embedtrain.evaluation.similarities import SIMILARITIES, pair_similarities
from embedtrain.evaluation.statistics import pearson, spearman
from embedtrain.evaluation.sts import encode_pairs
from embedtrain.files import read_json, write_json, write_parquet
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
from embedtrain.pipelines.evaluate.options import STSOptions
from embedtrain.pipelines.evaluate.workspace import EvaluateWorkspace, Evaluation, open_workspace
from embedtrain.pipelines.wording import aligned, points

MAIN: Method = "spearman"
LABEL = "Spearman"
CORRELATIONS: dict[Method, Callable[[Floats, Floats], float]] = {"spearman": spearman, "pearson": pearson}


def evaluate_sts(options: STSOptions) -> Evaluation:
    """Measure models on scored pairs.

    Returns:
        ``metrics`` holds, for each model and table, every size of its embeddings with Spearman's and Pearson's
        correlation of every similarity, each with its 95 % interval; the paired differences between the models; the
        warnings and a verdict. Scores are fractions.

    Raises:
        UserError: With every mistake in options, files and model names, before any model is loaded.
    """
    evaluated, tables = read_pair_tables(options)
    with open_workspace(options, evaluated) as work:
        measured = {
            source.name: {name: _measure(work, options, source, name, table) for name, table in tables.by_name.items()}
            for source in evaluated.models
        }
        estimates = {
            model: {name: one.estimate for name, one in by_table.items()} for model, by_table in measured.items()
        }
        differences = compare_models(estimates)
        warnings = [*tables.warnings, *_size_warnings(options, measured)]
        metrics: dict[str, Any] = {
            "task": "sts",
            "metric": {"name": MAIN, "label": LABEL},
            "data": {name: {"pairs": len(table)} for name, table in tables.by_name.items()},
            "models": {
                model: {name: one.found for name, one in by_table.items()} for model, by_table in measured.items()
            },
            "main": main_scores(estimates),
            "differences": [one.as_dict() for one in differences],
            "verdict": comparison_verdict(differences, label=LABEL),
            "leakage": [one.as_dict() for one in tables.leaks],
            "warnings": [*warnings, *resampling_warnings(differences, samples=options.bootstrap_samples)],
        }
        kept = [
            KeptScore(model, name, "STS", MAIN, {ONLY_PART: one.kept(tables.by_name[name])})
            for model, by_table in measured.items()
            for name, one in by_table.items()
        ]
        return work.finish(metrics, _score_rows(metrics), kept)


def sts_table(metrics: dict[str, Any]) -> str:
    """The results as tables for a terminal, scores x 100 with 95 % intervals."""
    model_names, parts = short_names(metrics["models"]), []
    others = [similarity for similarity in SIMILARITIES if similarity != "cosine"]
    header = ["x 100", "embeddings", "bytes", LABEL, "95 % interval", "against full", "Pearson"]
    for name, facts in metrics["data"].items():
        rows = [[*header, *(SIMILARITIES[similarity] for similarity in others)]]
        for model, by_table in metrics["models"].items():
            for size in by_table[name]:
                cosine, against = size["scores"]["cosine"], size["against_full"]
                rows.append(
                    [
                        model_names[model] if against is None else "",
                        f"full, {size['dimensions']} dims" if against is None else size["name"],
                        f"{size['bytes']:,}",
                        points(cosine["spearman"]),
                        interval_words(cosine["ci95"]),
                        "" if against is None else f"{100 * against['difference']:+.2f}",
                        points(cosine["pearson"]),
                        *(points(size["scores"][similarity]["spearman"]) for similarity in others),
                    ]
                )
        parts.append("\n".join([f"{name}: {facts['pairs']:,} pairs", *aligned(rows)]))
    parts.append(
        "Spearman with its interval, and Pearson, are of cosines; on the right is Spearman of other likenesses."
    )
    compared = differences_table(metrics)
    return "\n\n".join([*parts, *([compared] if compared else [])])


@dataclass(frozen=True)
class _Measured:
    """One model on one table: every size with its scores, the main score with its resamples, and what it says."""

    found: list[dict[str, Any]]
    estimate: Estimate
    said: Floats

    def kept(self, table: pd.DataFrame) -> PartItems:
        """The main score with its items."""
        columns = {"prediction": self.said, "gold": table["score"].to_numpy(dtype=np.float64)}
        return PartItems(self.estimate.value, items_hash(table), Items(MAIN, "pairs", columns))


def _measure(
    work: EvaluateWorkspace, options: STSOptions, source: ModelSource, name: str, table: pd.DataFrame
) -> _Measured:
    def predict(folder: Path) -> None:
        with work.loaded(source) as model:
            embeddings, first, second = encode_pairs(
                model,
                table["sentence1"].tolist(),
                table["sentence2"].tolist(),
                batch_size=work.batch_size,
                show_progress_bar=False,
            )
        predictions, kept = {}, []
        for size, smaller in sizes(
            embeddings.astype(np.float32), dimensions=options.dims, number_types=options.number_types
        ):
            kept.append(asdict(size))
            for similarity, values in pair_similarities(smaller, first, second).items():
                predictions[f"{size.name} {similarity}"] = values
        write_parquet(folder / "predictions.parquet", pd.DataFrame(predictions))
        write_json(folder / "sizes.json", kept)

    used = {
        "model": source.fingerprint,
        "data": items_hash(table),
        "dims": options.dims,
        "number_types": options.number_types,
    }
    folder = work.stage(["sts", source.name, name], inputs=used, work=predict)
    return _judge(
        pd.read_parquet(folder / "predictions.parquet"),
        read_json(folder / "sizes.json"),
        table["score"].to_numpy(dtype=np.float64),
        samples=options.bootstrap_samples,
        seed=options.seed,
    )


def _judge(
    predictions: pd.DataFrame, found: list[dict[str, Any]], gold: Floats, *, samples: int, seed: int
) -> _Measured:
    """Every score with its interval, and what each size costs against full embeddings."""
    names = [str(name) for name in predictions]
    columns = [predictions[name].to_numpy() for name in names]
    estimates: dict[Method, dict[str, Estimate]] = {}
    for method, correlate in CORRELATIONS.items():
        resampled = resampled_correlations(columns, gold, method=method, samples=samples, seed=seed)
        values = (correlate(column, gold) for column in columns)
        estimates[method] = {
            name: Estimate(value, drawn) for name, value, drawn in zip(names, values, resampled, strict=True)
        }
    full = estimates[MAIN]["full cosine"]
    for size in found:
        size["scores"] = {
            similarity: _scores({method: named[f"{size['name']} {similarity}"] for method, named in estimates.items()})
            for similarity in SIMILARITIES
        }
        size["against_full"] = None
        if size["name"] != "full":
            interval = estimates[MAIN][f"{size['name']} cosine"].minus(full).interval()
            size["against_full"] = {"difference": interval.value, "ci95": [interval.low, interval.high]}
    return _Measured(found, full, predictions["full cosine"].to_numpy(dtype=np.float64))


def _scores(estimates: dict[Method, Estimate]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for method, estimate in estimates.items():
        interval = estimate.interval()
        found[method] = interval.value
        found["ci95" if method == MAIN else f"{method}_ci95"] = [interval.low, interval.high]
    return found


def _size_warnings(options: STSOptions, measured: dict[str, dict[str, _Measured]]) -> list[str]:
    found = []
    for model, by_table in measured.items():
        full = next(iter(by_table.values())).found[0]["dimensions"]
        beyond = ", ".join(str(dim) for dim in options.dims if dim >= full)
        if beyond:
            found.append(f"--dims {beyond} has no effect on {model}: its embeddings have {full} dimensions.")
    return found


def _score_rows(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "model": model,
            "data": name,
            "embeddings": size["name"],
            "dimensions": size["dimensions"],
            "bytes": size["bytes"],
            "similarity": similarity,
            "spearman": scores["spearman"],
            "spearman_low": scores["ci95"][0],
            "spearman_high": scores["ci95"][1],
            "pearson": scores["pearson"],
            "pearson_low": scores["pearson_ci95"][0],
            "pearson_high": scores["pearson_ci95"][1],
        }
        for model, by_table in metrics["models"].items()
        for name, found in by_table.items()
        for size in found
        for similarity, scores in size["scores"].items()
    ]
