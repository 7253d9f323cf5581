"""The page of one run written again, or one page over many runs."""

import glob
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from embedtrain.errors import Problems, UserError
from embedtrain.pipelines.checks import noting
from embedtrain.pipelines.compare.reading import read_test
from embedtrain.pipelines.report.options import ReportOptions
from embedtrain.pipelines.run import check_writable
from embedtrain.report import (
    write_adapt_report,
    write_evaluate_report,
    write_label_report,
    write_report,
    write_runs_report,
    write_tasks_report,
    write_train_report,
)
from embedtrain.report.kinds import command_of
from embedtrain.report.reading import RunFiles
from embedtrain.report.runs_sections import read_run

PAGES: dict[str, Callable[[Path], Path]] = {
    "augsbert": write_report,
    "train": write_train_report,
    "tsdae": write_adapt_report,
    "adapt": write_adapt_report,
    "label": write_label_report,
    "evaluate mteb": write_tasks_report,
    "evaluate glue": write_tasks_report,
}


@dataclass(frozen=True)
class Written:
    """The page, and the runs that are not in its table, each with the reason."""

    page: Path
    left_out: list[tuple[str, str]]


def report(options: ReportOptions) -> Written:
    """Write the page.

    Raises:
        UserError: A folder is not there, or there is none; of one run, that it is none of this program.
    """
    folders = _folders(options)
    if len(folders) == 1 and options.output is None and (folders[0] / "manifest.json").is_file():
        return Written(_rewrite(folders[0]), [])
    page = Path(options.output or folders[0].parent / "runs.html").expanduser()
    if page.is_dir():
        raise UserError(f"--output {page}: this is a folder; expected the name of a page, such as {page}/runs.html")
    check_writable(page.parent)
    rows = [read_run(folder, data_hash=_test_hash(folder)) for folder in folders]
    write_runs_report(rows, page)
    return Written(page, [(row.name, row.reason) for row in rows if row.reason])


def _folders(options: ReportOptions) -> list[Path]:
    problems = Problems()
    if not options.runs:
        problems.add("no run is named; expected folders of runs, such as embedtrain report runs/*")
    found: dict[Path, Path] = {}
    for name in options.runs:
        # Not every shell fills in patterns.
        paths = [name] if Path(name).expanduser().exists() else sorted(glob.glob(str(Path(name).expanduser())))
        if not paths:
            problems.add(f"{name}: there is nothing of this name; expected the folder of a run")
        folders = [Path(path).expanduser() for path in paths if Path(path).expanduser().is_dir()]
        if paths and not folders and len(options.runs) == 1:
            problems.add(f"{name}: a file, expected the folder of a run")
        found |= {folder.resolve(): folder for folder in folders}
    problems.raise_if_any()
    if not found:
        raise UserError("none of the names is a folder; expected folders of runs")
    return list(found.values())


def _rewrite(folder: Path) -> Path:
    files = RunFiles(folder)
    command = command_of(files.yaml("config.yaml"), files.json("metrics.json"))
    if command is None:
        raise UserError(f"{folder}: it cannot be told which command made this run; {' '.join(files.missing)}".rstrip())
    if command == "compare" and "overall" in files.json("metrics.json"):
        return write_tasks_report(folder)
    return PAGES.get(command, write_evaluate_report)(folder)


def _test_hash(folder: Path) -> str | None:
    """A hash of a run's test set, the same for the same rows in whatever file they came."""
    problems = Problems()
    try:
        test = noting(problems, read_test, folder)
    except (ValueError, KeyError, pd.errors.ParserError):
        return None
    return test.fingerprint if test is not None else None
