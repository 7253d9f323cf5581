"""The example data obeys its own rules: counts, range, the scoring rule, held-out sentences and forms, regrowth."""

import csv
import importlib
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

SAMPLES = Path(__file__).parent.parent / "data_samples"
LANGUAGES = ("en", "zh")
LABELLED = ("gold", "dev", "test")
EXPECTED = {"gold": 600, "dev": 250, "test": 400, "triplets": 300}


@pytest.fixture(scope="module")
def rules():
    """The module with the scoring rule, imported as build.py imports it: from its own folder."""
    sys.path.insert(0, str(SAMPLES))
    try:
        yield importlib.import_module("frames")
    finally:
        sys.path.remove(str(SAMPLES))


def read_rows(name: str) -> list[dict[str, str]]:
    with (SAMPLES / name).open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle, delimiter="\t", quoting=csv.QUOTE_NONE))


def read_sentences(language: str) -> list[str]:
    return (SAMPLES / f"{language}_sentences.txt").read_text(encoding="utf-8").splitlines()


def texts_of(language: str, split: str) -> set[str]:
    columns = ("anchor", "positive", "negative") if split == "triplets" else ("sentence1", "sentence2")
    return {row[column] for row in read_rows(f"{language}_{split}.tsv") for column in columns}


def frames_of(language: str, rules) -> dict:
    frames = {}
    for row in read_rows(f"{language}_frames.tsv"):
        slots = tuple(tuple(pair.split("=", 1)) for pair in row["slots"].split(";") if pair)
        frame = rules.Frame(row["topic"], row["object"], row["goal"], row["detail"], slots)
        assert row["sentence"] not in frames
        frames[row["sentence"]] = (frame, row["form"], row["split"])
    return frames


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("split", EXPECTED)
def test_tables_have_their_counts_and_plain_cells(language, split):
    rows = read_rows(f"{language}_{split}.tsv")
    columns = ["anchor", "positive", "negative"] if split == "triplets" else ["sentence1", "sentence2", "score"]
    assert len(rows) == EXPECTED[split]
    for row in rows:
        assert list(row) == columns
        assert all(cell and cell == cell.strip() and '"' not in cell for cell in row.values())
        assert len(set(row.values())) == 3


@pytest.mark.parametrize("language", LANGUAGES)
def test_unlabelled_sentences_are_many_and_unique(language, rules):
    sentences = read_sentences(language)
    assert len(sentences) >= 2000
    assert len({rules.fold(text) for text in sentences}) == len(sentences)
    assert not any("\t" in text or '"' in text or not text.strip() for text in sentences)


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_pair_occurs_twice_in_a_split(language):
    for split in LABELLED:
        pairs = [frozenset((row["sentence1"], row["sentence2"])) for row in read_rows(f"{language}_{split}.tsv")]
        assert len(set(pairs)) == len(pairs)


@pytest.mark.parametrize("language", LANGUAGES)
def test_dev_and_test_share_no_sentence_with_anything_else(language, rules):
    parts = {split: texts_of(language, split) for split in EXPECTED} | {"sentences": set(read_sentences(language))}
    folded = {name: {rules.fold(text) for text in texts} for name, texts in parts.items()}
    for held_out in ("dev", "test"):
        for other in folded.keys() - {held_out}:
            assert not folded[held_out] & folded[other], (held_out, other)


@pytest.mark.parametrize("language", LANGUAGES)
def test_dev_and_test_use_surface_forms_of_their_own(language, rules):
    frames = frames_of(language, rules)
    forms = {split: {frames[text][1] for text in texts_of(language, split)} for split in EXPECTED}
    forms["sentences"] = {frames[text][1] for text in read_sentences(language)}
    for held_out in ("dev", "test"):
        for other in forms.keys() - {held_out}:
            assert not forms[held_out] & forms[other], (held_out, other)
    intents = {split: {frames[text][0].intent for text in texts_of(language, split)} for split in LABELLED}
    assert intents["test"] - intents["gold"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_scores_follow_the_rule_from_the_recorded_frames(language, rules):
    frames = frames_of(language, rules)
    for split in LABELLED:
        for row in read_rows(f"{language}_{split}.tsv"):
            (left, _, left_split), (right, _, right_split) = frames[row["sentence1"]], frames[row["sentence2"]]
            assert left_split == right_split == split
            assert float(row["score"]) == rules.score(left, right) == rules.score(right, left)
            assert re.fullmatch(r"[0-5](\.5)?", row["score"])
    for row in read_rows(f"{language}_triplets.tsv"):
        anchor, positive, negative = (frames[row[name]][0] for name in ("anchor", "positive", "negative"))
        assert rules.score(anchor, positive) == 5
        assert 2 <= rules.score(anchor, negative) <= 3


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("split", LABELLED)
def test_every_grade_is_well_represented(language, split):
    rows = read_rows(f"{language}_{split}.tsv")
    counts = Counter(int(float(row["score"]) + 0.5) for row in rows)
    assert set(counts) == {0, 1, 2, 3, 4, 5}
    assert min(counts.values()) >= 0.1 * len(rows)


def test_rule_gives_each_grade_its_meaning(rules):
    def score(other, **changes):
        values = {"topic": "t", "object": "o", "goal": "g", "detail": "d", "slots": (("room", "loft"),)}
        return rules.score(rules.Frame(**values), rules.Frame(**{**values, **other, **changes}))

    assert score({}) == 5
    assert score({"slots": ()}) == 4.5
    assert score({"slots": (("room", "kitchen"),)}) == 4
    assert score({"slots": (("room", "kitchen"), ("day", "Monday"))}) == 3.5
    assert score({"detail": "other"}) == 3
    assert score({"detail": "other", "slots": ()}) == 2.5
    assert score({"goal": "other"}) == score({"object": "other"}) == 2
    assert score({"goal": "other", "object": "other"}) == 1
    assert score({"topic": "other"}) == 0.5
    assert score({"topic": "other", "goal": "other"}) == 0
    codes = [rules.Frame("t", "o", "g", "d", (("code", code),)) for code in ("E17", "E71")]
    assert rules.score(*codes) == 3


@pytest.mark.parametrize(("language", "intents", "forms"), [("en", 60, 6), ("zh", 40, 6)])
def test_language_material_is_wide_and_consistent(language, intents, forms, rules):
    material = rules.read_material(language)
    assert len(material.intents) >= intents
    assert min(len(intent.forms) for intent in material.intents) >= forms
    assert len({intent.frame for intent in material.intents}) == len(material.intents)
    for intent in material.intents:
        assert intent.only in {"", "test", "unlabelled"}
        assert set(intent.slots) <= material.lists.keys()
        for key in set(intent.slots) & rules.KEY_SLOTS:
            assert all("{" + key + "}" in form for _, form in intent.forms), intent.frame
    written = Counter(rules.fold(form) for intent in material.intents for _, form in intent.forms)
    assert max(written.values()) == 1


def test_files_are_what_the_generator_makes():
    command = [sys.executable, str(SAMPLES / "build.py"), "--check"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, env={"PYTHONHASHSEED": "7"})
    assert result.returncode == 0, result.stderr


def test_readme_states_the_counts():
    readme = (SAMPLES / "README.md").read_text(encoding="utf-8")
    for language in LANGUAGES:
        for name in [*(f"{language}_{split}.tsv" for split in EXPECTED), f"{language}_sentences.txt"]:
            text = (SAMPLES / name).read_text(encoding="utf-8")
            rows = text.count("\n") - name.endswith(".tsv")
            assert re.search(rf"\| `{re.escape(name)}` \|[^\n]*\| {rows:,} \|", readme), (name, rows)


def test_readme_examples_have_the_scores_it_gives_them(rules):
    readme = (SAMPLES / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\d.]+) \|[^|]*\| \*(.+)\* / \*(.+)\* \| \*(.+)\* / \*(.+)\* \|$", readme, flags=re.M)
    assert {float(row[0]) for row in rows} == {0, 0.5, 1, 2, 2.5, 3, 3.5, 4, 4.5, 5}
    english, chinese = (frames_of(language, rules) for language in LANGUAGES)
    for grade, *texts in rows:
        assert rules.score(english[texts[0]][0], english[texts[1]][0]) == float(grade), texts
        assert rules.score(chinese[texts[2]][0], chinese[texts[3]][0]) == float(grade), texts


def test_readme_states_the_size_of_the_source(rules):
    readme = (SAMPLES / "README.md").read_text(encoding="utf-8")
    for language in LANGUAGES:
        intents = rules.read_material(language).intents
        forms = sum(len(intent.forms) for intent in intents)
        assert re.search(rf"source/{language}\.txt` \({len(intents)}\s+intents, {forms:,} forms\)", readme)
