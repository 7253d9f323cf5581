"""The losses by their short names: which tables each of them fits, how its batches are made, and how it is built."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from embedtrain import losses
from embedtrain.data.schema import (
    CLASSIFIED_PAIRS,
    LABELLED_PAIRS,
    LABELLED_SENTENCES,
    POSITIVE_PAIRS,
    SCORED_PAIRS,
    TRIPLETS,
    Kind,
)
from embedtrain.errors import UserError, did_you_mean
from embedtrain.training.tasks import Batching

# Of two kinds of which one has all the columns of the other, the wider one comes first.
TRAINING_KINDS = (
    SCORED_PAIRS,
    LABELLED_PAIRS,
    CLASSIFIED_PAIRS,
    TRIPLETS,
    POSITIVE_PAIRS,
    LABELLED_SENTENCES,
)


@dataclass(frozen=True)
class LossChoice:
    """One loss as the command line knows it.

    Attributes:
        loss: Its class.
        kinds: The tables that it can be trained on.
        batches: How its batches are made; see ``Task``.
        compares_rows: Whether rows of a batch are compared with each other, so that a larger batch is another loss.
        needs_guide: Whether a second model judges the negatives.
    """

    loss: type[nn.Module]
    kinds: tuple[Kind, ...]
    batches: Batching = "like_length"
    compares_rows: bool = True
    needs_guide: bool = False


# For each kind of table, the first loss that fits it is the one to take where none is asked for.
LOSSES: Mapping[str, LossChoice] = {
    "cosine": LossChoice(losses.CosineSimilarityLoss, (SCORED_PAIRS,), compares_rows=False),
    "cosent": LossChoice(losses.CoSENTLoss, (SCORED_PAIRS,)),
    "angle": LossChoice(losses.AnglELoss, (SCORED_PAIRS,)),
    "mnrl": LossChoice(losses.MultipleNegativesRankingLoss, (TRIPLETS, POSITIVE_PAIRS), "unique"),
    "gist": LossChoice(losses.GISTEmbedLoss, (TRIPLETS, POSITIVE_PAIRS), "unique", needs_guide=True),
    "sigmoid": LossChoice(losses.SigmoidContrastiveLoss, (TRIPLETS, POSITIVE_PAIRS), "unique"),
    "triplet": LossChoice(losses.TripletLoss, (TRIPLETS,), compares_rows=False),
    "online-contrastive": LossChoice(losses.OnlineContrastiveLoss, (LABELLED_PAIRS,)),
    "contrastive": LossChoice(losses.ContrastiveLoss, (LABELLED_PAIRS,), compares_rows=False),
    "softmax": LossChoice(losses.SoftmaxLoss, (LABELLED_PAIRS, CLASSIFIED_PAIRS), compares_rows=False),
    "supcon": LossChoice(losses.SupConLoss, (LABELLED_SENTENCES,), "grouped"),
    "batch-all": LossChoice(losses.BatchAllTripletLoss, (LABELLED_SENTENCES,), "grouped"),
    "batch-hard": LossChoice(losses.BatchHardTripletLoss, (LABELLED_SENTENCES,), "grouped"),
    "batch-semi-hard": LossChoice(losses.BatchSemiHardTripletLoss, (LABELLED_SENTENCES,), "grouped"),
}

# What these learn from stands in no table: it is made by a teacher, in Python.
DISTILLATION: Mapping[str, str] = {
    "mse": "a teacher's embedding of each text",
    "similarity-distillation": "a teacher's embedding of each text",
    "margin-mse": "a teacher's score of each candidate",
    "distill-kl": "a teacher's score of each candidate",
}


def find_loss(name: str) -> LossChoice:
    """A loss by its short name.

    Raises:
        UserError: It is unknown (with the nearest spelling), or learns from what no table holds.
    """
    if name in LOSSES:
        return LOSSES[name]
    if name in DISTILLATION:
        raise UserError(
            f"--loss {name} learns from {DISTILLATION[name]}, which a data file does not hold; use it in Python "
            "(docs/losses.md shows how), or take one of these here: " + ", ".join(LOSSES)
        )
    known = [*LOSSES, *DISTILLATION]
    raise UserError(f"--loss {name}: unknown loss{did_you_mean(name, known)}; expected one of {', '.join(LOSSES)}")


def fitting_losses(kind: Kind, *, negatives: int = 1) -> list[str]:
    """Names of the losses that fit a table, the recommended one first.

    Args:
        kind: What the table holds.
        negatives: How many negatives a row of triplets or n-tuples has.
    """
    return [name for name in LOSSES if kind in LOSSES[name].kinds and _takes_negatives(name, kind, negatives)]


def likely_kinds(loss: str | None) -> tuple[Kind, ...]:
    """The kinds of table to look for in a file, those that fit the loss first; for ``read_table_of``."""
    fitting = LOSSES[loss].kinds if loss is not None and loss in LOSSES else ()
    # Pairs with a label are of two kinds with the same columns: where a loss wants 0 or 1, anything else is a mistake.
    wants_zero_or_one = LABELLED_PAIRS in fitting and CLASSIFIED_PAIRS not in fitting
    hidden = CLASSIFIED_PAIRS if wants_zero_or_one else LABELLED_PAIRS
    first = [kind for kind in TRAINING_KINDS if kind in fitting]
    return tuple(kind for kind in (*first, *(k for k in TRAINING_KINDS if k not in first)) if kind is not hidden)


def choose_loss(name: str | None, *, kind: Kind, columns: Sequence[str], source: str) -> str:
    """The loss for a table: the one asked for where it fits, the recommended one where none is asked for.

    Args:
        name: Short name of a known loss, or None.
        kind: What the table holds.
        columns: Its columns.
        source: What messages call the table.

    Returns:
        The short name.

    Raises:
        UserError: The loss does not fit, with those that do.
    """
    negatives = sum(column.startswith("negative") for column in columns)
    fitting = fitting_losses(kind, negatives=negatives)
    if name is None:
        return fitting[0]
    if name in fitting:
        return name
    what = f"{kind.name} ({source}: {', '.join(columns)})"
    if kind in LOSSES[name].kinds:
        what = f"{what}, which have {negatives} negatives a row where it takes one"
    raise UserError(f"--loss {name} does not fit {what}; these do: {', '.join(fitting)}")


def build_loss(
    name: str,
    *,
    dim: int,
    num_labels: int = 2,
    matryoshka: Iterable[int] = (),
    chunk_size: int | None = None,
) -> nn.Module:
    """A loss for training, over the rows of all devices where it compares rows.

    Args:
        name: Short name of a known loss.
        dim: Length of the model's embeddings.
        num_labels: Classes among the labels, for ``softmax``.
        matryoshka: Lengths that embeddings are cut to as well; the full length is always among them.
        chunk_size: Rows that the model sees at once; by default the whole batch.
    """
    choice = LOSSES[name]
    loss: nn.Module
    if choice.loss is losses.SoftmaxLoss:
        loss = losses.SoftmaxLoss(dim=dim, num_labels=num_labels)
    else:
        loss = choice.loss(gather=True) if choice.compares_rows else choice.loss()
    shorter = sorted({*matryoshka} - {dim}, reverse=True)
    if shorter:
        loss = losses.MatryoshkaLoss(loss, dims=[dim, *shorter])
    return loss if chunk_size is None else losses.GradCache(loss, chunk_size=chunk_size)


def _takes_negatives(name: str, kind: Kind, negatives: int) -> bool:
    return name != "triplet" or kind is not TRIPLETS or negatives <= 1
