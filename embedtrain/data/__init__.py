"""Files to validated tables with named columns, an audit of what is in them, and batches."""

from typing import TYPE_CHECKING

from embedtrain.lazy import offered

if TYPE_CHECKING:
    from embedtrain.data.audit import AuditedPairs, AuditedSentences, audit_pairs, audit_sentences
    from embedtrain.data.batching import (
        grouped_batches,
        like_length_batches,
        mixed_batches,
        rows_without_partner,
        split_for_ranks,
        token_budget_batches,
        unique_batches,
    )
    from embedtrain.data.columns import parse_columns
    from embedtrain.data.findings import AuditReport, Finding
    from embedtrain.data.folding import fold_text
    from embedtrain.data.readers import read_scored_pairs, read_sentences, read_table, read_table_of
    from embedtrain.data.schema import (
        CLASSIFIED_PAIRS,
        KINDS,
        LABELLED_PAIRS,
        LABELLED_SENTENCES,
        POSITIVE_PAIRS,
        SCORED_PAIRS,
        SENTENCES,
        TRIPLETS,
        Kind,
    )

__all__ = [
    "CLASSIFIED_PAIRS",
    "KINDS",
    "LABELLED_PAIRS",
    "LABELLED_SENTENCES",
    "POSITIVE_PAIRS",
    "SCORED_PAIRS",
    "SENTENCES",
    "TRIPLETS",
    "AuditReport",
    "AuditedPairs",
    "AuditedSentences",
    "Finding",
    "Kind",
    "audit_pairs",
    "audit_sentences",
    "fold_text",
    "grouped_batches",
    "like_length_batches",
    "mixed_batches",
    "parse_columns",
    "read_scored_pairs",
    "read_sentences",
    "read_table",
    "read_table_of",
    "rows_without_partner",
    "split_for_ranks",
    "token_budget_batches",
    "unique_batches",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = offered(
        __name__, __all__, modules=("audit", "batching", "columns", "findings", "folding", "readers", "schema")
    )
