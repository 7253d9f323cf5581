"""Pairs from files other than Parquet, with all their columns, as a table that can be kept as Parquet."""

import csv
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from embedtrain.data import read_table
from embedtrain.data.columns import is_position
from embedtrain.data.encoding import read_utf8
from embedtrain.errors import UserError
from embedtrain.mining.pair_files import GIVEN_SCORE, PAIRS, SCORE

DELIMITED = (".csv", ".tsv")
OBJECTS = (".json", ".jsonl")


def is_parquet(source: str) -> bool:
    """Whether a source is a Parquet file, to be read where it lies."""
    return source.lower().endswith(".parquet")


def read_pairs(source: str, *, columns: Mapping[str, str]) -> pa.Table:
    """Read all pairs of a source, with the other columns that its file has.

    CSV and TSV keep their other columns as text, JSON and JSONL as the values they are; of a saved datasets folder, a
    hub data set and a file without a header the two sentences alone are read.

    Args:
        source: A path or name; see ``read_table``.
        columns: Our column name to the file's.

    Returns:
        ``sentence1``, ``sentence2`` and the other columns, a ``score`` among them as ``given_score``.

    Raises:
        UserError: All that is wrong with the source.
    """
    pairs = read_table(source, kind=PAIRS, columns=columns).reset_index(drop=True)
    path, ending = Path(source), Path(source).suffix.lower()
    sentences = {columns.get(ours, ours) for ours in PAIRS.columns}
    others: dict[str, list] = {}
    if path.is_file() and ending in DELIMITED and not any(map(is_position, sentences)):
        others = _other_fields(path, ending, sentences)
    elif path.is_file() and ending in OBJECTS:
        others = _other_values(path, ending, sentences)
    names = [GIVEN_SCORE if name == SCORE else name for name in others]
    for name in sorted({name for name in names if name in PAIRS.columns or names.count(name) > 1}):
        raise UserError(f"{source}: two columns would be called '{name}'; expected other names for the other columns")
    try:
        arrays = [pa.array(values, from_pandas=True) for values in others.values()]
    except pa.ArrowException as error:
        raise UserError(
            f"{source}: the columns beside the sentences ({', '.join(others)}) must each hold one kind of value: "
            f"{str(error).splitlines()[0]}"
        ) from error
    return pa.table([pa.array(pairs[name]) for name in PAIRS.columns] + arrays, names=[*PAIRS.columns, *names])


def _other_fields(path: Path, ending: str, sentences: set[str]) -> dict[str, list]:
    """The other columns of delimited text whose form has been checked."""
    text = read_utf8(path, label=str(path))
    if ending == ".csv":
        lines = list(csv.reader(io.StringIO(text, newline="")))
    else:
        lines = [line.split("\t") for line in re.split(r"\r?\n", text if "\n" in text else text.replace("\r", "\n"))]
    first = next(place for place, fields in enumerate(lines) if any(field.strip() for field in fields))
    header = [name.strip() for name in lines[first]]
    # What has no name is most often the row numbers that another program wrote beside its table.
    others = [place for place, name in enumerate(header) if name and name not in sentences]
    names = [header[place] for place in others]
    if len(set(names)) < len(names):
        raise UserError(f"{path}: every column needs a name of its own; found {', '.join(header)}")
    rows = [fields for fields in lines[first + 1 :] if len(fields) == len(header)]
    return {header[place]: [row[place] for row in rows] for place in others}


def _other_values(path: Path, ending: str, sentences: set[str]) -> dict[str, list]:
    """The other values of JSON objects whose form has been checked; null where an object lacks one."""
    text = read_utf8(path, label=str(path))
    records = json.loads(text) if ending == ".json" else [json.loads(line) for line in text.split("\n") if line.strip()]
    names = dict.fromkeys(key for record in records for key in record if key not in sentences)
    return {name: [record.get(name) for record in records] for name in names}
