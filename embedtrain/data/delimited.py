"""CSV, TSV and TXT to columns of strings, with the line that each row begins on."""

import csv
import io
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from embedtrain.data.columns import (
    find_by_name,
    find_by_position,
    is_position,
    no_header,
    other_delimiter,
    wanted_names,
)
from embedtrain.data.encoding import read_utf8
from embedtrain.data.schema import Kind
from embedtrain.errors import Problems, UserError

logger = logging.getLogger(__name__)

_SHOWN_LINES = 5


class _Line(NamedTuple):
    number: int
    fields: list[str]


def read_delimited(path: Path, *, delimiter: str, kind: Kind, columns: Mapping[str, str], label: str) -> pd.DataFrame:
    """Read the columns of ``kind`` from delimited text, as strings exactly as they stand.

    Comma-separated text follows the usual quoting; tab-separated text has none, so that a ``"`` is a character of the
    text. A line with nothing on it is no row, unless the file has a single column: there it is an empty text.

    Args:
        path: The file, UTF-8.
        delimiter: ``","`` or a tab.
        kind: Which columns are wanted.
        columns: Our name to the file's name or, for a file without a header, to a 0-based position.
        label: What messages call the file.

    Returns:
        A column of strings for each of the kind's, index ``row``: the number of the line a row begins on, from 1.

    Raises:
        UserError: What is wrong with the file's form, all of it together.
    """
    text = read_utf8(path, label=label)
    lines = _csv_lines(text, label=label) if delimiter == "," else _tsv_lines(text)
    first = next((line for line in lines if any(field.strip() for field in line.fields)), None)
    if first is None:
        raise UserError(f"{label}: the file is empty")
    headerless = any(is_position(theirs) for theirs in columns.values())
    places = _places(first.fields, headerless=headerless, delimiter=delimiter, kind=kind, columns=columns, label=label)
    width = len(first.fields)
    rows, numbers = ([first.fields], [first.number]) if headerless else ([], [])
    wrong: list[_Line] = []
    problems = Problems()
    try:
        for line in lines:
            if len(line.fields) == width:
                rows.append(line.fields)
                numbers.append(line.number)
            elif any(line.fields):
                wrong.append(line)
            elif width == 1:
                rows.append([""])
                numbers.append(line.number)
    except UserError as error:
        problems.extend(error)
    if wrong:
        expected = f"expected {width}, as line {first.number} has"
        problems.add(f"{label}: wrong number of fields: {_widths(wrong)}; {expected}")
    if not rows and not problems.messages:
        problems.add(f"{label}: the file has a header ({delimiter.join(first.fields)[:160]}) but no rows")
    problems.raise_if_any()
    if delimiter == "\t" and '""' in text:
        _warn_about_quoting(rows, numbers, label=label)
    return pd.DataFrame(
        {ours: [row[place] for row in rows] for ours, place in places.items()},
        index=pd.Index(numbers, name="row"),
        dtype=object,
    )


def read_lines(path: Path, *, label: str) -> pd.DataFrame:
    """Read one sentence a line into the column ``text``, index ``row`` (line number from 1); a blank line is ``""``."""
    lines = split_lines(read_utf8(path, label=label))
    return pd.DataFrame({"text": lines}, index=pd.RangeIndex(1, len(lines) + 1, name="row"), dtype=object)


def _warn_about_quoting(rows: Sequence[Sequence[str]], numbers: Sequence[int], *, label: str) -> None:
    quoted = [number for number, fields in zip(numbers, rows, strict=True) if any(map(_looks_quoted, fields))]
    if quoted:
        logger.warning(
            "%s: %d rows (the first is %d) look as if they were written with quoting; quotes in a TSV file are read as "
            "they stand, so write it without (pandas: quoting=csv.QUOTE_NONE) or as CSV",
            label,
            len(quoted),
            quoted[0],
        )


def _looks_quoted(field: str) -> bool:
    inside = field[1:-1]
    return field[:1] == field[-1:] == '"' and '""' in inside and '"' not in inside.replace('""', "")


def split_lines(text: str) -> list[str]:
    """The lines of a text, ended by line feeds with or without carriage returns; the last may end or not."""
    # str.splitlines would also cut at form feeds and at U+2028, which are characters of the text.
    lines = re.split(r"\r?\n", text if "\n" in text else text.replace("\r", "\n"))
    return lines[:-1] if lines[-1] == "" else lines


def _tsv_lines(text: str) -> Iterator[_Line]:
    return (_Line(number, line.split("\t")) for number, line in enumerate(split_lines(text), start=1))


def _csv_lines(text: str, *, label: str) -> Iterator[_Line]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    # The limit belongs to the whole process, so it is only ever raised.
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    begins = 1
    try:
        for fields in reader:
            yield _Line(begins, fields)
            begins = reader.line_num + 1
    except csv.Error as error:
        unclosed = "end of data" in str(error)
        what = "a quoted field that begins here is never closed" if unclosed else f"bad quoting ({error})"
        raise UserError(f'{label}: line {begins}: {what}; a quote inside a quoted field is written ""') from error


def _places(
    first: Sequence[str], *, headerless: bool, delimiter: str, kind: Kind, columns: Mapping[str, str], label: str
) -> dict[str, int]:
    wanted = wanted_names(
        [] if headerless else [name.strip() for name in first], kind=kind, columns=columns, label=label
    )
    if headerless:
        if len(first) == 1 < len(wanted) and (message := other_delimiter(first, delimiter=delimiter, wanted=wanted)):
            raise UserError(f"{label}: {message}")
        places = find_by_position(first, kind=kind, columns=columns, label=label)
        if any(first[place].strip() == ours for ours, place in places.items()):
            logger.warning(
                "%s: line 1 is read as data because --columns gives positions, but it looks like a header", label
            )
        return places
    header = [name.strip() for name in first]
    if not any(theirs in header for theirs in wanted.values()):
        message = other_delimiter(first, delimiter=delimiter, wanted=wanted)
        raise UserError(f"{label}: {message or no_header(first, delimiter=delimiter, wanted=wanted, kind=kind)}")
    wanted = find_by_name(header, kind=kind, columns=columns, label=label)
    return {ours: header.index(theirs) for ours, theirs in wanted.items()}


def _widths(wrong: list[_Line]) -> str:
    shown = ", ".join(f"line {line.number} has {len(line.fields)}" for line in wrong[:_SHOWN_LINES])
    return shown + (f" and {len(wrong) - _SHOWN_LINES} more lines differ" if len(wrong) > _SHOWN_LINES else "")
