"""The kinds of table that training and evaluation work on, each with the names of its columns."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from embedtrain.errors import Problems

_NUMBERED_NEGATIVE = re.compile(r"negative_(\d+)")


@dataclass(frozen=True)
class Kind:
    """What a table holds.

    Attributes:
        name: How messages call such a table, in the plural.
        text_columns: Columns of text that must be there.
        number_column: ``"score"`` (any number of the stated range), ``"label"`` (0 or 1), or None.
        takes_negatives: Whether ``negative``, or ``negative_1`` to ``negative_n``, follow the text columns.
    """

    name: str
    text_columns: tuple[str, ...]
    number_column: str | None = None
    takes_negatives: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that must be there, in their order; of negatives the smallest case, ``negative``."""
        negatives = ("negative",) if self.takes_negatives else ()
        number = (self.number_column,) if self.number_column else ()
        return (*self.text_columns, *negatives, *number)

    def may_hold(self, column: str) -> bool:
        """Whether a table of this kind may have ``column``."""
        return column in self.columns or (self.takes_negatives and bool(_NUMBERED_NEGATIVE.fullmatch(column)))

    def columns_for(self, available: Iterable[str]) -> tuple[str, ...]:
        """The columns to read when a file offers ``available``: as ``columns``, with as many negatives as there are.

        Raises:
            UserError: ``negative`` stands beside numbered negatives, or their numbers have a gap.
        """
        names = set(available)
        numbers = sorted(int(match[1]) for name in names if (match := _NUMBERED_NEGATIVE.fullmatch(name)))
        if not self.takes_negatives or not numbers:
            return self.columns
        problems = Problems()
        if "negative" in names:
            problems.add(
                "both 'negative' and numbered negatives: give one column negative, or negative_1 to negative_n"
            )
        if numbers != list(range(1, len(numbers) + 1)):
            found = ", ".join(f"negative_{number}" for number in numbers)
            problems.add(f"found {found}: negatives are numbered from negative_1 without a gap")
        problems.raise_if_any()
        return (*self.text_columns, *(f"negative_{number}" for number in numbers))


SENTENCES = Kind("sentences", ("text",))
SCORED_PAIRS = Kind("scored pairs", ("sentence1", "sentence2"), number_column="score")
LABELLED_PAIRS = Kind("labelled pairs", ("sentence1", "sentence2"), number_column="label")
POSITIVE_PAIRS = Kind("positive pairs", ("anchor", "positive"))
TRIPLETS = Kind("triplets", ("anchor", "positive"), takes_negatives=True)

KINDS: Mapping[str, Kind] = {
    kind.name: kind for kind in (SENTENCES, SCORED_PAIRS, LABELLED_PAIRS, POSITIVE_PAIRS, TRIPLETS)
}
