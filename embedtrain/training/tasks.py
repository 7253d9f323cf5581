"""What a model is trained on: tables, each with its loss and its way of making batches."""

from dataclasses import dataclass
from typing import Literal

import pandas as pd
from sentence_transformers import SentenceTransformer
from torch import nn

from embedtrain.training.taught import TaughtTexts

LABEL = "label"
Batching = Literal["like_length", "unique", "grouped"]


@dataclass(frozen=True)
class Task:
    """One table of training rows and what is learnt from it.

    Args:
        name: For messages; no two tasks of a training share it.
        table: Text columns in the order in which the loss takes them; then, where the loss needs one, a column
            ``label`` of scores, zeros and ones, or class numbers.
        loss: A loss of ``embedtrain.losses``, bare or in ``GradCache`` or ``MatryoshkaLoss``.
        batches: ``like_length`` for losses that look at each row alone; ``unique`` for those that compare rows
            with each other, so that no text stands twice in a batch; ``grouped`` for those that compare classes.
        guide: The second model of ``GISTEmbedLoss``.
        taught: A teacher's embeddings of all texts of the table, for a loss that takes them in place of a label.
    """

    name: str
    table: pd.DataFrame
    loss: nn.Module
    batches: Batching = "like_length"
    guide: SentenceTransformer | None = None
    taught: TaughtTexts | None = None

    @property
    def text_columns(self) -> list[str]:
        """Names of the columns that are embedded."""
        return [name for name in self.table.columns if name != LABEL]
