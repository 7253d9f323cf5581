"""What a teacher makes of each text, computed once and given out with the rows that hold the texts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class TaughtRows:
    """The teacher's embeddings of a table's texts by row numbers.

    Attributes:
        numbers: Which embedding belongs to each text, (rows, columns).
        embeddings: One a distinct text, (texts, teacher_dim); it may be mapped from a file.
    """

    numbers: np.ndarray
    embeddings: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Of some rows, float32 (rows, columns, teacher_dim); of a table with one column (rows, teacher_dim)."""
        numbers = self.numbers[rows]
        return self.embeddings[numbers[:, 0] if numbers.shape[1] == 1 else numbers].astype(np.float32, copy=False)


class TaughtTexts:
    """A teacher's embeddings of texts, each of which is there once however many rows hold it.

    Args:
        texts: The distinct texts.
        embeddings: (texts, teacher_dim).
    """

    def __init__(self, texts: Sequence[str], embeddings: np.ndarray) -> None:
        if len(texts) != len(embeddings):
            raise ValueError(f"expected an embedding for each text, found {len(texts)} and {len(embeddings)}")
        self.row_of = {text: row for row, text in enumerate(texts)}
        self.embeddings = embeddings

    def of(self, table: pd.DataFrame) -> TaughtRows:
        """The embeddings of every text of a table that holds nothing but text columns.

        Raises:
            ValueError: The teacher has not seen one of the texts.
        """
        try:
            numbers = [[self.row_of[text] for text in table[name]] for name in table]
        except KeyError as error:
            raise ValueError(f"the teacher has not embedded {error}") from None
        return TaughtRows(np.array(numbers).T, self.embeddings)
