"""The audit of training tables against each other, dev and test, and the rows held out where no dev is given."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from embedtrain.data import audit_pairs
from embedtrain.data.audit_rows import audit_classes, audit_tuples
from embedtrain.data.findings import AuditReport, Finding
from embedtrain.data.retrieval import QRELS
from embedtrain.data.retrieval_parts import judged_pairs
from embedtrain.data.schema import LABELLED_SENTENCES, TRIPLETS, Kind
from embedtrain.evaluation.splitting import hold_out
from embedtrain.files import write_json, write_parquet
from embedtrain.pipelines.checks import check_tables
from embedtrain.pipelines.train.inputs import TrainingTable, TrainInputs, kind_of_dev

AUDIT_EXAMPLES = 25
MEASURED = ("dev", "test")


@dataclass(frozen=True)
class ReadTables:
    """What is left of everything that was read.

    Attributes:
        training: The tables to train on, in the order of the options.
        dev: What chooses the weights, of the kind ``dev_kind``; None where a retrieval set does.
        dev_kind: One of ``DEV_KINDS``, the kind of the first training table when dev was held out of it, or
            ``QRELS`` of a retrieval set.
        test: What judges, or None.
        audit: What was found, in plain JSON values.
    """

    training: list[pd.DataFrame]
    dev: pd.DataFrame | None
    dev_kind: Kind
    test: pd.DataFrame | None
    audit: dict[str, Any]

    def write(self, folder: Path) -> None:
        """Keep the tables in the folder of a stage, each row with the number that it had in its file."""
        named = {f"data_{number}": rows for number, rows in enumerate(self.training)}
        for name, frame in {**named, "dev": self.dev, "test": self.test}.items():
            if frame is not None:
                write_parquet(folder / f"{name}.parquet", frame.rename_axis("row").reset_index())
        write_json(folder / "kinds.json", {"dev": self.dev_kind.name})
        write_json(folder / "audit.json", self.audit)


def read_tables(inputs: TrainInputs, *, seed: int) -> ReadTables:
    """Audit every table, drop what has to go, and hold dev out of the first one where none was given.

    Raises:
        UserError: A table has no row left, or dev or test too few to measure on.
    """
    first = inputs.tables[0]
    dev, test, report = _audit_measured(first, inputs.dev, inputs.test)
    reports = [report]
    given = {name: frame for name, frame in (("dev", dev), ("test", test)) if frame is not None}
    check_tables({name: frame for name, frame in given.items() if "score" in frame}, stage="after the audit")
    if inputs.search is not None:
        # What answers a dev query is not to be learned by heart.
        given = {"dev": judged_pairs(inputs.search.found), **given}
    cleaned, report = _audit(first, given)
    reports.append(report)
    if dev is not None:
        dev_kind = kind_of_dev(dev)
    elif inputs.search is not None:
        dev_kind = QRELS
    else:
        dev_kind = first.kind
        cleaned, dev = hold_out(cleaned, kind=first.kind, name=first.source, seed=seed)
        held = _as_pairs(dev, first.kind)
        given = given if first.kind is LABELLED_SENTENCES else {**given, "dev": held}
    training = [cleaned]
    for table in inputs.tables[1:]:
        cleaned, report = _audit(table, given)
        training.append(cleaned)
        reports.append(report)
    parts = [report.to_json() for report in reports]
    audit = {
        "findings": [finding for part in parts for finding in part["findings"]],
        "tables": {name: table for part in parts for name, table in part["tables"].items()},
    }
    return ReadTables(training, dev, dev_kind, test, audit)


def _audit_measured(
    first: TrainingTable, dev: pd.DataFrame | None, test: pd.DataFrame | None
) -> tuple[pd.DataFrame | None, pd.DataFrame | None, AuditReport]:
    """Clean dev and test, and report what was found in them alone."""
    if dev is None and test is None:
        return None, None, AuditReport()
    audited = audit_pairs(
        _as_pairs(first.rows, first.kind), dev, test, names={"gold": first.source}, max_examples=AUDIT_EXAMPLES
    )
    report = _only(audited.report, MEASURED)
    return None if dev is None else audited.dev, None if test is None else audited.test, report


def _audit(table: TrainingTable, measured: dict[str, pd.DataFrame]) -> tuple[pd.DataFrame, AuditReport]:
    """Clean one training table, and report what was found in it alone."""
    if table.kind is TRIPLETS:
        rows = audit_tuples(table.rows, name=table.source, measured=measured, max_examples=AUDIT_EXAMPLES)
        return rows.table, rows.report
    if table.kind is LABELLED_SENTENCES:
        rows = audit_classes(table.rows, name=table.source, measured=measured, max_examples=AUDIT_EXAMPLES)
        return rows.table, _with_class_names(rows.report, table.classes)
    audited = audit_pairs(
        table.rows,
        measured.get("dev"),
        measured.get("test"),
        names={"gold": table.source},
        max_examples=AUDIT_EXAMPLES,
    )
    return audited.gold, _only(audited.report, (table.source,))


def _as_pairs(rows: pd.DataFrame, kind: Kind) -> pd.DataFrame:
    """Rows of any kind as pairs of two columns, to be compared with pairs."""
    if kind is LABELLED_SENTENCES:
        return pd.DataFrame({"sentence1": rows["text"], "sentence2": rows["text"]})
    return rows[["anchor", "positive"]] if kind is TRIPLETS else rows


def _only(report: AuditReport, names: tuple[str, ...]) -> AuditReport:
    tables = {name: counts for name, counts in report.tables.items() if name in names}
    return AuditReport([finding for finding in report.findings if finding.table in names], tables)


def _with_class_names(report: AuditReport, classes: tuple[str, ...]) -> AuditReport:
    """The report with the names of classes in its examples, in place of their numbers."""

    def named(finding: Finding) -> Finding:
        examples = [
            {**example, "label": classes[int(example["label"])]} if "label" in example else example
            for example in finding.examples
        ]
        return replace(finding, examples=examples)

    return AuditReport([named(finding) for finding in report.findings], report.tables)
