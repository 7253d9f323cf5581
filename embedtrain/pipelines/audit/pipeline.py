"""Looks over one table, and what it shares with a second one: plain values for a terminal and for JSON."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from embedtrain.data.keyed import KeyedTable, key_tables
from embedtrain.data.near_duplicates import NearDuplicates, find_near_duplicates
from embedtrain.data.scripts import script_shares
from embedtrain.models.tokenizing import max_length_of, position_limit, tokenize
from embedtrain.pipelines.audit.inputs import AuditedTable, AuditInputs, collect_audit_inputs
from embedtrain.pipelines.audit.leaking import near_pairs, shared_rows, shared_texts, twins_across, twins_within
from embedtrain.pipelines.audit.options import AuditOptions
from embedtrain.pipelines.audit.repeats import empty_rows, identical_sides, repeats

BINS = 10
# A column of few different whole scores is counted one by one.
_FEW_VALUES = 11
QUANTILES = {"median": 0.5, "p95": 0.95, "longest": 1.0}


def audit(options: AuditOptions) -> dict[str, Any]:
    """Look over ``options.data``; with ``options.against``, look for its rows and texts in there, too.

    Returns:
        Plain JSON values: ``table`` (kind, columns, rows), ``numbers`` (scores or labels), ``texts``, ``scripts``,
        ``tokens``, ``empty``, ``repeats`` with conflicts, ``identical_sides``, ``near_duplicates`` and ``against``.
        Shares are fractions.

    Raises:
        UserError: With every mistake in options, files and names.
    """
    inputs = collect_audit_inputs(options)
    tables = [inputs.data] if inputs.against is None else [inputs.data, inputs.against]
    keyed = key_tables([(table.name, table.rows, tuple(table.text_columns)) for table in tables])
    pairs = [_without_negatives(table, one) for table, one in zip(tables, keyed, strict=True)]
    texts = _distinct_texts(inputs.data)
    near, codes, compared = _near(keyed, options)
    found: dict[str, Any] = {
        "table": _described(inputs.data),
        "numbers": _numbers(inputs.data),
        "texts": {"cells": len(inputs.data.text_columns) * len(inputs.data.rows), "different": len(texts)},
        "scripts": _scripts(texts),
        "tokens": _tokens(inputs, texts, options),
        "empty": empty_rows(keyed[0]),
        "repeats": repeats(inputs.data, pairs[0], examples=options.examples),
    }
    if inputs.data.has_pairs:
        found["identical_sides"] = identical_sides(pairs[0], examples=options.examples)
    found["near_duplicates"] = {
        "threshold": options.near,
        **compared,
        **twins_within(near, keyed[0], codes, examples=options.examples),
    }
    if inputs.against is not None:
        found["against"] = {
            "table": _described(inputs.against),
            "shared_texts": shared_texts(*keyed),
            "near_duplicates": twins_across(near, keyed[0], keyed[1], codes, examples=options.examples),
        }
        if inputs.data.has_pairs == inputs.against.has_pairs:
            found["against"]["shared"] = shared_rows(*pairs, examples=options.examples)
        if inputs.data.has_pairs and inputs.against.has_pairs:
            found["against"]["near_duplicates"]["pairs"] = near_pairs(near, *pairs)
    return found


def _described(table: AuditedTable) -> dict[str, Any]:
    return {
        "name": table.name,
        "kind": table.kind.name,
        "columns": [str(name) for name in table.rows.columns],
        "rows": len(table.rows),
    }


def _numbers(table: AuditedTable) -> dict[str, Any] | None:
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


def _distinct_texts(table: AuditedTable) -> list[str]:
    columns = [table.rows[name].astype(str) for name in table.text_columns]
    return [text for text in pd.concat(columns).drop_duplicates().tolist() if text.strip()]


def _scripts(texts: Sequence[str]) -> dict[str, dict[str, float]]:
    shares = script_shares(texts)
    return {"letters": shares.letters, "texts": shares.texts}


def _tokens(inputs: AuditInputs, texts: list[str], options: AuditOptions) -> dict[str, Any]:
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
            found["pairs"] = {"max_length": limit, **_lengths(together), "cut_share": cut}
    return found


def _lengths(lengths: np.ndarray) -> dict[str, float]:
    if not len(lengths):
        return {}
    return {"mean": float(lengths.mean()), **{name: float(np.quantile(lengths, q)) for name, q in QUANTILES.items()}}


def _share(chosen: np.ndarray) -> float:
    return float(chosen.mean()) if len(chosen) else 0.0


def _near(keyed: list[KeyedTable], options: AuditOptions) -> tuple[NearDuplicates, dict[int, str], dict[str, int]]:
    """Near-duplicates among the folded texts of all tables as pairs of codes, a text of each code, what was compared.

    Of too many texts those of the other table all take part, and as many of the first as there is room for.
    """
    text_of: dict[int, str] = {}
    for table in reversed(keyed):  # of two spellings the first table's is shown
        for at, name in enumerate(table.text_columns):
            text_of.update(zip(table.folded[:, at].tolist(), table.frame[name].astype(str), strict=True))
    text_of.pop(keyed[0].empty_code, None)
    codes = np.array(sorted(text_of), dtype=np.int64)
    if len(codes) > options.near_limit:
        theirs = np.unique(keyed[1].folded) if len(keyed) > 1 else np.array([], dtype=np.int64)
        random = np.random.default_rng(options.seed)
        order = np.argsort(~np.isin(codes, theirs) + random.random(len(codes)) / 2, kind="stable")
        codes = np.sort(codes[order[: options.near_limit]])
    near = find_near_duplicates([text_of[code] for code in codes.tolist()], threshold=options.near, seed=options.seed)
    compared = {"compared": len(codes), "of": len(text_of)}
    return NearDuplicates(codes[near.pairs], near.overlap), text_of, compared


def _without_negatives(audited: AuditedTable, table: KeyedTable) -> KeyedTable:
    width = len(audited.compared)
    return replace(table, text_columns=audited.compared, exact=table.exact[:, :width], folded=table.folded[:, :width])
