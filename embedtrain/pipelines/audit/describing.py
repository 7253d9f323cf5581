"""What one table holds: its columns, scores or labels, scripts, and lengths in tokens."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from embedtrain.data.scripts import script_shares
from embedtrain.models.tokenizing import max_length_of, position_limit, tokenize
from embedtrain.pipelines.audit.inputs import AuditedTable, AuditInputs
from embedtrain.pipelines.audit.options import AuditOptions

BINS = 10
# A column of few different whole scores is counted one by one.
_FEW_VALUES = 11
LENGTH_BINS = 30
# Texts longer than so many times the 95th percentile are counted together: one of them would flatten all others.
_LONG_TAIL = 3
QUANTILES = {"median": 0.5, "p95": 0.95, "longest": 1.0}


def described(table: AuditedTable) -> dict[str, Any]:
    """What a table is: its name, what it holds, its columns and how many rows."""
    return {
        "name": table.name,
        "kind": table.kind.name,
        "columns": [str(name) for name in table.rows.columns],
        "rows": len(table.rows),
    }


def columns(table: AuditedTable) -> list[dict[str, Any]]:
    """Each column by itself: what it holds, how many rows have something in it, how many of those differ."""
    found = []
    for name in map(str, table.rows.columns):
        values = table.rows[name]
        if name == table.kind.number_column:
            known = values.dropna()
            found.append({"name": name, "holds": name, "filled": len(known), "different": int(known.nunique())})
            continue
        texts = values.astype(str)
        texts = texts[texts.str.strip() != ""]
        lengths = texts.str.len()
        found.append(
            {
                "name": name,
                "holds": "text",
                "filled": len(texts),
                "different": int(texts.nunique()),
                "median_characters": float(lengths.median()) if len(texts) else 0.0,
                "longest_characters": int(lengths.max()) if len(texts) else 0,
            }
        )
    return found


def numbers(table: AuditedTable) -> dict[str, Any] | None:
    """Scores in bins, or how often each label stands."""
    column = table.kind.number_column
    if column is None:
        return None
    values = table.rows[column]
    if column == "label":
        counts = values.value_counts()
        return {"column": column, "counts": {str(name): int(count) for name, count in counts.items()}}
    summary = {
        "column": column,
        "lowest": float(values.min()),
        "highest": float(values.max()),
        "mean": float(values.mean()),
        "different": int(values.nunique()),
    }
    if values.nunique() <= _FEW_VALUES:
        counts = values.value_counts().sort_index()
        return {**summary, "counts": {f"{value:g}": int(count) for value, count in counts.items()}}
    heights, edges = np.histogram(values.to_numpy(dtype=np.float64), bins=BINS)
    return {**summary, "bins": {"edges": edges.tolist(), "counts": heights.tolist()}}


def distinct_texts(table: AuditedTable) -> list[str]:
    """Every different text that is not blank, in the order in which they come."""
    columns = [table.rows[name].astype(str) for name in table.text_columns]
    return [text for text in pd.concat(columns).drop_duplicates().tolist() if text.strip()]


def scripts(texts: Sequence[str]) -> dict[str, dict[str, float]]:
    """Shares of scripts: of all letters, and of texts by the script of most of their letters."""
    shares = script_shares(texts)
    return {"letters": shares.letters, "texts": shares.texts}


def tokens(inputs: AuditInputs, texts: list[str], options: AuditOptions) -> dict[str, Any]:
    """Lengths, and what is cut or unknown, among different texts; for pairs also of both sides together."""
    if inputs.base is None:
        return {"not_counted": inputs.no_base}
    random = np.random.default_rng(options.seed)
    if len(texts) > options.token_limit:
        texts = [texts[place] for place in np.sort(random.permutation(len(texts))[: options.token_limit])]
    seen = tokenize(inputs.tokenizer, texts)
    limit = options.max_length or max_length_of(inputs.base, inputs.tokenizer)
    found: dict[str, Any] = {
        "base": inputs.base.name,
        "texts": len(texts),
        "max_length": limit,
        **_lengths(seen.lengths),
        "bins": _binned(seen.lengths),
        "cut_share": _share(seen.lengths > limit) if limit else 0.0,
        "unknown_share": seen.unknown_share,
        "texts_with_unknown_share": _share(seen.unknown > 0),
        "has_unknown_token": getattr(inputs.tokenizer, "unk_token_id", None) is not None,
    }
    if inputs.data.has_pairs:
        own = dict(zip(texts, (seen.lengths - seen.added).tolist(), strict=True))
        sides = [inputs.data.rows[name].map(own) for name in inputs.data.compared]
        together = (sides[0] + sides[1]).dropna().to_numpy() + inputs.tokenizer.num_special_tokens_to_add(pair=True)
        limit = options.max_length or position_limit(inputs.base, inputs.tokenizer)
        if len(together):
            cut = _share(together > limit) if limit else 0.0
            found["pairs"] = {
                "max_length": limit,
                **_lengths(together),
                "bins": _binned(together),
                "cut_share": cut,
            }
    return found


def _lengths(lengths: np.ndarray) -> dict[str, float]:
    if not len(lengths):
        return {}
    return {"mean": float(lengths.mean()), **{name: float(np.quantile(lengths, q)) for name, q in QUANTILES.items()}}


def _share(chosen: np.ndarray) -> float:
    return float(chosen.mean()) if len(chosen) else 0.0


def _binned(lengths: np.ndarray) -> dict[str, Any]:
    """Whole lengths counted between ``edges`` (the right one of each bin is not in it); ``longer`` than all of them."""
    if not len(lengths):
        return {"edges": [], "counts": [], "longer": 0}
    end = min(int(lengths.max()), int(_LONG_TAIL * np.quantile(lengths, QUANTILES["p95"]))) + 1
    width = -(-end // LENGTH_BINS)
    edges = np.arange(0, end + width, width)
    inside = lengths[lengths < edges[-1]]
    counts, _ = np.histogram(inside, bins=edges)
    return {"edges": edges.tolist(), "counts": counts.tolist(), "longer": len(lengths) - len(inside)}
