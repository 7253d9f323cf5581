"""What ``embedtrain audit`` reads: one or two tables of whatever kind their columns tell, and a tokenizer."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from embedtrain.data.readers import read_sentences, read_table_of
from embedtrain.data.schema import (
    CLASSIFIED_PAIRS,
    LABELLED_PAIRS,
    LABELLED_SENTENCES,
    POSITIVE_PAIRS,
    SCORED_PAIRS,
    SENTENCES,
    TRIPLETS,
    Kind,
)
from embedtrain.errors import Problems, UserError
from embedtrain.mining.pair_files import PAIRS
from embedtrain.models.loading import ModelSource, resolve_model, without_weights
from embedtrain.models.names import DEFAULT_MODEL
from embedtrain.models.tokenizing import load_tokenizer
from embedtrain.pipelines.audit.options import AuditOptions
from embedtrain.pipelines.checks import noting
from embedtrain.pipelines.run import check_writable

logger = logging.getLogger(__name__)

# Of two kinds of which one has all the columns of the other, the wider one comes first.
KINDS = (SCORED_PAIRS, CLASSIFIED_PAIRS, PAIRS, TRIPLETS, POSITIVE_PAIRS, LABELLED_SENTENCES, SENTENCES)
_PAIR_LENGTH = 2


@dataclass(frozen=True, eq=False)
class AuditedTable:
    """A table under audit.

    Attributes:
        name: As it was given.
        kind: What it holds.
        rows: As they were read.
    """

    name: str
    kind: Kind
    rows: pd.DataFrame

    @property
    def text_columns(self) -> list[str]:
        """Every column of text, negatives included."""
        return [str(name) for name in self.rows.columns if name != self.kind.number_column]

    @property
    def compared(self) -> tuple[str, ...]:
        """The one or two columns that tell whether two rows are the same."""
        return self.kind.text_columns[:_PAIR_LENGTH]

    @property
    def has_pairs(self) -> bool:
        """Whether a row is a pair of texts."""
        return len(self.compared) == _PAIR_LENGTH


@dataclass(frozen=True, eq=False)
class AuditInputs:
    """Everything that an audit looks at.

    Attributes:
        data: The table.
        against: The second one, or None.
        base: The model whose tokenizer counts, or None where the default cannot be found.
        tokenizer: Of that model.
        no_base: Why there is none.
    """

    data: AuditedTable
    against: AuditedTable | None
    base: ModelSource | None
    tokenizer: Any
    no_base: str = ""


def collect_audit_inputs(options: AuditOptions) -> AuditInputs:
    """Check the options, read the tables and find the tokenizer.

    Raises:
        UserError: With every problem of every option, file and name at once.
    """
    problems = Problems()
    options.check(problems)
    if options.report:
        noting(problems, check_writable, Path(options.report).expanduser().absolute().parent, option="--report")
    data = noting(problems, _read, options.data, options.columns)
    against = None if options.against is None else noting(problems, _read, options.against, options.columns)
    base, tokenizer, no_base = None, None, ""
    try:
        with without_weights():
            base = resolve_model(options.base or DEFAULT_MODEL)
        tokenizer = load_tokenizer(base)
    except UserError as error:
        if options.base is not None:
            problems.extend(error)
        base, no_base = None, str(error)
    problems.raise_if_any()
    assert data is not None  # reading it either gave a table or noted a problem
    return AuditInputs(data, against, base, tokenizer, no_base)


def _read(source: str, columns: Mapping[str, str]) -> AuditedTable:
    if Path(source).suffix.lower() == ".txt":
        return AuditedTable(source, SENTENCES, read_sentences(source))
    table, kind = read_table_of(source, kinds=KINDS, columns=columns, score_range=None)
    if kind is CLASSIFIED_PAIRS and set(table["label"]) <= {"0", "1"}:
        kind = LABELLED_PAIRS
    return AuditedTable(source, kind, table)
