"""JSON, JSONL and Parquet files, pandas frames and data sets to the wanted columns, values as they stand."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from embedtrain.data.columns import find_by_name
from embedtrain.data.encoding import read_utf8
from embedtrain.data.schema import Kind
from embedtrain.errors import Problems, UserError

_SHOWN_ROWS = 5


def read_json_array(path: Path, *, kind: Kind, columns: Mapping[str, str], label: str) -> pd.DataFrame:
    """Read a JSON array of objects; index ``row`` is the object's place in the array, from 1.

    Raises:
        UserError: The file is no JSON, no array of objects, or lacks columns.
    """
    text = read_utf8(path, label=label)
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        lines = " (one object a line? name the file .jsonl)" if error.msg == "Extra data" else ""
        where = f"line {error.lineno}, column {error.colno}"
        raise UserError(f"{label}: {where}: not valid JSON: {error.msg}{lines}") from error
    if not isinstance(value, list):
        raise UserError(f"{label}: expected an array of objects, found {_describe(value)}")
    return _from_records(list(enumerate(value, start=1)), kind=kind, columns=columns, label=label, unit="row")


def read_json_lines(path: Path, *, kind: Kind, columns: Mapping[str, str], label: str) -> pd.DataFrame:
    """Read one JSON object a line, blank lines left out; index ``row`` is the line number, from 1.

    Raises:
        UserError: Lines are no JSON objects, or lack columns; all such lines are counted, the first ones named.
    """
    records: list[tuple[int, Any]] = []
    bad: list[str] = []
    for number, line in enumerate(read_utf8(path, label=label).split("\n"), start=1):
        if line.strip():
            try:
                records.append((number, json.loads(line)))
            except json.JSONDecodeError as error:
                bad.append(f"line {number}, column {error.colno}: {error.msg}")
    if bad:
        array = "; an array over several lines? name the file .json" if bad[0].startswith("line 1,") else ""
        raise UserError(f"{label}: not valid JSON: {_first(bad)}{array}")
    if len(records) == 1 and isinstance(records[0][1], list):
        raise UserError(f"{label}: the only line is an array: name the file .json")
    return _from_records(records, kind=kind, columns=columns, label=label, unit="line")


def read_parquet(path: Path, *, kind: Kind, columns: Mapping[str, str], label: str) -> pd.DataFrame:
    """Read the wanted columns of a Parquet file; index ``row`` counts its rows from 1.

    Raises:
        UserError: The file is no Parquet file, or lacks columns.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        header = pyarrow.parquet.read_schema(path).names
        wanted = find_by_name(header, kind=kind, columns=columns, label=label)
        table = pyarrow.parquet.read_table(path, columns=list(wanted.values()))
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{label}: not a readable Parquet file: {str(error).splitlines()[0]}") from error
    # A frame's index that pandas noted in the file would otherwise come back in place of a column.
    return read_frame(table.to_pandas(ignore_metadata=True), kind=kind, columns=columns, label=label)


def read_frame(frame: pd.DataFrame, *, kind: Kind, columns: Mapping[str, str], label: str) -> pd.DataFrame:
    """Pick the wanted columns of a frame; an index named ``row`` stays, any other is replaced by the row number from 1.

    Raises:
        UserError: The frame lacks columns or has no rows.
    """
    header = [str(name) for name in frame.columns]
    wanted = find_by_name(header, kind=kind, columns=columns, label=label)
    if frame.empty:
        raise UserError(f"{label}: the table has columns ({', '.join(header)}) but no rows")
    picked = frame.iloc[:, [header.index(theirs) for theirs in wanted.values()]].copy()
    picked.columns = pd.Index(list(wanted))
    if frame.index.name != "row":
        picked.index = pd.RangeIndex(1, len(frame) + 1, name="row")
    return picked


def _from_records(
    records: list[tuple[int, Any]], *, kind: Kind, columns: Mapping[str, str], label: str, unit: str
) -> pd.DataFrame:
    if not records:
        raise UserError(f"{label}: the file has no rows")
    others = [f"{unit} {number} is {_describe(value)}" for number, value in records if not isinstance(value, dict)]
    if others:
        raise UserError(f"{label}: every {unit} must be an object such as {_example(kind)}; {_first(others)}")
    header = list(dict.fromkeys(key for _, value in records for key in value))
    wanted = find_by_name(header, kind=kind, columns=columns, label=label)
    problems = Problems()
    for theirs in wanted.values():
        lacking = [f"{unit} {number}" for number, value in records if theirs not in value]
        if lacking:
            problems.add(f"{label}: '{theirs}' is missing in {_first(lacking)}")
    problems.raise_if_any()
    return pd.DataFrame(
        {ours: pd.Series([value[theirs] for _, value in records], dtype=object) for ours, theirs in wanted.items()}
    ).set_axis(pd.Index([number for number, _ in records], name="row"))


def _first(items: list[str]) -> str:
    return ", ".join(items[:_SHOWN_ROWS]) + (
        f" and {len(items) - _SHOWN_ROWS} more" if len(items) > _SHOWN_ROWS else ""
    )


def _example(kind: Kind) -> str:
    return "{" + ", ".join(f'"{name}": ...' for name in kind.columns) + "}"


def _describe(value: object) -> str:
    if isinstance(value, dict):
        return f"an object with the keys {', '.join(map(str, value))}"[:120]
    names = {list: "an array", str: "a string", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(value), "null")
