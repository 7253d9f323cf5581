"""One self-contained HTML page about a run, written from the run folder alone."""

from embedtrain.report.page import (
    write_adapt_report,
    write_data_report,
    write_evaluate_report,
    write_label_report,
    write_report,
    write_runs_report,
    write_tasks_report,
    write_train_report,
)

__all__ = [
    "write_adapt_report",
    "write_data_report",
    "write_evaluate_report",
    "write_label_report",
    "write_report",
    "write_runs_report",
    "write_tasks_report",
    "write_train_report",
]
