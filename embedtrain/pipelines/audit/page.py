"""The page that ``embedtrain audit --report`` writes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embedtrain import __version__
from embedtrain.pipelines.audit.options import AuditOptions
from embedtrain.pipelines.audit.wording import audit_text
from embedtrain.report import write_data_report

# What the page does not depend on.
_NOT_SHOWN = ("json", "report")


def write_page(found: Mapping[str, Any], options: AuditOptions) -> Path:
    """Write ``options.report``: one file that loads nothing.

    Args:
        found: What the audit found.
        options: Of the audit; ``report`` is set.
    """
    assert options.report is not None
    told = {name: value for name, value in options.as_dict().items() if name not in _NOT_SHOWN}
    page = Path(options.report).expanduser()
    # The first line is the file's name.
    to_do = [line.removeprefix("! ") for line in audit_text(found).splitlines()[1:] if line.startswith("! ")]
    return write_data_report(found, page, to_do=to_do, options=told, version=__version__)
