"""Figures as a person reads them in a terminal."""

from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table for a terminal; the first row is its header, the first column stands on the left."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) if not at else cell.rjust(width) for at, (cell, width) in enumerate(cells)).rstrip()
        for cells in (list(zip(row, widths, strict=True)) for row in rows)
    ]
    lines.insert(1, "-" * len(lines[0]))
    return lines


def points(correlation: float) -> str:
    """A correlation x 100 with two decimals."""
    return f"{100 * correlation:.2f}"
