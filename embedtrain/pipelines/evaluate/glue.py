"""Encoders on GLUE: each task fine-tuned, its dev rows predicted, scores with intervals, nothing done twice."""

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from embedtrain.data.glue import GLUETask
from embedtrain.evaluation.classification import score_predictions
from embedtrain.files import read_json, sha256_of_value, write_json, write_parquet
from embedtrain.models import ModelSource
from embedtrain.models.pooled_crossencoder import make_pooled_crossencoder
from embedtrain.models.sharing import processes
from embedtrain.pipelines.evaluate.glue_inputs import TaskRows, read_glue
from embedtrain.pipelines.evaluate.glue_options import GLUEOptions
from embedtrain.pipelines.evaluate.glue_scores import TaskScores, glue_metrics, kept_score, score_rows, score_task
from embedtrain.pipelines.evaluate.workspace import EvaluateWorkspace, Evaluation, open_workspace
from embedtrain.training.classifier import Outputs, predict, train_classifier

Predictions = Mapping[str, NDArray[np.float64]]


def evaluate_glue(options: GLUEOptions) -> Evaluation:
    """Fine-tune encoders for GLUE's tasks and measure them on the dev rows.

    Returns:
        ``metrics`` holds, for each model and task, the task's score (the mean of its metrics, and of several seeds) and
        every metric with 95 % intervals, and what happened in training; the average over the tasks done, with their
        number; the paired differences between the models; the warnings and a verdict. Scores are fractions.

    Raises:
        UserError: With every mistake in options, files and model names, before any model is loaded.
    """
    evaluated, tasks = read_glue(options)
    with open_workspace(options, evaluated) as work:
        scores: dict[str, dict[str, TaskScores]] = {}
        kept = []
        # Task by task: with several models, the first comparisons are there early.
        for rows in tasks:
            for source in evaluated.models:
                runs = [_trained(work, options, source, rows, seed) for seed in _seeds(options)]
                scores.setdefault(source.name, {})[rows.task.name] = score_task(
                    rows, runs, samples=options.bootstrap_samples, seed=options.seed
                )
                kept.append(kept_score(source.name, rows, [predictions for predictions, _ in runs]))
        if work.run.leads:
            shutil.rmtree(work.run.folder / "checkpoints", ignore_errors=True)
        metrics = glue_metrics(options, tasks, scores)
        return work.finish(metrics, score_rows(metrics), kept)


def _seeds(options: GLUEOptions) -> range:
    return range(options.seed, options.seed + options.seeds)


def _trained(
    work: EvaluateWorkspace, options: GLUEOptions, source: ModelSource, rows: TaskRows, seed: int
) -> tuple[Predictions, dict[str, Any]]:
    """What a model says of each part of dev after training with one seed, and the history of the training."""
    task = rows.task
    used = {
        "model": source.fingerprint,
        "data": rows.hashes,
        "training": asdict(options.training),
        "batch_tokens": options.batch_tokens,
        "pooling": options.pooling,
        "max_length": options.max_length,
        "choose_on": options.choose_on,
        "seed": seed,
        # Each process has batches of its own.
        **({"processes": processes()} if processes() > 1 else {}),
    }
    checkpoints = work.run.folder / "checkpoints" / sha256_of_value({**used, **work.computing, "task": task.name})[:16]

    def train(folder: Path) -> None:
        model = make_pooled_crossencoder(
            source, pooling=options.pooling, device=work.device, seed=seed, outputs=task.outputs
        )
        gold = rows.choosing["label"].to_numpy()
        history = train_classifier(
            model,
            rows.data.train,
            dev=rows.choosing,
            measure=lambda outputs: {"score": _quick_score(task, _said(task, outputs), gold)},
            metric="score",
            settings=options.training,
            engine=options.engine,
            max_length=options.max_length,
            seed=seed,
            precision=work.precision,
            description=task.name if options.seeds == 1 else f"{task.name}, seed {seed}",
            checkpoints=checkpoints,
        )
        if not work.run.leads:
            return
        parts = []
        for part, dev in rows.data.dev.items():
            outputs = predict(model, dev, max_length=options.max_length, precision=work.precision)
            parts.append(pd.DataFrame({"part": part, "row": dev.index, "prediction": _said(task, outputs)}))
        write_parquet(folder / "predictions.parquet", pd.concat(parts, ignore_index=True))
        write_json(folder / "history.json", history.as_dict())

    folder = work.stage(["glue", source.name, task.name, f"seed{seed}"], inputs=used, work=train, shared=True)
    if work.run.leads:
        shutil.rmtree(checkpoints, ignore_errors=True)
    said = pd.read_parquet(folder / "predictions.parquet")
    by_part = {part: said.loc[said["part"] == part, "prediction"].to_numpy(dtype=np.float64) for part in rows.data.dev}
    return by_part, read_json(folder / "history.json")


def _said(task: GLUETask, outputs: Outputs) -> NDArray[np.float64]:
    """Class numbers, or scores in [0, 1], from a classifier's outputs."""
    if task.labels:
        return outputs.argmax(axis=1).astype(np.float64)
    return 1 / (1 + np.exp(-outputs[:, 0].astype(np.float64)))


def _quick_score(task: GLUETask, said: NDArray[np.float64], gold: NDArray[Any]) -> float:
    # One resample, for which nobody asks: the score itself is what decides.
    found = score_predictions(said, gold, metrics=task.metrics, samples=1, seed=0)
    return float(np.mean([one.value for one in found.values()]))
