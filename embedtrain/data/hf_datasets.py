"""Data sets of the ``datasets`` package: saved folders, names on the hub, and objects in memory, as pandas frames."""

import re
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from embedtrain.errors import UserError, did_you_mean

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+){0,2}", flags=re.ASCII)
_FOLDER_MARKS = ("dataset_info.json", "dataset_dict.json")


def is_dataset(source: object) -> bool:
    """Whether ``source`` is an object of the ``datasets`` package; such an object means it is already imported."""
    return type(source).__module__.split(".")[0] == "datasets" and "datasets" in sys.modules


def looks_like_hub_name(source: str) -> bool:
    """Whether ``source`` is written as ``owner/name``, ``owner/name:split`` or ``owner/name:config:split``."""
    return bool(_HUB_NAME.fullmatch(source))


def split_of(source: str) -> tuple[Path, str | None]:
    """A path and the split asked for behind it, as in ``folder:train``; a path that exists as written has no split."""
    if not Path(source).exists() and ":" in source:
        folder, _, split = source.rpartition(":")
        if Path(folder).is_dir():
            return Path(folder), split
    return Path(source), None


def from_folder(folder: Path, *, split: str | None, label: str) -> pd.DataFrame:
    """Read a folder that ``save_to_disk`` wrote; of several splits, ``split`` says which.

    Raises:
        UserError: The folder is no saved data set, is damaged, or the split is not there.
    """
    if not any((folder / mark).exists() for mark in _FOLDER_MARKS):
        files = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
        inside = f"it holds {', '.join(files[:5])}{' ...' if len(files) > 5 else ''}" if files else "it is empty"
        raise UserError(
            f"{label}: this folder is no saved data set (no {' or '.join(_FOLDER_MARKS)}); {inside}; "
            "give one file, or a folder that datasets' save_to_disk wrote"
        )
    import datasets

    try:
        stored = datasets.load_from_disk(str(folder))
    except (OSError, ValueError, KeyError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise UserError(f"{label}: the saved data set cannot be read: {_first_line(error)}") from error
    return from_dataset(stored, split=split, label=label)


def from_hub(source: str, *, label: str) -> pd.DataFrame:
    """Read ``owner/name``, ``owner/name:split`` or ``owner/name:config:split`` from the hub or its local cache.

    Raises:
        UserError: There is no such data set, no network and no cached copy, or the split is not there.
    """
    import datasets

    name, *rest = source.split(":")
    split = rest[-1] if rest else None
    config = rest[0] if len(rest) > 1 else None
    try:
        stored = datasets.load_dataset(name, name=config)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise UserError(
            f"{label}: there is no such file here, and as a data set of the hub it cannot be loaded: "
            f"{_first_line(error)}; without a network give a file, or a folder that datasets' save_to_disk wrote"
        ) from error
    return from_dataset(stored, split=split, label=label)


def from_dataset(source: Any, *, split: str | None = None, label: str) -> pd.DataFrame:
    """The frame of a ``datasets.Dataset``, or of one split of a ``datasets.DatasetDict``.

    Raises:
        UserError: Several splits and none chosen, an unknown split, or a streamed data set.
    """
    import datasets

    if isinstance(source, dict):
        known = [str(name) for name in source]
        if split is None and len(known) > 1:
            raise UserError(f"{label}: holds the splits {', '.join(known)}: choose one, ':{known[0]}' behind the name")
        if split is not None and split not in known:
            raise UserError(f"{label}: no split '{split}'; found {', '.join(known)}{did_you_mean(split, known)}")
        source = source[split or known[0]]
    elif split is not None:
        raise UserError(f"{label}: is a single table without splits: leave ':{split}' out")
    if not isinstance(source, datasets.Dataset):
        raise UserError(f"{label}: a {type(source).__name__} cannot be read: give a datasets.Dataset (not streamed)")
    frame = source.to_pandas()
    assert isinstance(frame, pd.DataFrame)  # an iterator only when batched
    return frame


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
