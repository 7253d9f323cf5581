"""Looks over one table, and what it shares with a second one: plain values for a terminal and for JSON."""

from dataclasses import replace
from typing import Any

import numpy as np

from embedtrain.data.keyed import KeyedTable, key_tables
from embedtrain.data.near_duplicates import NearDuplicates, find_near_duplicates
from embedtrain.pipelines.audit.describing import columns, described, distinct_texts, numbers, scripts, tokens
from embedtrain.pipelines.audit.inputs import AuditedTable, collect_audit_inputs
from embedtrain.pipelines.audit.leaking import near_pairs, shared_rows, shared_texts, twins_across, twins_within
from embedtrain.pipelines.audit.options import AuditOptions
from embedtrain.pipelines.audit.repeats import empty_rows, identical_sides, repeats


def audit(options: AuditOptions) -> dict[str, Any]:
    """Look over ``options.data``; with ``options.against``, look for its rows and texts in there, too.

    Returns:
        Plain JSON values: ``table`` (kind, columns, rows), ``columns`` one by one, ``numbers`` (scores or labels),
        ``texts``, ``scripts``, ``tokens``, ``empty``, ``repeats`` with conflicts, ``identical_sides``,
        ``near_duplicates`` and ``against``. Shares are fractions.

    Raises:
        UserError: With every mistake in options, files and names.
    """
    inputs = collect_audit_inputs(options)
    tables = [inputs.data] if inputs.against is None else [inputs.data, inputs.against]
    keyed = key_tables([(table.name, table.rows, tuple(table.text_columns)) for table in tables])
    pairs = [_without_negatives(table, one) for table, one in zip(tables, keyed, strict=True)]
    texts = distinct_texts(inputs.data)
    near, codes, compared = _near(keyed, options)
    found: dict[str, Any] = {
        "table": described(inputs.data),
        "columns": columns(inputs.data),
        "numbers": numbers(inputs.data),
        "texts": {"cells": len(inputs.data.text_columns) * len(inputs.data.rows), "different": len(texts)},
        "scripts": scripts(texts),
        "tokens": tokens(inputs, texts, options),
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
            "table": described(inputs.against),
            "shared_texts": shared_texts(*keyed),
            "near_duplicates": twins_across(near, keyed[0], keyed[1], codes, examples=options.examples),
        }
        if inputs.data.has_pairs == inputs.against.has_pairs:
            found["against"]["shared"] = shared_rows(*pairs, examples=options.examples)
        if inputs.data.has_pairs and inputs.against.has_pairs:
            found["against"]["near_duplicates"]["pairs"] = near_pairs(near, *pairs)
    return found


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
