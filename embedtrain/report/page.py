"""Renders the report of a run folder as one self-contained page."""

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from embedtrain.errors import UserError
from embedtrain.files import write_text
from embedtrain.report import (
    adapt_sections,
    augsbert_sections,
    data_sections,
    evaluate_sections,
    label_sections,
    runs_sections,
    sections,
    tasks_sections,
    train_sections,
    wording,
)
from embedtrain.report.runs_sections import RunRow
from embedtrain.report.sections import Section

_HERE = Path(__file__).parent
_FILTERS = ("points", "interval", "count", "duration", "decimal", "share", "printable", "language")
_OF_A_MODEL = {"audit": sections.audit, "loading": sections.loading, "environment": sections.environment}


def write_report(run: Path) -> Path:
    """Write ``report.html`` into the folder of an Augmented SBERT run, from what the folder holds and nothing else.

    The page is one file that loads nothing: its plots are inlined, its only script (a copy button) is named by hash in
    the page's content security policy, and text of the user's is escaped. The same folder gives the same bytes.

    Args:
        run: Folder of a run, complete or not; each section says what it did not find.

    Returns:
        Path of the page.

    Raises:
        UserError: If ``run`` is not a folder.
    """
    page = augsbert_sections
    own = {"results": page.results, "training": page.training, "labels": page.labels, "silver": page.silver}
    return _write(run, "augsbert.html", own | _OF_A_MODEL)


def write_train_report(run: Path) -> Path:
    """As :func:`write_report`, for the folder of a training: ``embedtrain train``."""
    page = train_sections
    return _write(run, "train.html", {"results": page.results, "training": page.training} | _OF_A_MODEL)


def write_adapt_report(run: Path) -> Path:
    """As :func:`write_report`, for the folder of a domain adaptation: ``embedtrain adapt`` and ``embedtrain tsdae``."""
    page = adapt_sections
    own = {
        "results": page.results,
        "differences": page.differences,
        "training": page.training,
        "domain": page.domain,
    }
    return _write(run, "adapt.html", own | _OF_A_MODEL)


def write_label_report(run: Path) -> Path:
    """As :func:`write_report`, for the folder of labelled pairs: ``embedtrain label``.

    It reads ``metrics.json`` (see ``mining.distribution.build_label_metrics``; also ``labels``, the dev score of what
    was written, ``verdict`` and ``warnings``), ``examples.parquet`` (``sentence1``, ``sentence2``, ``score``),
    ``manifest.json`` and ``config.yaml``.
    """
    page = label_sections
    own = {
        "results": page.results,
        "distribution": page.distribution,
        "calibration": page.calibration,
        "pairs": page.pairs,
        "speed": page.speed,
        "labels": page.labels,
        "environment": page.environment,
    }
    return _write(run, "label.html", own)


def write_evaluate_report(run: Path) -> Path:
    """As :func:`write_report`, for the folder of an evaluation or a comparison.

    It reads ``metrics.json`` (``main``: by model and set of rows ``score`` and ``ci95``; ``data``, ``differences``,
    ``metric``, ``verdict``, ``warnings``), ``manifest.json`` and ``config.yaml``.
    """
    page = evaluate_sections
    own = {"results": page.results, "differences": page.differences, "environment": sections.environment}
    return _write(run, "evaluate.html", own)


def write_tasks_report(run: Path) -> Path:
    """As :func:`write_report`, for the folder of scores over tasks: of MTEB, or of evaluations beside each other.

    It reads ``metrics.json`` (``main``: by model and task ``score`` and ``ci95``; ``data``: by task ``type``,
    ``metric`` and ``items``; ``overall``, ``types``, ``differences``, ``left_out``, ``verdict``, ``warnings``),
    ``manifest.json`` and ``config.yaml``.
    """
    page = tasks_sections
    own = {"results": page.results, "types": page.types, "differences": page.differences}
    return _write(run, "tasks.html", own | {"environment": sections.environment})


def write_runs_report(rows: Sequence[RunRow], page: Path) -> Path:
    """Write one page over many runs: a table that sorts, a plot for each test set, and a link to each run's report.

    Args:
        rows: The runs, in the order of the table.
        page: The file to write; links start from its folder.

    Returns:
        ``page``.
    """
    shown = runs_sections.overview(rows, page.parent)
    return _render("runs.html", page, name=page.resolve().parent.name, **shown)


def write_data_report(
    found: Mapping[str, Any], page: Path, *, to_do: Sequence[str], options: Mapping[str, Any], version: str
) -> Path:
    """Write the page of an audited table.

    Args:
        found: What ``embedtrain audit`` found.
        page: The file to write.
        to_do: Sentences on what should be done about it, which stand first.
        options: Of the audit, by name.
        version: Of this program.

    Returns:
        ``page``.
    """
    return _render("data.html", page, version=version, **data_sections.overview(found, to_do=to_do, options=options))


def _write(run: Path, template: str, parts: Mapping[str, Callable[[Path], Section]]) -> Path:
    run = Path(run)
    if not run.is_dir():
        raise UserError(f"{run}: expected the folder of a run, found {'a file' if run.exists() else 'nothing there'}")
    shown = {name: part(run) for name, part in parts.items()}
    return _render(template, run / "report.html", name=run.resolve().name, **shown)


def _render(template: str, target: Path, **shown: object) -> Path:
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    page = (
        _environment()
        .get_template(template)
        .render(
            **shown,
            style=Markup((_HERE / "page.css").read_text(encoding="utf-8")),
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )
    write_text(target, page)
    return target


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {name: getattr(wording, name) for name in _FILTERS}
    return environment
