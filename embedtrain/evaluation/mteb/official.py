"""Whether local data is the official data: its statistics beside those that mteb ships for the task."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from embedtrain.evaluation.mteb.mirror import DEFAULT_SUBSET
from embedtrain.evaluation.mteb.offline import quiet_libraries
from embedtrain.evaluation.mteb.shapes import shape_of

if TYPE_CHECKING:
    from embedtrain.evaluation.mteb.task_data import LocalData

_SUBSETS = "hf_subset_descriptive_stats"
_SHOWN = 3
# Averages of published statistics are printed in full; a sum in another order moves the last digits.
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Verdict:
    """What the comparison found.

    Attributes:
        compared: How many splits and subsets had statistics to compare with.
        differences: In words, each statistic that differs.
        unknown: Splits and subsets that mteb ships no statistics for.
    """

    compared: int
    differences: tuple[str, ...]
    unknown: tuple[str, ...] = ()

    @property
    def is_official(self) -> bool:
        """Whether everything there is was compared and is the same."""
        return self.compared > 0 and not self.differences and not self.unknown

    def __str__(self) -> str:
        if self.differences:
            more = f"; and {len(self.differences) - _SHOWN} more" if len(self.differences) > _SHOWN else ""
            return f"differs: {'; '.join(self.differences[:_SHOWN])}{more}"
        if self.unknown:
            return f"unknown: mteb ships no statistics of {', '.join(self.unknown[:_SHOWN])}"
        return "official data"

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Verdict:
        """What ``as_dict`` gave."""
        return cls(int(value["compared"]), tuple(value["differences"]), tuple(value["unknown"]))


def compare_with_official(data: LocalData) -> Verdict:
    """Compare rows, characters, unique texts, label counts, scores and judgements with mteb's statistics.

    The numbers are made by mteb's own code, for each split and subset that is there and, for classifiers, for the split
    that they learn from.

    Args:
        data: A task that was filled.
    """
    published: Any = data.task.metadata.descriptive_stats or {}
    differences: list[str] = []
    unknown: list[str] = []
    compared = 0
    train = shape_of(data.task).train_split
    subsets = dict.fromkeys(subset for _, subset in data.parts)
    learned = [(train, subset) for subset in subsets if train is not None and (train, subset) not in data.parts]
    multilingual = data.task.metadata.is_multilingual
    for split, subset in [*data.parts, *learned]:
        place = split if subset == DEFAULT_SUBSET else f"{subset} {split}"
        expected = published.get(split)
        if expected is not None and multilingual:
            expected = (expected.get(_SUBSETS) or {}).get(subset)
        if expected is None:
            if (split, subset) in data.parts:
                unknown.append(place)
            continue
        of = subset if multilingual else None
        with quiet_libraries():
            found: Any = data.task._calculate_descriptive_statistics_from_split(split, hf_subset=of)
        ordered = _ordered_pairs(data, split, of)
        # Published with (a, b) and (b, a) as two pairs for some tasks and as one for others.
        if ordered is not None and expected.get("unique_pairs") == ordered:
            found = {**found, "unique_pairs": ordered}
        differences.extend(f"{place}: {difference}" for difference in _differences(found, expected))
        compared += 1
    return Verdict(compared, tuple(differences), tuple(unknown))


def _ordered_pairs(data: LocalData, split: str, subset: str | None) -> int | None:
    """How many different pairs of first and second text there are; None where the data is no table of pairs."""
    texts = [column.name for column in shape_of(data.task).columns if column.holds == "text"]
    if len(texts) != 2:
        return None
    dataset: Any = data.task.dataset
    table = dataset[split] if subset is None else dataset[subset][split]
    return len(set(zip(table[texts[0]], table[texts[1]], strict=True)))


def _differences(found: Mapping[str, Any], expected: Mapping[str, Any]) -> Iterator[str]:
    ours, theirs = dict(_leaves(found)), dict(_leaves(expected))
    labels = [path for path in theirs if _is_label(path)]
    if labels:
        yield from _label_differences(ours, theirs)
    for path, value in theirs.items():
        if _is_label(path) or path not in ours or _same(ours[path], value) or _follows(path, ours, theirs):
            continue
        yield f"{_in_words(path)} {_number(ours[path])}, official {_number(value)}{_by(ours[path], value)}"


def _leaves(value: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            if key != _SUBSETS:
                yield from _leaves(inner, (*path, str(key)))
        elif inner is not None:
            yield (*path, str(key)), inner


def _is_label(path: tuple[str, ...]) -> bool:
    return len(path) >= 3 and path[-3] == "labels" and path[-1] == "count"


def _label_differences(ours: Mapping[tuple[str, ...], Any], theirs: Mapping[tuple[str, ...], Any]) -> Iterator[str]:
    counted = [{path[-2]: count for path, count in side.items() if _is_label(path)} for side in (ours, theirs)]
    mine, official = counted
    if mine == official:
        return
    if not set(mine) & set(official):
        named = (
            ", ".join(repr(label) for label in list(mine)[:2]),
            ", ".join(repr(label) for label in list(official)[:2]),
        )
        yield f"labels are named otherwise ({named[0]} ..., official {named[1]} ...)"
        return
    wrong = [label for label in {**official, **mine} if mine.get(label, 0) != official.get(label, 0)]
    first = wrong[0]
    yield (
        f"{len(wrong)} label{'' if len(wrong) == 1 else 's'} occur otherwise "
        f"('{first}' {mine.get(first, 0)} times, official {official.get(first, 0)})"
    )


def _follows(path: tuple[str, ...], ours: Mapping[tuple[str, ...], Any], theirs: Mapping[tuple[str, ...], Any]) -> bool:
    """Whether a statistic differs only because another one does, which is reported."""
    if path[-1].startswith("average_"):
        total = (*path[:-1], path[-1].replace("average_", "total_", 1))
        return total in ours and not _same(ours[total], theirs.get(total))
    if path == ("number_of_characters",):
        return any(key[-1] == "total_text_length" and not _same(ours.get(key), value) for key, value in theirs.items())
    return False


def _same(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, int | float) and isinstance(theirs, int | float):
        return math.isclose(ours, theirs, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
    return bool(ours == theirs)


def _in_words(path: tuple[str, ...]) -> str:
    *place, last = path
    name = last.replace("total_text_length", "characters").replace("_", " ").removeprefix("num ")
    where = " ".join(place).replace("_statistics", "").replace("_", " ")
    return f"{where} {name}".strip()


def _number(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _by(ours: Any, theirs: Any) -> str:
    if isinstance(ours, int) and isinstance(theirs, int):
        more = ours - theirs
        return f" ({abs(more):,} {'more' if more > 0 else 'fewer'})"
    return ""
