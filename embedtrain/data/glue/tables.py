"""Tables of GLUE's tasks with the values as they stand, its own TSV files with their quirks among them."""

import logging
from pathlib import Path

import pandas as pd

from embedtrain.data.columns import find_by_name
from embedtrain.data.delimited import split_lines
from embedtrain.data.encoding import read_utf8
from embedtrain.data.findings import counted, row_list
from embedtrain.data.glue.tasks import GLUETask
from embedtrain.data.readers import read_columns
from embedtrain.data.schema import AnyOf, Kind
from embedtrain.errors import UserError

logger = logging.getLogger(__name__)

_TABBED = (".tsv", ".txt")
# CoLA's own files have no header: where a sentence is from, its label, the authors' mark, the sentence.
_COLA_FIELDS, _COLA_LABEL, _COLA_SENTENCE = 4, 1, 3
# Some lines of QQP are broken; a file of which more than this share is has another fault.
_MOST_BROKEN = 0.01


def read_raw(
    source: Path | pd.DataFrame, task: GLUETask, *, more: tuple[str, ...] = (), label: str | None = None
) -> pd.DataFrame:
    """A table's texts, label and further columns under the names that the source has, index ``row``.

    Args:
        source: A file, or a frame.
        task: Whose columns to read.
        more: Further columns that must be there.
        label: What messages call it; by default its path.

    Raises:
        UserError: The file cannot be read, lacks columns, or has no rows.
    """
    kinds = tuple(Kind(f"{task.name}'s rows", (*form, *more), can_be_mapped=False) for form in task.forms)
    kind = kinds[0] if len(kinds) == 1 else AnyOf(f"{task.name}'s rows", (), kinds=kinds)
    if isinstance(source, Path) and source.suffix.lower() in _TABBED:
        return _read_tabbed(source, task, kind, label=label or str(source))
    return read_columns(source, kind=kind, name=label)


def read_pairs_of_ids(path: Path) -> set[tuple[str, str]]:
    """The two ids of each line; a header, if there is one, is a pair that no row has."""
    lines = [line.split("\t") for line in split_lines(read_utf8(path, label=str(path)))]
    wrong = [number for number, fields in enumerate(lines, start=1) if len(fields) != 2 and any(fields)]
    if wrong:
        raise UserError(f"{path}: expected two ids in every line, found another number of fields in {row_list(wrong)}")
    return {(fields[0].strip(), fields[1].strip()) for fields in lines if len(fields) == 2}


def _read_tabbed(path: Path, task: GLUETask, kind: Kind, *, label: str) -> pd.DataFrame:
    lines = split_lines(read_utf8(path, label=label))
    header = [name.strip() for name in lines[0].split("\t")]
    if task.name == "CoLA" and len(header) == _COLA_FIELDS and "sentence" not in header:
        places, start = {"sentence": _COLA_SENTENCE, "label": _COLA_LABEL}, 0
    else:
        wanted = find_by_name(header, kind=kind, columns={}, label=label)
        places, start = {name: header.index(name) for name in wanted.values()}, 1
    numbers: list[int] = []
    broken: list[int] = []
    values: dict[str, list[str]] = {name: [] for name in places}
    for number, line in enumerate(lines[start:], start=start + 1):
        fields = line.split("\t")
        if len(fields) == len(header):
            numbers.append(number)
            # MNLI has eight columns more than these, parses of its texts among them.
            for name, place in places.items():
                values[name].append(fields[place])
        elif any(fields):
            broken.append(number)
    if len(broken) > _MOST_BROKEN * (len(numbers) + len(broken)):
        expected = f"expected {len(header)} fields in every line"
        raise UserError(f"{label}: {expected}, found another number in {row_list(broken)}")
    if not numbers:
        raise UserError(f"{label}: the file has a header ({', '.join(header)[:160]}) but no rows")
    if broken:
        lacking = counted(len(broken), "row")
        logger.warning("%s: %s without %d fields left out: %s", label, lacking, len(header), row_list(broken))
    return pd.DataFrame(values, index=pd.Index(numbers, name="row"), dtype=object)
