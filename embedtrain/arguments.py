"""Typed dataclasses as command-line flags and YAML files, with every misspelt name found at once."""

import argparse
import dataclasses
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import jsonargparse
import yaml

from embedtrain.errors import Problems, UserError, did_you_mean

Options = TypeVar("Options")

OWN_FLAGS = ("help", "config", "print_config")


class DashedHelp(jsonargparse.DefaultHelpFormatter):
    """Help that spells options as people type them, and leaves the long list of them to the list itself."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        return super()._format_action_invocation(action).replace("_", "-")

    def _format_usage(self, *_: Any, **__: Any) -> str:
        return f"usage: {self._prog} [--config FILE] [OPTIONS]\n\n"


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
    fields = dict(_field_names(options))
    words = _normalised(arguments, options)
    _refuse_unknown(words, fields)
    parser = jsonargparse.ArgumentParser(
        prog=f"embedtrain {command}",
        description=summary,
        exit_on_error=False,
        default_env=False,
        formatter_class=DashedHelp,
    )
    parser.add_argument("--config", action=jsonargparse.ActionConfigFile, help="YAML file with any of these options")
    parser.add_class_arguments(options, as_group=False)
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


def _field_names(options: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    hints = get_type_hints(options)
    for field in dataclasses.fields(options):
        name = prefix + field.name
        yield name, hints[field.name]
        if dataclasses.is_dataclass(hints[field.name]):
            yield from _field_names(hints[field.name], prefix=f"{name}.")


def _normalised(arguments: Sequence[str], options: type) -> list[str]:
    hints = dict(_field_names(options))
    words: list[str] = []
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
            words.extend(f"--{name}.{item}" for item in values)
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
    return words


def _values_after(pending: list[str]) -> list[str]:
    values = []
    while pending and not pending[0].startswith("--"):
        values.append(pending.pop(0))
    return values


def _refuse_unknown(words: Sequence[str], fields: Mapping[str, Any]) -> None:
    problems = Problems()
    mappings = [name for name, hint in fields.items() if str(hint).startswith("dict")]
    known = [*fields, *OWN_FLAGS]

    def is_known(name: str) -> bool:
        return name in known or any(name.startswith(f"{mapping}.") for mapping in mappings)

    for at, word in enumerate(words):
        if not word.startswith("--"):
            continue
        name, _, value = word[2:].partition("=")
        if not is_known(name):
            spelt = did_you_mean(name, known).replace("_", "-").replace("'", "'--", 1)
            problems.add(f"unknown option --{name.replace('_', '-')}{spelt}")
        if name == "config":
            file = value or (words[at + 1] if at + 1 < len(words) else "")
            _check_config_file(file, is_known, known, problems)
    problems.raise_if_any()


def _check_config_file(file: str, is_known: Any, known: Sequence[str], problems: Problems) -> None:
    path = Path(file)
    if not os.path.isfile(file):
        problems.add(f"--config {file}: no such file")
        return
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        problems.add(f"--config {file}: not readable as YAML: {' '.join(str(error).split())}")
        return
    if not isinstance(content, dict):
        problems.add(f"--config {file}: expected a mapping of options to values, found {type(content).__name__}")
        return
    for name in _keys(content):
        if not is_known(name):
            problems.add(f"--config {file}: unknown key '{name}'{did_you_mean(name, known)}")


def _keys(content: Mapping[Any, Any], prefix: str = "") -> Iterator[str]:
    for key, value in content.items():
        if isinstance(value, Mapping) and value:
            yield from _keys(value, prefix=f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _readable(message: str) -> str:
    return " ".join(message.split())
