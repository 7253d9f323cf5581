"""What the page on an audited table shows, section by section."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from embedtrain.report import data_plots, wording
from embedtrain.report.reading import entries, mapping

LABELS_SHOWN = 40
# What an example says of its rows comes first, its texts after.
_ROWS = {"row": "row", "rows": "row", "other_rows": "row there", "scores": "scores", "labels": "labels",
         "overlap": "overlap", "match": "how"}  # fmt: skip
_TWINS = {"text": "text", "other_text": "its near-duplicate"}
_MATCHES = {"exact": "as it is", "swapped": "in the other order", "folded": "but for case and spaces"}


def overview(found: Mapping[str, Any], *, to_do: Sequence[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that the template asks for.

    Args:
        found: What ``embedtrain audit`` found.
        to_do: Sentences on what should be done about it.
        options: Of the audit, by name.
    """
    table = mapping(found["table"])
    noun = table["kind"] if table["rows"] != 1 else table["kind"].removesuffix("s")
    return {
        "name": PurePath(table["name"]).name or table["name"],
        "path": table["name"],
        "headline": f"{wording.count(table['rows'])} {noun}",
        "to_do": to_do,
        "columns": found["columns"],
        "texts": found["texts"],
        "numbers": _numbers(found["numbers"]),
        "scripts": _scripts(found["scripts"]),
        "tokens": _tokens(found["tokens"]),
        "within": _within(found),
        "against": _against(found),
        "settings": wording.flattened(dict(options)),
    }


def _numbers(numbers: Mapping[str, Any] | None) -> dict[str, Any]:
    if numbers is None:
        return {}
    if numbers["column"] != "label":
        return {**numbers, "plot": data_plots.score_counts(numbers)}
    most = max(numbers["counts"].values(), default=1)
    shown = list(numbers["counts"].items())[:LABELS_SHOWN]
    rows = [{"label": label, "rows": count, "width": count / most} for label, count in shown]
    return {**numbers, "rows": rows, "more": len(numbers["counts"]) - len(rows)}


def _scripts(scripts: Mapping[str, Any]) -> list[dict[str, Any]]:
    letters, texts = mapping(scripts["letters"]), mapping(scripts["texts"])
    if not letters:
        return []
    return [
        {"script": name, "letters": letters.get(name), "texts": texts.get(name)}
        for name in dict.fromkeys([*letters, *texts])
    ]


def _tokens(tokens: Mapping[str, Any]) -> dict[str, Any]:
    counted = [("texts", "One text", tokens), ("pairs", "Both texts of a pair", mapping(tokens.get("pairs")))]
    rows = [
        {
            **facts,
            "what": what,
            "plot": data_plots.token_lengths(
                facts["bins"], limit=facts["max_length"], counted=counts, name=f"data-{counts}"
            ),
            "longer": facts["bins"]["longer"],
            "counts": counts,
        }
        for counts, what, facts in counted
        if mapping(facts.get("bins")).get("counts")
    ]
    return {**tokens, "rows": rows}


def _within(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each thing that was looked for in the table, whether it was found or not."""
    noun = "pair" if "identical_sides" in found else "text"
    repeats, near = found["repeats"], found["near_duplicates"]
    conflicts, same = repeats["conflicts"], mapping(found.get("identical_sides"))
    empty = found["empty"]
    swapped = f", {wording.count(repeats['swapped'])} of them in both orders" if repeats["swapped"] else ""
    checks = [
        _check("Empty texts", empty["rows"], "row", "with an empty text", _row_list(empty["row_numbers"])),
        _check(
            "Repeats",
            repeats["items"],
            noun,
            f"more than once{swapped}",
            f"{_counted(repeats['rows'], 'row')} too many" if repeats["rows"] else "",
            repeats["examples"],
        ),
    ]
    if found["numbers"] is not None:
        what = "labels" if found["numbers"]["column"] == "label" else "scores"
        apart = f"up to {conflicts['widest']:g} apart" if "widest" in conflicts else ""
        title = f"Conflicting {what}"
        checks.append(_check(title, conflicts["items"], noun, f"with different {what}", apart, conflicts["examples"]))
    if same:
        checks.append(_check("Identical sides", same["rows"], "pair", "of a text with itself", "", same["examples"]))
    sides = "; two sides of one row do not count" if noun == "pair" else ""
    checks.append(
        _check(
            "Near-duplicates",
            near["texts"],
            "text",
            f"of {wording.count(near['of_texts'])} with one",
            f"overlap of {near['threshold']:g} or more{sides}{_compared(near)}",
            near["examples"],
        )
    )
    return checks


def _against(found: Mapping[str, Any]) -> dict[str, Any]:
    against = mapping(found.get("against"))
    if not against:
        return {}
    noun = "pair" if "identical_sides" in found else "text"
    shared, texts, near = mapping(against.get("shared")), against["shared_texts"], against["near_duplicates"]
    checks = []
    if shared:
        how = ", ".join(f"{wording.count(shared[one])} {words}" for one, words in _MATCHES.items() if shared[one])
        share = shared["rows"] / max(1, shared["of_rows"])
        rows = f"{wording.count(shared['rows'])} of {wording.count(shared['of_rows'])} rows, {wording.share(share)}"
        checks.append(
            _check(
                f"The same {noun}s",
                shared["items"],
                noun,
                "of it that the table has, too",
                f"{how}: {rows}" if how else "",
                shared["examples"],
            )
        )
    if not shared or noun == "pair":
        of = f"of {wording.count(texts['of_texts'])} that the table has, too"
        rows = f"{_counted(texts['rows_with_one'], 'row')} with one of them at least" if texts["texts"] else ""
        checks.append(_check("The same texts", texts["texts"], "text", of, rows))
    pairs = f"{_counted(near['pairs'], 'pair')} of which both sides are" if near.get("pairs") else ""
    checks.append(_check("Near-duplicates", near["texts"], "more text", "nearly in the table", pairs, near["examples"]))
    return {"table": against["table"], "checks": checks}


def _check(
    title: str, count: int, noun: str, what: str, more: str = "", examples: Sequence[Any] = ()
) -> dict[str, Any]:
    shown = [_example(one) for one in entries(list(examples))]
    columns = list(dict.fromkeys(column for one in shown for column in one))
    found = f"{_counted(count, noun) if count else f'no {noun}'} {what}"
    return {"title": title, "found": found, "more": more, "examples": shown, "columns": columns}


def _example(case: Mapping[str, Any]) -> dict[str, str]:
    """An example as the cells of a row, by heading."""
    cells: dict[str, str] = {}
    for key, heading in _ROWS.items():
        if key in case:
            value = case[key]
            said = _row_list(value) if "row" in key else value
            said = ", ".join(map(wording.plain, said)) if isinstance(said, list) else said
            if key == "overlap":
                said = wording.decimal(said)
            cells[heading] = _MATCHES.get(str(said), said) if key == "match" else wording.plain(said)
    texts = {key: value for key, value in case.items() if key not in _ROWS}
    return cells | {_TWINS.get(key, key): str(value) for key, value in texts.items()}


def _counted(count: int, noun: str) -> str:
    return f"{wording.count(count)} {noun}{'' if count == 1 else 's'}"


def _row_list(rows: Any) -> str:
    listed = rows if isinstance(rows, list) else [rows]
    shown = ", ".join(wording.count(row) for row in listed[:8])
    return f"{shown} and {len(listed) - 8} more" if len(listed) > 8 else shown


def _compared(near: Mapping[str, Any]) -> str:
    if near["compared"] >= near["of"]:
        return ""
    return f"; {wording.count(near['compared'])} of {wording.count(near['of'])} were compared"
