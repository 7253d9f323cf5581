"""Grow the example data from the hand-written language material in ``source/``.

    python data_samples/build.py            # write every file again
    python data_samples/build.py --check    # compare with the files on disk; exit code 1 when they differ

The README beside this file explains the frames, the scoring rule and the splits.
"""

import argparse
import logging
import random
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from frames import SLOT, Frame, Intent, Material, fold, read_material, score

HERE = Path(__file__).resolve().parent
SEED = 2024
LANGUAGES = ("en", "zh")
PAIRS = {"gold": 600, "dev": 250, "test": 400}
TRIPLETS = 300
SENTENCES = 2400
SITUATIONS = {"gold": 3, "dev": 3, "test": 3, "unlabelled": 12}
# Share of each grade in gold, dev and test.
GRADES = {0: 0.14, 0.5: 0.05, 1: 0.14, 2: 0.15, 2.5: 0.07, 3: 0.11, 3.5: 0.03, 4: 0.09, 4.5: 0.07, 5: 0.15}
# Share of each grade that is chosen to mislead a model that only counts shared words; the rest is random.
HARD_SHARE = 0.05
# Chance that a pair with score 5 from one and the same form is considered.
EASY_SHARE = 0.3
# Chance of each typing habit; what is left is written as the form stands.
HABITS = {"careless": 0.12, "slip": 0.12, "greeting": 0.08, "closing": 0.08}
WORDS = re.compile(r"[a-z0-9']+|[\u4e00-\u9fff]")
FRAME_COLUMNS = ("sentence", "split", "form", "topic", "object", "goal", "detail", "slots")


@dataclass(frozen=True)
class Sentence:
    """A sentence with the frame it was made from, the surface form it fills and its split."""

    text: str
    frame: Frame
    form: str
    split: str
    words: frozenset[str] = field(compare=False)


def split_forms(intent: Intent, *, index: int, rng: random.Random) -> dict[str, list[tuple[str, str]]]:
    """Give each surface form of an intent to one split, so that dev and test hold only forms that gold never shows."""
    if intent.only:
        return {intent.only: intent.forms}
    forms = rng.sample(intent.forms, len(intent.forms))
    test = 3 if len(forms) > 8 else 2
    third = "unlabelled" if index % 3 == 2 else "dev"
    return {"test": forms[:test], third: forms[test : test + 2], "gold": forms[test + 2 :]}


def situations(intent: Intent, lists: dict[str, list[list[str]]], *, count: int, rng: random.Random) -> list[dict]:
    """Values for an intent's slots: every second situation differs from the one before it in a single slot."""
    names = intent.slots
    found: list[dict[str, str]] = []
    for number in range(count if names else 1):
        if number % 2:
            values = dict(found[-1])
            name = rng.choice(names)
            if {"src", "dst"} <= set(names):
                values["src"], values["dst"] = values["dst"], values["src"]
            else:
                values[name] = rng.choice([v[0] for v in lists[name] if v[0] != values[name]])
        else:
            values = {name: rng.choice(lists[name])[0] for name in names}
            while "src" in values and values["src"] == values["dst"]:
                values["dst"] = rng.choice(lists["dst"])[0]
        found.append(values)
    return found


def write_sentence(form: str, values: dict[str, str], material: Material, *, rng: random.Random) -> str:
    """Fill a form, each value by one of its synonyms, and type it as some customers do."""
    words = {name: rng.choice(next(v for v in material.lists[name] if v[0] == value)) for name, value in values.items()}
    text = SLOT.sub(lambda match: words[match[1]], form)
    chinese = bool(re.search(r"[\u4e00-\u9fff]", text))
    habit = rng.choices([*HABITS, "none"], [*HABITS.values(), 1 - sum(HABITS.values())])[0]
    if habit == "careless":
        return re.sub(r"[，。！？]+", " ", text).strip() if chinese else text.lower().rstrip(".?!")
    if habit == "slip":
        # Word borders: Chinese writes none, so any occurrence counts there.
        border = "" if chinese else r"\b"
        slips = [(good, bad) for good, bad in material.lists["slip"] if re.search(border + good + border, text)]
        good, bad = rng.choice(slips) if slips else ("", "")
        return re.sub(border + good + border, bad, text, count=1) if good else text
    if len(WORDS.findall(text.lower())) < 8 or habit == "none":
        return text
    if habit == "greeting":
        return rng.choice(material.lists["greeting"])[0] + ("" if chinese else " ") + text
    stop = "" if text[-1] in ".?!？！。" else ("，" if chinese else ".")
    return text + stop + ("" if chinese else " ") + rng.choice(material.lists["closing"])[0]


def grow_pools(language: str) -> dict[str, list[Sentence]]:
    """All sentences of each split; no two of them, in any split, are the same after folding."""
    material = read_material(language)
    rng = random.Random(f"{SEED} pools {language}")
    pools: dict[str, list[Sentence]] = {name: [] for name in SITUATIONS}
    seen: set[str] = set()
    regular = 0
    for intent in material.intents:
        parts = split_forms(intent, index=regular, rng=rng)
        regular += not intent.only
        # Unlabelled text shows gold's forms too, with other values and other typing, and never those of dev and test.
        parts["unlabelled"] = parts.get("unlabelled", []) + parts.get("gold", [])
        for split in SITUATIONS:
            cases = situations(intent, material.lists, count=SITUATIONS[split], rng=rng)
            for form_id, form in parts.get(split, []):
                stated = SLOT.findall(form)
                # The first case is written twice: the same question with synonyms, a slip or a greeting scores 5.
                for values in [cases[0], *cases] if stated or split == "unlabelled" else cases[:1] * 2:
                    text = write_sentence(form, values, material, rng=rng)
                    if fold(text) in seen:
                        continue
                    seen.add(fold(text))
                    slots = tuple((name, values[name]) for name in sorted(set(stated)))
                    frame = Frame(*intent.frame.intent, slots)
                    words = frozenset(WORDS.findall(text.lower()))
                    pools[split].append(Sentence(text, frame, form_id, split, words))
    return pools


def overlap(a: Sentence, b: Sentence) -> float:
    """Share of the two sentences' words (characters in Chinese) that both have, 0 to 1."""
    return len(a.words & b.words) / len(a.words | b.words)


def candidates(pool: list[Sentence], *, rng: random.Random) -> dict[float, list[tuple[Sentence, Sentence]]]:
    """Pairs by score: all within a topic, and a random draw across topics."""
    found: dict[float, list[tuple[Sentence, Sentence]]] = {grade: [] for grade in GRADES}
    topics: dict[str, list[Sentence]] = {}
    for sentence in pool:
        topics.setdefault(sentence.frame.topic, []).append(sentence)
    for members in topics.values():
        for a, b in combinations(members, 2):
            grade = score(a.frame, b.frame)
            # Two fillings of one form that mean the same are the easy sort of 5: most of them are left out.
            if grade < 5 or a.form != b.form or rng.random() < EASY_SHARE:
                found[grade].append((a, b))
    for _ in range(4000):
        a, b = rng.sample(pool, 2)
        if a.frame.topic != b.frame.topic:
            found[score(a.frame, b.frame)].append((a, b))
    return found


def choose_pairs(pool: list[Sentence], *, count: int, rng: random.Random) -> list[tuple[Sentence, Sentence, float]]:
    """Scored pairs with the shares in ``GRADES``; within a grade, no intent and no sentence is used too often."""
    used: Counter[str] = Counter()
    chosen: list[tuple[Sentence, Sentence, float]] = []
    by_grade = candidates(pool, rng=rng)
    shares = {grade: round(share * count) for grade, share in GRADES.items()}
    shares[2] += count - sum(shares.values())
    taken: set[frozenset[str]] = set()
    for grade in sorted(GRADES, reverse=True):
        pairs = by_grade[grade]
        rng.shuffle(pairs)
        # Hard means few shared words for a high grade, many for a low one.
        hard = sorted(pairs, key=lambda pair: overlap(*pair), reverse=grade < 3.5)
        groups: Counter[frozenset[tuple[str, ...]]] = Counter()
        cap = 2 + shares[grade] // max(1, len({frozenset((a.frame.intent, b.frame.intent)) for a, b in pairs}))
        picked = 0
        for source, goal in ((hard, round(HARD_SHARE * shares[grade])), (pairs, shares[grade])):
            for a, b in source:
                if picked >= goal:
                    break
                group = frozenset((a.frame.intent, b.frame.intent))
                key = frozenset((a.text, b.text))
                if groups[group] >= cap or key in taken or used[a.text] >= 3 or used[b.text] >= 3:
                    continue
                taken.add(key)
                groups[group] += 1
                used.update((a.text, b.text))
                chosen.append((a, b, grade) if rng.random() < 0.5 else (b, a, grade))
                picked += 1
        if picked < shares[grade]:
            raise SystemExit(f"only {picked} of {shares[grade]} pairs with score {grade}: write more forms")
    rng.shuffle(chosen)
    return chosen


def choose_triplets(pool: list[Sentence], *, count: int, rng: random.Random) -> list[tuple[Sentence, ...]]:
    """Anchor, a paraphrase (score 5) with few shared words, and a contrast (score 2 to 3) with many."""
    triplets: list[tuple[Sentence, ...]] = []
    turns: dict[tuple[str, ...], list[Sentence]] = {}
    for anchor in rng.sample(pool, len(pool)):
        turns.setdefault(anchor.frame.intent, []).append(anchor)
    for number in range(max(map(len, turns.values()))):
        for anchors in turns.values():
            if number >= len(anchors) or len(triplets) == count:
                continue
            anchor = anchors[number]
            others = [s for s in pool if s.form != anchor.form and s.frame.topic == anchor.frame.topic]
            same = [s for s in others if score(anchor.frame, s.frame) == 5]
            near = [s for s in others if 2 <= score(anchor.frame, s.frame) <= 3]
            if same and near:
                positive = min(same, key=lambda s: (overlap(anchor, s), s.text))
                near.sort(key=lambda s: (-overlap(anchor, s), s.text))
                triplets.append((anchor, positive, rng.choice(near[:3])))
    return triplets


def choose_sentences(pool: list[Sentence], *, count: int, rng: random.Random) -> list[Sentence]:
    """Unlabelled sentences, each form in turn until there are enough."""
    forms: dict[str, list[Sentence]] = {}
    for sentence in rng.sample(pool, len(pool)):
        forms.setdefault(sentence.form, []).append(sentence)
    turns = range(max(map(len, forms.values())))
    ordered = [group[turn] for turn in turns for group in forms.values() if turn < len(group)]
    return rng.sample(ordered[:count], min(count, len(ordered)))


def table(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Tab-separated text without quoting."""
    return "".join("\t".join(map(str, row)) + "\n" for row in (tuple(header), *rows))


def build(language: str) -> Iterator[tuple[str, str]]:
    """File name and content of each file of one language."""
    pools = grow_pools(language)
    shown: dict[str, Sentence] = {}
    for split, count in PAIRS.items():
        pairs = choose_pairs(pools[split], count=count, rng=random.Random(f"{SEED} {split} {language}"))
        shown.update((s.text, s) for a, b, _ in pairs for s in (a, b))
        yield (
            f"{language}_{split}.tsv",
            table(("sentence1", "sentence2", "score"), ((a.text, b.text, f"{grade:g}") for a, b, grade in pairs)),
        )
    triplets = choose_triplets(pools["gold"], count=TRIPLETS, rng=random.Random(f"{SEED} triplets {language}"))
    shown.update((s.text, s) for triplet in triplets for s in triplet)
    texts = ((s.text for s in triplet) for triplet in triplets)
    yield f"{language}_triplets.tsv", table(("anchor", "positive", "negative"), texts)
    loose = choose_sentences(pools["unlabelled"], count=SENTENCES, rng=random.Random(f"{SEED} sentences {language}"))
    shown.update((s.text, s) for s in loose)
    yield f"{language}_sentences.txt", "".join(s.text + "\n" for s in loose)
    frames = (
        (s.text, s.split, s.form, *s.frame.intent, ";".join(f"{name}={value}" for name, value in s.frame.slots))
        for s in sorted(shown.values(), key=lambda s: (s.split, s.form, s.text))
    )
    yield f"{language}_frames.tsv", table(FRAME_COLUMNS, frames)


def main() -> int:
    """Write the files, or compare them; the exit code is 1 when a file differs."""
    parser = argparse.ArgumentParser(description="Grow the example data from source/.")
    parser.add_argument("--check", action="store_true", help="write nothing, compare with the files on disk")
    check = parser.parse_args().check
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    differing = 0
    for language in LANGUAGES:
        for name, content in build(language):
            path = HERE / name
            same = path.exists() and path.read_bytes() == content.encode()
            if check and not same:
                logging.error("%s differs from what build.py makes", name)
                differing += 1
            elif not check:
                path.write_bytes(content.encode())
                logging.info("%s: %d lines%s", name, content.count("\n"), "" if same else " (changed)")
    return int(differing > 0)


if __name__ == "__main__":
    sys.exit(main())
