"""Which column of a file is which of ours: by name, by a mapping, or by position where there is no header."""

import re
from collections.abc import Iterable, Mapping, Sequence

from embedtrain.data.schema import Kind
from embedtrain.errors import Problems, UserError, did_you_mean

DELIMITER_NAMES = {"\t": "tab", ",": "comma", ";": "semicolon", "|": "bar"}
_ENDING_FOR = {"\t": ".tsv", ",": ".csv"}
_SHOWN_CHARACTERS = 160


def parse_columns(pairs: Iterable[str]) -> dict[str, str]:
    """The mapping that ``--columns sentence1=question1 sentence2=question2`` states.

    Raises:
        UserError: An entry is not of the form ``ours=theirs``, or one of our columns is given twice.
    """
    mapping: dict[str, str] = {}
    problems = Problems()
    for pair in pairs:
        ours, _, theirs = pair.partition("=")
        if not (ours and theirs):
            problems.add(f"--columns {pair}: expected OURS=THEIRS, such as sentence1=question1")
        elif ours in mapping:
            problems.add(f"--columns {pair}: '{ours}' is given twice")
        else:
            mapping[ours] = theirs
    problems.raise_if_any()
    return mapping


def mapping_flag(columns: Mapping[str, str]) -> str:
    """A mapping as it is written on the command line."""
    return "--columns " + " ".join(f"{ours}={theirs}" for ours, theirs in columns.items())


def is_position(value: str) -> bool:
    """Whether a mapping's value is a 0-based position rather than a name."""
    return value.isascii() and value.isdigit()


def check_mapping(columns: Mapping[str, str], *, kind: Kind, label: str) -> None:
    """Raise one UserError for keys that are no columns of ``kind`` and for two keys that want the same column."""
    problems = Problems()
    for ours, theirs in columns.items():
        if not kind.may_hold(ours):
            expected = ", ".join(kind.columns) + (" (or negative_1 to negative_n)" if kind.takes_negatives else "")
            hint = did_you_mean(ours, kind.columns)
            problems.add(f"{label}: --columns {ours}={theirs}: {kind.name} have the columns {expected}{hint}")
    values = list(columns.values())
    for twice in sorted({value for value in values if values.count(value) > 1}):
        users = " and ".join(ours for ours, value in columns.items() if value == twice)
        problems.add(f"{label}: --columns: {users} name the same column '{twice}'")
    problems.raise_if_any()


def find_by_name(header: Sequence[str], *, kind: Kind, columns: Mapping[str, str], label: str) -> dict[str, str]:
    """Our column names, each with the name it has in a file whose columns are ``header``.

    Raises:
        UserError: Wanted columns are missing from the header (the nearest spelling is given) or stand there twice.
    """
    wanted = wanted_names(header, kind=kind, columns=columns, label=label)
    problems = Problems()
    free = [name for name in header if name not in wanted.values()]
    for ours, theirs in wanted.items():
        if header.count(theirs) > 1:
            problems.add(f"{label}: the column '{theirs}' stands {header.count(theirs)} times in the header")
        elif theirs not in header:
            asked = f", which --columns {ours}={theirs} asks for" if ours in columns else ""
            mapped = f"; if it has another name, give --columns {ours}=NAME" if kind.can_be_mapped else ""
            cure = did_you_mean(theirs, free) or mapped + _if_unscored(ours, wanted, kind=kind)
            problems.add(f"{label}: there is no column '{theirs}'{asked}; found {', '.join(header)}{cure}")
    problems.raise_if_any()
    return wanted


def _if_unscored(missing: str, wanted: Mapping[str, str], *, kind: Kind) -> str:
    """What else pairs may be that have neither score nor label, where such tables are read."""
    texts = [theirs for ours, theirs in wanted.items() if ours in ("sentence1", "sentence2")]
    if missing not in ("score", "label") or len(texts) != 2 or not kind.may_hold("positive"):
        return ""
    return f"; if both texts of a row belong together, give --columns anchor={texts[0]} positive={texts[1]}"


def wanted_names(header: Sequence[str], *, kind: Kind, columns: Mapping[str, str], label: str) -> dict[str, str]:
    """As ``find_by_name``, whether or not the header has them; the header only tells how many negatives there are."""
    kind = kind.resolved(header, columns)
    free = [name for name in header if name not in columns.values()]
    try:
        return {ours: columns.get(ours, ours) for ours in kind.columns_for([*columns, *free])}
    except UserError as error:
        raise UserError(*(f"{label}: {message}" for message in error.problems)) from error


def find_by_position(first: Sequence[str], *, kind: Kind, columns: Mapping[str, str], label: str) -> dict[str, int]:
    """Our column names, each with its 0-based position in the lines of a file without a header.

    Raises:
        UserError: A column of the kind has no position, or a position lies beyond the first line's fields.
    """
    problems = Problems()
    wanted = wanted_names([], kind=kind, columns=columns, label=label)
    for ours, theirs in wanted.items():
        if ours not in columns:
            problems.add(f"{label}: --columns gives positions but none for '{ours}': add {ours}=POSITION")
        elif not is_position(theirs):
            problems.add(f"{label}: --columns {ours}={theirs}: the other columns are positions, so give one here too")
        elif int(theirs) >= len(first):
            fields = "one field" if len(first) == 1 else f"{len(first)} fields"
            problems.add(f"{label}: --columns {ours}={theirs}: the first line has {fields}, counted from 0")
    problems.raise_if_any()
    return {ours: int(theirs) for ours, theirs in wanted.items()}


def other_delimiter(first: Sequence[str], *, delimiter: str, wanted: Mapping[str, str]) -> str | None:
    """What to say when the first line, read with ``delimiter``, rather looks as if another one separates its fields."""
    line = delimiter.join(first)
    for other, name in DELIMITER_NAMES.items():
        fields = [field.strip() for field in line.split(other)]
        if other == delimiter or len(fields) == 1:
            continue
        names_columns = any(theirs in fields for theirs in wanted.values())
        # A tab hardly ever stands inside a text; a comma does, so it counts only where nothing else separates.
        separates = 1 < len(wanted) <= len(fields) and (other == "\t" or len(first) == 1)
        if names_columns or separates:
            ending = _ENDING_FOR.get(other)
            cure = f"name the file {ending}" if ending else "write it with commas (.csv) or with tabs (.tsv)"
            return (
                f"wrong delimiter? The file's ending says {DELIMITER_NAMES[delimiter]}-separated, "
                f"but its first line looks {name}-separated: '{line[:_SHOWN_CHARACTERS]}'; {cure}"
            )
    return None


def no_header(first: Sequence[str], *, delimiter: str, wanted: Mapping[str, str], kind: Kind) -> str:
    """What to say when the first line names none of the wanted columns: misspelt, other names, or no header at all."""
    near = {theirs: hint for theirs in wanted.values() if (hint := did_you_mean(theirs, first))}
    spelling = "; ".join(f"{theirs}{hint}" for theirs, hint in near.items())
    found = f"none of the columns {', '.join(wanted.values())} stands in the first line, which reads "
    found += f"'{delimiter.join(first)[:_SHOWN_CHARACTERS]}'"
    if not kind.can_be_mapped:
        return f"{found}; {spelling or 'they have to be called so'}"
    # Of several kinds, the wanted columns tell which was taken.
    number_column = next((ours for ours in ("score", "label") if ours in wanted), None)
    positions = likely_positions(first, wanted=list(wanted), number_column=number_column)
    as_data = (
        f"if it is data and the file has no header, give {mapping_flag(positions)}"
        if positions
        else f"if it is data, it has {len(first)} of the {len(wanted)} fields that {kind.name} need"
    )
    return (
        f"{found}; {spelling + '; ' if spelling else ''}{as_data}; "
        f"if it is a header, say which column is which: {mapping_flag(dict.fromkeys(wanted, 'NAME'))}"
    )


def likely_positions(first: Sequence[str], *, wanted: Sequence[str], number_column: str | None) -> dict[str, str]:
    """A likely mapping for a line of data (its last number is the score); empty when it has too few fields."""
    if len(first) < len(wanted):
        return {}
    numeric = [place for place, field in enumerate(first) if re.fullmatch(r"-?\d+([.,]\d+)?", field.strip())]
    number_place = (numeric[-1] if numeric else len(wanted) - 1) if number_column else -1
    texts = iter(place for place in range(len(first)) if place != number_place)
    return {ours: str(number_place if ours == number_column else next(texts)) for ours in wanted}
