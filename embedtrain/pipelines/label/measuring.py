"""What is measured before anything is labelled: teachers and student on dev, and which numbers the teachers give."""

import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from embedtrain.errors import UserError
from embedtrain.evaluation.sts import cosine_of_pairs
from embedtrain.files import read_json, sha256_of_file, write_json, write_parquet
from embedtrain.mining.combining import Combination, fit_combination
from embedtrain.mining.pair_files import PairFiles
from embedtrain.models import autocast, load_biencoder
from embedtrain.pipelines.checks import content_hash
from embedtrain.pipelines.label.inputs import LabelInputs
from embedtrain.pipelines.label.judging import judge_on_dev, not_judged
from embedtrain.pipelines.label.options import LabelOptions
from embedtrain.pipelines.label.teachers import Scoring, calibration_method, uncalibrated
from embedtrain.pipelines.run import Run

logger = logging.getLogger(__name__)

STAGE = "measure"
GOLD, STUDENT = "gold", "student"
# Pairs that each teacher scores first, to see which numbers it gives.
PROBED_PAIRS = 256


@dataclass
class Measured:
    """What the stage found, read back from its folder.

    Attributes:
        folder: The stage's.
        options: Of the run.
        inputs: Of the run.
    """

    folder: Path
    options: LabelOptions
    inputs: LabelInputs

    @property
    def combination(self) -> Combination:
        """How the teachers' scores become one."""
        return Combination.from_dict(read_json(self.folder / "combination.json"))

    @property
    def fingerprint(self) -> str:
        """A hash of the dev scores."""
        return sha256_of_file(self.folder / "dev.parquet")

    @cached_property
    def judged(self) -> dict[str, Any]:
        """Teachers, labels and student on dev, with intervals, and the calibration; see ``judge_on_dev``."""
        teachers, student = self.inputs.teachers, self.inputs.student
        if self.inputs.dev is None:
            return not_judged(teachers)
        predictions = pd.read_parquet(self.folder / "dev.parquet")
        return judge_on_dev(
            teachers,
            [predictions[_column(number)].to_numpy() for number in range(len(teachers))],
            predictions[GOLD].to_numpy(),
            student=None if student is None else (student.name, predictions[STUDENT].to_numpy()),
            calibrated=self.options.calibrate,
            bootstrap_samples=self.options.bootstrap_samples,
            seed=self.options.seed,
        )

    def check_ranges(self) -> None:
        """Refuse cross-encoders whose scores are not between 0 and 1, unless they will be calibrated.

        Raises:
            UserError: With what was found, and the options that help.
        """
        if self.options.calibrate:
            return
        problems = []
        for teacher, (low, high) in zip(self.inputs.teachers, read_json(self.folder / "ranges.json"), strict=True):
            if low >= 0 and high <= 1:
                continue
            found = f"its scores of the first pairs run from {low:.2f} to {high:.2f}"
            if teacher.kind == "bi-encoder":
                logger.info("teacher %s: %s; a cosine below 0 becomes 0", teacher.name, found)
            else:
                problems.append(
                    f"--teacher {teacher.name}: {found}, expected 0 to 1; its files ask for raw outputs, perhaps "
                    "logits: give --sigmoid, or --calibrate with --dev"
                )
        if problems:
            raise UserError(*problems)


def measure(run: Run, options: LabelOptions, inputs: LabelInputs, *, scoring: Scoring, pairs: PairFiles) -> Measured:
    """Let each teacher score dev and a few of the pairs, and the student dev; fit the calibration."""

    def work(folder: Path) -> None:
        probed, dev = pairs.read(0, min(PROBED_PAIRS, pairs.rows)), inputs.dev
        ranges, given = [], []
        for teacher in inputs.teachers:
            scorer = scoring.load(teacher)
            scores = scorer.score(probed["sentence1"].tolist(), probed["sentence2"].tolist())
            ranges.append([float(scores.min()), float(scores.max())])
            if dev is not None:
                scores = scorer.score(dev["sentence1"].tolist(), dev["sentence2"].tolist())
                given.append(scores.astype("float64"))
        predictions = pd.DataFrame({_column(number): scores for number, scores in enumerate(given)})
        if dev is not None:
            predictions[GOLD] = dev["score"].to_numpy()
            if inputs.student is not None:
                predictions[STUDENT] = _student_scores(inputs)
        fitted = uncalibrated(inputs.teachers)
        if options.calibrate:
            gold = predictions[GOLD].to_numpy()
            fitted = fit_combination(given, gold, method=calibration_method(len(gold)))
        write_parquet(folder / "dev.parquet", predictions)
        write_json(folder / "ranges.json", ranges)
        write_json(folder / "combination.json", fitted.as_dict())

    used = {
        # In their order, which is that of the columns, ranges and maps that are kept.
        "teachers": [[teacher.name, scoring.fingerprint(teacher)] for teacher in inputs.teachers],
        "pairs": pairs.fingerprint,
        "dev": None if inputs.dev is None else content_hash(inputs.dev),
        "student": None if inputs.student is None else inputs.student.fingerprint,
        "calibrate": options.calibrate,
    }
    return Measured(run.stage(STAGE, inputs=used, work=work), options, inputs)


def _column(number: int) -> str:
    # A teacher may be called anything.
    return f"teacher_{number}"


def _student_scores(inputs: LabelInputs) -> NDArray[np.float64]:
    student, dev = inputs.student, inputs.dev
    assert student is not None
    assert dev is not None
    model = load_biencoder(student, device=inputs.device.name)
    with autocast(inputs.device.name, inputs.precision.name):
        return cosine_of_pairs(model, dev["sentence1"].tolist(), dev["sentence2"].tolist())
