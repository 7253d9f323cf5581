"""``embedtrain check``: everything that is wrong with a configuration file, found without loading a model."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_origin

from embedtrain.configs.commands import COMMANDS, ConfiguredCommand, configured
from embedtrain.configs.describing import Option, every_option, options_of, type_in_words
from embedtrain.configs.values import ConfigFile, check_command, check_config, make_options, read_config, unfilled
from embedtrain.errors import Problems, UserError

# Stands for what is not filled in, so that the rest can be looked at; no message that names it is shown.
_NOTHING = "<not filled in>"


@dataclass(frozen=True, kw_only=True)
class CheckOptions:
    """Which file is checked, and for what.

    Args:
        file: The YAML file, which may also stand first without a flag.
        command: What the file is for, such as train or "evaluate sts"; only for a file whose key command does not say
            so.
    """

    file: str
    command: str | None = None


def check(options: CheckOptions) -> ConfiguredCommand:
    """Check keys, types and combinations, and that files, columns and models are there.

    Returns:
        The command that the file is for; nothing is wrong with the file then.

    Raises:
        UserError: With every problem.
    """
    file = read_config(options.file)
    command = _command_of(file, options.command)
    problems = Problems()
    if options.command is not None:
        check_command(file, command.name, problems)
        problems.raise_if_any()  # the keys of another command say nothing
    known = options_of(command.options)
    values = check_config(file, known, problems)
    for option in unfilled(known, file.values):
        where = f"{file.at(option.name)}: '{option.name}'"
        problems.add(f"{where} is required: give {type_in_words(option.hint)}. {option.help}")
    _check_inputs(command, known, values, problems)
    problems.raise_if_any()
    return command


def _command_of(file: ConfigFile, asked: str | None) -> ConfiguredCommand:
    named = asked if asked is not None else file.command
    if named is not None:
        try:
            return configured(named)
        except UserError as error:
            where = "--command" if asked is not None else file.at("command")
            raise UserError(*(f"{where}: {message}" for message in error.problems)) from None
    likely = [name for name, command in COMMANDS.items() if _fits(file.values, command)]
    hint = f"; its keys fit {', '.join(likely)}" if likely else ""
    example = likely[0] if likely else "train"
    raise UserError(
        f"{file.path}: no word on which command the file is for{hint}: write 'command: {example}' into it, or give "
        f'--command "{example}"'
    )


def _fits(values: Mapping[str, Any], command: ConfiguredCommand) -> bool:
    fields = {one.name for one in dataclasses.fields(command.options)}
    required = {option.name for option in options_of(command.options) if option.required}
    return required - {"output"} <= set(values) <= fields


def _check_inputs(
    command: ConfiguredCommand, known: Sequence[Option], values: Mapping[str, Any], problems: Problems
) -> None:
    """Run the command's own checks on what is right so far; what is not has its default, or stands for nothing."""
    # With it comes torch: whoever asks for help does not wait for that.
    from embedtrain.models.loading import without_weights

    given = {
        option.name: values.get(option.name, _stand_in(option))
        for option in every_option(known)
        if not option.parts and (option.name in values or option.required)
    }
    options: Any = make_options(command.options, given)
    try:
        with without_weights():
            command.collect(options)
    except UserError as error:
        for message in error.problems:
            if _NOTHING not in message:
                problems.add(message)
    _check_writable(getattr(options, "output", None), problems)


def _stand_in(option: Option) -> Any:
    return [_NOTHING] if get_origin(option.hint) is list else _NOTHING


def _check_writable(output: str | None, problems: Problems) -> None:
    """Note an output folder that cannot be made or written to; nothing is made."""
    if output is None or output == _NOTHING or os.path.isfile(output):
        return
    folder = Path(output).absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        problems.add(f"--output {output}: cannot write in {folder}; expected a folder that can be made and written to")
