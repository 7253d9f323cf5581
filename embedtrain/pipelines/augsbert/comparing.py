"""The last stages: all four models score test, intervals and words are put to it, one of the students is kept."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from embedtrain.files import read_json, sha256_of_file, write_json, write_parquet
from embedtrain.pipelines.augsbert.choosing import STAGE, Teacher, teacher_facts
from embedtrain.pipelines.augsbert.judging import judge
from embedtrain.pipelines.augsbert.labelling import silver_facts
from embedtrain.pipelines.augsbert.members import STUDENT_STAGE, learns_batches
from embedtrain.pipelines.augsbert.students import AUGMENTED_STAGE
from embedtrain.pipelines.augsbert.teaching import scorer_of
from embedtrain.pipelines.augsbert.workspace import Workspace

STUDENTS = (STUDENT_STAGE, AUGMENTED_STAGE)


def predict(work: Workspace, teacher: Teacher) -> None:
    """Let all four models score test; what they predicted for dev is kept from before."""

    def fill(folder: Path) -> None:
        parts = [pd.read_parquet(work.run.path("zero_shot", "predictions.parquet")).assign(model="zero_shot")]
        parts.append(work.kept_dev(STAGE).assign(model="teacher"))
        parts.append(_teacher_on_test(work, teacher).assign(model="teacher"))
        for name in STUDENTS:
            parts.append(work.kept_dev(name).assign(model=name))
            parts.append(work.cosines(work.load(work.trained(name)), "test").assign(model=name))
        write_parquet(folder / "predictions.parquet", pd.concat(parts, ignore_index=True))

    used = {
        "zero_shot": sha256_of_file(work.run.path("zero_shot", "predictions.parquet")),
        "teacher": teacher.fingerprint,
        "teacher_dev": sha256_of_file(work.run.path(STAGE, "dev.parquet")),
        **{name: work.weights(name) for name in STUDENTS},
        **work.hashes("dev", "test"),
        **work.computing,
    }
    work.run.stage("predict", inputs=used, work=fill)


def compare(work: Workspace, teacher: Teacher) -> dict[str, Any]:
    """Put intervals on the scores of all four models, and words; write ``metrics.json``."""
    options = work.options
    predictions = work.run.path("predict", "predictions.parquet")

    def fill(folder: Path) -> None:
        judged = judge(
            pd.read_parquet(predictions),
            teacher=teacher.name,
            bootstrap_samples=options.bootstrap_samples,
            seed=options.seed,
        )
        write_json(folder / "judged.json", judged)

    used = {
        "predictions": sha256_of_file(predictions),
        "teacher": teacher.name,
        "bootstrap_samples": options.bootstrap_samples,
        "seed": options.seed,
    }
    folder = work.run.stage("judge", inputs=used, work=fill)
    metrics = {
        **read_json(folder / "judged.json"),
        "teacher": teacher_facts(work),
        "silver": {**silver_facts(work), "targets": "batch" if learns_batches(options, teacher.members) else "pairs"},
        "dev_held_out": work.inputs.dev is None,
        "test_held_out": work.inputs.test is None,
        "seconds": work.run.seconds,
    }
    if work.run.leads:
        write_json(work.run.folder / "metrics.json", metrics)
    return metrics


def _teacher_on_test(work: Workspace, teacher: Teacher) -> pd.DataFrame:
    # In the precision in which it labelled, because that is the teacher the silver came from.
    test = work.table("test")
    texts = test["sentence1"].tolist(), test["sentence2"].tolist()
    scores = [scorer_of(work, member).score(*texts) for member in teacher.members]
    return test[["score"]].assign(split="test", prediction=np.float64(teacher.combination.apply(scores)))
