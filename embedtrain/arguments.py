"""Typed dataclasses as command-line flags and YAML files, with every misspelt name found at once."""

import argparse
import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar, get_args, get_origin

import jsonargparse

from embedtrain.configs.describing import Option, every_option, options_of, without_none
from embedtrain.configs.values import COMMAND_KEY, check_command, check_config, read_config, unfilled, wrong_type
from embedtrain.console import VERBOSITY_HELP
from embedtrain.errors import Problems, UserError, did_you_mean

Options = TypeVar("Options")

_OWN_HELP = {
    "help": "Show this and do nothing else.",
    "config": "A YAML file that sets any of these options; what stands on the line behind it takes its place.",
    "print_config": "Show every option with its value as such a file, and do nothing else.",
}
OWN_FLAGS = (*_OWN_HELP, "quiet", "verbose")


class PlainHelp(argparse.HelpFormatter):
    """Help in which each option stands as people type it, with what it takes in words."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        spelt = [word for word in action.option_strings if not word.endswith("+")]
        return f"{', '.join(spelt).replace('_', '-')} {action.metavar or ''}".rstrip()

    def _format_usage(self, *_: Any, **__: Any) -> str:
        # The list of options would only be there twice.
        return f"usage: {self._prog} [--config FILE] [OPTIONS]\n\n"

    def _expand_help(self, action: argparse.Action) -> str:
        # Per cent signs are meant as such.
        return action.help or ""


def parse(options: type[Options], arguments: Sequence[str], *, command: str, summary: str) -> Options | None:
    """Make a dataclass of options from flags, and from a YAML file given with ``--config``.

    Flags may be written with dashes or underscores; flags after ``--config`` override the file. A tuple takes its
    values one after the other (``--score-range 0 5``), and so does a list (``--data a.tsv b.tsv``); a mapping takes
    ``name=value`` words (``--columns sentence1=q1``); a switch needs no value (``--compile``).

    Args:
        options: The dataclass; its docstring describes the fields.
        arguments: The words after the command.
        command: The command's name, for messages.
        summary: What the command does, for the help.

    Returns:
        The options, or None when the help or the configuration was printed instead.

    Raises:
        UserError: With every unknown option, misspelt key and value of the wrong type.
    """
    known = options_of(options)
    hints = {option.name: option.hint for option in every_option(known)}
    words = _normalised(arguments, hints)
    _refuse_unknown(words, known, hints, command=command)
    _refuse_values(arguments, known)
    parser = jsonargparse.ArgumentParser(
        prog=f"embedtrain {command}",
        description=summary,
        exit_on_error=False,
        default_env=False,
        formatter_class=PlainHelp,
        epilog=VERBOSITY_HELP,
    )
    parser.add_argument("--config", action=jsonargparse.ActionConfigFile, help=_OWN_HELP["config"])
    parser.add_class_arguments(options, as_group=False)
    if COMMAND_KEY not in hints:
        # Files that `embedtrain init` writes say what they are for.
        parser.add_argument(f"--{COMMAND_KEY}", help=argparse.SUPPRESS)
    _set_help(parser, known)
    try:
        parsed = parser.parse_args(words)
        return _instantiate(parser, parsed, options)
    except jsonargparse.ArgumentError as error:
        raise UserError(_readable(str(error))) from None
    except SystemExit as ending:
        if ending.code:
            raise
        return None


def _instantiate(
    parser: jsonargparse.ArgumentParser, parsed: jsonargparse.Namespace, options: type[Options]
) -> Options:
    values = parser.instantiate_classes(parsed)
    return options(**{field.name: values[field.name] for field in dataclasses.fields(options)})  # type: ignore[arg-type]


def _set_help(parser: jsonargparse.ArgumentParser, known: Sequence[Option]) -> None:
    # Read by itself, the parser would take the help from docstrings only where another package is installed.
    options = {option.name: option for option in every_option(known)}
    for action in parser._actions:
        option = options.get(action.dest)
        if action.dest in _OWN_HELP:
            action.help = _OWN_HELP[action.dest]
            action.metavar = "FILE" if action.dest == "config" else None
        elif option is not None:
            action.help = argparse.SUPPRESS if option.parts else f"{option.help} ({_preset(option)})"
            action.metavar = taken_words(option.hint)
    for group in parser._action_groups:
        names = {action.dest.partition(".")[0] for action in group._group_actions if "." in action.dest}
        for name in names & set(options):
            group.title, group.description = f"--{name.replace('_', '-')}.*", options[name].help
        if group.title == "options":
            group.description = None


def taken_words(hint: Any) -> str:
    """What stands behind an option, such as ``N`` for a whole number; nothing behind a switch."""
    inner = without_none(hint)
    origin, arguments = get_origin(inner), get_args(inner)
    if origin is Literal:
        return f"{{{','.join(map(str, arguments))}}}"
    if origin is tuple:
        return " ".join(taken_words(argument) for argument in arguments)
    if origin is list:
        one = taken_words(arguments[0])
        return f"{one} [{one} ...]"
    if origin is dict:
        return "NAME=VALUE [NAME=VALUE ...]"
    return {str: "TEXT", int: "N", float: "X"}.get(inner, "")


def _preset(option: Option) -> str:
    """What holds where an option is not given."""
    if option.required:
        return "required"
    if option.default is None:
        return "default: none"
    if isinstance(option.default, list | tuple):
        return f"default: {' '.join(map(str, option.default)) or 'none'}"
    if isinstance(option.default, dict):
        return f"default: {' '.join(f'{key}={value}' for key, value in option.default.items()) or 'none'}"
    return f"default: {str(option.default).lower() if isinstance(option.default, bool) else option.default}"


def _normalised(arguments: Sequence[str], hints: Mapping[str, Any]) -> list[str]:
    words: list[str] = []
    mappings: dict[str, dict[str, str]] = {}
    pending = list(arguments)
    while pending:
        word = pending.pop(0)
        if not word.startswith("--"):
            words.append(word)
            continue
        name, equals, value = word[2:].partition("=")
        name = name.replace("-", "_")
        hint = hints.get(name)
        values = [value] if equals else _values_after(pending)
        if str(hint).startswith("tuple") and len(values) > 1:
            words.append(f"--{name}=[{', '.join(values)}]")
        elif str(hint).startswith("dict") and values and all("=" in item for item in values):
            mappings.setdefault(name, {}).update((key, one) for key, _, one in (item.partition("=") for item in values))
        elif str(hint).startswith("list") and values and not values[0].startswith("["):
            # A file's name may hold what YAML takes for punctuation.
            items = [json.dumps(value, ensure_ascii=False) for value in values] if hint == list[str] else values
            words.append(f"--{name}=[{', '.join(items)}]")
        elif hint is bool and not values:
            words.append(f"--{name}=true")
        elif equals:
            words.append(f"--{name}={value}")
        else:
            words.extend([f"--{name}", *values])
    # Each in one piece: alone, "query: " would be read as a mapping of its own.
    return words + [f"--{name}={json.dumps(pairs, ensure_ascii=False)}" for name, pairs in mappings.items()]


def _values_after(pending: list[str]) -> list[str]:
    values = []
    while pending and not pending[0].startswith("--"):
        values.append(pending.pop(0))
    return values


def _refuse_unknown(words: Sequence[str], known: Sequence[Option], hints: Mapping[str, Any], *, command: str) -> None:
    problems = Problems()
    mappings = [name for name, hint in hints.items() if str(hint).startswith("dict")]
    names = [*hints, *OWN_FLAGS]
    given = {word[2:].partition("=")[0] for word in words if word.startswith("--")}
    for at, word in enumerate(words):
        if not word.startswith("--"):
            continue
        name, _, value = word[2:].partition("=")
        if name not in names and not any(name.startswith(f"{mapping}.") for mapping in mappings):
            spelt = did_you_mean(name, names).replace("_", "-").replace("'", "'--", 1)
            problems.add(f"unknown option --{name.replace('_', '-')}{spelt}")
        if name == "config":
            path = value or (words[at + 1] if at + 1 < len(words) else "")
            _check_config_file(path, known, command=command, on_the_line=given, problems=problems)
    problems.raise_if_any()


def _refuse_values(arguments: Sequence[str], known: Sequence[Option]) -> None:
    """Say what is wrong with choices and numbers in our own words; the parser judges what is left."""
    problems = Problems()
    options = {option.name: option for option in every_option(known)}
    pending = list(arguments)
    while pending:
        word = pending.pop(0)
        name, equals, value = word[2:].partition("=")
        option = options.get(name.replace("-", "_"))
        if not word.startswith("--") or option is None:
            continue
        hint, values = without_none(option.hint), [value] if equals else _values_after(pending)
        if get_origin(hint) is list and get_origin(get_args(hint)[0]) is Literal:
            option = dataclasses.replace(option, hint=get_args(hint)[0])
            values = [value for value in values if not value.startswith("[")]
        elif get_origin(hint) is tuple:
            judged: list[Any] = [values[0] if len(values) == 1 else values]
            values = [] if values[:1] and values[0].startswith("[") else judged
        elif get_origin(hint) is dict:
            for value in values:
                if "=" not in value and not value.startswith("{"):
                    problems.add(f"--{name.replace('_', '-')} is '{value}', expected NAME=VALUE")
            continue
        elif len(values) != 1 or not (get_origin(hint) is Literal or hint in (int, float, bool)):
            continue
        for value in values:
            message = wrong_type(option, value)
            if message:
                problems.add(f"--{name.replace('_', '-')} {message.partition(' ')[2]}")
    problems.raise_if_any()


def _check_config_file(
    path: str, known: Sequence[Option], *, command: str, on_the_line: set[str], problems: Problems
) -> None:
    try:
        file = read_config(path)
    except UserError as error:
        for message in error.problems:
            problems.add(f"--config {message}")
        return
    check_command(file, command, problems)
    check_config(file, known, problems)
    for option in unfilled(known, file.values):
        if option.name in file.values:
            instead = "; remove the line, it is given behind --config" if option.name in on_the_line else ""
            problems.add(f"{file.at(option.name)}: '{option.name}' is required and has no value{instead}")


def _readable(message: str) -> str:
    return " ".join(message.split())
