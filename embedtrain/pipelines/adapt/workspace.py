"""What the stages of an adaptation share: options, inputs, the run folder, and how models are measured and trained."""

import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from embedtrain.data.schema import KINDS
from embedtrain.evaluation.holdout import DEV_SETS, DevSet
from embedtrain.files import read_json, sha256_of_file, sha256_of_folder, sha256_of_value, write_json, write_parquet
from embedtrain.models import ModelSource, autocast, load_biencoder
from embedtrain.models.pooling import set_pooling
from embedtrain.pipelines.adapt.inputs import AdaptInputs
from embedtrain.pipelines.adapt.options import AdaptOptions
from embedtrain.pipelines.run import Run
from embedtrain.training.history import DevMetric, DevResult, History

MEASURED = ("dev", "test")


@dataclass(frozen=True)
class AdaptWorkspace:
    """One run at work."""

    options: AdaptOptions
    inputs: AdaptInputs
    run: Run

    @property
    def device(self) -> str:
        """Where to compute."""
        return self.inputs.device.name

    @property
    def precision(self) -> str:
        """Of matrix products."""
        return self.inputs.precision.name

    @property
    def computing(self) -> dict[str, str]:
        """What every figure depends on."""
        return {"device": self.device, "precision": self.precision}

    def table(self, name: str) -> pd.DataFrame:
        """Rows after the audit: ``sentences``, ``held_out``, ``gold``, ``dev`` or ``test``."""
        return pd.read_parquet(self.run.path("read", f"{name}.parquet")).set_index("row")

    def hashes(self, *names: str) -> dict[str, str]:
        """Of the tables that the audit left."""
        return {name: sha256_of_file(self.run.path("read", f"{name}.parquet")) for name in names}

    def kinds(self) -> dict[str, str]:
        """What each table of pairs holds, by its name: ``gold``, ``dev`` and ``test`` where they are there."""
        kinds: dict[str, str] = read_json(self.run.path("read", "kinds.json"))
        return kinds

    def measures(self) -> dict[str, DevSet]:
        """What each split is measured by."""
        kinds = self.kinds()
        return {split: DEV_SETS[KINDS[kinds[split]]](self.table(split)) for split in MEASURED if split in kinds}

    def load(self, source: ModelSource) -> SentenceTransformer:
        """An encoder on the run's device, pooled as asked for."""
        model = load_biencoder(source, device=self.device)
        set_pooling(model, self.options.pooling)
        return model

    def start(self, stage: str | None) -> ModelSource:
        """The model that a stage trained, or the base."""
        if stage is None:
            return self.inputs.base
        return ModelSource(stage, str(self.run.path(stage, "model")), "folder")

    def weights(self, stage: str | None) -> str:
        """A text that changes with the model that a stage trained."""
        if stage is None:
            return f"{self.inputs.base.fingerprint};pooling={self.options.pooling}"
        return sha256_of_folder(self.run.path(stage, "model"))

    def dev_metric(self) -> DevMetric | None:
        """What chooses the weights, or None where there are no dev pairs."""
        measures = self.measures()
        if "dev" not in measures:
            return None
        dev = measures["dev"]

        def measured(current: SentenceTransformer) -> DevResult:
            with autocast(self.device, self.precision):
                found = dev.measure(current)
            return DevResult(found.scores, found.predictions)

        return measured

    def predictions(self, model: SentenceTransformer) -> pd.DataFrame:
        """``split`` and ``prediction`` of a model for every split."""
        parts = []
        for split, measure in self.measures().items():
            # Test in fp32, because that is what a user of the saved model gets; dev as it is computed while training.
            with autocast(self.device, "fp32" if split == "test" else self.precision):
                parts.append(pd.DataFrame({"split": split, "prediction": measure.predict(model)}))
        nothing = pd.DataFrame({"split": pd.Series(dtype="str"), "prediction": pd.Series(dtype="float64")})
        return pd.concat(parts, ignore_index=True) if parts else nothing

    def kept(self, stage: str, split: str) -> NDArray[np.float64]:
        """What a stage's model predicted for a split."""
        predictions = pd.read_parquet(self.run.path(stage, "predictions.parquet"))
        return predictions.loc[predictions["split"] == split, "prediction"].to_numpy(dtype="float64")

    def train(
        self,
        stage: str,
        *,
        start: str | None,
        used: Mapping[str, Any],
        fit: Callable[[SentenceTransformer, Path], History],
    ) -> None:
        """Do a stage that trains a model: the model, what happened, and its predictions.

        Checkpoints lie beside the stages, under the hash of all that the result depends on: what a killed process
        leaves there is taken up again by the same command, and thrown away by a changed one.

        Args:
            stage: The stage's name.
            start: The stage whose model is trained further; None for the base.
            used: What the result depends on beside the start, device, precision and number of processes.
            fit: Trains the model that it is given, with checkpoints in the folder that it is given.
        """
        used = {
            "start": self.weights(start),
            **used,
            **self.hashes(*self.measures()),
            "processes": int(os.environ.get("WORLD_SIZE", "1")),
            **self.computing,
        }
        checkpoints = self.run.folder / "checkpoints" / stage

        def work(folder: Path) -> None:
            mine = checkpoints / sha256_of_value(used)[:16]
            for other in checkpoints.glob("*"):
                if other != mine and self.run.leads:
                    shutil.rmtree(other)
            model = self.load(self.start(start))
            history = fit(model, mine)
            if self.run.leads:
                model.save_pretrained(str(folder / "model"), create_model_card=False)
                write_json(folder / "history.json", history.as_dict())
                write_parquet(folder / "predictions.parquet", self.predictions(model))

        self.run.stage(stage, inputs=used, work=work, shared=True)
        if self.run.leads:
            shutil.rmtree(checkpoints, ignore_errors=True)
            with suppress(OSError):  # another stage has some
                checkpoints.parent.rmdir()
