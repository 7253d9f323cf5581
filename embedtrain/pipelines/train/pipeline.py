"""Training a bi-encoder on tables of any kind, each with its loss: from files to a model with the proof beside it.

The stages, in order: read and audit; zero-shot; train; predict; judge. Each is kept in the run folder and done again
only when something it depends on has changed; a training that was cut off goes on from its last checkpoint. Model and
report stand at the top of the folder.
"""

import logging
import os
import shutil
from collections.abc import Iterable
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from embedtrain.evaluation.holdout import DevSet
from embedtrain.files import (
    read_json,
    sha256_of_file,
    sha256_of_folder,
    sha256_of_value,
    write_json,
    write_parquet,
)
from embedtrain.models import ModelSource, choose_attention, load_biencoder
from embedtrain.models.prompts import set_prompts
from embedtrain.pipelines.checks import content_hash
from embedtrain.pipelines.keeping import keep_model
from embedtrain.pipelines.memory import lean_memory
from embedtrain.pipelines.run import Run
from embedtrain.pipelines.train.fitting import Fitting
from embedtrain.pipelines.train.inputs import TrainInputs, collect_train_inputs
from embedtrain.pipelines.train.judging import judge_training
from embedtrain.pipelines.train.measuring import predict_split, read_hashes, read_measures, read_table
from embedtrain.pipelines.train.options import TrainOptions
from embedtrain.pipelines.train.reading import read_tables
from embedtrain.pipelines.train.result import TrainResult
from embedtrain.report import write_train_report

logger = logging.getLogger(__name__)


def train(options: TrainOptions) -> TrainResult:
    """Run the whole training, or what is left of it, in ``options.output``.

    Raises:
        UserError: With every mistake in options, files, losses and model names, before any model is loaded.
    """
    inputs = collect_train_inputs(options)
    with Run(options.output, config=options.as_dict()) as run, lean_memory(inputs.device.name):
        models = {"base": inputs.base, **({"guide": inputs.guide} if inputs.guide else {})}
        run.note(
            seed=options.seed,
            models={name: asdict(source) for name, source in models.items()},
            losses={table.source: table.loss for table in inputs.tables},
        )
        attention = choose_attention(inputs.device.name)
        run.note_choices(device=inputs.device, precision=inputs.precision, attention=attention)
        pipeline = TrainPipeline(options, inputs, run)
        pipeline.read()
        pipeline.zero_shot()
        pipeline.train()
        pipeline.predict()
        metrics = pipeline.judge()
        pipeline.keep_model()
        adapter = run.folder / "adapter" if options.lora_rank is not None else None
        report = write_train_report(run.folder) if run.leads else run.folder / "report.html"
        return TrainResult(metrics, run.folder / "model", adapter, report)


class TrainPipeline:
    """The stages of one run; each method is one stage."""

    def __init__(self, options: TrainOptions, inputs: TrainInputs, run: Run) -> None:
        self.options = options
        self.inputs = inputs
        self.run = run
        self.device = inputs.device.name
        self.precision = inputs.precision.name
        self.computing = {"device": self.device, "precision": self.precision}
        self.splits = ["dev"] if inputs.test is None else ["dev", "test"]

    def read(self) -> None:
        """Audit the tables, drop what has to go, hold dev out where none is given, and keep the result as Parquet."""
        inputs, seed = self.inputs, self.options.seed

        def work(folder: Path) -> None:
            read_tables(inputs, seed=seed).write(folder)
            if inputs.search is not None:
                inputs.search.write(folder)

        given = {"dev": inputs.dev, "test": inputs.test}
        used = {
            **{f"data {table.source}": content_hash(table.rows) for table in inputs.tables},
            **{name: content_hash(frame) for name, frame in given.items() if frame is not None},
            **({} if inputs.search is None else {"dev": inputs.search.fingerprint}),
            "first": inputs.tables[0].source,
            **({"seed": seed} if inputs.holds_out else {}),
        }
        folder = self.run.stage("read", inputs=used, work=work)
        for finding in read_json(folder / "audit.json")["findings"]:
            logger.info("audit: %s", finding["message"])
        rows = [len(read_table(folder, f"data_{number}")) for number in range(len(inputs.tables))]
        held = f", held out of {inputs.tables[0].source}" if inputs.holds_out else ""
        dev = f"{len(read_table(folder, 'dev'))} rows" if inputs.search is None else str(inputs.search)
        logger.info("%d rows to train on; dev: %s%s", sum(rows), dev, held)

    def zero_shot(self) -> None:
        """Score the model on dev and test before anything is trained."""

        def work(folder: Path) -> None:
            model = load_biencoder(self.inputs.base, device=self.device)
            set_prompts(model, self.options.prompts)
            write_parquet(
                folder / "predictions.parquet", pd.concat(self._predictions(model, self.splits), ignore_index=True)
            )

        used = {
            "base": self.inputs.base.fingerprint,
            "prompts": self.options.prompts,
            **self._hashes(*self.splits),
            **self.computing,
        }
        self.run.stage("zero_shot", inputs=used, work=work)

    def train(self) -> None:
        """Train, of several seeds the best one, and keep the weights of the best dev score.

        Checkpoints lie beside the stages, under the hash of all that the result depends on: what a killed process
        leaves there is taken up again by the same command, and thrown away by a changed one.
        """
        options, inputs = self.options, self.inputs
        numbers = [f"data_{number}" for number in range(len(inputs.tables))]
        used = {
            "base": inputs.base.fingerprint,
            **self._hashes(*numbers, "dev"),
            "losses": [table.loss for table in inputs.tables],
            "guide": inputs.guide.fingerprint if inputs.guide else None,
            "training": asdict(options.training),
            "fitting": Fitting.depends_on(options),
            "seed": options.seed,
            "processes": int(os.environ.get("WORLD_SIZE", "1")),
            **self.computing,
        }
        checkpoints = self.run.folder / "checkpoints"

        def work(folder: Path) -> None:
            mine = checkpoints / sha256_of_value(used)[:16]
            for other in checkpoints.glob("*"):
                if other != mine and self.run.leads:
                    shutil.rmtree(other)
            fitting = Fitting(
                options,
                inputs,
                tables=[read_table(self.run.path("read"), name) for name in numbers],
                dev=self.measures["dev"],
                before=self._kept("zero_shot", "dev"),
                checkpoints=mine,
                leads=self.run.leads,
            )
            fitted = fitting.fit()
            fitted.save(folder)
            predictions = pd.DataFrame({"split": "dev", "prediction": fitted.dev_predictions})
            write_parquet(folder / "predictions.parquet", predictions)

        self.run.stage("train", inputs=used, work=work, shared=True)
        if self.run.leads:
            shutil.rmtree(checkpoints, ignore_errors=True)

    def predict(self) -> None:
        """Let the trained model score test; what it predicted for dev is kept from its training."""
        splits = self.splits[1:]

        def work(folder: Path) -> None:
            parts = [pd.read_parquet(self.run.path("train", "predictions.parquet"))]
            if splits:
                source = ModelSource("trained", str(self.run.path("train", "model")), "folder")
                model = load_biencoder(source, device=self.device)
                parts += self._predictions(model, splits)
            write_parquet(folder / "predictions.parquet", pd.concat(parts, ignore_index=True))

        used = {
            "model": sha256_of_folder(self.run.path("train", "model")),
            "dev_predictions": sha256_of_file(self.run.path("train", "predictions.parquet")),
            **self._hashes(*splits),
            **self.computing,
        }
        self.run.stage("predict", inputs=used, work=work)

    def judge(self) -> dict[str, Any]:
        """Put intervals on the scores before and after training, and words; write ``metrics.json``."""
        options = self.options
        stages = {"zero_shot": "zero_shot", "trained": "predict"}

        def work(folder: Path) -> None:
            measures = self.measures
            judged = judge_training(
                {(model, split): self._kept(stage, split) for model, stage in stages.items() for split in measures},
                measures,
                held_out=self.inputs.holds_out,
                bootstrap_samples=options.bootstrap_samples,
                seed=options.seed,
            )
            write_json(folder / "judged.json", judged)

        used = {
            **{stage: sha256_of_file(self.run.path(stage, "predictions.parquet")) for stage in stages.values()},
            **self._hashes(*self.splits),
            "bootstrap_samples": options.bootstrap_samples,
            "seed": options.seed,
        }
        folder = self.run.stage("judge", inputs=used, work=work)
        fitted = read_json(self.run.path("train", "seeds.json"))
        metrics = {**read_json(folder / "judged.json"), **fitted, "seconds": self.run.seconds}
        if self.run.leads:
            write_json(self.run.folder / "metrics.json", metrics)
        return metrics

    def keep_model(self) -> None:
        """Put the trained model with its card into ``model/``, and its adapter, if there is one, into ``adapter/``."""
        keep_model(self.run, self.run.path("train", "model"))
        self.run.keep(self.run.path("train", "adapter"), "adapter")

    @cached_property
    def measures(self) -> dict[str, DevSet]:
        """What each split is measured by, once the tables are read."""
        return read_measures(self.run.path("read"))

    def _hashes(self, *names: str) -> dict[str, str]:
        return read_hashes(self.run.path("read"), *names)

    def _predictions(self, model: SentenceTransformer, splits: Iterable[str]) -> list[pd.DataFrame]:
        times = self.options.training.evaluations
        return [
            predict_split(model, split, self.measures[split], **self.computing, evaluations=times) for split in splits
        ]

    def _kept(self, stage: str, split: str) -> NDArray[np.float64]:
        predictions = pd.read_parquet(self.run.path(stage, "predictions.parquet"))
        return predictions.loc[predictions["split"] == split, "prediction"].to_numpy(dtype="float64")
