"""The students: one that gold alone has trained, and one that has seen silver too."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from sentence_transformers import SentenceTransformer

from embedtrain.models import ModelSource
from embedtrain.pipelines.augsbert.choosing import Teacher
from embedtrain.pipelines.augsbert.members import STUDENT_STAGE, learns_batches
from embedtrain.pipelines.augsbert.tasks import student_tasks
from embedtrain.pipelines.augsbert.taught import embedding_hash, taught_texts
from embedtrain.pipelines.augsbert.workspace import PAIR, Workspace
from embedtrain.pipelines.checks import content_hash
from embedtrain.training.history import History

SILVER_STAGE = "silver_only"
AUGMENTED_STAGE = "augmented"


def train_gold_only(work: Workspace) -> None:
    """Train the student on gold alone."""
    _train(work, STUDENT_STAGE, {"gold": work.table("gold")})


def train_augmented(work: Workspace, teacher: Teacher) -> None:
    """Train the student on gold and on what the teacher says of silver, in the order that the schedule says.

    Each phase of it ends with its best weights on dev, and has as many steps at most as the gold-only student, but for
    silver whose similarities are learnt batch by batch. With ``silver-then-gold`` the second phase is the training of
    the gold-only student from other weights.
    """
    gold, silver = work.table("gold"), pd.read_parquet(work.run.path("silver", "silver.parquet"))
    teaching = teacher if learns_batches(work.options, teacher.members) else None
    schedule = work.options.silver_schedule or ("silver-then-gold" if teaching else "mixed")
    if schedule == "silver-then-gold":
        _train(work, SILVER_STAGE, {"silver": silver}, teacher=teaching)
        _train(work, AUGMENTED_STAGE, {"gold": gold}, start=SILVER_STAGE)
    else:
        start = STUDENT_STAGE if schedule == "gold-then-mixed" else None
        _train(work, AUGMENTED_STAGE, {"gold": gold, "silver": silver}, start=start, teacher=teaching)


def _train(
    work: Workspace,
    stage: str,
    tables: Mapping[str, pd.DataFrame],
    *,
    start: str | None = None,
    teacher: Teacher | None = None,
) -> None:
    """Train a student, from the base or from the weights of an earlier stage.

    Args:
        work: The run.
        stage: What is trained.
        tables: Pairs by name: ``gold``, ``silver`` or both.
        start: The stage whose weights it starts from; by default those of the base.
        teacher: Whose embeddings silver is learnt from, in place of its scores.
    """
    options = work.options
    source: ModelSource = work.inputs.base if start is None else work.trained(start)
    ready = work.ready_pairs()
    settings, max_steps = (
        options.student,
        options.student_steps(
            gold_pairs=len(work.table("gold")),
            sentences=len(work.sentences()),
            ready_pairs=0 if ready is None else len(ready),
        ),
    )
    distils = teacher is not None and "gold" not in tables
    if distils:
        settings = options.distillation
        max_steps = settings.steps_for(sum(map(len, tables.values())))

    def fit(checkpoints: Path) -> tuple[SentenceTransformer, History]:
        model = work.load(source)
        history = work.fit_biencoder(
            model,
            student_tasks(tables, options, taught=taught_texts(work, teacher) if teacher else None),
            settings=settings,
            max_steps=max_steps,
            seed=options.seed,
            description=stage.replace("_", " "),
            untrained=work.zero_shot_dev() if start is None else work.kept_dev(start),
            checkpoints=checkpoints,
        )
        return model, history

    used: dict[str, Any] = {
        "base" if start is None else start: source.fingerprint,
        **{name: content_hash(table[_learnt(name, teacher)]) for name, table in tables.items()},
        **work.hashes("dev"),
        "student": asdict(settings),
        "max_steps": max_steps,
        "seed": options.seed,
    }
    if not distils:
        used["loss"] = options.loss
    if options.loss == "mnrl" and not distils:
        used |= {name: getattr(options, name) for name in ("positive_threshold", "negative_threshold", "negatives")}
    for member in teacher.members if teacher else ():
        used |= embedding_hash(work, member)
    if len(tables) > 1:
        used["silver_weight"] = options.silver_weight
    work.train(stage, used=used, fit=fit)


def _learnt(name: str, teacher: Teacher | None) -> list[str]:
    """The columns that training looks at."""
    return PAIR if name == "silver" and teacher else [*PAIR, "score"]
