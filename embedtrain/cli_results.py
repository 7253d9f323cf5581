"""The commands for what a run has made: ``export`` and ``report``."""

from collections.abc import Sequence

from embedtrain.arguments import parse
from embedtrain.cli_evaluate import gathered


def export(arguments: Sequence[str], *, summary: str) -> str:
    """``embedtrain export``: write a model as ONNX, and show what each form of it reaches.

    Args:
        arguments: As after ``export`` on the command line; the model comes first, without a flag.
        summary: What the command does, for the help.

    Returns:
        What to show; nothing where the help was asked for.

    Raises:
        UserError: With every mistake.
    """
    from embedtrain.pipelines.export.options import ExportOptions

    options = parse(ExportOptions, _named(arguments, "model"), command="export", summary=summary)
    if options is None:
        return ""
    from embedtrain.pipelines.export.pipeline import export, export_table

    result = export(options)
    return f"\n{export_table(result.figures)}\n\nexport  {result.folder}"


def report(arguments: Sequence[str], *, summary: str) -> str:
    """``embedtrain report``: write the page of one run again, or one page over many.

    Args:
        arguments: As after ``report`` on the command line; the runs come first, without a flag.
        summary: What the command does, for the help.

    Returns:
        What to show; nothing where the help was asked for.

    Raises:
        UserError: With every mistake.
    """
    from embedtrain.pipelines.report.options import ReportOptions

    words = gathered(_named(arguments, "runs"), ("runs",))
    options = parse(ReportOptions, words, command="report", summary=summary)
    if options is None:
        return ""
    from embedtrain.pipelines.report.pipeline import report

    written = report(options)
    left_out = [f"  - {name}: {reason}" for name, reason in written.left_out]
    lines = ["not in the table:", *left_out, ""] if left_out else []
    return "\n".join([*lines, f"report  {written.page}"])


def _named(arguments: Sequence[str], option: str) -> list[str]:
    given = list(arguments)
    if given and not given[0].startswith("-"):
        given.insert(0, f"--{option}")
    return given
