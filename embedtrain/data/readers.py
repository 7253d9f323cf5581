"""Any of the accepted sources to a checked table with named columns.

Sources: CSV (commas, the usual quoting), TSV (tabs, no quoting), JSON (an array of objects), JSONL, Parquet, TXT (one
sentence a line), a folder that ``datasets`` saved (``folder`` or ``folder:split``), a hub data set (``owner/name``,
``owner/name:split`` or ``owner/name:config:split``), a pandas frame, a ``datasets.Dataset``.

A table's index is called ``row``. For CSV, TSV, JSONL and TXT it is the number of the line the row begins on, counted
from 1 with the header, so that an editor finds it; elsewhere it is the row's place, counted from 1.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from embedtrain.data import hf_datasets
from embedtrain.data.columns import check_mapping
from embedtrain.data.delimited import read_delimited, read_lines
from embedtrain.data.records import read_frame, read_json_array, read_json_lines, read_parquet
from embedtrain.data.schema import SCORED_PAIRS, SENTENCES, AnyOf, Kind
from embedtrain.data.values import check_range, check_values
from embedtrain.errors import UserError, did_you_mean

logger = logging.getLogger(__name__)

_FILE_READERS: Mapping[str, Callable[..., pd.DataFrame]] = {
    ".csv": partial(read_delimited, delimiter=","),
    ".tsv": partial(read_delimited, delimiter="\t"),
    ".json": read_json_array,
    ".jsonl": read_json_lines,
    ".parquet": read_parquet,
}
_LINES = ".txt"


def read_table(
    source: object,
    *,
    kind: Kind,
    columns: Mapping[str, str] | None = None,
    score_range: tuple[float, float] | None = (0.0, 1.0),
    name: str | None = None,
) -> pd.DataFrame:
    """Read and check a table; other columns of the source are ignored.

    Args:
        source: A path or name (see the module's description), a pandas frame or a ``datasets.Dataset``.
        kind: What the table must hold.
        columns: Our column name to the source's, such as ``{"sentence1": "question1"}``. For a CSV or TSV file
            without a header: to the 0-based position, such as ``{"sentence1": "0"}``; its first line is then data.
        score_range: Lowest and highest score of the source's scale; None leaves scores as they are.
        name: What messages call a source in memory; for a file it is put before the path.

    Returns:
        The kind's columns in its order, index ``row``: text of dtype ``str``, exactly as it stands in the source
        (a missing one is ``""``); ``score`` as float64, brought from ``score_range`` to [0, 1]; ``label`` as int64, or
        as the class's name (``str``) where the kind has classes.

    Raises:
        UserError: All that is wrong with the source: form, columns and values, with the rows.
    """
    label = _label(source, name=name)
    columns = dict(columns or {})
    if score_range is not None:
        check_range(score_range, label=label)
    check_mapping(columns, kind=kind, label=label)
    raw = _read_raw(source, kind=kind, columns=columns, label=label)
    return check_values(raw, kind=kind, score_range=score_range, label=label)


def read_table_of(
    source: object,
    *,
    kinds: Sequence[Kind],
    columns: Mapping[str, str] | None = None,
    score_range: tuple[float, float] | None = (0.0, 1.0),
    name: str | None = None,
) -> tuple[pd.DataFrame, Kind]:
    """Read a table whose columns tell which of several kinds it is; see ``read_table``.

    Args:
        source: As for ``read_table``.
        kinds: What it may be; see ``AnyOf`` for their order.
        columns: As for ``read_table``; an entry for a column of another kind than the table's is left out of account.
        score_range: As for ``read_table``.
        name: As for ``read_table``.

    Returns:
        The table and its kind.

    Raises:
        UserError: All that is wrong with the source, compared with the kind that it comes nearest to.
    """
    label = _label(source, name=name)
    columns = dict(columns or {})
    several = AnyOf("training data", (), number_column="score", kinds=tuple(kinds))
    if score_range is not None:
        check_range(score_range, label=label)
    check_mapping(columns, kind=several, label=label)
    raw = _read_raw(source, kind=several, columns=columns, label=label)
    kind = several.resolved(list(raw.columns), {})
    return check_values(raw, kind=kind, score_range=score_range, label=label), kind


def read_columns(source: object, *, kind: Kind, name: str | None = None) -> pd.DataFrame:
    """Read the kind's columns, index ``row``, with every value as it stands in the source; see ``read_table``.

    For tables whose values have rules of their own, such as ids that may be written as numbers.

    Raises:
        UserError: What is wrong with the source's form or columns.
    """
    return _read_raw(source, kind=kind, columns={}, label=_label(source, name=name))


def read_scored_pairs(
    source: object,
    *,
    columns: Mapping[str, str] | None = None,
    score_range: tuple[float, float] = (0.0, 1.0),
    name: str | None = None,
) -> pd.DataFrame:
    """Read ``sentence1``, ``sentence2`` and ``score``; see ``read_table``."""
    return read_table(source, kind=SCORED_PAIRS, columns=columns, score_range=score_range, name=name)


def read_sentences(
    source: object, *, columns: Mapping[str, str] | None = None, name: str | None = None
) -> pd.DataFrame:
    """Read ``text``, one sentence a row; see ``read_table``."""
    return read_table(source, kind=SENTENCES, columns=columns, name=name)


def _label(source: object, *, name: str | None) -> str:
    if isinstance(source, str | Path):
        return f"{name} ({source})" if name else str(source)
    return name or "the table"


def _read_raw(source: object, *, kind: Kind, columns: Mapping[str, str], label: str) -> pd.DataFrame:
    pick = partial(read_frame, kind=kind, columns=columns, label=label)
    if isinstance(source, pd.DataFrame):
        return pick(source)
    if hf_datasets.is_dataset(source):
        return pick(hf_datasets.from_dataset(source, label=label))
    if not isinstance(source, str | Path):
        raise UserError(
            f"{label}: a {type(source).__name__} cannot be read: give a path, a hub data set's name, "
            "a pandas frame or a datasets.Dataset"
        )
    path, split = hf_datasets.split_of(str(source))
    if path.is_dir():
        return pick(hf_datasets.from_folder(path, split=split, label=label))
    if path.exists():
        return _read_file(path, kind=kind, columns=columns, label=label)
    is_file_name = path.suffix.lower() in {*_FILE_READERS, _LINES}
    if isinstance(source, str) and hf_datasets.looks_like_hub_name(source) and not is_file_name:
        return pick(hf_datasets.from_hub(source, label=label))
    raise UserError(_not_found(path, label=label))


def _read_file(path: Path, *, kind: Kind, columns: Mapping[str, str], label: str) -> pd.DataFrame:
    ending = path.suffix.lower()
    if ending == _LINES:
        if kind is not SENTENCES:
            raise UserError(
                f"{label}: a {_LINES} file is read as one sentence a line and cannot hold {kind.name}: "
                f"give {', '.join(_FILE_READERS)} with the columns {', '.join(kind.columns)}"
            )
        if columns:
            logger.warning("%s: --columns has no effect on a %s file, each line is one sentence", label, _LINES)
        return read_lines(path, label=label)
    if ending not in _FILE_READERS:
        found = f"unknown ending '{path.suffix}'" if path.suffix else "the file name has no ending"
        known = [*_FILE_READERS, _LINES]
        raise UserError(f"{label}: {found}; known are {', '.join(known)}{did_you_mean(ending, known)}")
    return _FILE_READERS[ending](path, kind=kind, columns=columns, label=label)


def _not_found(path: Path, *, label: str) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"{label}: no such file, and no folder '{folder}'"
    hint = did_you_mean(path.name, sorted(entry.name for entry in folder.iterdir()))
    return f"{label}: no such file or folder{hint}"
