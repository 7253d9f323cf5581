"""A configuration file read with the line of every key, and all that is wrong with its keys and values at once."""

import argparse
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import jsonargparse
import yaml

from embedtrain.configs.describing import Option, every_option, takes_none, type_in_words, without_none
from embedtrain.errors import Problems, UserError, did_you_mean

Options = TypeVar("Options")

# Says what a file is for, beside the options.
COMMAND_KEY = "command"
_SHOWN_CHARACTERS = 60


@dataclass(frozen=True)
class ConfigFile:
    """What a file holds.

    Attributes:
        path: As it was given.
        values: Its keys with their values, groups as mappings.
        lines: The line of each key, dotted, counted from 1.
        repeated: Keys that stand in it more than once.
    """

    path: str
    values: dict[str, Any]
    lines: dict[str, int]
    repeated: list[str]

    @property
    def command(self) -> str | None:
        """The command that the file names, if it does."""
        named = self.values.get(COMMAND_KEY)
        return None if named is None else str(named)

    def at(self, name: str) -> str:
        """Where a key stands, for messages."""
        line = self.lines.get(name)
        return f"{self.path}, line {line}" if line else self.path


def read_config(path: str) -> ConfigFile:
    """Read a YAML file of options.

    Raises:
        UserError: There is no such file, it is not readable as YAML, or holds no mapping.
    """
    file = Path(path)
    if not file.is_file():
        hint = did_you_mean(file.name, _names_beside(file))
        raise UserError(f"{path}: no such file{hint}")
    try:
        text = file.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise UserError(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from None
    if values is None:
        raise UserError(f"{path}: the file sets no option")
    if not isinstance(values, dict) or not isinstance(root, yaml.MappingNode):
        raise UserError(f"{path}: expected a mapping of options to values, found {type(values).__name__}")
    lines: dict[str, int] = {}
    repeated: list[str] = []
    for name, line in _key_lines(root):
        if name in lines:
            repeated.append(name)
        lines[name] = line
    return ConfigFile(path, {str(key): value for key, value in values.items()}, lines, repeated)


def check_config(file: ConfigFile, options: Sequence[Option], problems: Problems) -> dict[str, Any]:
    """Note every unknown key and every value of the wrong type.

    Args:
        file: What was read.
        options: Of the command that it is for.
        problems: Takes a message for each.

    Returns:
        The values that are right, by dotted name; groups are taken apart.
    """
    for name in file.repeated:
        problems.add(f"{file.at(name)}: '{name}' stands in the file more than once, expected once")
    known = {option.name: option for option in every_option(options)}
    right: dict[str, Any] = {}
    for name, value in _flattened(file.values, known):
        if name == COMMAND_KEY:
            continue
        option = known.get(name)
        if option is None:
            problems.add(f"{file.at(name)}: unknown key '{name}'{did_you_mean(name, known)}")
        elif option.parts:
            if value is not None:
                expected = ", ".join(part.key for part in option.parts)
                problems.add(f"{file.at(name)}: '{name}' is {_shown(value)}, expected a group with {expected}")
        elif value is None and option.required:
            continue  # said with those that are missing altogether
        else:
            message = wrong_type(option, value)
            if message:
                problems.add(f"{file.at(name)}: {message}")
            else:
                right[name] = value
    return right


def check_command(file: ConfigFile, command: str, problems: Problems) -> None:
    """Note a file that says it is for another command."""
    if file.command is not None and file.command != command:
        problems.add(f"{file.at(COMMAND_KEY)}: this file is for `embedtrain {file.command}`, not for {command}")


def unfilled(options: Sequence[Option], given: Mapping[str, Any]) -> list[Option]:
    """Required options without a value."""
    return [option for option in options if option.required and given.get(option.name) is None]


def make_options(kind: type[Options], values: Mapping[str, Any]) -> Options:
    """A dataclass of options from values by dotted name; what is not named has its default.

    Args:
        kind: The dataclass.
        values: Of types that ``wrong_type`` finds nothing wrong with, one for each required option at least.
    """
    nested: dict[str, Any] = {}
    for name, value in values.items():
        *groups, key = name.split(".")
        place = nested
        for group in groups:
            place = place.setdefault(group, {})
        place[key] = value
    parser = jsonargparse.ArgumentParser(exit_on_error=False, default_env=False)
    parser.add_class_arguments(kind, as_group=False)
    made = parser.instantiate_classes(parser.parse_object(nested))
    names = [one.name for one in dataclasses.fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: made[name] for name in names})


def wrong_type(option: Option, value: Any) -> str | None:
    """What is wrong with a value's type, or None; numbers written as text count, as on the command line."""
    hint = option.hint
    if value is None and takes_none(hint):
        return None
    if _is_valid(hint, value):
        return None
    inner = without_none(hint)
    said = f"'{option.name}' is {_shown(value)}, expected {type_in_words(hint)}"
    if get_origin(inner) is Literal and isinstance(value, str):
        return said + did_you_mean(value, map(str, get_args(inner)))
    if get_origin(inner) is list and _is_valid(get_args(inner)[0], value):
        return f"{said}: put it in brackets, [{_shown(value)}]"
    if get_origin(inner) is dict and isinstance(value, dict):
        numbers = [f'{key}: "{one}"' for key, one in value.items() if not isinstance(one, str)]
        return f"{said}: write {', '.join(numbers)}" if numbers else said
    if inner is str and isinstance(value, int | float | bool):
        return f'{said}: put it in quotes, "{_shown(value)}"'
    return said


def _is_valid(hint: Any, value: Any) -> bool:
    # The judge is the parser that reads the file afterwards.
    parser = jsonargparse.ArgumentParser(exit_on_error=False, default_env=False)
    parser.add_argument("--value", type=hint)
    try:
        parser.parse_object({"value": value})
    except (argparse.ArgumentError, TypeError, ValueError):
        return False
    return True


def _shown(value: Any) -> str:
    if value is None:
        return "without a value"
    text = f"'{value}'" if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]} ..."


def _flattened(values: Mapping[Any, Any], known: Mapping[str, Option], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Each key with its value; mappings are taken apart where they are groups, or where the name is unknown."""
    for key, value in values.items():
        name = f"{prefix}{key}"
        option = known.get(name)
        is_group = bool(option.parts) if option else True
        if isinstance(value, Mapping) and value and is_group:
            yield from _flattened(value, known, prefix=f"{name}.")
        else:
            yield name, value


def _key_lines(node: yaml.MappingNode, prefix: str = "") -> Iterator[tuple[str, int]]:
    for key, value in node.value:
        name = f"{prefix}{key.value}"
        yield name, key.start_mark.line + 1
        if isinstance(value, yaml.MappingNode):
            yield from _key_lines(value, prefix=f"{name}.")


def _names_beside(file: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in file.parent.iterdir())
    except OSError:
        return []
