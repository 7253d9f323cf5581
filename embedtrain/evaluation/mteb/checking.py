"""Data read and compared once before any model is loaded; what was found is kept while the files stay the same."""

import importlib.metadata
import logging
from dataclasses import dataclass
from pathlib import Path

from embedtrain.evaluation.mteb.custom import check_folds
from embedtrain.evaluation.mteb.official import Verdict, compare_with_official
from embedtrain.evaluation.mteb.scorable import check_scorable
from embedtrain.evaluation.mteb.task_data import LocalData, empty, fill
from embedtrain.files import read_json, write_json

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checked:
    """A task whose data can be used.

    Attributes:
        data: Where it is.
        fingerprint: Of its files.
        verdict: Whether it is the official data; None for a task of the user's own.
    """

    data: LocalData
    fingerprint: str
    verdict: Verdict | None


def check_data(data: LocalData, *, notes: Path | None, is_custom: bool = False) -> Checked:
    """Read a task's data as running it will, compare it with the official data, and let go of it.

    Args:
        data: The task.
        notes: A folder that keeps what was found; None keeps nothing.
        is_custom: Whether there is no official data to compare with.

    Raises:
        UserError: Everything that is wrong with the files.
    """
    fingerprint = data.folder.fingerprint
    made_of = {
        "data": fingerprint,
        "parts": [list(part) for part in data.parts],
        "mteb": importlib.metadata.version("mteb"),
        "is_custom": is_custom,
    }
    note = None if notes is None else notes / f"{data.name}.json"
    if note is not None:
        try:
            noted = read_json(note)
            if noted["made_of"] == made_of:
                kept = noted["verdict"]
                return Checked(data, fingerprint, None if kept is None else Verdict.from_dict(kept))
        except (OSError, ValueError, KeyError):
            pass
    fill(data)
    try:
        verdict = None
        check_scorable(data)
        if is_custom:
            check_folds(data)
        else:
            verdict = compare_with_official(data)
    finally:
        empty(data)
    logger.info("%s: %s", data.name, "data of your own" if verdict is None else verdict)
    if note is not None:
        write_json(note, {"made_of": made_of, "verdict": None if verdict is None else verdict.as_dict()})
    return Checked(data, fingerprint, verdict)
