"""Looks over training, dev and test data before anything is trained: leakage, repeats, contradictions, empty texts.

What is dropped, and from where:

- gold (the training table) gives way to dev and test, and dev to test, because a pair that was trained on measures
  memory. The test table itself loses only rows with an empty text: otherwise its figures could not be set beside
  published ones, which count every row. What is odd in it is reported.
- A pair that repeats with the same score carries no further information: gold keeps its first row, and so does dev
  where the texts are the very same.
- A pair with conflicting scores is rated again rather than wrong: gold keeps its first row with the mean score. Labels
  have no mean, so such a pair leaves gold altogether. Dev keeps its rows.

Two pairs are the same in either order of their sentences, and after ``fold_text``.
"""

from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd

from embedtrain.data.findings import AuditReport, Finding, repeated, row_list
from embedtrain.data.keyed import KeyedTable, key_tables
from embedtrain.data.pair_checks import (
    find_empty,
    find_identical_sides,
    find_overlap,
    find_repeats,
    find_shared_sentences,
)
from embedtrain.errors import UserError

_ROLES = ("gold", "dev", "test")


class AuditedPairs(NamedTuple):
    """The cleaned tables (an empty frame where none was given) and what was found."""

    gold: pd.DataFrame
    dev: pd.DataFrame
    test: pd.DataFrame
    report: AuditReport


class AuditedSentences(NamedTuple):
    """The cleaned sentences and what was found."""

    sentences: pd.DataFrame
    report: AuditReport


def audit_pairs(
    gold: pd.DataFrame,
    dev: pd.DataFrame | None = None,
    test: pd.DataFrame | None = None,
    *,
    names: Mapping[str, str] | None = None,
    max_examples: int = 10,
) -> AuditedPairs:
    """Audit tables of pairs as ``read_table`` gives them: scored, labelled or positive, each its own kind.

    Every finding looks at the rows that the findings before it left, so that the rows they drop add up. In order:
    ``empty_text``, ``pair_in_test`` (gold, then dev), ``pair_in_dev``, ``repeated_pair``, ``conflicting_scores``,
    ``sentence_in_test`` (reported only), ``identical_sides`` (reported only).

    Args:
        gold: The training table.
        dev: The table that chooses settings and checkpoints.
        test: The table that measures.
        names: What messages and the report call the tables, such as ``{"gold": "train"}``; default: the argument names.
        max_examples: How many examples a finding holds at most.

    Returns:
        The cleaned tables, columns and index as given, and the report.

    Raises:
        UserError: A table has no row left; the findings that emptied it are named.
        ValueError: A table has negatives, or no two columns of text.
    """
    frames = {role: frame for role, frame in zip(_ROLES, (gold, dev, test), strict=True) if frame is not None}
    called = {role: (names or {}).get(role, role) for role in frames}
    keyed = dict(
        zip(
            frames,
            key_tables([(called[role], frame, _pair_columns(frame)) for role, frame in frames.items()]),
            strict=True,
        )
    )
    findings: list[Finding | None] = [find_empty(table, max_examples=max_examples) for table in keyed.values()]
    for left, right in (("gold", "test"), ("dev", "test"), ("gold", "dev")):
        if left in keyed and right in keyed:
            findings.append(find_overlap(keyed[left], keyed[right], role=right, max_examples=max_examples))
    for role, table in keyed.items():
        findings.extend(find_repeats(table, role=role, max_examples=max_examples))
    if "test" in keyed:
        findings.append(find_shared_sentences(keyed["gold"], keyed["test"], max_examples=max_examples))
    findings.extend(find_identical_sides(table, max_examples=max_examples) for table in keyed.values())
    report = _report(list(keyed.values()), [finding for finding in findings if finding])
    cleaned = {role: table.result for role, table in keyed.items()}
    nothing = gold.iloc[:0]
    return AuditedPairs(cleaned["gold"], cleaned.get("dev", nothing), cleaned.get("test", nothing), report)


def audit_sentences(
    sentences: pd.DataFrame,
    *,
    test: pd.DataFrame | None = None,
    drop_test_sentences: bool = False,
    names: Mapping[str, str] | None = None,
    max_examples: int = 10,
) -> AuditedSentences:
    """Audit a table of sentences: drop empty and repeated ones, count those that stand in a test table.

    Kinds, in order: ``single_sentence`` (reported only), ``empty_text``, ``repeated_sentence`` (after folding; the
    first row is kept), ``sentence_in_test``.

    Args:
        sentences: A table with the column ``text``.
        test: Sentences or pairs that measure the model.
        drop_test_sentences: Whether sentences of ``test`` are dropped too. Without labels they tell a model little
            about the test, but the strictest measurement leaves them out.
        names: What messages and the report call the tables ``"sentences"`` and ``"test"``.
        max_examples: How many examples a finding holds at most.

    Returns:
        The cleaned sentences and the report.

    Raises:
        UserError: No sentence is left.
    """
    called = {role: (names or {}).get(role, role) for role in ("sentences", "test")}
    tables: list[tuple[str, pd.DataFrame, tuple[str, ...]]] = [(called["sentences"], sentences, ("text",))]
    if test is not None:
        tables.append((called["test"], test, ("text",) if "text" in test else _pair_columns(test)))
    table, *tests = key_tables(tables)
    findings: list[Finding | None] = []
    if len(sentences) == 1:
        message = f"{table.name} holds a single sentence: is there one sentence a line, as expected?"
        findings.append(Finding("single_sentence", table.name, message, 1, 0, [table.example(0)]))
    findings.append(find_empty(table, max_examples=max_examples))
    findings.append(_find_repeated_sentences(table, max_examples=max_examples))
    if tests:
        drop = drop_test_sentences
        findings.append(find_shared_sentences(table, tests[0], drop=drop, max_examples=max_examples))
    return AuditedSentences(table.result, _report([table], [finding for finding in findings if finding]))


def _find_repeated_sentences(table: KeyedTable, *, max_examples: int) -> Finding | None:
    places = table.places
    codes = pd.Series(table.folded[places, 0])
    repeats = places[codes.duplicated().to_numpy()]
    if not len(repeats):
        return None
    table.kept[repeats] = False
    count = int(codes[codes.duplicated()].nunique())
    message = (
        f"{repeated(count, 'sentence', table=table.name)} after folding case and white space; "
        f"the first row of each is kept; dropped: {row_list(table.rows(repeats))}"
    )
    examples = [table.example(place) for place in repeats[:max_examples]]
    return Finding("repeated_sentence", table.name, message, count, len(repeats), examples)


def _report(tables: list[KeyedTable], findings: list[Finding]) -> AuditReport:
    report = AuditReport(findings=findings)
    for table in tables:
        kept = int(table.kept.sum())
        report.note_table(table.name, rows_read=len(table.frame), rows_kept=kept)
        if not kept:
            why = "; ".join(finding.message for finding in findings if finding.table == table.name and finding.dropped)
            raise UserError(f"{table.name}: no row is left after the audit: {why or 'the table is empty'}")
    return report


def _pair_columns(frame: pd.DataFrame) -> tuple[str, ...]:
    if any(str(name).startswith("negative") for name in frame.columns):
        raise ValueError("tables with negatives have no audit of pairs: two rows may differ in their negatives alone")
    for pair in (("sentence1", "sentence2"), ("anchor", "positive")):
        if set(pair) <= set(frame.columns):
            return pair
    raise ValueError(
        f"expected sentence1 and sentence2, or anchor and positive; found {', '.join(map(str, frame.columns))}"
    )
