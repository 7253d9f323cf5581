"""Labels of GLUE's rows: a class by its number or its name, or a score from 0 to 5."""

import math
from collections.abc import Mapping

import pandas as pd

from embedtrain.data.glue.tasks import HIGHEST_SCORE, GLUETask
from embedtrain.errors import UserError

_SHOWN_ROWS = 5
_HIDDEN = -1


def read_labels(column: pd.Series, task: GLUETask, *, label: str) -> pd.Series:
    """Classes as numbers, int64; scores brought to [0, 1], float64.

    Raises:
        UserError: A label is none of the task's, with the rows; or all are hidden, as in GLUE's test splits.
    """
    if task.labels:
        numbers = {name: number for number, name in enumerate(task.labels)}
        found = column.map(lambda value: _class(value, numbers))
        listed = [f"{number} ({name})" for name, number in numbers.items()]
        expected = f"{', '.join(listed[:-1])} or {listed[-1]}"
    else:
        found = column.map(_score)
        expected = f"a number from 0 to {HIGHEST_SCORE:g}"
    bad = column[found.isna()]
    if len(bad) == len(column) and all(_number(value) == _HIDDEN for value in column):
        raise UserError(
            f"{label}: every '{column.name}' is -1: GLUE keeps the labels of its test rows to itself, expected dev rows"
        )
    if len(bad):
        shown = ", ".join(f"row {row} {str(value)[:40]!r}" for row, value in bad.head(_SHOWN_ROWS).items())
        more = f" and {len(bad) - _SHOWN_ROWS} more" if len(bad) > _SHOWN_ROWS else ""
        raise UserError(f"{label}: '{column.name}' must be {expected}, found {shown}{more}")
    return found.astype("int64" if task.labels else "float64")


def _class(value: object, numbers: Mapping[str, int]) -> int | None:
    if isinstance(value, str) and value.strip() in numbers:
        return numbers[value.strip()]
    number = _number(value)
    return int(number) if number in numbers.values() else None


def _score(value: object) -> float | None:
    number = _number(value)
    return number / HIGHEST_SCORE if 0 <= number <= HIGHEST_SCORE else None


def _number(value: object) -> float:
    """NaN where it is no number."""
    try:
        return float(value)  # type: ignore[arg-type]  # anything may stand in a file
    except (TypeError, ValueError):
        return math.nan
