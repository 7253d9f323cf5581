"""The options of the Augmented SBERT pipeline, with their checks."""

import os
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from embedtrain.errors import Problems
from embedtrain.mining.sampling import STRATEGIES
from embedtrain.models.hardware import DeviceName, PrecisionName
from embedtrain.models.loading import DEFAULT_MODEL
from embedtrain.training.biencoder import BiEncoderLoss
from embedtrain.training.settings import TrainingSettings

# Labelling and training take most of a run's time, and more silver than this has not been seen to help.
SILVER_PER_GOLD = 2
MIN_SILVER = 10_000
Strategy = Literal["semantic", "bm25"]


@dataclass(frozen=True, kw_only=True)
class AugSBERTOptions:
    """Every option of one Augmented SBERT run.

    Args:
        gold: Scored pairs to train on: a CSV, TSV, JSON, JSONL or Parquet file, a saved datasets folder or a hub name.
        dev: Scored pairs that choose checkpoints and the final model.
        test: Scored pairs that judge; nothing is ever chosen by them.
        output: The run's folder; the same command continues a run that was cut off.
        unlabeled: Sentences to make new pairs from (also TXT, one sentence a line); gold's own sentences are added.
        columns: Names in your files for ours, such as sentence1=question1; numbers from 0 for a file without header.
        score_range: Lowest and highest score in your files, such as 0 5; scaled to 0 ... 1 once, when reading.
        gold_limit: Train on this many gold pairs, drawn at random by the seed; by default on all of them.
        base: The student: a folder, or a model's name.
        teacher_base: What the cross-encoder starts from; by default the student's base.
        strategies: How new pairs are found: semantic search, BM25, or both.
        top_k: Partners searched for each sentence, by each strategy.
        silver_limit: Label at most this many of the new pairs, drawn by the seed; 0 labels all. By default twice the
            gold pairs, but at least 10,000.
        positive_threshold: Silver scores from here on become 1; with the ranking loss, the lowest score of a positive.
        negative_threshold: Silver scores up to here become 0; what lies between the thresholds is dropped.
        loss: The students' loss: cosine similarity, or multiple negatives ranking on pairs above positive_threshold.
        teacher: How the cross-encoder is trained; its batches count each order of a pair.
        student: How both bi-encoders are trained; epochs count passes over gold and silver together.
        seed: Of every random choice: the gold subset, batches, dropout, bootstrap.
        device: Where to compute; auto takes the GPU where there is one.
        precision: Of matrix products; auto takes bf16 where the hardware has instructions for it.
        bootstrap_samples: Resamples behind each 95 % interval.
    """

    gold: str
    dev: str
    test: str
    output: str
    unlabeled: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    score_range: tuple[float, float] = (0.0, 1.0)
    gold_limit: int | None = None
    base: str = DEFAULT_MODEL
    teacher_base: str | None = None
    strategies: list[Strategy] = field(default_factory=lambda: ["semantic"])
    top_k: int = 3
    silver_limit: int | None = None
    positive_threshold: float | None = None
    negative_threshold: float | None = None
    loss: BiEncoderLoss = "cosine"
    teacher: TrainingSettings = field(
        default_factory=lambda: TrainingSettings(batch_size=32, learning_rate=5e-5, evaluations=4)
    )
    student: TrainingSettings = field(default_factory=TrainingSettings)
    seed: int = 42
    device: DeviceName = "auto"
    precision: PrecisionName = "auto"
    bootstrap_samples: int = 1000

    def as_dict(self) -> dict[str, Any]:
        """Plain values for YAML and JSON."""
        return {**asdict(self), "score_range": list(self.score_range)}

    def silver_pairs_at_most(self, gold_pairs: int) -> int | None:
        """How many pairs are labelled for so many gold pairs, or None for all that were found."""
        if self.silver_limit is None:
            return max(SILVER_PER_GOLD * gold_pairs, MIN_SILVER)
        return self.silver_limit or None

    def check(self, problems: Problems) -> None:
        """Note every value that is out of range and every pair of options that contradict each other."""
        if self.gold_limit is not None and self.gold_limit < 10:
            problems.add(f"--gold-limit is {self.gold_limit}, expected at least 10")
        if self.top_k < 1:
            problems.add(f"--top-k is {self.top_k}, expected at least 1")
        if self.silver_limit is not None and self.silver_limit < 0:
            problems.add(f"--silver-limit is {self.silver_limit}, expected at least 0 (0: no limit)")
        if self.seed < 0:
            problems.add(f"--seed is {self.seed}, expected at least 0")
        if self.bootstrap_samples < 100:
            problems.add(f"--bootstrap-samples is {self.bootstrap_samples}, expected at least 100")
        if not self.strategies or len(set(self.strategies)) < len(self.strategies):
            problems.add(
                f"--strategies is {self.strategies}, expected one or more of {', '.join(STRATEGIES)}, each once"
            )
        self._check_thresholds(problems)
        self.teacher.check("teacher", problems)
        self.student.check("student", problems)
        # os.path answers False where a path may not be looked at; the writing check says so then.
        if os.path.isfile(self.output):
            problems.add(f"--output {self.output}: this is a file, expected a folder")
        for option in ("gold", "dev", "test", "unlabeled"):
            given = getattr(self, option)
            if given and os.path.isdir(given) and os.path.abspath(given) == os.path.abspath(self.output):
                problems.add(f"--output {self.output}: this is the input of --{option}, expected a folder of its own")

    def _check_thresholds(self, problems: Problems) -> None:
        high, low = self.positive_threshold, self.negative_threshold
        for option, value in (("--positive-threshold", high), ("--negative-threshold", low)):
            if value is not None and not 0 <= value <= 1:
                problems.add(f"{option} is {value}, expected a score between 0 and 1 (scores are scaled to that range)")
        if self.loss == "mnrl":
            if high is None:
                problems.add(
                    "--loss mnrl trains on the pairs above a score, and --positive-threshold is not set; "
                    "expected for instance --positive-threshold 0.8"
                )
            if low is not None:
                problems.add("--negative-threshold has no use with --loss mnrl, whose negatives come from the batch")
        elif (high is None) != (low is None):
            given, missing = ("positive", "negative") if low is None else ("negative", "positive")
            problems.add(f"--{given}-threshold without --{missing}-threshold: hard labels need both")
        if high is not None and low is not None and low >= high:
            problems.add(f"--negative-threshold {low} is not below --positive-threshold {high}")
