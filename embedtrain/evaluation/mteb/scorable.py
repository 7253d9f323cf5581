"""Whether mteb can score what a person wrote by hand: enough rows and classes, ids of the form that its scores need."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedtrain.errors import Problems, UserError
from embedtrain.evaluation.mteb.instructions import measures_instructions
from embedtrain.evaluation.mteb.mirror import DEFAULT_SUBSET
from embedtrain.evaluation.mteb.shapes import Shape, shape_of
from embedtrain.evaluation.mteb.task_content import table_of_part
from embedtrain.evaluation.mteb.task_data import LocalData

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask

    from embedtrain.evaluation.kept_items import Part

_MIN_ROWS = 2
_LEVELS = ("v1", "v2", "v3")


def check_scorable(data: LocalData) -> None:
    """Refuse data that is read without a mistake and that mteb's own code would stumble over.

    Args:
        data: A task that was filled.

    Raises:
        UserError: With the file and the column of everything that is missing.
    """
    task, shape, problems = data.task, shape_of(data.task), Problems()
    trained = {} if shape.train_split is None else {(shape.train_split, subset): True for _, subset in data.parts}
    for part in dict.fromkeys([*data.parts, *trained]):
        if shape.is_retrieval:
            split, subset = part
            dataset: Any = task.dataset
            message = wrong_ids(task, dataset[subset][split]["relevant_docs"])
            if message:
                problems.add(f"{data.folder.part('qrels', split, subset)}: 'query-id' {message}")
        elif not shape.languages_in_columns:
            _check_table(data, part, shape, problems, is_learned_from=part in trained)
    problems.raise_if_any()


def wrong_ids(task: AbsTask, queries: Collection[str]) -> str:
    """What is wrong with the ids of judged queries of a task whose score takes them apart; empty where nothing is."""
    name, known = str(task.metadata.name), set(queries)
    if name.startswith("IFIR") and "task_specific_scores" in vars(type(task)):
        lacking = [level for level in _LEVELS if not any(level in query for query in known)]
        if lacking:
            return (
                f"must say the level of the instruction, v1, v2 or v3, such as q7-v1, and each level must be there: "
                f"found none with {' and '.join(lacking)}, but {_shown(known)}"
            )
    if name == "NevIR":
        bare = {query.split("_")[0] for query in known}
        lacking = sorted(f"{one}_{half}" for one in bare for half in ("q1", "q2") if f"{one}_{half}" not in known)
        if lacking:
            return f"must come in pairs, such as 7_q1 and 7_q2: {_shown(lacking)} not there, found {_shown(known)}"
    if measures_instructions(task):
        pairs = [query for query in known if query.endswith("-og") and f"{query[:-3]}-changed" in known]
        if not pairs:
            return (
                "must come in pairs, one with the instruction as it was and one with the changed one, such as q7-og "
                f"and q7-changed: found {_shown(known)}"
            )
    return ""


def refuse_data(data: LocalData, error: Exception) -> UserError:
    """What to tell of data that mteb could not score, for a reason that is not among those above.

    Args:
        data: The task.
        error: What mteb raised.
    """
    files = ", ".join(str(path.relative_to(data.folder.path)) for path in data.folder.files[:6])
    said = " ".join(str(error).split())[:200]
    return UserError(
        f"task {data.name}: mteb cannot score the data in {data.folder.path} ({files}): {type(error).__name__}: "
        f"{said}; is it too little, or are all labels the same?"
    )


def _check_table(data: LocalData, part: Part, shape: Shape, problems: Problems, *, is_learned_from: bool) -> None:
    path, table = _path(data, part), table_of_part(data.task, part)
    holds = {column.name: column.holds for column in shape.columns}
    if "texts" not in holds.values() and len(table) < _MIN_ROWS:
        rows = "no row" if len(table) == 0 else "1 row"
        problems.add(f"{path}: {rows}, expected at least {_MIN_ROWS}, and many more for a score that says something")
        return
    for name, what in holds.items():
        values = list(table[name]) if is_learned_from and what == "class" else []
        if values and len(set(values)) == 1:
            problems.add(
                f"{path}: '{name}' is {values[0]!r} in every row, expected two classes at least: a classifier learns "
                "from this table"
            )


def _path(data: LocalData, part: Part) -> Path | str:
    split, subset = part
    return data.folder.table(split, subset) or data.folder.table(split, DEFAULT_SUBSET) or data.folder.path


def _shown(names: Collection[str]) -> str:
    listed = sorted(names)
    more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
    return ", ".join(listed[:3]) + more
