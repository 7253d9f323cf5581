"""``--train-data``: tables that models were trained on, read as far as their texts go."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from embedtrain.data.readers import read_sentences, read_table_of
from embedtrain.data.schema import (
    LABELLED_PAIRS,
    LABELLED_SENTENCES,
    POSITIVE_PAIRS,
    SCORED_PAIRS,
    SENTENCES,
    TRIPLETS,
    Kind,
)
from embedtrain.errors import Problems
from embedtrain.evaluation.leakage import Texts
from embedtrain.pipelines.checks import noting

# A kind whose columns are part of another's stands behind it.
_KINDS = (
    SCORED_PAIRS,
    LABELLED_PAIRS,
    Kind("pairs", ("sentence1", "sentence2")),
    TRIPLETS,
    POSITIVE_PAIRS,
    LABELLED_SENTENCES,
    SENTENCES,
)


def read_trained_on(names: Sequence[str], columns: Mapping[str, str], problems: Problems) -> dict[str, Texts]:
    """The texts of each table; what is wrong with a table is noted.

    Args:
        names: Pairs, triplets or sentences, with or without scores or labels.
        columns: Names in the files for ours.
        problems: Where to note.
    """
    read = {name: noting(problems, _read, name, columns) for name in dict.fromkeys(names)}
    return {name: texts for name, texts in read.items() if texts is not None}


def _read(name: str, columns: Mapping[str, str]) -> Texts:
    if Path(name).suffix.lower() == ".txt":
        return Texts.of_table(read_sentences(name))
    return Texts.of_table(read_table_of(name, kinds=_KINDS, columns=columns, score_range=None, name="--train-data")[0])
