"""One table of a mirror, read and checked: values as mteb's tasks take them."""

import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np

from embedtrain.data.readers import read_columns
from embedtrain.data.schema import AnyOf, Kind
from embedtrain.errors import Problems, UserError
from embedtrain.evaluation.mteb.shapes import Column, Holds

_SHOWN = 5
_NO_LISTS = (".csv", ".tsv")


def read_cells(path: Path, columns: Sequence[Column], *, optional: Sequence[Column] = ()) -> dict[str, list[Any]]:
    """Read the columns of one file.

    Args:
        path: Parquet, CSV, TSV, JSONL or JSON.
        columns: Which must be there.
        optional: Which are read where they are there.

    Returns:
        A list of plain Python values for each column.

    Raises:
        UserError: Everything that is wrong: the file's form, its columns, and values that are not what they should be,
            with the rows.
    """
    table = read_columns(path, kind=_kind(columns, optional))
    problems = Problems()
    read: dict[str, list[Any]] = {}
    for column in (*columns, *optional):
        if column.name in table:
            values = [_plain(value) for value in table[column.name]]
            try:
                read[column.name] = _checked(values, list(table.index), column, path)
            except UserError as error:
                problems.extend(error)
    problems.raise_if_any()
    _check_lengths(read, columns, path, list(table.index))
    return read


def as_id(value: object) -> str | None:
    """An id as text, a whole number as its digits; None where the value is no id."""
    if isinstance(value, str):
        return value or None
    return str(int(value)) if isinstance(value, Integral) and not isinstance(value, bool) else None


def _kind(columns: Sequence[Column], optional: Sequence[Column]) -> Kind:
    names = tuple(column.name for column in columns)
    kinds = [Kind("the task's data", names, can_be_mapped=False)]
    # With all of the optional columns first, then with each alone, then with none.
    for some in ([*optional], *([column] for column in optional if len(optional) > 1)):
        if some:
            more = (*names, *(column.name for column in some))
            kinds.insert(len(kinds) - 1, Kind("the task's data", more, can_be_mapped=False))
    return kinds[0] if len(kinds) == 1 else AnyOf("the task's data", (), can_be_mapped=False, kinds=tuple(kinds))


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [_plain(one) for one in value.tolist()]
    return value.item() if isinstance(value, np.generic) else value


def _checked(values: list[Any], rows: Sequence[Any], column: Column, path: Path) -> list[Any]:
    is_text_file = path.suffix.lower() in _NO_LISTS
    if is_text_file and column.holds in ("texts", "numbers", "classes"):
        raise UserError(
            f"{path}: '{column.name}' holds a list in every row, which {path.suffix} files do not have: "
            "write Parquet or JSONL"
        )
    if is_text_file and column.holds in ("class", "class or classes") and all(map(_is_digits, values)):
        values = [int(value) for value in values]
    convert, expected = _VALUES[column.holds]
    found = [convert(value) for value in values]
    bad = [(row, value) for row, value, good in zip(rows, values, found, strict=True) if good is None]
    if bad:
        shown = ", ".join(f"row {row} {str(value)[:40]!r}" for row, value in bad[:_SHOWN])
        more = f" and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
        raise UserError(f"{path}: '{column.name}' must be {expected}, found {shown}{more}")
    return found


def _check_lengths(read: Mapping[str, list[Any]], columns: Sequence[Column], path: Path, rows: Sequence[Any]) -> None:
    """Lists that belong together are equally long: texts and their classes, summaries and their scores."""
    lists = [column.name for column in columns if column.holds in ("texts", "classes", "numbers")]
    pair = lists[-2:]
    if len(pair) < 2:
        return
    first, second = (read[name] for name in pair)
    uneven = [row for row, one, other in zip(rows, first, second, strict=True) if len(one) != len(other)]
    if uneven:
        shown = ", ".join(str(row) for row in uneven[:_SHOWN])
        raise UserError(f"{path}: '{pair[0]}' and '{pair[1]}' are not equally long in row {shown}")


def _is_digits(value: object) -> bool:
    return isinstance(value, str) and value.isascii() and value.removeprefix("-").isdigit()


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: object) -> float | int | None:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if not isinstance(value, Real) or isinstance(value, bool) or not math.isfinite(value):
        return None
    return int(value) if isinstance(value, Integral) else float(value)


def _zero_or_one(value: object) -> int | None:
    number = int(value) if isinstance(value, bool) else _number(value)
    return int(number) if number in (0, 1) else None


def _class(value: object) -> str | int | None:
    if isinstance(value, str):
        return value
    number = int(value) if isinstance(value, bool) else _number(value)
    return int(number) if number is not None and number == int(number) else None


def _list_of(convert: Callable[[object], Any]) -> Callable[[object], list[Any] | None]:
    def converted(value: object) -> list[Any] | None:
        if not isinstance(value, list):
            return None
        items = [convert(item) for item in value]
        return None if any(item is None for item in items) else items

    return converted


def _class_or_classes(value: object) -> Any:
    return _list_of(_class)(value) if isinstance(value, list) else _class(value)


_VALUES: Mapping[Holds, tuple[Callable[[object], Any], str]] = {
    "text": (_text, "text"),
    "texts": (_list_of(_text), "a list of texts"),
    "number": (_number, "a number"),
    "numbers": (_list_of(_number), "a list of numbers"),
    "zero or one": (_zero_or_one, "0 or 1"),
    "class": (_class, "a class, a word or a whole number"),
    "classes": (_list_of(_class), "a list of classes, words or whole numbers"),
    "id": (as_id, "an id, a word or a whole number"),
    "class or classes": (_class_or_classes, "a class, a word or a whole number, or a list of them"),
}
