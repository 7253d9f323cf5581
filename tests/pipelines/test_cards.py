"""The card that an adaptation leaves with its model, held against the run, its files and the model itself."""

import json
import re

import pandas as pd
import pytest
import yaml
from conftest import SAMPLES
from sentence_transformers import SentenceTransformer, util

from embedtrain.evaluation.statistics import spearman
from embedtrain.files import sha256_of_file
from embedtrain.pipelines.adapt.options import AdaptOptions, TSDAEOptions
from embedtrain.pipelines.adapt.pipeline import adapt
from embedtrain.training.settings import TrainingSettings

SHORT = TrainingSettings(batch_size=8, min_steps=8, epochs=0.01, evaluations=2, patience=0, learning_rate=1e-3)
COLUMNS = {"sentence1": "问题/一", "sentence2": "question <2>"}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Chinese sentences, and pairs with columns of other names; of gold a row repeats, of dev one lacks a text."""
    folder = tmp_path_factory.mktemp("客服 files")
    lines = (SAMPLES / "zh_sentences.txt").read_text(encoding="utf-8").splitlines()
    (folder / "句子.txt").write_text("\n".join([*lines[:100], "A sentence in English."]), encoding="utf-8")
    for name, rows in (("gold", 60), ("dev", 40), ("test", 60)):
        pairs = pd.read_csv(SAMPLES / f"zh_{name}.tsv", sep="\t", quoting=3).head(rows)
        if name == "gold":
            pairs = pd.concat([pairs, pairs.head(1)])
        if name == "dev":
            pairs.loc[3, "sentence2"] = " "
        pairs.rename(columns=COLUMNS).to_csv(folder / f"{name}.tsv", sep="\t", index=False)
    return folder


@pytest.fixture(scope="module")
def shared(tiny_chinese_model):
    return {
        "base": str(tiny_chinese_model), "adaptation": SHORT, "device": "cpu", "precision": "fp32",
        "bootstrap_samples": 100,
    }  # fmt: skip


@pytest.fixture(scope="module")
def adapted(files, shared, tmp_path_factory):
    """A domain adaptation with everything, and its card."""
    tables = {name: str(files / f"{name}.tsv") for name in ("gold", "dev", "test")}
    options = AdaptOptions(
        sentences=str(files / "句子.txt"), **tables, output=str(tmp_path_factory.mktemp("adapt") / "run"),
        score_range=(0, 5), columns=COLUMNS, arms=["mlm", "tsdae"], supervised=SHORT, **shared,
    )  # fmt: skip
    result = adapt(options)
    return result, (result.model / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def denoised(files, shared, tmp_path_factory):
    """TSDAE on text alone, and its card."""
    output = str(tmp_path_factory.mktemp("tsdae") / "run")
    result = adapt(TSDAEOptions(sentences=str(files / "句子.txt"), output=output, **shared))
    return result, (result.model / "README.md").read_text(encoding="utf-8")


def front_matter(card):
    assert card.startswith("---\n")
    return yaml.safe_load(card.split("---\n")[1])


def recipe(card):
    return yaml.safe_load(re.search(r"```yaml\n(.*?)```", card, flags=re.DOTALL)[1])


def rows_of(card, heading):
    """The rows of the first table under a heading, by their first cell."""
    part = card.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines() if line[:1] == "|"]
    return {row[0]: row[1:] for row in rows[2:]}


def hundredfold(value):
    return f"{100 * value:.2f}".replace("-", "−")


@pytest.mark.parametrize(("made", "command"), [("adapted", "adapt"), ("denoised", "tsdae")])
def test_front_matter_files_and_model_are_those_of_the_run(request, files, made, command):
    result, card = request.getfixturevalue(made)
    front = front_matter(card)
    assert front == {
        "library_name": "sentence-transformers",
        "pipeline_tag": "sentence-similarity",
        "tags": ["sentence-transformers", "sentence-similarity", "feature-extraction", "embedtrain", command],
    }
    assert f"The command was `embedtrain {command} --config config.yaml`" in card
    given = {"sentences": "句子.txt"}
    if made == "adapted":
        given |= {name: f"{name}.tsv" for name in ("gold", "dev", "test")}
    assert rows_of(card, "Data").keys() >= given.keys()
    for role, name in given.items():
        digest = sha256_of_file(files / name)[:16]
        assert f"| {role} | <code>{name}</code> | <code>{digest}</code> |" in card
    model = SentenceTransformer(str(result.model), device="cpu")
    assert f"vectors of {model.encode('一').shape[0]} numbers whose {model.similarity_fn_name} similarity" in card
    assert f"it reads the first {model.max_seq_length} tokens" in card
    assert str(files.parent) not in card
    assert str(result.model.parent) not in card
    packages = json.loads((result.model.parent / "manifest.json").read_text())["packages"]
    assert f"sentence-transformers {packages['sentence-transformers']}" in card


def test_rows_and_what_was_dropped_are_those_of_the_audit(adapted):
    result, card = adapted
    audit = json.loads((result.model.parent / "stages" / "read" / "audit.json").read_text())
    for name, rows in audit["tables"].items():
        shown = name.rsplit("/", 1)[-1]
        assert f"| <code>{shown}</code> | {rows['rows_read']} | {rows['rows_kept']} |" in card
    dropped = [finding for finding in audit["findings"] if finding["dropped"]]
    assert {finding["kind"] for finding in dropped} >= {"repeated_pair", "empty_text"}
    for finding in dropped:
        rows = "1 row" if finding["dropped"] == 1 else f"{finding['dropped']} rows"
        assert f"- {rows} dropped from" in card
        assert f": {finding['kind'].replace('_', ' ')}" in card
    assert "Han 99." in card
    assert "Latin 1.0" in card


def test_the_recipe_is_the_configuration_without_places(adapted, denoised, files):
    result, card = adapted
    told = recipe(card)
    config = yaml.safe_load((result.model.parent / "config.yaml").read_text(encoding="utf-8"))
    assert told["columns"] == config["columns"] == COLUMNS
    assert told["sentences"] == "句子.txt"
    assert told["arms"] == ["mlm", "tsdae"]
    for name in ("adaptation", "supervised", "noise", "delete_ratio", "score_range", "seed", "pooling", "precision"):
        assert told[name] == config[name], name
    assert "output" not in told
    told = recipe(denoised[1])
    assert told["arms"] == ["tsdae"]
    assert "gold" not in told


def test_the_scores_are_those_of_the_run_and_of_the_model_that_lies_there(adapted, files):
    result, card = adapted
    metrics = result.metrics
    names = {
        "zero_shot": "Zero-shot", "mlm": "MLM", "tsdae": "TSDAE", "gold": "Gold only", "mlm+gold": "MLM → gold",
        "tsdae+gold": "TSDAE → gold",
    }  # fmt: skip
    assert list(metrics["models"]) == list(names)
    shown = rows_of(card, "Scores")
    assert len(shown) == len(names)
    for model, scores in metrics["models"].items():
        mine = " (this model)" if model == metrics["winner"] else ""
        for cell, split in zip(shown[names[model] + mine], ("test", "dev"), strict=True):
            low, high = (f"{100 * end:.1f}".replace("-", "−") for end in scores[split]["ci95"])
            assert cell == f"{hundredfold(scores[split]['spearman'])} [{low}, {high}]"
    for entry in metrics["differences"]:
        assert f"- {names[entry['model']]} minus Gold only, on test: " in card
    test = pd.read_csv(files / "test.tsv", sep="\t").rename(columns={theirs: ours for ours, theirs in COLUMNS.items()})
    model = SentenceTransformer(str(result.model), device="cpu")
    vectors = [model.encode(test[column].tolist()) for column in ("sentence1", "sentence2")]
    measured = spearman(util.pairwise_cos_sim(*vectors).numpy(), test["score"].to_numpy())
    printed = shown[f"{names[metrics['winner']]} (this model)"][0].split(" ")[0]
    assert float(printed.replace("−", "-")) == pytest.approx(100 * measured, abs=0.02)
    assert "no test set" not in card


def test_of_text_alone_the_card_claims_no_score(denoised):
    _, card = denoised
    assert "Nothing was measured" in card
    assert "There was no test set" in card
    assert "what was kept is: TSDAE." in card
    assert "(this model)" not in card
    assert "by [TSDAE](https://arxiv.org/abs/2104.06979)" in card
