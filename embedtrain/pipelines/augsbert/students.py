"""The students: one that gold alone has trained, and one that has seen silver too."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from sentence_transformers import SentenceTransformer

from embedtrain.models import ModelSource
from embedtrain.pipelines.augsbert.members import STUDENT_STAGE
from embedtrain.pipelines.augsbert.tasks import student_tasks
from embedtrain.pipelines.augsbert.workspace import PAIR, Workspace
from embedtrain.pipelines.checks import content_hash
from embedtrain.training.history import History

SILVER_STAGE = "silver_only"
AUGMENTED_STAGE = "augmented"


def train_gold_only(work: Workspace) -> None:
    """Train the student on gold alone."""
    _train(work, STUDENT_STAGE, {"gold": work.table("gold")})


def train_augmented(work: Workspace) -> None:
    """Train the student on gold and silver, in the order that the schedule says.

    Each phase of it has as many steps at most as the gold-only student, and ends with its best weights on dev; with
    ``silver-then-gold`` the second phase is the training of the gold-only student from other weights.
    """
    gold, silver = work.table("gold"), pd.read_parquet(work.run.path("silver", "silver.parquet"))
    schedule = work.options.silver_schedule
    if schedule == "silver-then-gold":
        _train(work, SILVER_STAGE, {"silver": silver})
        _train(work, AUGMENTED_STAGE, {"gold": gold}, start=SILVER_STAGE)
    else:
        start = STUDENT_STAGE if schedule == "gold-then-mixed" else None
        _train(work, AUGMENTED_STAGE, {"gold": gold, "silver": silver}, start=start)


def _train(work: Workspace, stage: str, tables: Mapping[str, pd.DataFrame], *, start: str | None = None) -> None:
    """Train a student, from the base or from the weights of an earlier stage."""
    options = work.options
    source: ModelSource = work.inputs.base if start is None else work.trained(start)
    ready = work.ready_pairs()
    max_steps = options.student_steps(
        gold_pairs=len(work.table("gold")),
        sentences=len(work.sentences()),
        ready_pairs=0 if ready is None else len(ready),
    )

    def fit(checkpoints: Path) -> tuple[SentenceTransformer, History]:
        model = work.load(source)
        history = work.fit_biencoder(
            model,
            student_tasks(tables, options),
            settings=options.student,
            max_steps=max_steps,
            seed=options.seed,
            description=stage.replace("_", " "),
            untrained=work.zero_shot_dev() if start is None else work.kept_dev(start),
            checkpoints=checkpoints,
        )
        return model, history

    used: dict[str, Any] = {
        "base" if start is None else start: source.fingerprint,
        **{name: content_hash(table[[*PAIR, "score"]]) for name, table in tables.items()},
        **work.hashes("dev"),
        "loss": options.loss,
        "student": asdict(options.student),
        "max_steps": max_steps,
        "seed": options.seed,
    }
    if options.loss == "mnrl":
        used |= {name: getattr(options, name) for name in ("positive_threshold", "negative_threshold", "negatives")}
    if len(tables) > 1:
        used["silver_weight"] = options.silver_weight
    work.train(stage, used=used, fit=fit)
