"""The single checks of an audit: each reports what it found in a table and marks the rows that are to go."""

from typing import Any

import numpy as np
import pandas as pd

from embedtrain.data.findings import Finding, agreeing, counted, plain, repeated, row_list
from embedtrain.data.keyed import KeyedTable, pair_keys

_SHOWN_CONFLICTS = 3


def find_empty(table: KeyedTable, *, max_examples: int) -> Finding | None:
    """Rows with a text that is missing or only white space; dropped."""
    empty = np.flatnonzero(table.kept & (table.folded == table.empty_code).any(axis=1))
    if not len(empty):
        return None
    table.kept[empty] = False
    message = (
        f"{counted(len(empty), 'row')} of {table.name} {agreeing(len(empty), 'have')} an empty text; "
        f"dropped: {row_list(table.rows(empty))}"
    )
    examples = [table.example(place) for place in empty[:max_examples]]
    return Finding("empty_text", table.name, message, len(empty), len(empty), examples)


def find_overlap(table: KeyedTable, other: KeyedTable, *, role: str, max_examples: int) -> Finding | None:
    """Pairs of ``table`` that stand in ``other`` too, in either order; dropped from ``table``.

    Counted by distinct pair, since one pair may fill several rows. A pair is exact when some of its rows has the very
    strings of the other table.
    """
    places, theirs = table.places, other.places
    keys, their_keys = pair_keys(table.folded[places]), pair_keys(other.folded[theirs])
    shared = np.isin(keys, their_keys)
    if not shared.any():
        return None
    exact = np.isin(pair_keys(table.exact[places]), pair_keys(other.exact[theirs]))
    exact_keys = np.unique(keys[exact])
    count, exact_count = len(np.unique(keys[shared])), len(exact_keys)
    hits, hit_keys = places[shared], keys[shared]
    table.kept[hits] = False
    split = (
        "all exact"
        if exact_count == count
        else f"{exact_count} exact, {count - exact_count} after folding case and white space"
    )
    message = (
        f"{counted(count, 'pair')} {agreeing(count, 'stand')} in both {table.name} and {other.name} ({split}); "
        f"dropped from {table.name}: {row_list(table.rows(hits))}"
    )
    firsts = np.sort(np.unique(hit_keys, return_index=True)[1])[:max_examples]
    examples = [
        table.example(
            hits[first],
            other_table=other.name,
            other_rows=other.rows(theirs[their_keys == hit_keys[first]]),
            match="exact" if hit_keys[first] in exact_keys else "folded",
        )
        for first in firsts
    ]
    return Finding(f"pair_in_{role}", table.name, message, count, len(hits), examples)


def find_repeats(table: KeyedTable, *, role: str, max_examples: int) -> list[Finding]:
    """Pairs that fill several rows, with one score or with conflicting ones; ``audit`` states what each role drops."""
    places = table.places
    value = next((name for name in ("score", "label") if name in table.frame), None)
    rows = pd.DataFrame(
        {"place": places, "key": pair_keys(table.folded[places]), "exact": pair_keys(table.exact[places])}
    )
    rows["value"] = table.frame[value].to_numpy()[places] if value else 0
    rows = rows[rows["key"].duplicated(keep=False)]
    values = rows.groupby("key")["value"]
    conflicting = values.transform("min") != values.transform("max")
    findings = []
    if not conflicting.all():
        findings.append(_same(table, rows[~conflicting], value=value, role=role, max_examples=max_examples))
    if conflicting.any():
        findings.append(_conflicting(table, rows[conflicting], value=str(value), role=role, max_examples=max_examples))
    return findings


def _same(table: KeyedTable, rows: pd.DataFrame, *, value: str | None, role: str, max_examples: int) -> Finding:
    later = rows["key"].duplicated()
    count = rows["key"].nunique()
    if role == "gold":
        drops = later
    elif role == "dev":
        drops = rows["exact"].duplicated()
    else:
        drops = pd.Series(False, index=rows.index)
    dropped = rows.loc[drops, "place"].to_numpy()
    stay = rows.loc[later & ~drops, "place"].to_numpy()
    table.kept[dropped] = False
    outcome = [f"dropped: {row_list(table.rows(dropped))}"] if len(dropped) else []
    outcome += [f"left as they are: {row_list(table.rows(stay))}"] if len(stay) else []
    same = f" with the same {value}" if value else ""
    message = f"{repeated(count, 'pair', table=table.name)}{same}; {'; '.join(outcome)}"
    examples = _examples(table, rows, max_examples=max_examples)
    return Finding("repeated_pair", table.name, message, count, len(dropped), examples)


def _conflicting(table: KeyedTable, rows: pd.DataFrame, *, value: str, role: str, max_examples: int) -> Finding:
    count = rows["key"].nunique()
    dropped = np.array([], dtype=int)
    outcome = "left as they are"
    if role == "gold" and value == "score":
        first = ~rows["key"].duplicated()
        means = rows.groupby("key")["value"].transform("mean")
        scores = table.frame["score"].to_numpy(dtype="float64", copy=True)
        scores[rows.loc[first, "place"].to_numpy()] = means[first].to_numpy()
        table.frame = table.frame.assign(score=scores)
        dropped = rows.loc[~first, "place"].to_numpy()
        outcome = f"the first row of each is kept with the mean score, {counted(len(dropped), 'row')} dropped"
    elif role == "gold":
        dropped = rows["place"].to_numpy()
        outcome = f"none of them tells what is right, {counted(len(dropped), 'row')} dropped"
    table.kept[dropped] = False
    examples = _examples(table, rows, value=value, max_examples=max(max_examples, _SHOWN_CONFLICTS))
    shown = "; ".join(
        f"{row_list(case['rows'])} ({', '.join(f'{number:.3g}' for number in case[f'{value}s'])})"
        for case in examples[:_SHOWN_CONFLICTS]
    )
    more = f"; and {count - _SHOWN_CONFLICTS} more" if count > _SHOWN_CONFLICTS else ""
    message = f"{repeated(count, 'pair', table=table.name)} with conflicting {value}s: {shown}{more}; {outcome}"
    return Finding("conflicting_scores", table.name, message, count, len(dropped), examples[:max_examples])


def _examples(
    table: KeyedTable, rows: pd.DataFrame, *, value: str | None = None, max_examples: int
) -> list[dict[str, Any]]:
    first_keys = rows["key"].drop_duplicates().head(max_examples)
    examples = []
    for _, case in rows[rows["key"].isin(first_keys)].groupby("key", sort=False):
        places = case["place"].to_numpy()
        numbers = {f"{value}s": [plain(number) for number in case["value"]]} if value else {}
        examples.append({"rows": table.rows(places), **numbers, **table.texts(places[0])})
    return examples


def find_shared_sentences(
    table: KeyedTable, test: KeyedTable, *, drop: bool = False, max_examples: int
) -> Finding | None:
    """Single sentences of ``table`` that stand in ``test`` too, after folding; dropped only where ``drop`` says so."""
    places = table.places
    codes, their_codes = table.folded[places], test.folded[test.places]
    shared = np.isin(codes, their_codes)
    if not shared.any():
        return None
    count = len(np.unique(codes[shared]))
    hits = places[shared.any(axis=1)]
    if drop:
        table.kept[hits] = False
    outcome = f"dropped: {row_list(table.rows(hits))}" if drop else f"left as they are, in {counted(len(hits), 'row')}"
    message = f"{counted(count, 'sentence')} of {table.name} also {agreeing(count, 'stand')} in {test.name}; {outcome}"
    columns, firsts = np.nonzero(shared.T)
    examples: list[dict[str, Any]] = []
    for code, first in zip(*np.unique(codes.T[columns, firsts], return_index=True), strict=True):
        if len(examples) == max_examples:
            break
        place, column = int(places[firsts[first]]), table.text_columns[columns[first]]
        others = test.places[(their_codes == code).any(axis=1)]
        text = str(table.frame[column].iat[place])
        examples.append({"row": table.rows(np.array([place]))[0], "other_rows": test.rows(others), "text": text})
    return Finding("sentence_in_test", table.name, message, count, len(hits) if drop else 0, examples)


def find_identical_sides(table: KeyedTable, *, max_examples: int) -> Finding | None:
    """Pairs whose two sentences are the same after folding; reported only."""
    places = table.places
    same = places[table.folded[places, 0] == table.folded[places, 1]]
    if not len(same):
        return None
    message = (
        f"{counted(len(same), 'pair')} of {table.name} {agreeing(len(same), 'are')} one sentence twice, after folding "
        f"case and white space; left as they are: {row_list(table.rows(same))}"
    )
    return Finding(
        "identical_sides", table.name, message, len(same), 0, [table.example(place) for place in same[:max_examples]]
    )
