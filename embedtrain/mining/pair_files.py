"""Pairs of sentences in Parquet files, read by row numbers and never whole."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from embedtrain.data.columns import check_mapping, find_by_name
from embedtrain.data.schema import Kind
from embedtrain.errors import Problems, UserError
from embedtrain.files import sha256_of_file, sha256_of_value

PAIRS = Kind("pairs", ("sentence1", "sentence2"))
SCORE = "score"
GIVEN_SCORE = "given_score"
# Rows decoded at a time, and bytes of a column read at a time: a row group, often a million rows, is never held whole.
READ_ROWS = 8192
READ_BYTES = 1 << 18
SHOWN_ROWS = 5


class PairFiles:
    """Parquet files of pairs as one long table, of which any stretch of rows can be read.

    Reading stretch after stretch goes through each file once, in memory that depends on the stretch alone. Columns
    other than the two sentences are carried along as they are; one called ``score`` becomes ``given_score``, so that it
    is not taken for the teacher's.

    Args:
        paths: The files, in the order of their rows; all with the same columns.
        columns: Our column name to the files', such as ``{"sentence1": "question1"}``; or one such mapping a file.

    Attributes:
        paths: The files.
        columns: One mapping a file.
        rows: Pairs in all files.
        blanks: Pairs of which a text has nothing in it but white space, and the first rows of theirs, from 1; known
            once ``text_bytes`` has gone through the files.

    Raises:
        UserError: All that is wrong with the files' form: not Parquet, no rows, columns that are missing, no text, or
            not the same in every file.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        columns: Mapping[str, str] | Sequence[Mapping[str, str]] | None = None,
    ) -> None:
        self.paths = [Path(path) for path in paths]
        if columns is None or isinstance(columns, Mapping):
            columns = [columns or {}] * len(self.paths)
        self.columns = [dict(mapping) for mapping in columns]
        if not self.paths or len(self.columns) != len(self.paths):
            raise ValueError(f"expected at least one file and as many mappings, found {len(self.paths)} files")
        problems = Problems()
        schemas = [self._schema_of(number, problems) for number in range(len(self.paths))]
        problems.raise_if_any()
        self.schema = next(schema for schema in schemas if schema is not None)
        for path, schema in zip(self.paths, schemas, strict=True):
            if schema != self.schema:
                problems.add(
                    f"{path}: its columns ({_described(schema)}) are not those of {self.paths[0]} "
                    f"({_described(self.schema)}); expected the same in every file"
                )
        problems.raise_if_any()
        sizes = [_row_groups(path) for path in self.paths]
        # First row of every row group of every file, and the number of all rows behind them.
        self._group_starts = np.concatenate([[0], np.cumsum([size for groups in sizes for size in groups])])
        self._groups = [(file, group) for file, groups in enumerate(sizes) for group in range(len(groups))]
        self.rows = int(self._group_starts[-1])
        self.blanks: tuple[int, list[int]] = (0, [])
        self._text_bytes: dict[int, NDArray[np.int64]] = {}
        self._stream: Iterator[tuple[int, pa.Table]] | None = None
        self._held: tuple[int, pa.Table] | None = None

    def __getstate__(self) -> dict[str, Any]:
        # Another process opens the files for itself.
        return {**vars(self), "_stream": None, "_held": None}

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the files' bytes and of which columns are the sentences."""
        return sha256_of_value(
            [
                [sha256_of_file(path), sorted(columns.items())]
                for path, columns in zip(self.paths, self.columns, strict=True)
            ]
        )

    def shards(self, rows: int) -> list[tuple[int, int]]:
        """First row and end of every stretch of so many rows; the last one may be shorter."""
        return [(start, min(start + rows, self.rows)) for start in range(0, self.rows, rows)]

    def read(self, start: int, stop: int) -> pd.DataFrame:
        """Rows ``start`` to ``stop``, the end not included.

        Returns:
            ``sentence1``, ``sentence2`` and the other columns, in Arrow's types so that nothing is changed on the way;
            the index is the row number, from 0.

        Raises:
            UserError: A file cannot be read any further, or holds a pair that lacks a text.
        """
        table = self._table(start, stop)
        for name in PAIRS.columns:
            if table.column(name).null_count:
                self._refuse_missing(table, start)
        return table.to_pandas(types_mapper=pd.ArrowDtype).set_axis(pd.RangeIndex(start, stop), axis="index")

    def text_bytes(self, rows: int) -> NDArray[np.int64]:
        """Length of the texts of every stretch of so many rows, in UTF-8 bytes, (stretches,): what labelling costs.

        Goes through all files once, and keeps the answer.

        Raises:
            UserError: Pairs lack a text; the first ones are named.
        """
        if rows in self._text_bytes:
            return self._text_bytes[rows]
        totals = np.zeros(-(-self.rows // rows), dtype=np.int64)
        self.blanks = (0, [])
        for first, table in self._tables_from(0):
            if any(table.column(name).null_count for name in PAIRS.columns):
                self._refuse_missing(table, first)
            self._note_blanks(table, first)
            lengths = [pc.binary_length(table.column(name)).to_numpy() for name in PAIRS.columns]
            shards = np.arange(first, first + len(table)) // rows
            totals += np.bincount(shards, weights=np.sum(lengths, axis=0), minlength=len(totals)).astype(np.int64)
        self._text_bytes[rows] = totals
        return totals

    def _schema_of(self, number: int, problems: Problems) -> pa.Schema | None:
        """The file's columns under our names, the sentences first and as plain text; None when something is wrong."""
        path, columns = self.paths[number], self.columns[number]
        try:
            check_mapping(columns, kind=PAIRS, label=str(path))
            found = pq.read_schema(path)
            wanted = find_by_name(found.names, kind=PAIRS, columns=columns, label=str(path))
            if len(set(found.names)) < len(found.names):
                raise UserError(f"{path}: two of its columns have the same name; found {', '.join(found.names)}")
            if not sum(_row_groups(path)):
                raise UserError(f"{path}: the table has columns ({', '.join(found.names)}) but no rows")
        except UserError as error:
            problems.extend(error)
            return None
        except (pa.ArrowException, OSError) as error:
            problems.add(f"{path}: not a readable Parquet file: {str(error).splitlines()[0]}")
            return None
        names = _our_names(found.names, wanted)
        fields = {ours: _plain(found.field(theirs).type) for theirs, ours in names.items()}
        before = len(problems.messages)
        for ours, theirs in wanted.items():
            if fields[ours] != pa.string():
                problems.add(f"{path}: '{theirs}' must hold text, found {found.field(theirs).type}")
        for name in sorted({name for name in fields if list(names.values()).count(name) > 1}):
            users = " and ".join(f"'{theirs}'" for theirs, ours in names.items() if ours == name)
            problems.add(f"{path}: {users} would both be called '{name}'; expected other names for the other columns")
        ordered = [*PAIRS.columns, *(name for name in fields if name not in PAIRS.columns)]
        return pa.schema([(name, fields[name]) for name in ordered]) if len(problems.messages) == before else None

    def _table(self, start: int, stop: int) -> pa.Table:
        if not 0 <= start < stop <= self.rows:
            raise ValueError(f"expected rows between 0 and {self.rows}, found {start} to {stop}")
        if not self._is_near(start):
            self._stream, self._held = self._tables_from(start), None
        assert self._stream is not None
        pieces = []
        while start < stop:
            if self._held is None or start >= self._held[0] + len(self._held[1]):
                self._held = next(self._stream)
                continue
            first, table = self._held
            piece = table.slice(start - first, stop - start)
            pieces.append(piece)
            start += len(piece)
        return pa.concat_tables(pieces).combine_chunks()

    def _is_near(self, row: int) -> bool:
        """Whether a row lies in the table in hand, or behind it in the same row group."""
        if self._held is None:
            return False
        first, table = self._held
        end_of_group = self._group_starts[bisect_right(self._group_starts, first + len(table) - 1)]
        return bool(first <= row < end_of_group)

    def _tables_from(self, row: int) -> Iterator[tuple[int, pa.Table]]:
        """Small tables from the row group on that holds a row, each with the number of its first row."""
        begin = bisect_right(self._group_starts, row) - 1
        at = int(self._group_starts[begin])
        for number, path in enumerate(self.paths):
            groups = [group for file, group in self._groups[begin:] if file == number]
            if not groups:
                continue
            try:
                # Reading a column's bytes ahead would hold all of a row group.
                with pq.ParquetFile(path, buffer_size=READ_BYTES, pre_buffer=False) as file:
                    for batch in file.iter_batches(READ_ROWS, row_groups=groups, use_threads=False):
                        yield at, self._named(pa.Table.from_batches([batch]), number)
                        at += batch.num_rows
            except (pa.ArrowException, OSError) as error:
                reason = str(error).splitlines()[0]
                raise UserError(f"{path}: row {at + 1} and those behind it cannot be read: {reason}") from error

    def _named(self, table: pa.Table, number: int) -> pa.Table:
        wanted = {ours: self.columns[number].get(ours, ours) for ours in PAIRS.columns}
        names = _our_names(table.column_names, wanted)
        renamed = table.rename_columns([names[theirs] for theirs in table.column_names])
        return renamed.select(self.schema.names).cast(self.schema)

    def _note_blanks(self, table: pa.Table, first: int) -> None:
        texts = (pc.utf8_trim_whitespace(table.column(name)) for name in PAIRS.columns)
        blank = np.flatnonzero(pc.or_(*(pc.equal(pc.binary_length(text), 0) for text in texts)).to_numpy())
        count, rows = self.blanks
        self.blanks = (count + len(blank), [*rows, *(first + blank + 1).tolist()][:SHOWN_ROWS])

    def _refuse_missing(self, table: pa.Table, first: int) -> None:
        missing = pc.or_(*(pc.is_null(table.column(name)) for name in PAIRS.columns)).to_numpy()
        rows = [first + place + 1 for place in np.flatnonzero(missing)[:SHOWN_ROWS].tolist()]
        listed = ", ".join(map(str, rows))
        where = self.paths[0] if len(self.paths) == 1 else "the pairs, all files counted through"
        raise UserError(f"{where}: row {listed} lacks a text; expected two texts in every row")


def _row_groups(path: Path) -> list[int]:
    """Rows of each row group."""
    metadata = pq.read_metadata(path)
    return [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]


def _our_names(header: Sequence[str], wanted: Mapping[str, str]) -> dict[str, str]:
    """The name that each of a file's columns has with us."""
    sentences = {theirs: ours for ours, theirs in wanted.items()}
    return {name: sentences.get(name, GIVEN_SCORE if name == SCORE else name) for name in header}


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type without a dictionary; all texts alike."""
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    is_text = pa.types.is_string(value) or pa.types.is_large_string(value) or pa.types.is_string_view(value)
    return pa.string() if is_text else value


def _described(schema: pa.Schema | None) -> str:
    return ", ".join(f"{field.name} {field.type}" for field in schema or [])
