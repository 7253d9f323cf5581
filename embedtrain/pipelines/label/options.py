"""The options of ``embedtrain label``, with their checks."""

import importlib.util
import math
import os
from dataclasses import asdict, dataclass, field
from typing import Any

from embedtrain.data.schema import SCORED_PAIRS
from embedtrain.errors import Problems, did_you_mean
from embedtrain.mining.names import LOG_SECONDS, SHARD_ROWS, Engine
from embedtrain.models.names import DeviceName, PrecisionName


@dataclass(frozen=True, kw_only=True)
class LabelOptions:
    """Every option of one labelling.

    Args:
        pairs: Pairs to label: Parquet files, which are never read whole; or CSV, TSV, JSON and JSONL files, saved
            datasets folders and hub names, which are read once and kept in the run as Parquet. Other columns are
            carried along, one called score as given_score.
        teacher: One or more trained models, cross-encoders or bi-encoders, as their files tell; the scores of several
            are averaged, and each takes its time.
        output: The run's folder; the same command continues a run that was cut off.
        columns: Names in your files for ours, such as sentence1=question1; numbers from 0 for a file without header.
        one_order: Score (first, second) alone, in half the time; by default a cross-encoder's score is the mean of both
            orders.
        shard_rows: Pairs in a shard, which is what is in memory at a time, and what a kill may cost.
        dev: Scored pairs that tell how good the teacher is, and how far its scores can be taken at their word.
        gold: Scored pairs whose scores the labels' are compared with; by default those of dev.
        score_range: Lowest and highest score in dev and gold, such as 0 5; scaled to 0 ... 1 once, when reading.
        calibrate: Bring each teacher's scores onto the scale of dev's by isotonic regression (with few dev pairs by a
            logistic curve), before they are averaged.
        sigmoid: Put a sigmoid on the outputs of cross-encoders whose own files ask for none.
        positive_threshold: Scores from here on count as positive where shares are told; no pair is left out.
        negative_threshold: Scores up to here count as negative there.
        student: The model that shall learn from the labels, a bi-encoder; its dev score is put beside the teacher's.
        merge: Write all labels into one file beside their shards, too; twice the room on disk.
        restart: Throw away labels that were made with other inputs, instead of refusing to go on.
        engine: Where labels are made: in this process (or those that torchrun or accelerate started), or by the workers
            of a Ray cluster.
        log_every: Seconds between two lines on the progress.
        seed: Of the bootstrap, and of the folds by which a calibration is measured.
        device: Where to compute; auto takes the GPU where there is one, which is much faster.
        precision: Of matrix products; auto takes bf16 where the hardware has instructions for it, which is faster and
            takes less memory; weights stay in fp32.
        bootstrap_samples: Resamples behind each 95 % interval, at least 100; the time at the end grows with them.
    """

    pairs: list[str]
    teacher: list[str]
    output: str
    columns: dict[str, str] = field(default_factory=dict)
    one_order: bool = False
    shard_rows: int = SHARD_ROWS
    dev: str | None = None
    gold: str | None = None
    score_range: tuple[float, float] = (0.0, 1.0)
    calibrate: bool = False
    sigmoid: bool = False
    positive_threshold: float | None = None
    negative_threshold: float | None = None
    student: str | None = None
    merge: bool = True
    restart: bool = False
    engine: Engine = "local"
    log_every: float = LOG_SECONDS
    seed: int = 42
    device: DeviceName = "auto"
    precision: PrecisionName = "auto"
    bootstrap_samples: int = 1000

    def as_dict(self) -> dict[str, Any]:
        """Plain values for YAML and JSON."""
        return {**asdict(self), "score_range": list(self.score_range)}

    def check(self, problems: Problems) -> None:
        """Note every value that is out of range and every pair of options that contradict each other."""
        for name, least in (("shard_rows", 1), ("log_every", 0), ("seed", 0), ("bootstrap_samples", 100)):
            value = getattr(self, name)
            if not value >= least:
                problems.add(f"--{name.replace('_', '-')} is {value}, expected at least {least}")
        for option in ("pairs", "teacher"):
            given = getattr(self, option)
            if not given:
                problems.add(f"--{option} names nothing, expected at least one")
            for twice in sorted({name for name in given if given.count(name) > 1}):
                problems.add(f"--{option} {twice} is given twice")
        for name, found in self.columns.items():
            if name not in SCORED_PAIRS.columns:
                hint = did_you_mean(name, SCORED_PAIRS.columns)
                problems.add(f"--columns {name}={found}: expected sentence1, sentence2 or score{hint}")
        for option in ("calibrate", "student"):
            if getattr(self, option) and self.dev is None:
                problems.add(f"--{option} needs scored pairs to measure on: give --dev")
        self._check_thresholds(problems)
        self._check_output(problems)
        if self.engine == "ray":
            if importlib.util.find_spec("ray") is None:
                problems.add("--engine ray needs ray, which is not installed: pip install 'embedtrain[ray]'")
            if int(os.environ.get("WORLD_SIZE", "1")) > 1:
                problems.add("--engine ray under torchrun or accelerate: Ray starts its own workers; use one of them")

    def _check_thresholds(self, problems: Problems) -> None:
        high, low = self.positive_threshold, self.negative_threshold
        for option, value in (("positive", high), ("negative", low)):
            if value is not None and (math.isnan(value) or not 0 <= value <= 1):
                problems.add(f"--{option}-threshold is {value}, expected a score between 0 and 1")
        if (high is None) != (low is None):
            given, missing = ("positive", "negative") if low is None else ("negative", "positive")
            problems.add(f"--{given}-threshold without --{missing}-threshold: a share in the middle needs both")
        if high is not None and low is not None and low >= high:
            problems.add(f"--negative-threshold {low} is not below --positive-threshold {high}")

    def _check_output(self, problems: Problems) -> None:
        # os.path answers False where a path may not be looked at; the writing check says so then.
        if os.path.isfile(self.output):
            problems.add(f"--output {self.output}: this is a file, expected a folder")
        inputs = [
            *(("pairs", source) for source in self.pairs),
            *(("teacher", name) for name in self.teacher),
            ("student", self.student),
            ("dev", self.dev),
            ("gold", self.gold),
        ]
        for option, given in inputs:
            if given and os.path.isdir(given) and os.path.abspath(given) == os.path.abspath(self.output):
                problems.add(f"--output {self.output}: this is the input of --{option}, expected a folder of its own")
