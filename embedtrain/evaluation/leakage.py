"""Evaluation data that a model was trained on: how many texts and pairs of it stand in a training table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pandas as pd

from embedtrain.data.folding import fold_text

_SHOWN = 3
_SHOWN_CHARACTERS = 80


@dataclass
class Texts:
    """What a model reads of some data.

    Attributes:
        texts: Single texts; those of the pairs need not be repeated here.
        pairs: Texts that belong together.
    """

    texts: list[str] = field(default_factory=list)
    pairs: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def of_table(cls, table: pd.DataFrame) -> Texts:
        """The texts of a table as ``data.readers`` gives it: pairs, triplets or sentences."""
        columns = [str(name) for name in table.columns]
        first_two = next((two for two in (("sentence1", "sentence2"), ("anchor", "positive")) if two[0] in columns), ())
        alone = [name for name in columns if name == "text" or name.startswith("negative")]
        pairs = list(zip(*(table[name].tolist() for name in first_two), strict=True)) if first_two else []
        return cls([text for name in alone for text in table[name].tolist()], pairs)

    def each(self) -> Iterable[str]:
        """Every text, those of the pairs among them."""
        yield from self.texts
        for pair in self.pairs:
            yield from pair


@dataclass(frozen=True)
class Leak:
    """What two tables have in common; each text and each pair is counted once.

    Attributes:
        trained_on: The training table.
        measured_on: The evaluation data.
        texts: How many of its texts stand in the training table.
        all_texts: How many it has.
        pairs: How many of its pairs stand there, in either order.
        all_pairs: How many it has.
        examples: Some of the pairs, or of the texts where no pair is shared.
    """

    trained_on: str
    measured_on: str
    texts: int
    all_texts: int
    pairs: int
    all_pairs: int
    examples: Sequence[str]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"examples": list(self.examples)}

    def __str__(self) -> str:
        pairs = f"{self.pairs:,} of the {self.all_pairs:,} pairs and " if self.all_pairs else ""
        is_all = self.pairs == self.all_pairs if self.all_pairs else self.texts == self.all_texts
        means = "what is measured there is memory" if is_all else "a model trained on it has seen them"
        return (
            f"{self.trained_on} holds {pairs}{self.texts:,} of the {self.all_texts:,} texts of {self.measured_on}: "
            f"{means}. Such as {'; '.join(self.examples)}."
        )


def find_leaks(trained_on: Mapping[str, Texts], measured_on: Mapping[str, Texts]) -> list[Leak]:
    """What training tables and evaluation data have in common, one entry for each two that share a text.

    Texts are the same after ``fold_text``: case, white space and full-width forms aside.
    """
    if not trained_on:
        return []
    measured = {name: _Folded(texts) for name, texts in measured_on.items()}
    leaks = []
    for train_name, train in trained_on.items():
        seen = _Folded(train)
        for name, one in measured.items():
            texts = [text for key, text in one.texts.items() if key in seen.texts]
            pairs = [pair for key, pair in one.pairs.items() if key in seen.pairs]
            if texts:
                examples = [" / ".join(map(_shown, pair)) for pair in pairs[:_SHOWN]] or [*map(_shown, texts[:_SHOWN])]
                counts = len(texts), len(one.texts), len(pairs), len(one.pairs)
                leaks.append(Leak(train_name, name, *counts, examples))
    return leaks


class _Folded:
    """Texts and pairs by their folded forms; an empty text is none."""

    def __init__(self, given: Texts) -> None:
        folded = {text: fold_text(text) for text in given.each()}
        self.texts: dict[str, str] = {}
        for text, key in folded.items():
            if key:
                self.texts.setdefault(key, text)
        self.pairs: dict[tuple[str, str], tuple[str, str]] = {}
        for pair in given.pairs:
            first, second = sorted(folded[text] for text in pair)
            if first and second:
                self.pairs.setdefault((first, second), pair)


def _shown(text: str) -> str:
    return repr(text[:_SHOWN_CHARACTERS])
