"""From audited tables to the tasks that the training engine takes: columns in the loss's order, losses, a guide."""

import pandas as pd
from sentence_transformers import SentenceTransformer

from embedtrain.errors import UserError
from embedtrain.losses import GISTEmbedLoss
from embedtrain.models import load_biencoder
from embedtrain.pipelines.train.inputs import TrainInputs
from embedtrain.pipelines.train.options import TrainOptions
from embedtrain.training.adapter import LossAdapter
from embedtrain.training.loss_choice import LOSSES, build_loss
from embedtrain.training.tasks import LABEL, Task


def make_tasks(
    model: SentenceTransformer, inputs: TrainInputs, tables: list[pd.DataFrame], options: TrainOptions
) -> list[Task]:
    """One task for each table.

    Args:
        model: What is trained; losses with weights of their own go to its device.
        inputs: The tables' kinds, classes and losses, and the guide.
        tables: Their audited rows.
        options: What goes around the losses.

    Raises:
        UserError: An embedding is shorter than asked for, or the guide reads other tokens than the model.
    """
    dim = model.get_embedding_dimension()
    if dim is None or any(length > dim for length in options.matryoshka):
        raise UserError(f"--matryoshka {options.matryoshka}: the embeddings of {options.base} have {dim} numbers")
    guide = _guide(model, inputs)
    tasks = []
    for table, rows in zip(inputs.tables, tables, strict=True):
        loss = build_loss(
            table.loss,
            dim=dim,
            num_labels=max(2, len(table.classes)),
            matryoshka=options.matryoshka,
            chunk_size=options.chunk_size if options.effective_batch is not None else None,
        )
        choice = LOSSES[table.loss]
        tasks.append(
            Task(
                name=table.source,
                table=for_loss(rows),
                loss=loss.to(model.device),
                batches=choice.batches,
                guide=guide if choice.needs_guide else None,
            )
        )
    return tasks


def _guide(model: SentenceTransformer, inputs: TrainInputs) -> SentenceTransformer | None:
    if inputs.guide is None or not any(LOSSES[table.loss].needs_guide for table in inputs.tables):
        return None
    guide = load_biencoder(inputs.guide, device=inputs.device.name)
    try:
        LossAdapter(model, GISTEmbedLoss(), guide=guide)
    except ValueError as error:
        raise UserError(f"--guide {inputs.guide.name}: {error}") from None
    return guide


def for_loss(rows: pd.DataFrame) -> pd.DataFrame:
    """The text columns in the loss's order and what it takes beside them, a score or a class, as ``label``."""
    if "score" in rows:
        return rows.drop(columns="score").assign(**{LABEL: rows["score"].astype("float32")})
    # Dropped first, so that the label stands last whatever the file's order was.
    return rows.drop(columns=LABEL).assign(**{LABEL: rows[LABEL].astype("int64")}) if LABEL in rows else rows
