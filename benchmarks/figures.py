"""What the benchmarks in parts share: rows of figures, medians over rounds, bars, files, worker processes."""

import csv
import datetime
import json
import multiprocessing
import statistics
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machine import describe

Row = dict[str, Any]
Figures = dict[str, float | None]


@dataclass(frozen=True)
class Bar:
    """What a figure has to reach: at least ``at_least``, at most ``at_most``, or both."""

    key: str
    says: str
    at_least: float | None = None
    at_most: float | None = None

    @property
    def wanted(self) -> str:
        """What is to be reached, in signs."""
        if self.at_least is not None and self.at_most is not None:
            return f"{self.at_least:g}-{self.at_most:g}"
        return f">= {self.at_least:g}" if self.at_least is not None else f"<= {self.at_most:g}"

    def verdict(self, value: float | None) -> str:
        """HELD, MISSED or not measured."""
        if value is None:
            return "not measured"
        low, high = self.at_least, self.at_most
        return "HELD" if (low is None or value >= low) and (high is None or value <= high) else "MISSED"


def quiet() -> None:
    """No progress bars, neither the libraries' nor ours."""
    import datasets
    from transformers.utils.logging import disable_progress_bar

    datasets.disable_progress_bars()
    disable_progress_bar()


def in_a_process() -> ProcessPoolExecutor:
    """A worker process that shares nothing with this one."""
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), initializer=quiet)


def alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns in a fresh process of its own."""
    with in_a_process() as worker:
        return worker.submit(function, *arguments).result()


def lines(part: str, case: str, number: int, values: Mapping[str, float | None]) -> list[Row]:
    """One row of the CSV file a figure, and all of them on the terminal."""
    shown = ", ".join(f"{key} {value:.4g}" for key, value in values.items() if value is not None)
    print(f"{part} {case} {number}: {shown}", flush=True)
    return [{"part": part, "case": case, "round": number, "figure": key, "value": v} for key, v in values.items()]


def values_of(rows: Sequence[Row], case: str, figure: str) -> list[float]:
    """A figure of one case in every round, in the order of the rounds."""
    found = [row for row in rows if row["case"] == case and row["figure"] == figure and row["value"] is not None]
    return [row["value"] for row in sorted(found, key=lambda row: row["round"])]


def median_of(rows: Sequence[Row], case: str, figure: str) -> float | None:
    """The median over rounds, or None where nothing was measured."""
    found = values_of(rows, case, figure)
    return statistics.median(found) if found else None


def times_as_fast(rows: Sequence[Row], other: str, *, ours: str = "ours") -> float:
    """The median over rounds of another side's seconds by ours."""
    pairs = zip(values_of(rows, other, "seconds"), values_of(rows, ours, "seconds"), strict=True)
    return statistics.median(theirs / mine for theirs, mine in pairs)


def record_part(
    record: dict[str, Any], name: str, *, script: str, quick: bool, figures: Figures, rows: list[Row]
) -> None:
    """Put a part into the record, with the machine, the versions, the command and the date of its own."""
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    record["parts"][name] = {**describe(script), "date": date, "quick": quick, "figures": figures, "rows": rows}


def known_figures(record: Mapping[str, Any]) -> Figures:
    """The figures of every part of a record."""
    return {key: value for part in record["parts"].values() for key, value in part["figures"].items()}


def read_record(output: Path) -> dict[str, Any]:
    """What an earlier run has written, or an empty record."""
    return json.loads(output.read_text(encoding="utf-8")) if output.exists() else {"parts": {}}


def write_record(record: Mapping[str, Any], output: Path) -> None:
    """Everything as JSON, the single measurements as CSV beside it."""
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    with output.with_suffix(".csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["part", "case", "round", "figure", "value"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(row for part in record["parts"].values() for row in part["rows"])


def print_bars(bars: Sequence[Bar], figures: Mapping[str, float | None]) -> None:
    """Each figure beside its bar."""
    print(f"\n{'':66}{'bar':>16} {'figure':>8}")
    for bar in bars:
        value = figures.get(bar.key)
        print(f"{bar.says:66}{bar.wanted:>16} {'' if value is None else f'{value:.4g}':>8}  {bar.verdict(value)}")
