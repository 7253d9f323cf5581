"""Mistakes that a user can mend: collected, shown together, and never a traceback."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any


class UserError(Exception):
    """One or more mistakes in files, options or names that the user can mend.

    Each problem is one message that names the file, the row or the option, what was found and what was expected.
    The command line prints them all and exits with code 2; library callers catch this one type.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Problems:
    """Gathers problems so that one run shows them all instead of the first."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def add(self, message: str) -> None:
        """Note one problem."""
        if message not in self.messages:
            self.messages.append(message)

    def extend(self, error: UserError) -> None:
        """Note every problem of an error that was caught."""
        for message in error.problems:
            self.add(message)

    def raise_if_any(self) -> None:
        """Raise one ``UserError`` with everything noted so far, or return."""
        if self.messages:
            raise UserError(*self.messages)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` for the nearest known spelling, or an empty string when none is near."""
    spellings = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), list(spellings), n=1, cutoff=0.6)
    return f"; did you mean '{spellings[near[0]]}'?" if near else ""


def describe_change(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """In words, which inputs differ: options with both values, files and models by name."""
    changes = []
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            for part in sorted({*old, *new}):
                words = f"{name}.{part}" if part.isidentifier() else f"{name} {part}"  # an option, or a file's name
                changes.append(_change(words, old, new, part))
        else:
            changes.append(_change(name, before, after, name))
    return "; ".join(change for change in changes if change)


def _change(words: str, before: Mapping[str, Any], after: Mapping[str, Any], name: str) -> str:
    was, now = before.get(name), after.get(name)
    if was == now:
        return ""
    if name not in before or name not in after:
        return f"{words} {'added' if name in after else 'removed'}"
    short = all(len(str(value)) <= 40 for value in (was, now))
    return f"{words} changed from {was} to {now}" if short else f"{words} changed"
