"""Rows that repeat, contradict each other, lack a text or have the same one twice."""

from typing import Any

import numpy as np
import pandas as pd

from embedtrain.data.findings import plain
from embedtrain.data.keyed import KeyedTable, pair_keys
from embedtrain.pipelines.audit.inputs import AuditedTable


def row_keys(table: KeyedTable, codes: np.ndarray) -> np.ndarray:
    """One number a row, equal where texts are, for pairs in either order; int64 (rows,).

    Args:
        table: Its one or two columns are compared.
        codes: ``table.exact`` or ``table.folded``, some rows of it.
    """
    return pair_keys(codes) if len(table.text_columns) > 1 else codes[:, 0]


def empty_rows(table: KeyedTable) -> dict[str, Any]:
    """Rows with a text that is missing or blank."""
    rows = np.flatnonzero((table.folded == table.empty_code).any(axis=1))
    return {"rows": len(rows), "row_numbers": table.rows(rows)}


def identical_sides(table: KeyedTable, *, examples: int) -> dict[str, Any]:
    """Pairs of a text with itself, after folding."""
    same = np.flatnonzero((table.folded[:, 0] == table.folded[:, -1]) & (table.folded[:, 0] != table.empty_code))
    return {"rows": len(same), "examples": [table.example(place) for place in same[:examples]]}


def repeats(audited: AuditedTable, table: KeyedTable, *, examples: int) -> dict[str, Any]:
    """Rows whose texts stand in an earlier row too, and those of them whose score or label differs.

    Returns:
        ``rows`` that repeat an earlier one and ``items``, the different pairs or texts that do; of ``swapped`` ones the
        two sentences stand in both orders; ``conflicts`` have several scores or labels, the widest apart first.
    """
    whole = np.flatnonzero((table.folded != table.empty_code).all(axis=1))
    codes = table.folded[whole]
    negatives = [name for name in audited.text_columns if name not in audited.compared]
    frame = pd.DataFrame({"place": whole, "key": row_keys(table, codes), "first": codes[:, 0]})
    if negatives:
        # A row of other negatives is another row.
        others = audited.rows[negatives].iloc[whole].agg("\t".join, axis="columns").to_numpy()
        frame["key"] = frame.groupby(["key", pd.Series(others)], sort=False).ngroup()
    number = audited.kind.number_column
    frame["value"] = audited.rows[number].to_numpy()[whole] if number else 0
    frame = frame[frame["key"].duplicated(keep=False)]
    grouped = frame.groupby("key", sort=False)
    conflicting = grouped["value"].transform("nunique") > 1
    same = frame[~conflicting]
    return {
        "rows": int(frame["key"].duplicated().sum()),
        "items": int(frame["key"].nunique()),
        "swapped": int((grouped["first"].nunique() > 1).sum()) if audited.has_pairs else 0,
        "examples": _examples(table, same, number=None, limit=examples),
        "conflicts": _conflicts(table, frame[conflicting], number=number, examples=examples),
    }


def _conflicts(table: KeyedTable, rows: pd.DataFrame, *, number: str | None, examples: int) -> dict[str, Any]:
    found: dict[str, Any] = {"items": int(rows["key"].nunique()), "rows": len(rows)}
    if number == "score" and len(rows):
        spread = rows.groupby("key", sort=False)["value"].agg(np.ptp)
        found["widest"] = float(spread.max())
        rows = rows.assign(spread=rows["key"].map(spread)).sort_values("spread", ascending=False, kind="stable")
    found["examples"] = _examples(table, rows, number=number, limit=examples)
    return found


def _examples(table: KeyedTable, rows: pd.DataFrame, *, number: str | None, limit: int) -> list[dict[str, Any]]:
    found = []
    for key in rows["key"].drop_duplicates().head(limit):
        case = rows[rows["key"] == key]
        places = case["place"].to_numpy()
        values = {f"{number}s": [plain(value) for value in case["value"]]} if number else {}
        found.append({"rows": table.rows(places), **values, **table.texts(int(places[0]))})
    return found
