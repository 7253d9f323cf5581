"""One self-contained HTML page about a run, written from the run folder alone."""

from embedtrain.report.page import write_report

__all__ = ["write_report"]
