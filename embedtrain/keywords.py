"""Dataclasses of options from keywords: every unknown name, wrong type and missing option is told at once."""

import dataclasses
import functools
import inspect
import os
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar, get_origin

from embedtrain.configs.describing import Option, every_option, options_of, type_in_words, without_none
from embedtrain.configs.values import make_options, unfilled, wrong_type
from embedtrain.errors import Problems, did_you_mean

Given = ParamSpec("Given")
Options = TypeVar("Options")
Result = TypeVar("Result")


def taking(kind: Callable[Given, Options]) -> Callable[[Callable[[Options], Result]], Callable[Given, Result]]:
    """Decorates a function of a dataclass of options; it then takes the fields of the dataclass as keywords.

    For editors and type checkers the function has the signature of the dataclass.
    """

    def decorate(run: Callable[[Options], Result]) -> Callable[Given, Result]:
        @functools.wraps(run)
        def call(*_: Given.args, **given: Given.kwargs) -> Result:
            if _:
                raise TypeError(f"embedtrain.{run.__name__} takes its options by name, such as output='runs/first'")
            return run(options_from(kind, given, called=f"embedtrain.{run.__name__.replace('_', ' ')}"))

        returned = inspect.signature(run).return_annotation
        call.__signature__ = inspect.signature(kind).replace(return_annotation=returned)  # type: ignore[attr-defined]
        return call

    return decorate


def options_from(kind: Callable[..., Options], given: Mapping[str, Any], *, called: str) -> Options:
    """A dataclass of options from keywords.

    Args:
        kind: The dataclass.
        given: Its fields.
        called: What the caller called, for messages.

    Raises:
        UserError: With every unknown name, every value of the wrong type, and every required option that is missing.
    """
    assert isinstance(kind, type)
    known = {option.name: option for option in every_option(options_of(kind))}
    problems = Problems()
    right: dict[str, Any] = {}
    for name, value in _flattened(given, known):
        option = known.get(name)
        if option is None:
            problems.add(f"{called}: unknown option '{name}'{did_you_mean(name, known)}")
        elif option.parts:
            expected = ", ".join(part.key for part in option.parts)
            problems.add(f"{called}: '{name}' is {value!r}, expected a mapping with any of {expected}")
        elif value is not None or not option.required:
            right[name] = _plain(option, value)
            message = wrong_type(option, right[name])
            if message:
                problems.add(f"{called}: {message}")
    for option in unfilled(list(known.values()), right):
        problems.add(f"{called}: '{option.name}' is required: give {type_in_words(option.hint)}. {option.help}")
    problems.raise_if_any()
    return make_options(kind, right)


def _flattened(given: Mapping[str, Any], known: Mapping[str, Option], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in given.items():
        name = f"{prefix}{key}"
        option = known.get(name)
        if option is not None and option.parts and dataclasses.is_dataclass(value) and not isinstance(value, type):
            value = dataclasses.asdict(value)
        if option is not None and option.parts and isinstance(value, Mapping):
            found += _flattened(value, known, prefix=f"{name}.")
        else:
            found.append((name, value))
    return found


def _plain(option: Option, value: Any) -> Any:
    """Paths as texts, and a list where one value stands for a list of one."""
    if isinstance(value, list | tuple):
        return [os.fspath(item) if isinstance(item, os.PathLike) else item for item in value]
    plain = os.fspath(value) if isinstance(value, os.PathLike) else value
    is_list = get_origin(without_none(option.hint)) is list
    return [plain] if is_list and plain is not None else plain
