"""What a dataclass of options says of each option: its type in words, its default, and its help from the docstring."""

import dataclasses
import inspect
import re
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

_ARGUMENT = re.compile(r"(?P<name>\w+): (?P<text>.*)")
_PLAIN = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
_MANY = {str: "texts", int: "whole numbers", float: "numbers"}


@dataclass(frozen=True)
class Option:
    """One option as people set it.

    Attributes:
        name: Its key in a file, dotted where it belongs to a group.
        hint: Its type; of a group, the dataclass.
        required: Whether it has to be given.
        default: Its value otherwise.
        help: What it does, one line of text.
        parts: The options of a group.
    """

    name: str
    hint: Any
    required: bool
    default: Any
    help: str
    parts: list["Option"] = field(default_factory=list)

    @property
    def key(self) -> str:
        """Its key within its group."""
        return self.name.rpartition(".")[2]


def options_of(kind: type) -> list[Option]:
    """Every option of a dataclass, in the order of its fields; a field that is a dataclass itself is a group."""
    return list(_options(kind, prefix="", values=None))


def every_option(options: Sequence[Option]) -> Iterator[Option]:
    """Options and groups, each group followed by what it holds."""
    for option in options:
        yield option
        yield from every_option(option.parts)


def documented(kind: type) -> dict[str, str]:
    """The help of each field from the ``Args`` of the docstrings of a dataclass and of those it is made from."""
    found: dict[str, str] = {}
    for ancestor in reversed(kind.__mro__):
        found |= _arguments(inspect.cleandoc(ancestor.__dict__.get("__doc__") or ""))
    return found


def type_in_words(hint: Any) -> str:
    """``"a whole number"``, ``"one of cosine, cosent, mnrl"``, ``"a list of texts"``; of ``X | None`` what X is."""
    inner = without_none(hint)
    origin, arguments = get_origin(inner), get_args(inner)
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin is list:
        if get_origin(arguments[0]) is Literal:
            return f"a list of any of {', '.join(map(str, get_args(arguments[0])))}"
        return f"a list of {_MANY.get(arguments[0], 'values')}"
    if origin is tuple:
        return f"a list of {len(arguments)} {_MANY.get(arguments[0], 'values')}"
    if origin is dict:
        return "a mapping such as {name: text}"
    return _PLAIN.get(inner, "a group of options")


def takes_none(hint: Any) -> bool:
    """Whether an option may be left without a value."""
    return type(None) in get_args(hint)


def without_none(hint: Any) -> Any:
    """``X`` of ``X | None``."""
    if get_origin(hint) not in (Union, types.UnionType):
        return hint
    others = [argument for argument in get_args(hint) if argument is not type(None)]
    return others[0] if len(others) == 1 else hint


def _options(kind: type, *, prefix: str, values: Any) -> Iterator[Option]:
    hints, helps = get_type_hints(kind), documented(kind)
    for one in dataclasses.fields(kind):
        hint = hints[one.name]
        default = getattr(values, one.name) if values is not None else _default(one)
        required = default is dataclasses.MISSING
        is_group = dataclasses.is_dataclass(hint)
        parts = list(_options(hint, prefix=f"{prefix}{one.name}.", values=default)) if is_group else []
        yield Option(
            name=prefix + one.name,
            hint=hint,
            required=required,
            default=None if required else default,
            help=helps.get(one.name, ""),
            parts=parts,
        )


def _default(one: "dataclasses.Field[Any]") -> Any:
    if one.default_factory is not dataclasses.MISSING:
        return one.default_factory()
    return one.default


def _arguments(docstring: str) -> dict[str, str]:
    """The entries of the section ``Args`` of a docstring in Google's style."""
    found: dict[str, list[str]] = {}
    inside, name = False, ""
    for line in docstring.splitlines():
        if not line.startswith(" ") and line.strip():
            inside = line.strip() == "Args:"
        elif inside and (match := _ARGUMENT.fullmatch(line.removeprefix("    "))):
            name = match["name"]
            found[name] = [match["text"]]
        elif inside and name and line.strip():
            found[name].append(line.strip())
    return {name: " ".join(lines) for name, lines in found.items()}
