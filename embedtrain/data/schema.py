"""The kinds of table that training and evaluation work on, each with the names of its columns."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from embedtrain.errors import Problems

_NUMBERED_NEGATIVE = re.compile(r"negative_(\d+)")


@dataclass(frozen=True)
class Kind:
    """What a table holds.

    Attributes:
        name: How messages call such a table, in the plural.
        text_columns: Columns of text that must be there.
        number_column: ``"score"`` (any number of the stated range), ``"label"``, or None.
        takes_negatives: Whether ``negative``, or ``negative_1`` to ``negative_n``, follow the text columns.
        has_classes: Whether ``label`` names a class (a word or a whole number) instead of being 0 or 1.
        can_be_mapped: Whether the user can say with ``--columns`` how a file calls these columns.
    """

    name: str
    text_columns: tuple[str, ...]
    number_column: str | None = None
    takes_negatives: bool = False
    has_classes: bool = False
    can_be_mapped: bool = True

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

    def resolved(self, header: Sequence[str], mapping: Mapping[str, str]) -> "Kind":
        """This kind; an ``AnyOf`` answers with the one of its kinds that a file with this header holds."""
        return self


@dataclass(frozen=True)
class AnyOf(Kind):
    """A table of one of several kinds; its columns tell of which.

    Attributes:
        kinds: What it may be; of two that fit equally well, the first. One whose columns are part of another's
            belongs behind it.
    """

    kinds: tuple[Kind, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that one of the kinds has."""
        return tuple(dict.fromkeys(name for kind in self.kinds for name in kind.columns))

    def may_hold(self, column: str) -> bool:
        """Whether a table of one of the kinds may have ``column``."""
        return any(kind.may_hold(column) for kind in self.kinds)

    def resolved(self, header: Sequence[str], mapping: Mapping[str, str]) -> Kind:
        """The first kind whose columns are all there, or else the one of whose columns most are, or that has as many.

        Args:
            header: The file's column names; empty where it has none and the mapping gives positions.
            mapping: Our column name to the file's.
        """
        taken = set(mapping.values())
        there = {ours for ours, theirs in mapping.items() if theirs in header or not header}
        there |= {name for name in header if name not in taken and name not in mapping}

        if any(_NUMBERED_NEGATIVE.fullmatch(name) for name in there):
            there.add("negative")

        def fit(kind: Kind) -> tuple[float, bool]:
            share = sum(name in there for name in kind.columns) / len(kind.columns)
            # Where no name is known, their number tells what they are likely to be.
            return share, share == 0 and len(kind.columns) == len(header)

        return max(self.kinds, key=fit)


SENTENCES = Kind("sentences", ("text",))
SCORED_PAIRS = Kind("scored pairs", ("sentence1", "sentence2"), number_column="score")
LABELLED_PAIRS = Kind("labelled pairs", ("sentence1", "sentence2"), number_column="label")
CLASSIFIED_PAIRS = Kind("classified pairs", ("sentence1", "sentence2"), number_column="label", has_classes=True)
POSITIVE_PAIRS = Kind("positive pairs", ("anchor", "positive"))
TRIPLETS = Kind("triplets", ("anchor", "positive"), takes_negatives=True)
LABELLED_SENTENCES = Kind("labelled sentences", ("text",), number_column="label", has_classes=True)

KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        SENTENCES,
        SCORED_PAIRS,
        LABELLED_PAIRS,
        CLASSIFIED_PAIRS,
        POSITIVE_PAIRS,
        TRIPLETS,
        LABELLED_SENTENCES,
    )
}
