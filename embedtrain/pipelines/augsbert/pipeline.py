"""Augmented SBERT (Thakur et al. 2021): gold trains a teacher, it labels new pairs, both train the student.

The stages, in order: read and audit; zero-shot; the gold-only student; the teacher and its members; sample; label;
silver; the augmented student; predict; judge; report. Each is kept in the run folder and done again only when something
it depends on has changed. The gold-only student comes before the teacher, because the teacher has to be better.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from embedtrain.models import choose_attention
from embedtrain.pipelines.augsbert.choosing import make_teacher
from embedtrain.pipelines.augsbert.comparing import compare, predict
from embedtrain.pipelines.augsbert.inputs import Inputs, collect_inputs
from embedtrain.pipelines.augsbert.labelling import label, make_silver
from embedtrain.pipelines.augsbert.options import AugSBERTOptions
from embedtrain.pipelines.augsbert.reading import read, zero_shot
from embedtrain.pipelines.augsbert.sampling import sample
from embedtrain.pipelines.augsbert.students import train_augmented, train_gold_only
from embedtrain.pipelines.augsbert.workspace import Workspace
from embedtrain.pipelines.keeping import keep_model
from embedtrain.pipelines.memory import lean_memory
from embedtrain.pipelines.results import split_scores
from embedtrain.pipelines.run import Run
from embedtrain.report import write_report


@dataclass(frozen=True)
class AugSBERTResult:
    """What a run made: ``metrics`` is the content of ``metrics.json``."""

    metrics: dict[str, Any]
    model: Path
    report: Path

    def to_frame(self) -> pd.DataFrame:
        """Each model's correlations on dev and test as fractions, with 95 % intervals: see ``results.score_frame``."""
        return split_scores(self.metrics["models"], {"dev": "spearman", "test": "spearman"})


def augsbert(options: AugSBERTOptions) -> AugSBERTResult:
    """Run the whole pipeline, or what is left of it, in ``options.output``.

    Raises:
        UserError: With every mistake in options, files and model names, before any model is loaded.
    """
    inputs = collect_inputs(options)
    with Run(options.output, config=options.as_dict()) as run, lean_memory(inputs.device.name):
        return _augsbert(options, inputs, run)


def _augsbert(options: AugSBERTOptions, inputs: Inputs, run: Run) -> AugSBERTResult:
    run.note(seed=options.seed, models={"base": asdict(inputs.base), "teacher_base": asdict(inputs.teacher_base)})
    run.note_choices(device=inputs.device, precision=inputs.precision, attention=choose_attention(inputs.device.name))
    work = Workspace(options, inputs, run)
    read(work)
    zero_shot(work)
    train_gold_only(work)
    teacher = make_teacher(work)
    sample(work, teacher)
    label(work, teacher)
    make_silver(work)
    train_augmented(work, teacher)
    predict(work, teacher)
    metrics = compare(work, teacher)
    # Put in place last: what lies there is the student of choice of a run that came to its end.
    keep_model(run, run.path(metrics["winner"], "model"))
    report = write_report(run.folder) if run.leads else run.folder / "report.html"
    return AugSBERTResult(metrics, run.folder / "model", report)
