"""Tables with their texts as integer codes, so that pairs compare in vectors: exactly and folded, in either order."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from embedtrain.data.findings import plain
from embedtrain.data.folding import fold_text


@dataclass
class KeyedTable:
    """A table under audit.

    Attributes:
        name: How messages call it.
        frame: The table as it was read, index ``row``.
        text_columns: The columns that are compared, one or two.
        exact: Code of each text, shape (rows, columns); equal codes are equal strings, across all tables.
        folded: The same for texts after ``fold_text``.
        empty_code: The folded code of an empty text, -1 when there is none.
        kept: Which rows no finding has dropped yet, shape (rows,).
    """

    name: str
    frame: pd.DataFrame
    text_columns: tuple[str, ...]
    exact: np.ndarray
    folded: np.ndarray
    empty_code: int
    kept: np.ndarray

    @property
    def places(self) -> np.ndarray:
        """Positions of the rows that are still kept."""
        return np.flatnonzero(self.kept)

    @property
    def result(self) -> pd.DataFrame:
        """The rows that are kept."""
        return self.frame[self.kept]

    def rows(self, places: np.ndarray) -> list[Any]:
        """Row numbers, as a user counts them, of rows given by position."""
        return [plain(row) for row in self.frame.index[places]]

    def texts(self, place: int) -> dict[str, Any]:
        """The compared texts of one row by column name."""
        return {name: str(self.frame[name].iat[place]) for name in self.text_columns}

    def example(self, place: int, **more: Any) -> dict[str, Any]:
        """One row as an example: its number, what else is to be said, its texts."""
        return {"row": self.rows(np.array([place]))[0], **more, **self.texts(place)}


def key_tables(tables: Sequence[tuple[str, pd.DataFrame, tuple[str, ...]]]) -> list[KeyedTable]:
    """Code the texts of several tables (name, frame, columns to compare) over one vocabulary."""
    blocks = [frame[list(columns)].astype(object).fillna("").to_numpy(dtype=object) for _, frame, columns in tables]
    codes, unique = pd.factorize(np.concatenate([block.ravel() for block in blocks]))
    fold_codes, fold_unique = pd.factorize(np.array([fold_text(text) for text in unique], dtype=object))
    empty = np.flatnonzero(fold_unique == "")
    keyed = []
    start = 0
    for (name, frame, columns), block in zip(tables, blocks, strict=True):
        exact = codes[start : start + block.size].reshape(block.shape).astype(np.int64)
        start += block.size
        folded = fold_codes[exact].astype(np.int64)
        kept = np.ones(len(frame), dtype=bool)
        keyed.append(KeyedTable(name, frame, columns, exact, folded, int(empty[0]) if len(empty) else -1, kept))
    return keyed


def pair_keys(codes: np.ndarray) -> np.ndarray:
    """One integer for each pair of codes, the same in either order; shape (rows, 2) to (rows,).

    Codes count distinct texts, so they stay below 2**31 and the key below 2**62.
    """
    return (codes.min(axis=1) << 31) | codes.max(axis=1)
