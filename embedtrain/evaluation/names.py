"""What people choose evaluations by; options are read before torch is imported."""

from typing import Literal

NumberType = Literal["int8", "binary"]
CustomType = Literal[
    "sts",
    "pair-classification",
    "classification",
    "multilabel-classification",
    "regression",
    "clustering",
    "retrieval",
    "reranking",
    "bitext-mining",
    "summarization",
]
