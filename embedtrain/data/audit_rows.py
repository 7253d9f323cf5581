"""The audit of training tables that are no pairs: triplets and n-tuples, and labelled sentences."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from embedtrain.data.findings import AuditReport, Finding, counted, repeated, row_list
from embedtrain.data.keyed import KeyedTable, key_tables
from embedtrain.data.pair_checks import find_empty, find_overlap, find_shared_sentences
from embedtrain.errors import UserError

_TUPLE = ("anchor", "positive")


class AuditedRows(NamedTuple):
    """The cleaned table and what was found."""

    table: pd.DataFrame
    report: AuditReport


def audit_tuples(
    table: pd.DataFrame,
    *,
    name: str,
    measured: Mapping[str, pd.DataFrame] | None = None,
    max_examples: int = 10,
) -> AuditedRows:
    """Drop rows with an empty text, rows whose anchor and positive are a pair of dev or test, and repeated rows.

    Rows repeat when all their texts do, negatives included, after ``fold_text``; the first one is kept.

    Args:
        table: ``anchor``, ``positive`` and negatives, as ``read_table`` gives them.
        name: What messages and the report call it.
        measured: Tables of pairs that measure the model, by the names ``test`` and ``dev``.
        max_examples: How many examples a finding holds at most.

    Raises:
        UserError: No row is left.
    """
    columns = tuple(str(column) for column in table.columns)
    whole = key_tables([(name, table, columns)])[0]
    findings = [find_empty(whole, max_examples=max_examples)]
    others = [(role, frame, _pair_columns(frame)) for role, frame in (measured or {}).items()]
    pairs, *keyed = key_tables([(name, table, _TUPLE), *others])
    pairs.kept = whole.kept
    findings += [find_overlap(pairs, other, role=other.name, max_examples=max_examples) for other in keyed]
    findings.append(_find_repeated_rows(whole, max_examples=max_examples))
    return _result(whole, findings)


def audit_classes(
    table: pd.DataFrame,
    *,
    name: str,
    measured: Mapping[str, pd.DataFrame] | None = None,
    max_examples: int = 10,
) -> AuditedRows:
    """Drop rows with an empty text, repeated texts, and every row of a text that has several labels.

    Texts are compared after ``fold_text``. Those that stand in dev or test are reported and kept: with their class
    alone they tell nothing about the scores there.

    Args:
        table: ``text`` and ``label``, as ``read_table`` gives them.
        name: What messages and the report call it.
        measured: Tables of pairs that measure the model, by the names ``test`` and ``dev``.
        max_examples: How many examples a finding holds at most.

    Raises:
        UserError: No row is left.
    """
    others = [(role, frame, _pair_columns(frame)) for role, frame in (measured or {}).items()]
    texts, *keyed = key_tables([(name, table, ("text",)), *others])
    findings = [find_empty(texts, max_examples=max_examples)]
    findings += _find_repeated_texts(texts, max_examples=max_examples)
    findings += [find_shared_sentences(texts, other, max_examples=max_examples) for other in keyed]
    return _result(texts, findings)


def _pair_columns(frame: pd.DataFrame) -> tuple[str, ...]:
    return _TUPLE if "anchor" in frame else ("sentence1", "sentence2")


def _find_repeated_rows(table: KeyedTable, *, max_examples: int) -> Finding | None:
    places = table.places
    rows = pd.DataFrame(table.folded[places])
    repeats = places[rows.duplicated().to_numpy()]
    if not len(repeats):
        return None
    table.kept[repeats] = False
    count = len(rows[rows.duplicated()].drop_duplicates())
    message = (
        f"{repeated(count, 'row', table=table.name)} after folding case and white space; the first of each is kept; "
        f"dropped: {row_list(table.rows(repeats))}"
    )
    examples = [table.example(place) for place in repeats[:max_examples]]
    return Finding("repeated_row", table.name, message, count, len(repeats), examples)


def _find_repeated_texts(table: KeyedTable, *, max_examples: int) -> list[Finding]:
    places = table.places
    rows = pd.DataFrame(
        {"place": places, "text": table.folded[places, 0], "label": table.frame["label"].to_numpy()[places]}
    )
    labels = rows.groupby("text")["label"].transform("nunique")
    findings = []
    for kind, chosen, outcome in (
        ("conflicting_labels", labels > 1, "with different labels; none of them tells what is right"),
        (
            "repeated_sentence",
            (labels == 1) & rows["text"].duplicated(),
            "with the same label; the first of each is kept",
        ),
    ):
        dropped = rows.loc[chosen, "place"].to_numpy()
        if len(dropped):
            table.kept[dropped] = False
            count = int(rows.loc[chosen, "text"].nunique())
            message = (
                f"{repeated(count, 'sentence', table=table.name)} {outcome}; dropped: {row_list(table.rows(dropped))}"
            )
            examples = [
                table.example(place, label=str(table.frame["label"].iat[place])) for place in dropped[:max_examples]
            ]
            findings.append(Finding(kind, table.name, message, count, len(dropped), examples))
    return findings


def _result(table: KeyedTable, findings: list[Finding | None]) -> AuditedRows:
    found = [finding for finding in findings if finding]
    kept = int(np.count_nonzero(table.kept))
    if not kept:
        why = "; ".join(finding.message for finding in found if finding.dropped)
        rows = counted(len(table.frame), "row")
        raise UserError(f"{table.name}: no row of {rows} is left after the audit: {why or 'the table is empty'}")
    report = AuditReport(found)
    report.note_table(table.name, rows_read=len(table.frame), rows_kept=kept)
    return AuditedRows(table.result, report)
