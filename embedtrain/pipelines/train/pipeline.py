"""Training a bi-encoder on tables of any kind, each with its loss: from files to a model with the proof beside it.

The stages, in order: read and audit; zero-shot; train; predict; judge. Each is kept in the run folder and done again
only when something it depends on has changed; a training that was cut off goes on from its last checkpoint. Model and
report stand at the top of the folder.
"""

import logging
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from embedtrain.data.schema import KINDS
from embedtrain.evaluation.holdout import DEV_SETS, DevSet, ScoredPairsDev
from embedtrain.files import (
    read_json,
    sha256_of_file,
    sha256_of_folder,
    sha256_of_value,
    write_json,
    write_parquet,
)
from embedtrain.models import ModelSource, autocast, choose_attention, load_biencoder
from embedtrain.pipelines.checks import content_hash
from embedtrain.pipelines.keeping import keep_model
from embedtrain.pipelines.memory import lean_memory
from embedtrain.pipelines.results import split_scores
from embedtrain.pipelines.run import Run
from embedtrain.pipelines.train.fitting import Fitting
from embedtrain.pipelines.train.inputs import TrainInputs, collect_train_inputs
from embedtrain.pipelines.train.judging import judge_training
from embedtrain.pipelines.train.options import TrainOptions
from embedtrain.pipelines.train.reading import read_tables
from embedtrain.report import write_train_report

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainResult:
    """What a run made: ``metrics`` is the content of ``metrics.json``, ``adapter`` is None without LoRA."""

    metrics: dict[str, Any]
    model: Path
    adapter: Path | None
    report: Path

    def to_frame(self) -> pd.DataFrame:
        """Scores before and after on dev and test as fractions, with 95 % intervals: see ``results.score_frame``."""
        deciding = {split: metric["name"] for split, metric in self.metrics["metrics"].items()}
        return split_scores(self.metrics["models"], deciding)


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
            tables = read_tables(inputs, seed=seed)
            for number, rows in enumerate(tables.training):
                write_parquet(folder / f"data_{number}.parquet", rows.rename_axis("row").reset_index())
            for name, frame in (("dev", tables.dev), ("test", tables.test)):
                if frame is not None:
                    write_parquet(folder / f"{name}.parquet", frame.rename_axis("row").reset_index())
            write_json(folder / "kinds.json", {"dev": tables.dev_kind.name})
            write_json(folder / "audit.json", tables.audit)

        given = {"dev": inputs.dev, "test": inputs.test}
        used = {
            **{f"data {table.source}": content_hash(table.rows) for table in inputs.tables},
            **{name: content_hash(frame) for name, frame in given.items() if frame is not None},
            "first": inputs.tables[0].source,
            **({} if inputs.dev is not None else {"seed": seed}),
        }
        folder = self.run.stage("read", inputs=used, work=work)
        for finding in read_json(folder / "audit.json")["findings"]:
            logger.info("audit: %s", finding["message"])
        rows = [len(self._table(f"data_{number}")) for number in range(len(inputs.tables))]
        held = "" if inputs.dev is not None else f", held out of {inputs.tables[0].source}"
        logger.info("%d rows to train on; dev: %d rows%s", sum(rows), len(self._table("dev")), held)

    def zero_shot(self) -> None:
        """Score the model on dev and test before anything is trained."""

        def work(folder: Path) -> None:
            model = load_biencoder(self.inputs.base, device=self.device)
            parts = [self._predictions(model, split, measure) for split, measure in self._measures().items()]
            write_parquet(folder / "predictions.parquet", pd.concat(parts, ignore_index=True))

        used = {"base": self.inputs.base.fingerprint, **self._hashes(*self.splits), **self.computing}
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
                tables=[self._table(name) for name in numbers],
                dev=self._measures()["dev"],
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
        measures = {split: measure for split, measure in self._measures().items() if split != "dev"}

        def work(folder: Path) -> None:
            parts = [pd.read_parquet(self.run.path("train", "predictions.parquet"))]
            if measures:
                source = ModelSource("trained", str(self.run.path("train", "model")), "folder")
                model = load_biencoder(source, device=self.device)
                parts += [self._predictions(model, split, measure) for split, measure in measures.items()]
            write_parquet(folder / "predictions.parquet", pd.concat(parts, ignore_index=True))

        used = {
            "model": sha256_of_folder(self.run.path("train", "model")),
            "dev_predictions": sha256_of_file(self.run.path("train", "predictions.parquet")),
            **self._hashes(*measures),
            **self.computing,
        }
        self.run.stage("predict", inputs=used, work=work)

    def judge(self) -> dict[str, Any]:
        """Put intervals on the scores before and after training, and words; write ``metrics.json``."""
        options = self.options
        stages = {"zero_shot": "zero_shot", "trained": "predict"}

        def work(folder: Path) -> None:
            measures = self._measures()
            judged = judge_training(
                {(model, split): self._kept(stage, split) for model, stage in stages.items() for split in measures},
                measures,
                held_out=self.inputs.dev is None,
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

    def _table(self, name: str) -> pd.DataFrame:
        return pd.read_parquet(self.run.path("read", f"{name}.parquet")).set_index("row")

    def _hashes(self, *names: str) -> dict[str, str]:
        return {name: sha256_of_file(self.run.path("read", f"{name}.parquet")) for name in names}

    def _measures(self) -> dict[str, DevSet]:
        """What each split is measured by."""
        kind = KINDS[read_json(self.run.path("read", "kinds.json"))["dev"]]
        measures: dict[str, DevSet] = {"dev": DEV_SETS[kind](self._table("dev"))}
        if self.inputs.test is not None:
            measures["test"] = ScoredPairsDev(self._table("test"))
        return measures

    def _predictions(self, model: SentenceTransformer, split: str, measure: DevSet) -> pd.DataFrame:
        # Test in fp32, because that is what a user of the saved model gets; dev as it is computed while training.
        with autocast(self.device, "fp32" if split == "test" else self.precision):
            return pd.DataFrame({"split": split, "prediction": measure.predict(model)})

    def _kept(self, stage: str, split: str) -> NDArray[np.float64]:
        predictions = pd.read_parquet(self.run.path(stage, "predictions.parquet"))
        return predictions.loc[predictions["split"] == split, "prediction"].to_numpy(dtype="float64")
