"""Training texts as token numbers: tokenised once, kept as Arrow on disk, padded batch by batch."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from torch import Tensor

from embedtrain.training.taught import TaughtRows

# Rows tokenised and written at a time.
CHUNK_ROWS = 4096
TOKEN_KEYS = ("input_ids", "token_type_ids")
Tokenise = Callable[[str, list[Any]], Mapping[str, list[list[int]]]]


class _Rows:
    """What both tables tell of their rows: ``lengths`` of each column, (rows,), and ``labels``, (rows,) or None."""

    lengths: dict[str, np.ndarray]
    labels: np.ndarray | TaughtRows | None

    def __len__(self) -> int:
        return len(next(iter(self.lengths.values())))

    @property
    def longest(self) -> np.ndarray:
        """Length of the longest text of each row, (rows,)."""
        return np.maximum.reduce(list(self.lengths.values()))

    def weight(self, rows: Sequence[int], epoch: int = 0) -> int:
        """How many things the loss of some rows is the mean of: by default the rows themselves."""
        return len(rows)

    def label(self, rows: Sequence[int]) -> Tensor | None:
        """The labels of some rows, or what a teacher makes of their texts; None for a table without either."""
        return None if self.labels is None else torch.from_numpy(self.labels[np.asarray(rows)])


class TokenTable(_Rows):
    """The rows of a training table as lists of token numbers in an Arrow file that is mapped into memory.

    Memory grows by a few bytes a row (lengths, labels) and not with the texts, which stay on disk.

    Args:
        path: Where the file is written; it has to stay while the table is in use.
        columns: Texts, or pairs of texts, of each column, all (rows,).
        tokenise: From a column's name and some of its texts to ``input_ids`` and, for models that have them,
            ``token_type_ids``.
        labels: Scores or class numbers, (rows,), or a teacher's embeddings, or None.
        pad_id: The number that fills short rows.
    """

    def __init__(
        self,
        path: Path,
        columns: Mapping[str, "pd.Series | Sequence[Any]"],
        *,
        tokenise: Tokenise,
        labels: np.ndarray | TaughtRows | None = None,
        pad_id: int = 0,
    ) -> None:
        self.columns = list(columns)
        self.labels = labels
        self.pad_id = pad_id
        self.keys = self._write(path, columns, tokenise)
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        chunks = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        # Views of the mapped file: no token is copied before it is needed.
        self._tokens = {name: [_view(chunk.column(name)) for chunk in chunks] for name in chunks[0].schema.names}
        self.lengths = {
            name: np.concatenate([np.diff(starts) for _, starts in self._tokens[f"{name}.input_ids"]]).astype(np.int32)
            for name in self.columns
        }

    def batch(self, rows: Sequence[int], epoch: int = 0) -> list[dict[str, Tensor]]:
        """For each column the padded ``input_ids`` and ``attention_mask`` (and ``token_type_ids``), (rows, longest)."""
        return [self._padded(name, rows) for name in self.columns]

    def _write(self, path: Path, columns: Mapping[str, Any], tokenise: Tokenise) -> list[str]:
        """Tokenise and write chunk by chunk; the token keys that the tokenizer gives."""
        keys: list[str] = []
        writer: pa.ipc.RecordBatchFileWriter | None = None
        for start in range(0, len(next(iter(columns.values()))), CHUNK_ROWS):
            arrays: dict[str, pa.Array] = {}
            for name, texts in columns.items():
                some = (
                    texts.iloc[start : start + CHUNK_ROWS]
                    if isinstance(texts, pd.Series)
                    else texts[start : start + CHUNK_ROWS]
                )
                encoded = tokenise(name, list(some))
                keys = [key for key in TOKEN_KEYS if key in encoded]
                arrays |= {f"{name}.{key}": pa.array(encoded[key], pa.list_(pa.int32())) for key in keys}
            chunk = pa.record_batch(arrays)
            if writer is None:
                writer = pa.ipc.new_file(str(path), chunk.schema)
            writer.write_batch(chunk)
        if writer is not None:
            writer.close()
        return keys

    def _padded(self, name: str, rows: Sequence[int]) -> dict[str, Tensor]:
        lengths = self.lengths[name][np.asarray(rows)]
        longest = int(lengths.max())
        features = {}
        for key in self.keys:
            padded = np.full((len(rows), longest), self.pad_id if key == "input_ids" else 0, dtype=np.int64)
            chunks = self._tokens[f"{name}.{key}"]
            for place, row in enumerate(rows):
                tokens, starts = chunks[row // CHUNK_ROWS]
                first, end = starts[row % CHUNK_ROWS], starts[row % CHUNK_ROWS + 1]
                padded[place, : end - first] = tokens[first:end]
            features[key] = torch.from_numpy(padded)
        features["attention_mask"] = torch.from_numpy((np.arange(longest) < lengths[:, None]).astype(np.int64))
        return features


class TextTable(_Rows):
    """The same for models that are no plain transformers: texts in memory, made ready batch by batch.

    Args:
        columns: Texts of each column, all (rows,).
        preprocess: From a column's name and some of its texts to features, as the model makes them.
        labels: Scores or class numbers, (rows,), or a teacher's embeddings, or None.
    """

    def __init__(
        self,
        columns: Mapping[str, "pd.Series"],
        *,
        preprocess: Callable[[str, list[str]], dict[str, Any]],
        labels: np.ndarray | TaughtRows | None = None,
    ) -> None:
        self.columns = list(columns)
        self.labels = labels
        self.texts = {name: series.to_numpy(dtype=object) for name, series in columns.items()}
        self.preprocess = preprocess
        # Characters stand in for tokens.
        self.lengths = {name: series.str.len().to_numpy(dtype=np.int32) for name, series in columns.items()}

    def batch(self, rows: Sequence[int], epoch: int = 0) -> list[dict[str, Any]]:
        """What the model makes of each column's texts."""
        return [dict(self.preprocess(name, texts[np.asarray(rows)].tolist())) for name, texts in self.texts.items()]


def _view(lists: pa.ListArray) -> tuple[np.ndarray, np.ndarray]:
    """All tokens of a chunk and the place where each row's begin, (rows + 1,)."""
    return lists.values.to_numpy(zero_copy_only=True), lists.offsets.to_numpy(zero_copy_only=True)
