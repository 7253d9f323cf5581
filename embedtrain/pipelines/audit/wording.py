"""What ``embedtrain audit`` found, for a terminal."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from embedtrain.data.findings import agreeing, counted, row_list
from embedtrain.data.values import likely_range

BAR = 40
_SHOWN_LABELS = 20
_SHOWN_TEXT = 100
_SHOWN_SCRIPTS = 4
# As in an adaptation: above it a model hardly reads the text at all.
UNKNOWN_SHARE = 0.05
CUT_SHARE = 0.05


def audit_text(found: Mapping[str, Any]) -> str:
    """Everything in sections; lines that ask for something to be done begin with ``!``."""
    parts = [_head(found["table"])]
    for lines in (
        _numbers(found["numbers"]),
        _texts(found),
        _tokens(found["tokens"]),
        _within(found),
        _against(found),
    ):
        block = "\n".join(lines)
        if block:
            parts.append(block)
    return "\n\n".join(parts)


def bars(counts: Mapping[str, int]) -> list[str]:
    """A line for each count with a bar, the longest as long as ``BAR``; none but zero is without one."""
    width = max(len(name) for name in counts)
    digits = max(len(f"{count:,}") for count in counts.values())
    most = max(counts.values()) or 1
    lengths = {name: max(1, round(BAR * count / most)) if count else 0 for name, count in counts.items()}
    return [
        f"  {name.rjust(width)}  {count:>{digits},}  {'█' * lengths[name]}".rstrip() for name, count in counts.items()
    ]


def _head(table: Mapping[str, Any]) -> str:
    kind = table["kind"] if table["rows"] != 1 else table["kind"].removesuffix("s")
    return f"{table['name']}: {table['rows']:,} {kind} ({', '.join(table['columns'])})"


def _numbers(numbers: Mapping[str, Any] | None) -> Iterator[str]:
    if numbers is None:
        return
    if numbers["column"] == "label":
        counts = numbers["counts"]
        yield f"labels: {len(counts):,} different, from {min(counts.values()):,} to {max(counts.values()):,} rows each"
        yield from bars(dict(list(counts.items())[:_SHOWN_LABELS]))
        if len(counts) > _SHOWN_LABELS:
            yield f"  and {len(counts) - _SHOWN_LABELS} more labels"
        if len(counts) == 1:
            yield "! one label throughout: there is nothing to tell apart"
        return
    lowest, highest = numbers["lowest"], numbers["highest"]
    yield f"scores: {lowest:g} to {highest:g}, mean {numbers['mean']:.2f}, {numbers['different']:,} different"
    if "counts" in numbers:
        yield from bars(numbers["counts"])
    else:
        edges, heights = numbers["bins"]["edges"], numbers["bins"]["counts"]
        yield from bars({f"{edges[at]:.4g} ... {edges[at + 1]:.4g}": height for at, height in enumerate(heights)})
    if lowest == highest:
        yield "! one score throughout: nothing can be learnt from it, or measured by it"
    elif lowest < 0 or highest > 1:
        likely = likely_range(lowest, highest)
        yield f"  training reads scores from 0 to 1: give --score-range LOW HIGH, such as {likely}"


def _texts(found: Mapping[str, Any]) -> Iterator[str]:
    texts, scripts = found["texts"], found["scripts"]
    yield f"texts: {texts['different']:,} different of {texts['cells']:,}"
    if scripts["letters"]:
        yield f"  letters: {_listed(scripts['letters'])}"
    if len(scripts["texts"]) > 1:
        yield f"  texts, by the script of most of their letters: {_listed(scripts['texts'])}"


def _tokens(tokens: Mapping[str, Any]) -> Iterator[str]:
    if "not_counted" in tokens:
        yield "tokens: not counted, no base model at hand; name one with --base"
        yield f"  {tokens['not_counted']}"
        return
    if not tokens["texts"]:
        return
    base = tokens["base"]
    yield f"tokens, as {base} has them, of {counted_large(tokens['texts'], 'text')}"
    yield f"  one text: {_lengths(tokens)}{_cut(tokens)}"
    if "pairs" in tokens:
        pairs = tokens["pairs"]
        yield f"  both texts of a pair, as a cross-encoder reads them: {_lengths(pairs)}{_cut(pairs)}"
    if not tokens["has_unknown_token"]:
        yield "  unknown: this tokenizer knows every character"
    else:
        share, texts = percent(tokens["unknown_share"]), percent(tokens["texts_with_unknown_share"])
        yield f"  unknown: {share} of the tokens, in {texts} of the texts"
        if tokens["unknown_share"] > UNKNOWN_SHARE:
            yield (
                f"! {base} cannot tell these words apart, whatever it is trained on: take a base model made for this "
                "language or script, such as BAAI/bge-small-zh-v1.5 for Chinese or "
                "intfloat/multilingual-e5-small for many"
            )
    if tokens["cut_share"] > CUT_SHARE:
        yield "! what stands behind the cut is not read: split the texts, or take a base model that reads longer ones"


def _within(found: Mapping[str, Any]) -> Iterator[str]:
    table = found["table"]
    noun = "pair" if "identical_sides" in found else "text"
    yield f"within {Path(table['name']).name}"
    empty, repeats = found["empty"], found["repeats"]
    conflicts, near = repeats["conflicts"], found["near_duplicates"]
    if empty["rows"]:
        rows = counted(empty["rows"], "row")
        yield f"! {rows} with an empty text: {row_list(empty['row_numbers'])}"
    else:
        yield "  no empty text"
    if repeats["rows"]:
        swapped = f", {repeats['swapped']} of them in both orders" if repeats["swapped"] else ""
        items, rows = _standing(repeats["items"], noun), counted_large(repeats["rows"], "row")
        yield f"! {items} more than once{swapped}: {rows} too many"
        yield from _examples(repeats["examples"])
    else:
        yield f"  no {noun} stands more than once"
    if conflicts["items"]:
        what = "labels" if found["numbers"]["column"] == "label" else "scores"
        apart = f", up to {conflicts['widest']:g} apart" if "widest" in conflicts else ""
        yield f"! {counted_large(conflicts['items'], noun)} with different {what}{apart}"
        yield from _examples(conflicts["examples"])
    same = found.get("identical_sides")
    if same and same["rows"]:
        yield f"  {counted_large(same['rows'], 'pair')} of a text with itself"
        yield from _examples(same["examples"])
    sides = ", sides of one row left out" if noun == "pair" else ""
    compared = f"; {near['compared']:,} of {near['of']:,} were compared" if near["compared"] < near["of"] else ""
    yield (
        f"  {counted_large(near['texts'], 'text')} of {near['of_texts']:,} with a near-duplicate (overlap of "
        f"{near['threshold']:g} or more{sides}{compared})"
    )
    yield from _twins(near["examples"])


def _against(found: Mapping[str, Any]) -> Iterator[str]:
    against = found.get("against")
    if against is None:
        return
    ours, theirs = Path(found["table"]["name"]).name, Path(against["table"]["name"]).name
    if ours == theirs:
        ours, theirs = found["table"]["name"], against["table"]["name"]
    table = against["table"]
    yield f"leakage: what of {theirs} ({table['rows']:,} {table['kind']}) stands in {ours}"
    shared = against.get("shared")
    noun = "pair" if "identical_sides" in found else "text"
    if shared is not None:
        if shared["items"]:
            kinds = (("exact", "as they are"), ("swapped", "in the other order"), ("folded", "but for case and spaces"))
            how = ", ".join(f"{shared[kind]} {words}" for kind, words in kinds if shared[kind])
            rows = f"{counted_large(shared['rows'], 'row')} of {shared['of_rows']:,}"
            share = percent(shared["rows"] / shared["of_rows"])
            yield f"! {counted_large(shared['items'], noun)} ({how}): {rows}, {share}"
            yield from _examples(shared["examples"])
        else:
            yield f"  no {noun}"
    texts, near = against["shared_texts"], against["near_duplicates"]
    if shared is None or noun == "pair":
        share = percent(texts["texts"] / max(1, texts["of_texts"]))
        yield f"  {counted_large(texts['texts'], 'text')} of {texts['of_texts']:,}, {share}"
        if texts["texts"] and noun == "pair":
            some, only = counted_large(texts["rows_with_one"], "row"), texts["rows_with_all"]
            yield f"    {some} with one of them at least, {only:,} with no other"
    pairs = f", and {counted_large(near['pairs'], 'pair')} of which both sides do" if near.get("pairs") else ""
    yield f"  {counted_large(near['texts'], 'more text')} nearly {agreeing_stand(near['texts'])} there{pairs}"
    yield from _twins(near["examples"])
    if shared and shared["items"] and noun == "pair":
        yield "  training leaves pairs out that stand in --dev or --test; single texts and near-duplicates it keeps"


def counted_large(count: int, noun: str) -> str:
    """``"1 pair"``, ``"1,200 pairs"``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def percent(share: float) -> str:
    """A share as a person reads it: ``0 %`` and ``100 %`` are exact."""
    if share in (0.0, 1.0):
        return f"{100 * share:.0f} %"
    if share < 0.001:
        return "less than 0.1 %"
    return f"{min(100 * share, 99.9):.1f} %"


def agreeing_stand(count: int) -> str:
    """``stands`` or ``stand``."""
    return agreeing(count, "stand")


def _standing(count: int, noun: str) -> str:
    return f"{counted_large(count, noun)} {agreeing_stand(count)}"


def _listed(shares: Mapping[str, float]) -> str:
    shown = list(shares.items())[:_SHOWN_SCRIPTS]
    rest = sum(share for _, share in list(shares.items())[_SHOWN_SCRIPTS:])
    return ", ".join(f"{name} {percent(share)}" for name, share in [*shown, *([("others", rest)] if rest else [])])


def _lengths(facts: Mapping[str, Any]) -> str:
    return f"median {facts['median']:.0f}, 95 % within {facts['p95']:.0f}, longest {facts['longest']:.0f}"


def _cut(facts: Mapping[str, Any]) -> str:
    if not facts["max_length"]:
        return "; read whole"
    return f"; read up to {facts['max_length']}, {percent(facts['cut_share'])} cut"


def _examples(examples: list[Mapping[str, Any]]) -> Iterator[str]:
    for case in examples:
        rows = row_list(case["rows"] if "rows" in case else [case["row"]])
        values = next((case[name] for name in ("scores", "labels") if name in case), None)
        said = f" ({', '.join(f'{v:g}' if isinstance(v, float) else str(v) for v in values)})" if values else ""
        other = f", there {row_list(case['other_rows'])}" if "other_rows" in case else ""
        texts = [value for name, value in case.items() if isinstance(value, str) and name != "match"]
        yield f"    {rows}{said}{other}: {' | '.join(map(_short, texts))}"


def _twins(examples: list[Mapping[str, Any]]) -> Iterator[str]:
    for case in examples:
        yield f"    {case['overlap']:.2f}: {_short(case['text'])} | {_short(case['other_text'])}"


def _short(text: str) -> str:
    printable = "".join(character if character.isprintable() else "�" for character in text)
    return printable if len(printable) <= _SHOWN_TEXT else f"{printable[:_SHOWN_TEXT]} ..."
