"""Renders the report of a run folder as one self-contained page."""

import base64
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import jinja2
from markupsafe import Markup

from embedtrain.errors import UserError
from embedtrain.files import write_text
from embedtrain.report import (
    adapt_sections,
    augsbert_sections,
    evaluate_sections,
    label_sections,
    sections,
    train_sections,
    wording,
)
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


def _write(run: Path, template: str, parts: Mapping[str, Callable[[Path], Section]]) -> Path:
    run = Path(run)
    if not run.is_dir():
        raise UserError(f"{run}: expected the folder of a run, found {'a file' if run.exists() else 'nothing there'}")
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    page = (
        _environment()
        .get_template(template)
        .render(
            name=run.resolve().name,
            **{name: part(run) for name, part in parts.items()},
            style=Markup((_HERE / "page.css").read_text(encoding="utf-8")),
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )
    target = run / "report.html"
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
