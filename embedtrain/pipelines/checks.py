"""What every pipeline does with its inputs: mistakes noted and shown together, tables checked, contents hashed."""

from collections.abc import Callable, Mapping, Sequence
from typing import ParamSpec, TypeVar

import pandas as pd

from embedtrain.errors import Problems, UserError, did_you_mean
from embedtrain.files import sha256_of_value

Value = TypeVar("Value")
Arguments = ParamSpec("Arguments")
MIN_PAIRS = 10


def check_roles(prompts: Mapping[str, str], roles: Sequence[str], problems: Problems) -> None:
    """Note every role among ``--prompts`` that is none of those expected."""
    for role in prompts:
        if role not in roles:
            expected = f"{', '.join(roles[:-1])} or {roles[-1]}"
            problems.add(f"--prompts {role}=...: unknown{did_you_mean(role, roles)}; expected {expected}")


def noting(
    problems: Problems, action: Callable[Arguments, Value], *given: Arguments.args, **named: Arguments.kwargs
) -> Value | None:
    """What an action gives, or None when it meets a mistake of the user's, which is noted among the problems."""
    try:
        return action(*given, **named)
    except UserError as error:
        problems.extend(error)
    except OSError as error:  # no permission, a name too long, a disk that fails
        problems.add(f"{error.filename}: {error.strerror}")
    return None


def check_tables(tables: Mapping[str, pd.DataFrame], *, stage: str = "") -> None:
    """Refuse tables of scored pairs that no correlation can be computed on.

    Raises:
        UserError: For every table with too few pairs, or with the same score throughout.
    """
    problems = Problems()
    for name, table in tables.items():
        where = f"{name} {stage}".strip()
        if len(table) < MIN_PAIRS:
            found = f"{len(table)} scored pair{'' if len(table) == 1 else 's'}"
            problems.add(f"{where}: {found}, expected at least {MIN_PAIRS}: a correlation over fewer says nothing")
        elif table["score"].nunique() == 1:
            problems.add(f"{where}: every pair has the same score, expected scores that differ")
    problems.raise_if_any()


def content_hash(frame: pd.DataFrame) -> str:
    """A hash of a table's rows, their numbers and column names, whatever file they came from."""
    return sha256_of_value([list(frame.columns), pd.util.hash_pandas_object(frame).tolist()])
