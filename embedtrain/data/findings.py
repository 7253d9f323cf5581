"""What an audit found, for people (messages) and for files (plain values)."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

_SHOWN_ROWS = 20
_SINGULAR_VERBS = {"stand": "stands", "have": "has", "are": "is"}


@dataclass(frozen=True)
class Finding:
    """One thing that an audit found in one table.

    Attributes:
        kind: What it is, such as ``"pair_in_test"``; the audit functions list their kinds.
        table: Name of the table that it is about.
        message: The finding in words, with the rows.
        count: How many pairs or sentences it concerns (rows, for empty texts).
        dropped: How many rows were left out for it; over all findings these add up to the rows dropped.
        examples: The first cases, each with its row numbers and texts, as plain JSON values.
    """

    kind: str
    table: str
    message: str
    count: int
    dropped: int
    examples: list[dict[str, Any]]


@dataclass(frozen=True)
class AuditReport:
    """The findings of one audit, and how many rows each table had and kept."""

    findings: list[Finding] = field(default_factory=list)
    tables: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def messages(self) -> list[str]:
        """Every finding in words."""
        return [finding.message for finding in self.findings]

    def to_json(self) -> dict[str, Any]:
        """``{"findings": [...], "tables": {name: {"rows_read", "rows_kept"}}}`` in plain JSON values."""
        return asdict(self)

    def note_table(self, name: str, *, rows_read: int, rows_kept: int) -> None:
        """Note how many rows a table had before the audit and has after it."""
        self.tables[name] = {"rows_read": rows_read, "rows_kept": rows_kept}


def counted(count: int, noun: str) -> str:
    """``"1 pair"``, ``"12 pairs"``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def agreeing(count: int, verb: str) -> str:
    """The verb, given in the plural, in the number that fits the count."""
    return _SINGULAR_VERBS[verb] if count == 1 else verb


def repeated(count: int, noun: str, *, table: str) -> str:
    """``"12 pairs stand more than once in gold"``."""
    return f"{counted(count, noun)} {agreeing(count, 'stand')} more than once in {table}"


def row_list(rows: Iterable[Any]) -> str:
    """``"row 5"``, or ``"rows 5, 6, 9 and 12 more"``."""
    numbers = list(rows)
    shown = ", ".join(str(row) for row in numbers[:_SHOWN_ROWS])
    more = f" and {len(numbers) - _SHOWN_ROWS} more" if len(numbers) > _SHOWN_ROWS else ""
    return f"{'row' if len(numbers) == 1 else 'rows'} {shown}{more}"


def plain(value: object) -> Any:
    """A NumPy scalar as Python's own, so that it can be written as JSON."""
    return value.item() if isinstance(value, np.generic) else value
