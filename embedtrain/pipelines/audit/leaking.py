"""What two tables share: pairs and texts that are the same, or nearly so."""

from collections import defaultdict
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np

from embedtrain.data.keyed import KeyedTable, pair_keys
from embedtrain.data.near_duplicates import NearDuplicates
from embedtrain.pipelines.audit.repeats import row_keys


def shared_rows(table: KeyedTable, other: KeyedTable, *, examples: int) -> dict[str, Any]:
    """Pairs (or single texts) of ``other`` that stand in ``table`` too.

    Returns:
        ``items`` counts different ones, by how they are the same: ``exact``, ``swapped`` (the sentences in the other
        order, and nowhere in this one), else ``folded`` (case, white space, width of characters); ``rows`` of the other
        table that they fill.
    """
    ours, theirs = row_keys(table, table.folded), row_keys(other, other.folded)
    blank = (other.folded == other.empty_code).any(axis=1)
    places = np.flatnonzero(np.isin(theirs, ours) & ~blank)
    places_of: dict[int, list[int]] = defaultdict(list)
    for place in places.tolist():
        places_of[int(theirs[place])].append(place)
    how: dict[str, int] = {"exact": 0, "swapped": 0, "folded": 0}
    exact = set(map(tuple, table.exact.tolist()))
    folded = set(map(tuple, table.folded.tolist()))
    kinds: dict[int, str] = {}
    for key, copies in places_of.items():
        if any(tuple(row) in exact for row in other.exact[copies].tolist()):
            kinds[key] = "exact"
        else:
            in_order = any(tuple(row) in folded for row in other.folded[copies].tolist())
            kinds[key] = "folded" if in_order else "swapped"
        how[kinds[key]] += 1
    shown = [
        other.example(copies[0], other_rows=table.rows(np.flatnonzero(ours == key)), match=kinds[key])
        for key, copies in list(places_of.items())[:examples]
    ]
    return {"items": len(places_of), **how, "rows": len(places), "of_rows": len(theirs), "examples": shown}


def shared_texts(table: KeyedTable, other: KeyedTable) -> dict[str, Any]:
    """Different texts of ``other`` that stand anywhere in ``table``, after folding, and the rows that they fill."""
    seen = np.isin(other.folded, table.folded) & (other.folded != other.empty_code)
    texts = np.unique(other.folded[other.folded != other.empty_code])
    return {
        "texts": len(np.unique(other.folded[seen])),
        "of_texts": len(texts),
        "rows_with_one": int(seen.any(axis=1).sum()),
        "rows_with_all": int(seen.all(axis=1).sum()),
        "of_rows": len(other.folded),
    }


def twins_within(near: NearDuplicates, table: KeyedTable, texts: Mapping[int, str], *, examples: int) -> dict[str, Any]:
    """Near-duplicates in one table; two sides of one row, which may well be alike, do not count.

    Args:
        near: Pairs of folded codes.
        table: What they stand in.
        texts: A text for each folded code.
        examples: Shown at most.
    """
    mine = set(np.unique(table.folded).tolist())
    columns = range(len(table.text_columns))
    sides = {key for two in combinations(columns, 2) for key in pair_keys(table.folded[:, list(two)]).tolist()}
    inside = [
        (first, second, overlap)
        for (first, second), overlap in zip(near.pairs.tolist(), near.overlap.tolist(), strict=True)
        if first in mine and second in mine and (min(first, second) << 31 | max(first, second)) not in sides
    ]
    return {
        "texts": len({code for first, second, _ in inside for code in (first, second)}),
        "of_texts": len(mine - {table.empty_code}),
        "examples": _shown(inside, texts, examples),
    }


def twins_across(
    near: NearDuplicates, table: KeyedTable, other: KeyedTable, texts: Mapping[int, str], *, examples: int
) -> dict[str, Any]:
    """Texts of ``other`` that nearly stand in ``table`` and do not quite."""
    mine, theirs = set(np.unique(table.folded).tolist()), set(np.unique(other.folded).tolist())
    across = [
        (there, here, overlap)
        for (first, second), overlap in zip(near.pairs.tolist(), near.overlap.tolist(), strict=True)
        for there, here in ((first, second), (second, first))
        if there in theirs and there not in mine and here in mine
    ]
    return {
        "texts": len({there for there, _, _ in across}),
        "of_texts": len(theirs - {other.empty_code}),
        "examples": _shown(across, texts, examples),
    }


def near_pairs(near: NearDuplicates, table: KeyedTable, other: KeyedTable) -> int:
    """Different pairs of ``other`` that are no pair of ``table`` but become one when sides are put for their twins."""
    close: dict[int, set[int]] = defaultdict(set)
    for first, second in near.pairs.tolist():
        close[first].add(second)
        close[second].add(first)
    ours = set(pair_keys(table.folded).tolist())
    found = set()
    for first, second in other.folded.tolist():
        key = min(first, second) << 31 | max(first, second)
        if key in ours or key in found:
            continue
        if any(
            min(one, two) << 31 | max(one, two) in ours
            for one in (first, *close.get(first, ()))
            for two in (second, *close.get(second, ()))
        ):
            found.add(key)
    return len(found)


def _shown(found: list[tuple[int, int, float]], texts: Mapping[int, str], examples: int) -> list[dict[str, Any]]:
    nearest = sorted(found, key=lambda case: -case[2])[:examples]
    return [
        {"overlap": round(overlap, 3), "text": texts[first], "other_text": texts[second]}
        for first, second, overlap in nearest
    ]
