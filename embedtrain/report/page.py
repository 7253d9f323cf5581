"""Renders the report of a run folder as one self-contained page."""

import base64
import hashlib
from pathlib import Path

import jinja2
from markupsafe import Markup

from embedtrain.errors import UserError
from embedtrain.files import write_text
from embedtrain.report import sections, wording

_HERE = Path(__file__).parent


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        name: getattr(wording, name) for name in ("points", "interval", "count", "duration", "printable", "language")
    }
    return environment.get_template("page.html")


def write_report(run: Path) -> Path:
    """Write ``report.html`` into a run folder, from what the folder holds and nothing else.

    The page is one file that loads nothing: its plots are inlined, its only script (a copy button) is named by hash in
    the page's content security policy, and text of the user's is escaped. The same folder gives the same bytes.

    Args:
        run: Folder of a run, complete or not; each section says what it did not find.

    Returns:
        Path of the page.

    Raises:
        UserError: If ``run`` is not a folder.
    """
    run = Path(run)
    if not run.is_dir():
        raise UserError(f"{run}: expected the folder of a run, found {'a file' if run.exists() else 'nothing there'}")
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    page = _template().render(
        name=run.resolve().name,
        results=sections.results(run),
        training=sections.training(run),
        labels=sections.labels(run),
        silver=sections.silver(run),
        audit=sections.audit(run),
        loading=sections.loading(run),
        environment=sections.environment(run),
        style=Markup((_HERE / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    target = run / "report.html"
    write_text(target, page)
    return target
