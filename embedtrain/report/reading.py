"""Reads what a run folder holds and says in words what it does not hold."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from embedtrain.files import read_json
from embedtrain.report import wording


def number(value: object) -> float | None:
    """A parsed value where it is a finite number, else None."""
    return float(value) if wording.is_number(value) else None


def bounds(value: object) -> tuple[float, float] | None:
    """A parsed value where it is an interval of two finite numbers, else None."""
    return (value[0], value[1]) if isinstance(value, list) and wording.interval(value) else None


def mapping(value: object) -> dict[str, Any]:
    """A parsed value where it is a mapping, else an empty one."""
    return value if isinstance(value, dict) else {}


def entries(value: object) -> list[dict[str, Any]]:
    """The mappings in a parsed value where it is a list, else none."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


class RunFiles:
    """The files of a run folder, for one section of the page.

    A run can be cut off anywhere and a folder can be copied in part, so nothing here raises for a file that is absent
    or damaged: the section gets an empty value and ``missing`` gets a sentence to print in its place.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self.missing: list[str] = []

    def _has(self, name: str) -> bool:
        if (self.run / name).is_file():
            return True
        self.missing.append(f"{name} is not in this run folder.")
        return False

    def json(self, name: str) -> dict[str, Any]:
        """The JSON object in ``name``, or an empty one."""
        if not self._has(name):
            return {}
        try:
            value = read_json(self.run / name)
        except (json.JSONDecodeError, UnicodeDecodeError):
            value = None
        return self._mapping(name, value, "a JSON object")

    def yaml(self, name: str) -> dict[str, Any]:
        """The YAML mapping in ``name``, or an empty one."""
        if not self._has(name):
            return {}
        try:
            value = yaml.safe_load((self.run / name).read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError):
            value = None
        return self._mapping(name, value, "a YAML mapping")

    def _mapping(self, name: str, value: Any, expected: str) -> dict[str, Any]:
        if isinstance(value, dict):
            return value
        self.missing.append(f"{name} cannot be read as {expected}.")
        return {}

    def table(
        self, name: str, columns: tuple[str, ...], *, numeric: tuple[str, ...], optional: tuple[str, ...] = ()
    ) -> pd.DataFrame:
        """The given columns of a Parquet table, and the optional ones that it has.

        Rows without a finite number in ``numeric`` are left out.
        """
        empty = pd.DataFrame({column: [] for column in columns})
        if not self._has(name):
            return empty
        try:
            frame = pd.read_parquet(self.run / name)
        except (ValueError, OSError):
            self.missing.append(f"{name} cannot be read as a Parquet table.")
            return empty
        absent = [column for column in columns if column not in frame.columns]
        if absent:
            self.missing.append(f"{name} has no column {', '.join(absent)}.")
            return empty
        frame = frame[[*columns, *(column for column in optional if column in frame.columns)]].copy()
        for column in numeric:
            frame[column] = pd.to_numeric(frame[column], errors="coerce")
        finite = frame[list(numeric)].apply(lambda values: values.abs() < float("inf")).all(axis=1)
        return frame[finite].reset_index(drop=True)
