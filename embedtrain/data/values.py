"""The values of a table: text that is text, scores brought to [0, 1], labels that are 0 or 1, or that name a class."""

import logging
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from embedtrain.data.schema import Kind
from embedtrain.errors import Problems, UserError

logger = logging.getLogger(__name__)

_SHOWN_ROWS = 5
# A stated range is wondered at when so many scores leave so much of its lower end empty.
_ENOUGH_SCORES, _WIDE_GAP = 50, 0.15
_NUMERIC_OR_TEXT = {"string", "integer", "floating", "mixed-integer-float", "mixed-integer", "boolean"}


def check_range(score_range: tuple[float, float], *, label: str) -> None:
    """Raise UserError unless the range is two finite numbers, the lower one first."""
    low, high = score_range
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UserError(f"{label}: --score-range {low:g} {high:g}: expected two numbers, the lower one first")


def check_values(
    table: pd.DataFrame, *, kind: Kind, score_range: tuple[float, float] | None, label: str
) -> pd.DataFrame:
    """Check every value of a table that has the kind's columns and index ``row``.

    A missing text becomes ``""``: it is no mistake here, the audit drops and reports it.

    Returns:
        Text columns of dtype ``str``; ``score`` as float64 in [0, 1], or as it stands where there is no range;
        ``label`` as int64, 0 or 1, or of a kind with classes as ``str``: a word as it stands without white space
        around it, a whole number without a decimal point.

    Raises:
        UserError: Every column's mistakes together; the first rows of each are named.
    """
    problems = Problems()
    checked: dict[str, pd.Series] = {}
    for name in table.columns:
        try:
            if name != kind.number_column:
                checked[name] = _texts(table[name], label=label)
            elif kind.has_classes:
                checked[name] = _classes(table[name], label=label)
            elif name == "label":
                checked[name] = _labels(table[name], label=label)
            else:
                checked[name] = _scores(table[name], score_range=score_range, label=label)
        except UserError as error:
            problems.extend(error)
    problems.raise_if_any()
    return pd.DataFrame(checked, columns=list(table.columns))


def _texts(column: pd.Series, *, label: str) -> pd.Series:
    texts = column.astype(object).where(column.notna(), "")
    if pd.api.types.infer_dtype(texts, skipna=False) not in {"string", "empty"}:
        other = texts[[not isinstance(value, str) for value in texts]]
        found = _shown(other, lambda value: f"{type(value).__name__} {value!r}"[:60])
        raise UserError(f"{label}: '{column.name}' must hold text: {found}")
    try:
        return texts.astype("str")
    except UnicodeEncodeError:
        broken = texts[texts.map(_has_lone_surrogate)]
        found = _shown(broken, ascii)
        raise UserError(
            f"{label}: '{column.name}' holds half of a surrogate pair, which is no character: {found}"
        ) from None


def _has_lone_surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _numbers(column: pd.Series, *, label: str) -> pd.Series:
    """The column as finite float64, or a UserError that names the rows which are missing or no numbers."""
    numbers = _coerced(column)
    bad = ~np.isfinite(numbers.to_numpy())
    if not bad.any():
        return numbers
    raw = column[bad].map(lambda value: "" if value is None or value is pd.NA else str(value).strip())
    missing = raw.str.lower().isin(["", "nan", "inf", "-inf", "+inf", "infinity", "-infinity"])
    problems = Problems()
    if missing.any():
        found = _shown(raw[missing], lambda value: f"'{value}'")
        problems.add(f"{label}: '{column.name}' must be a finite number, found none in {_count(missing)}: {found}")
    if not missing.all():
        words = raw[~missing]
        found = _shown(words, lambda value: f"'{value[:40]}'")
        comma = next((value for value in words if re.fullmatch(r"-?\d+,\d+", value)), None)
        cure = f"; a decimal comma? Write {comma.replace(',', '.')}" if comma else ""
        problems.add(
            f"{label}: '{column.name}' must be a number, found something else in {_count(~missing)}: {found}{cure}"
        )
    problems.raise_if_any()
    return numbers


def _coerced(column: pd.Series) -> pd.Series:
    """The column as float64, NaN where a value is no number."""
    if pd.api.types.infer_dtype(column, skipna=True) in _NUMERIC_OR_TEXT:
        try:
            return pd.to_numeric(column, errors="coerce").astype("float64")
        except OverflowError:  # an integer beyond the largest float
            pass
    return pd.Series([_coerced_value(value) for value in column], index=column.index, name=column.name, dtype="float64")


def _coerced_value(value: object) -> float:
    if isinstance(value, str | int | float | np.integer | np.floating):
        try:
            return float(pd.to_numeric(value, errors="coerce"))
        except OverflowError:
            pass
    return math.nan


def _scores(column: pd.Series, *, score_range: tuple[float, float] | None, label: str) -> pd.Series:
    numbers = _numbers(column, label=label)
    if score_range is None:
        return numbers
    low, high = score_range
    outside = (numbers < low) | (numbers > high)
    if outside.any():
        found = _shown(numbers[outside], lambda value: f"{value:g}")
        smallest, largest = numbers.min(), numbers.max()
        raise UserError(
            f"{label}: {int(outside.sum())} of {len(numbers)} scores lie outside {low:g} to {high:g}: {found}; they "
            f"run from {smallest:g} to {largest:g}: give --score-range with the lowest and the highest that your "
            f"scale allows, such as {likely_range(smallest, largest)}"
        )
    if high > 1 and low >= 0 and len(numbers) > 1 and 0 < numbers.max() <= 1:
        logger.warning("%s: no score is above 1, though the stated range is %g to %g", label, low, high)
    elif len(numbers) >= _ENOUGH_SCORES and numbers.min() - low >= _WIDE_GAP * (high - low):
        # Of a scale from 1 that is read as one from 0, pairs that have nothing in common would be a bit alike.
        logger.warning("%s: no score is below %g, though the stated range is %g to %g", label, numbers.min(), low, high)
    return (numbers - low) / (high - low)


def likely_range(lowest: float, highest: float) -> str:
    """The whole numbers around what was found, for a message: most scales begin and end with one."""
    return f"{math.floor(lowest):g} {math.ceil(highest):g}"


def _labels(column: pd.Series, *, label: str) -> pd.Series:
    numbers = _numbers(column, label=label)
    other = ~numbers.isin([0, 1])
    if other.any():
        found = _shown(numbers[other], lambda value: f"{value:g}")
        raise UserError(f"{label}: 'label' must be 0 or 1, found something else in {_count(other)}: {found}")
    return numbers.astype("int64")


def _classes(column: pd.Series, *, label: str) -> pd.Series:
    names = column.map(_class_name).astype(object)
    bad = names.isna()
    if bad.any():
        words = column[bad].astype(object)
        raw = words.map(lambda value: str(value).strip()[:40]).where(words.notna(), "")
        found = _shown(raw, lambda value: f"'{value}'")
        raise UserError(
            f"{label}: '{column.name}' must name a class, a word or a whole number, found something else in "
            f"{_count(bad)}: {found}"
        )
    try:
        return names.astype("str")
    except UnicodeEncodeError:
        broken = names[names.map(_has_lone_surrogate)]
        raise UserError(
            f"{label}: '{column.name}' holds half of a surrogate pair, which is no character: {_shown(broken, ascii)}"
        ) from None


def _class_name(value: object) -> str | None:
    """The class that a value names, or None."""
    if isinstance(value, bool | np.bool_ | int | np.integer):
        return str(value)
    if isinstance(value, float | np.floating):
        return str(int(value)) if math.isfinite(value) and value == int(value) else None
    if not isinstance(value, str) or not value.strip() or value.strip().lower() == "nan":
        return None
    word = value.strip()
    if not re.fullmatch(r"[+-]?\d*\.\d+(e[+-]?\d+)?", word, flags=re.IGNORECASE | re.ASCII):
        return word
    # Written as a decimal, 2.0 is the class 2; 2.5 is rather a score in the wrong column.
    return _class_name(float(word))


def _count(flags: pd.Series) -> str:
    count = int(flags.sum())
    return "1 row" if count == 1 else f"{count} rows"


def _shown(values: pd.Series, describe: Callable[[Any], str]) -> str:
    first = ", ".join(f"row {row} {describe(value)}" for row, value in values.head(_SHOWN_ROWS).items())
    return first + (f" and {len(values) - _SHOWN_ROWS} more" if len(values) > _SHOWN_ROWS else "")
