"""Files to validated tables with named columns, an audit of what is in them, and batches."""

from embedtrain.data.audit import AuditedPairs, AuditedSentences, audit_pairs, audit_sentences
from embedtrain.data.batching import like_length_batches, unique_batches
from embedtrain.data.columns import parse_columns
from embedtrain.data.findings import AuditReport, Finding
from embedtrain.data.folding import fold_text
from embedtrain.data.readers import read_scored_pairs, read_sentences, read_table
from embedtrain.data.schema import (
    KINDS,
    LABELLED_PAIRS,
    POSITIVE_PAIRS,
    SCORED_PAIRS,
    SENTENCES,
    TRIPLETS,
    Kind,
)

__all__ = [
    "KINDS",
    "LABELLED_PAIRS",
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
    "like_length_batches",
    "parse_columns",
    "read_scored_pairs",
    "read_sentences",
    "read_table",
    "unique_batches",
]
