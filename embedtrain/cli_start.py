"""The commands around a first run: ``doctor``, ``init``, ``check`` and ``audit``."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from embedtrain.arguments import parse
from embedtrain.cli_evaluate import SUBCOMMANDS
from embedtrain.errors import UserError

# Without its second word a command of this family is the first of it.
FAMILIES = {"evaluate": "evaluate sts"}


@dataclass(frozen=True, kw_only=True)
class InitOptions:
    """Where a configuration file is written.

    Args:
        output: The file; by default it has the command's name, such as train.yaml, in the folder that you are in.
        force: Replace a file that is there already.
    """

    output: str | None = None
    force: bool = False


def start(command: str, arguments: Sequence[str], *, summaries: Mapping[str, str]) -> tuple[str, int]:
    """Run one of the commands here.

    Args:
        command: Its name.
        arguments: As after it on the command line.
        summaries: What each command of the command line does, for helps and files.

    Returns:
        What to show, and the exit code.

    Raises:
        UserError: With every mistake.
    """
    summary = summaries[command]
    if command == "doctor":
        return doctor(arguments, summary=summary)
    if command == "init":
        return init(arguments, summary=summary, summaries=summaries), 0
    run = {"check": check, "audit": audit}[command]
    return run(arguments, summary=summary), 0


def doctor(arguments: Sequence[str], *, summary: str) -> tuple[str, int]:
    """``embedtrain doctor``: what this machine and installation offer.

    Returns:
        What to show, and the exit code: 0, or 2 where something is in the way of every command.
    """
    from embedtrain.pipelines.doctor.options import DoctorOptions

    options = parse(DoctorOptions, arguments, command="doctor", summary=summary)
    if options is None:
        return "", 0
    from embedtrain.pipelines.doctor.examining import examine
    from embedtrain.pipelines.doctor.wording import report_text

    report = examine(options)
    shown = json.dumps(report.as_dict(), indent=2, ensure_ascii=False) if options.json else report_text(report)
    return shown, 0 if report.is_usable else 2


def init(arguments: Sequence[str], *, summary: str, summaries: Mapping[str, str]) -> str:
    """``embedtrain init``: write a configuration file with every option of a command.

    Args:
        arguments: As after ``init`` on the command line.
        summary: What the command does, for the help.
        summaries: The same of the commands that files are written for.

    Raises:
        UserError: The command is unknown, or the file is there already.
    """
    from embedtrain.configs.commands import COMMANDS, configured
    from embedtrain.configs.template import config_template, write_template

    words = []
    rest = list(arguments)
    while rest and not rest[0].startswith("-"):
        words.append(rest.pop(0))
    if not words and rest and rest[0] not in ("-h", "--help"):
        raise UserError(f"no command named: embedtrain init COMMAND, one of {', '.join(COMMANDS)}")
    if not words:
        return _init_usage(list(COMMANDS), summary)
    name = " ".join(words)
    options = parse(InitOptions, rest, command=f"init {name}", summary=summary)
    if options is None:
        return ""
    command = configured(FAMILIES.get(name, name))
    file = Path(options.output or f"{command.name.replace(' ', '-')}.yaml")
    told = {**summaries, **{f"evaluate {kind}": text for kind, text in SUBCOMMANDS.items()}}
    text = config_template(command.options, command=command.name, summary=told[command.name], file=str(file))
    write_template(file, text, force=options.force)
    others = [other for other in COMMANDS if other != command.name and other.startswith(f"{name} ")]
    beside = f"\nof the same family: {', '.join(f'embedtrain init {other}' for other in others)}" if others else ""
    return (
        f"written: {file}\n\n"
        f"fill in what is marked REQUIRED, then\n"
        f"  embedtrain check {file}\n"
        f"  embedtrain {command.name} --config {file}{beside}"
    )


def check(arguments: Sequence[str], *, summary: str) -> str:
    """``embedtrain check``: all problems of a configuration file at once.

    Raises:
        UserError: With every problem.
    """
    from embedtrain.configs.checking import CheckOptions
    from embedtrain.configs.checking import check as check_file

    options = parse(CheckOptions, _named_first(arguments, "file"), command="check", summary=summary)
    if options is None:
        return ""
    command = check_file(options)
    return f"{options.file}: no problem found\n\n  embedtrain {command.name} --config {options.file}"


def audit(arguments: Sequence[str], *, summary: str) -> str:
    """``embedtrain audit``: what is in a file of texts or pairs.

    Raises:
        UserError: With every mistake in options and files.
    """
    from embedtrain.pipelines.audit.options import AuditOptions

    options = parse(AuditOptions, _named_first(arguments, "data"), command="audit", summary=summary)
    if options is None:
        return ""
    from embedtrain.pipelines.audit.pipeline import audit
    from embedtrain.pipelines.audit.wording import audit_text

    found = audit(options)
    page = ""
    if options.report is not None:
        from embedtrain.pipelines.audit.page import write_page

        page = f"\n\nreport  {write_page(found, options)}"
    return json.dumps(found, indent=2, ensure_ascii=False) if options.json else f"{audit_text(found)}{page}"


def _named_first(arguments: Sequence[str], option: str) -> list[str]:
    """The words with the option's name put before a value that comes first."""
    given = list(arguments)
    if given and not given[0].startswith("-"):
        given.insert(0, f"--{option}")
    return given


def _init_usage(commands: Sequence[str], summary: str) -> str:
    return (
        "usage: embedtrain init COMMAND [--output FILE] [--force]\n\n"
        f"{summary}\n\n"
        f"commands: {', '.join(commands)}\n\n"
        "embedtrain init COMMAND --help shows the options."
    )
