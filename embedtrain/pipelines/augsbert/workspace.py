"""What the stages of one run share: its options and inputs, the tables and models that earlier stages left."""

import logging
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sentence_transformers import CrossEncoder, SentenceTransformer

from embedtrain.evaluation.holdout import ScoredPairsDev
from embedtrain.evaluation.statistics import spearman
from embedtrain.evaluation.sts import cosine_of_pairs
from embedtrain.files import sha256_of_file, sha256_of_folder, sha256_of_value, write_json, write_parquet
from embedtrain.models import ModelSource, autocast, load_biencoder, load_crossencoder
from embedtrain.pipelines.augsbert.inputs import Inputs
from embedtrain.pipelines.augsbert.options import AugSBERTOptions
from embedtrain.pipelines.run import Run
from embedtrain.training.biencoder import train_tasks
from embedtrain.training.history import DevResult, History
from embedtrain.training.settings import TrainingSettings
from embedtrain.training.tasks import Task

logger = logging.getLogger(__name__)

PAIR = ["sentence1", "sentence2"]


class Workspace:
    """One run in the hands of its stages.

    Attributes:
        options: The options.
        inputs: What came from outside.
        run: The run folder.
        device: Where to compute.
        precision: Of matrix products.
        computing: Both, for what a stage depends on.
    """

    def __init__(self, options: AugSBERTOptions, inputs: Inputs, run: Run) -> None:
        self.options = options
        self.inputs = inputs
        self.run = run
        self.device = inputs.device.name
        self.precision = inputs.precision.name
        self.computing = {"device": self.device, "precision": self.precision}

    @property
    def dtype(self) -> torch.dtype | None:
        """What to autocast to when labelling, or None."""
        return torch.bfloat16 if self.precision == "bf16" else None

    def table(self, name: str) -> pd.DataFrame:
        """Scored pairs after the audit: ``gold``, ``dev`` or ``test``."""
        return pd.read_parquet(self.run.path("read", f"{name}.parquet"), columns=[*PAIR, "score"])

    def sentences(self) -> list[str]:
        """What new pairs are made of."""
        return pd.read_parquet(self.run.path("read", "sentences.parquet"))["text"].tolist()

    def ready_pairs(self) -> pd.DataFrame | None:
        """Unlabelled pairs that were given, or None."""
        return None if self.inputs.ready is None else pd.read_parquet(self.run.path("read", "pairs.parquet"))

    def hashes(self, *names: str) -> dict[str, str]:
        """Of the tables that the audit left."""
        return {name: sha256_of_file(self.run.path("read", f"{name}.parquet")) for name in names}

    def trained(self, stage: str) -> ModelSource:
        """The model that a stage trained."""
        return ModelSource(stage, str(self.run.path(stage, "model")), "folder")

    def weights(self, stage: str) -> str:
        """A hash of the model that a stage trained."""
        return sha256_of_folder(self.run.path(stage, "model"))

    def load(self, source: ModelSource) -> SentenceTransformer:
        """A bi-encoder on the run's device."""
        return load_biencoder(source, device=self.device)

    def load_crossencoder(self, source: ModelSource, *, seed: int = 0) -> CrossEncoder:
        """A cross-encoder on the run's device."""
        return load_crossencoder(source, device=self.device, seed=seed)

    def kept_dev(self, stage: str) -> pd.DataFrame:
        """``score``, ``split`` and ``prediction`` of the dev pairs, as a stage's model or models predicted them."""
        return pd.read_parquet(self.run.path(stage, "dev.parquet"))

    def zero_shot_dev(self) -> pd.DataFrame:
        """The same of the base model as it is."""
        predictions = pd.read_parquet(self.run.path("zero_shot", "predictions.parquet"))
        return predictions[predictions["split"] == "dev"]

    def cosines(self, model: SentenceTransformer, split: str) -> pd.DataFrame:
        """``score``, ``split`` and a bi-encoder's cosine as ``prediction`` of the pairs of a split."""
        table = self.table(split)
        # Test in fp32, because that is what a user of the saved model gets; dev as it is computed while training.
        with autocast(self.device, "fp32" if split == "test" else self.precision):
            cosines = cosine_of_pairs(model, table["sentence1"].tolist(), table["sentence2"].tolist())
        return table[["score"]].assign(split=split, prediction=cosines)

    def fit_biencoder(
        self,
        model: SentenceTransformer,
        tasks: list[Task],
        *,
        settings: TrainingSettings,
        max_steps: int,
        seed: int,
        description: str,
        untrained: pd.DataFrame | None,
        checkpoints: Path,
    ) -> History:
        """Train a bi-encoder in place, up to the weights of its best Spearman on dev.

        Args:
            model: The encoder.
            tasks: What it is trained on.
            settings: How.
            max_steps: Optimiser steps at most.
            seed: Of batches and dropout.
            description: Name on the progress bar.
            untrained: Its predictions for dev as it is, where they are known.
            checkpoints: Where a training that is cut off is gone on from.
        """
        dev = ScoredPairsDev(self.table("dev"))

        def result(predictions: np.ndarray) -> DevResult:
            return DevResult(dev.scores(predictions), predictions)

        def dev_metric(current: SentenceTransformer) -> DevResult:
            with autocast(current.device.type, self.precision):
                return result(dev.predict(current))

        return train_tasks(
            model,
            tasks,
            dev_metric=dev_metric,
            untrained="score" if untrained is None else result(untrained["prediction"].to_numpy(dtype="float64")),
            settings=settings,
            max_steps=max_steps,
            seed=seed,
            precision=self.precision,
            description=description,
            checkpoints=checkpoints,
        )

    def train(
        self,
        stage: str,
        *,
        used: Mapping[str, Any],
        fit: Callable[[Path], tuple[SentenceTransformer | CrossEncoder, History]],
    ) -> None:
        """Do a stage that trains a model: the model, what happened, and its predictions for dev.

        Checkpoints lie beside the stages, under the hash of all that the result depends on: what a killed process
        leaves there is taken up again by the same command, and thrown away by a changed one.

        Args:
            stage: The stage's name.
            used: What the result depends on, beside device, precision and the number of processes.
            fit: Trains, with checkpoints in the folder that it is given.
        """
        used = {**used, "processes": int(os.environ.get("WORLD_SIZE", "1")), **self.computing}
        checkpoints = self.run.folder / "checkpoints" / stage

        def work(folder: Path) -> None:
            mine = checkpoints / sha256_of_value(used)[:16]
            for other in checkpoints.glob("*"):
                if other != mine and self.run.leads:
                    shutil.rmtree(other)
            model, history = fit(mine)
            if self.run.leads:
                model.save_pretrained(str(folder / "model"), create_model_card=False)
                write_json(folder / "history.json", history.as_dict())
                dev = self.table("dev")[["score"]].assign(split="dev", prediction=np.float64(history.best_predictions))
                write_parquet(folder / "dev.parquet", dev)

        self.run.stage(stage, inputs=used, work=work, shared=True)
        if self.run.leads:
            shutil.rmtree(checkpoints, ignore_errors=True)
            with suppress(OSError):  # another stage has some
                checkpoints.parent.rmdir()

    def dev_spearman(self, stage: str) -> float:
        """Spearman of what a stage's model or models predicted for dev."""
        kept = self.kept_dev(stage)
        return spearman(kept["prediction"], kept["score"])
