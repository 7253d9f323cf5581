"""Labelling pairs of any number with trained teachers: from files to scores with a page that says what they are worth.

The stages, in order: keep pairs as Parquet where they are not; measure the teachers; label, shard by shard; judge;
merge. A labelling that was cut off, however it was, goes on behind its last whole shard.
"""

import logging
import os
import shutil
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from embedtrain.files import read_json, sha256_of_value, whole_file, write_json, write_parquet
from embedtrain.mining.distribution import EXAMPLE_COLUMNS, LabelSummary, build_label_metrics
from embedtrain.mining.shards import LabelStore, PairFiles, label_missing, labelling_progress
from embedtrain.models import choose_attention
from embedtrain.models.hardware import tf32_products
from embedtrain.pipelines.checks import content_hash
from embedtrain.pipelines.label.inputs import LabelInputs, collect_label_inputs
from embedtrain.pipelines.label.judging import (
    blank_warnings,
    dev_scores,
    label_verdict,
    label_warnings,
    teacher_warnings,
)
from embedtrain.pipelines.label.measuring import Measured, measure
from embedtrain.pipelines.label.options import LabelOptions
from embedtrain.pipelines.label.result import LabelResult
from embedtrain.pipelines.label.teachers import LazyScorer, Scoring, load_together
from embedtrain.pipelines.memory import lean_memory
from embedtrain.pipelines.run import Run, full_disk_told
from embedtrain.report import write_label_report
from embedtrain.training.cpu import give_back_free_memory

logger = logging.getLogger(__name__)


def label(options: LabelOptions) -> LabelResult:
    """Label all pairs, or what is left of them, in ``options.output``.

    Raises:
        UserError: With every mistake in options, files and model names, before any model is loaded; or labels of other
            inputs are in the folder, or the disk is full.
    """
    inputs = collect_label_inputs(options)
    with (
        full_disk_told(options.output),
        Run(options.output, config=options.as_dict()) as run,
        lean_memory(inputs.device.name),
        tf32_products(inputs.precision.name),
    ):
        return _label(options, inputs, run)


def _label(options: LabelOptions, inputs: LabelInputs, run: Run) -> LabelResult:
    named = {f"teacher {number}": asdict(teacher.source) for number, teacher in enumerate(inputs.teachers, start=1)}
    student = {} if inputs.student is None else {"student": asdict(inputs.student)}
    run.note(seed=options.seed, models={**named, **student})
    attention = choose_attention(inputs.device.name)
    run.note_choices(device=inputs.device, precision=inputs.precision, attention=attention)
    pipeline = LabelPipeline(options, inputs, run)
    measured = pipeline.measure()
    pipeline.label(measured)
    metrics = pipeline.judge(measured)
    merged = pipeline.merge() if options.merge else None
    report = write_label_report(run.folder) if run.leads else run.folder / "report.html"
    return LabelResult(metrics, pipeline.store.folder / "shards", merged, report)


class LabelPipeline:
    """The stages of one run; each method is one stage."""

    def __init__(self, options: LabelOptions, inputs: LabelInputs, run: Run) -> None:
        self.options = options
        self.inputs = inputs
        self.run = run
        self.scoring = Scoring(inputs.device.name, inputs.precision.name, options.one_order, options.sigmoid)
        self.pairs = self._as_parquet()
        logger.info("%s pairs in %d files", f"{self.pairs.rows:,}", len(self.pairs.paths))
        # Before a model is loaded: pairs that lack a text, and labels of other inputs in the way, are reasons to stop.
        self.pairs.text_bytes(options.shard_rows)
        self.blanks = blank_warnings(self.pairs.rows, self.pairs.blanks)
        self.store = LabelStore(
            run.folder / "labels",
            rows=self.pairs.rows,
            inputs=self._labels_depend_on(),
            shard_rows=options.shard_rows,
            on_change="restart" if options.restart else "refuse",
            leads=run.leads,
        )

    def measure(self) -> Measured:
        """Measure the teachers and the student on dev, and say how they compare before anything is labelled."""
        measured = measure(self.run, self.options, self.inputs, scoring=self.scoring, pairs=self.pairs)
        measured.check_ranges()
        scores = dev_scores(measured.judged)
        if scores is not None:
            logger.info("%s", scores)
        for warning in [*self.blanks, *teacher_warnings(measured.judged)]:
            logger.warning("%s", warning)
        return measured

    def label(self, measured: Measured) -> None:
        """Label every shard that is missing; of several processes each its own, and all wait for the last one."""
        load = partial(load_together, self.inputs.teachers, self.scoring, measured.combination)
        log_seconds = self.options.log_every
        rank, world = (int(os.environ.get(name, one)) for name, one in (("RANK", "0"), ("WORLD_SIZE", "1")))
        if self.options.engine == "ray":
            self._label_with_ray(load, log_seconds=log_seconds)
        else:
            scorer = LazyScorer(load, fingerprint=self.store.key)
            label_missing(
                self.store,
                self.pairs,
                scorer,
                rank=rank,
                world=world,
                # Shards differ a little in what they need, and what is kept of each would add up.
                on_shard=lambda *_: give_back_free_memory(),
                log_seconds=log_seconds,
            )
        if world > 1:
            self.store.await_whole()
        if self.run.leads:
            self.store.finish()

    def judge(self, measured: Measured) -> dict[str, Any]:
        """Go through all labels once; write ``metrics.json`` and ``examples.parquet``."""
        options = self.options
        gold = self.inputs.gold if self.inputs.gold is not None else self.inputs.dev
        high, low = options.positive_threshold, options.negative_threshold

        def work(folder: Path) -> None:
            summary = LabelSummary(positive_threshold=high, negative_threshold=low)
            there = {*self.pairs.schema.names, "score"}
            for first_row, frame in self.store.frames([name for name in EXAMPLE_COLUMNS if name in there]):
                summary.add(frame, first_row=first_row)
            judged = measured.judged
            metrics = build_label_metrics(
                summary,
                gold_scores=None if gold is None else gold["score"].to_numpy(),
                teachers=judged["teachers"],
                student=judged["student"],
                calibration=judged["calibration"],
                seconds=self.store.seconds,
            )
            metrics["labels"] = judged["labels"]
            metrics["warnings"] = [*self.blanks, *teacher_warnings(judged), *label_warnings(metrics)]
            metrics["verdict"] = label_verdict(metrics)
            write_json(folder / "metrics.json", metrics)
            write_parquet(folder / "examples.parquet", summary.examples())

        used = {
            "labels": sha256_of_value(self.store.hashes()),
            "measured": measured.fingerprint,
            "gold": None if gold is None else content_hash(gold),
            "thresholds": [low, high],
            "bootstrap_samples": options.bootstrap_samples,
            "seed": options.seed,
        }
        folder = self.run.stage("judge", inputs=used, work=work)
        if self.run.leads:
            for name in ("metrics.json", "examples.parquet"):
                with whole_file(self.run.folder / name) as beside:
                    shutil.copyfile(folder / name, beside)
        metrics: dict[str, Any] = read_json(folder / "metrics.json")
        return metrics

    def merge(self) -> Path:
        """Put all labels into one file, shard by shard."""

        def work(folder: Path) -> None:
            with pq.ParquetWriter(folder / "silver.parquet", self._schema(), compression="zstd") as writer:
                for shard in range(len(self.store)):
                    writer.write_table(pq.read_table(self.store.path(shard)))

        folder = self.run.stage("silver", inputs={"labels": sha256_of_value(self.store.hashes())}, work=work)
        return folder / "silver.parquet"

    def _as_parquet(self) -> PairFiles:
        """All pairs as Parquet files; what is none becomes one, once."""
        paths: list[Path] = []
        for number, source in enumerate(self.inputs.pairs):
            if source.table is None:
                paths.append(Path(source.name))
                continue

            def work(folder: Path, table: pa.Table = source.table) -> None:
                pq.write_table(table, folder / "pairs.parquet", compression="zstd")

            folder = self.run.stage(f"pairs_{number}", inputs={"pairs": source.fingerprint}, work=work)
            paths.append(folder / "pairs.parquet")
        return PairFiles(paths, [source.columns for source in self.inputs.pairs])

    def _labels_depend_on(self) -> dict[str, Any]:
        options, inputs = self.options, self.inputs
        return {
            "pairs": self.pairs.fingerprint,
            "teacher": {teacher.name: teacher.source.fingerprint for teacher in inputs.teachers},
            "one_order": options.one_order,
            "sigmoid": options.sigmoid,
            "precision": inputs.precision.name,
            "device": inputs.device.name,
            "calibrate": content_hash(inputs.dev) if options.calibrate and inputs.dev is not None else False,
        }

    def _schema(self) -> pa.Schema:
        with pq.ParquetFile(self.store.path(0)) as first:
            return first.schema_arrow

    def _label_with_ray(self, load: Any, *, log_seconds: float) -> None:
        from embedtrain.mining.ray_engine import label_with_ray

        missing = self.store.missing()
        if not missing:
            return
        progress = labelling_progress(self.store, self.pairs, missing, log_seconds=log_seconds)
        label_with_ray(
            self.store, self.pairs, load, on_shard=lambda shard, frame: progress.add(shard, frame["score"].to_numpy())
        )
