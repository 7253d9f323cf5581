"""Scores with the items that they are made of, kept in the folder of an evaluation for later comparisons."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from embedtrain.errors import UserError
from embedtrain.evaluation.comparing import Estimate
from embedtrain.evaluation.items import Items
from embedtrain.files import read_json, sha256_of_value, write_json, write_parquet

Part = tuple[str, str]  # a split and a subset
INDEX = "items.json"
ONLY_PART: Part = ("test", "default")


@dataclass(frozen=True)
class PartItems:
    """The items of one split and subset.

    Attributes:
        score: Of all of them, a fraction.
        content: A hash of the data that was judged: two models with the same were measured on the same items.
        items: What the score is made of, or None.
        reason: Why there is nothing.
    """

    score: float
    content: str
    items: Items | None
    reason: str = ""


@dataclass(frozen=True)
class KeptScore:
    """What one model scored on one set of items; of several splits and subsets, their mean.

    Attributes:
        model: Its name.
        data: Name of the task or the file.
        type: mteb's name for what kind of task it is, or GLUE.
        metric: Of the score.
        parts: Its splits and subsets.
    """

    model: str
    data: str
    type: str
    metric: str
    parts: Mapping[Part, PartItems]

    @property
    def score(self) -> float:
        """The mean over splits and subsets."""
        return sum(part.score for part in self.parts.values()) / len(self.parts)

    @property
    def content(self) -> str:
        """A hash of what was judged, and by which metric."""
        return sha256_of_value([self.metric, sorted([*part, one.content] for part, one in self.parts.items())])

    @property
    def reason(self) -> str:
        """Why the score has no interval; empty where it has one."""
        lacking = {part: one.reason for part, one in self.parts.items() if one.items is None}
        if not lacking:
            return ""
        first = next(iter(lacking.values()))
        return first if len(lacking) == len(self.parts) else f"{len(lacking)} of {len(self.parts)} parts: {first}"

    @property
    def over(self) -> str:
        """In words, what the items are: "1,379 pairs"; empty where there are none."""
        held = [part.items for part in self.parts.values() if part.items is not None]
        return f"{sum(map(len, held)):,} {held[0].over}" if held and not self.reason else ""

    def part_estimates(self, *, samples: int, seed: int) -> dict[Part, Estimate]:
        """The score of each split and subset that has items, with its resamples."""
        return {
            part: one.items.estimate(samples=samples, seed=seed)
            for part, one in self.parts.items()
            if one.items is not None
        }


def write_parts(path: Path, parts: Mapping[Part, PartItems]) -> list[dict[str, Any]]:
    """Write the items of splits and subsets into one table, if there are any.

    Args:
        path: A Parquet file.
        parts: All of them have columns of the same names.

    Returns:
        What to keep beside the table, for ``read_parts``.
    """
    frames = [
        part.items.frame().assign(split=split, subset=subset)
        for (split, subset), part in parts.items()
        if part.items is not None
    ]
    if frames:
        write_parquet(path, pd.concat(frames, ignore_index=True))
    return _notes(parts)


def read_parts(path: Path, notes: Sequence[Mapping[str, Any]]) -> dict[Part, PartItems]:
    """What ``write_parts`` wrote.

    Raises:
        OSError: The table is not there.
        KeyError: Something is missing from it.
        ValueError: It is no such table.
    """
    groups: dict[Any, pd.DataFrame] = {}
    if any("measure" in note for note in notes):
        groups = dict(list(pd.read_parquet(path).groupby(["split", "subset"], sort=False)))
    found = {}
    for note in notes:
        part, items = (note["split"], note["subset"]), None
        if "measure" in note:
            columns = groups[part].drop(columns=["split", "subset"])
            items = Items.of_frame(columns, measure=note["measure"], over=note["over"])
        score = math.nan if note["score"] is None else float(note["score"])
        found[part] = PartItems(score, note["content"], items, note["reason"])
    return found


def write_index(folder: Path, scores: Iterable[tuple[KeptScore, Path]]) -> None:
    """Say in a folder which scores it keeps; the tables of their items are written already.

    Args:
        folder: Of the evaluation.
        scores: Each with the table of its items, which lies in the folder.
    """
    entries = [
        {
            "model": score.model,
            "data": score.data,
            "type": score.type,
            "metric": score.metric,
            "file": file.relative_to(folder).as_posix(),
            "parts": _notes(score.parts),
        }
        for score, file in scores
    ]
    write_json(folder / INDEX, entries)


def keep_scores(folder: Path, scores: Iterable[KeptScore]) -> None:
    """Write scores with their items into the folder of an evaluation."""
    kept = []
    for score in scores:
        file = folder / "items" / f"{sha256_of_value([score.model, score.data])[:16]}.parquet"
        write_parts(file, score.parts)
        kept.append((score, file))
    write_index(folder, kept)


def read_index(folder: Path) -> list[KeptScore]:
    """The scores that a folder keeps.

    Raises:
        UserError: They are not there, or cannot be read.
    """
    try:
        return [
            KeptScore(
                entry["model"],
                entry["data"],
                entry["type"],
                entry["metric"],
                read_parts(folder / entry["file"], entry["parts"]),
            )
            for entry in read_json(folder / INDEX)
        ]
    except FileNotFoundError as error:
        raise UserError(f"{error.filename or folder / INDEX}: no such file; evaluate into {folder} again") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        said = " ".join(str(error).split())
        raise UserError(f"{folder / INDEX}: cannot be read ({said}); evaluate into {folder} again") from None


def _notes(parts: Mapping[Part, PartItems]) -> list[dict[str, Any]]:
    return [_note(part, one) for part, one in parts.items()]


def _note(part: Part, one: PartItems) -> dict[str, Any]:
    # JSON has no number that is none.
    score = None if math.isnan(one.score) else one.score
    note = {"split": part[0], "subset": part[1], "score": score, "content": one.content, "reason": one.reason}
    return note if one.items is None else {**note, "measure": one.items.measure, "over": one.items.over}
