"""``embedtrain train`` from files to a model, for every kind of table, on a tiny model and part of the sample data."""

import dataclasses
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from conftest import SAMPLES
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from embedtrain.cli import main
from embedtrain.pipelines.train.options import TrainOptions
from embedtrain.pipelines.train.pipeline import train
from embedtrain.training.settings import TrainingSettings

SHORT = TrainingSettings(batch_size=16, min_steps=12, epochs=0.1, evaluations=3, patience=0, learning_rate=1e-3)
STAGES = ["read", "zero_shot", "train", "predict", "judge"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A file of each kind, and scored pairs to measure on."""
    folder = tmp_path_factory.mktemp("files")
    read = {
        name: pd.read_csv(SAMPLES / f"en_{name}.tsv", sep="\t", quoting=3)
        for name in ("gold", "dev", "test", "triplets", "frames")
    }
    gold, triplets = read["gold"].head(140), read["triplets"].head(140)
    frames = read["frames"].rename(columns={"sentence": "text", "topic": "label"})[["text", "label"]]
    words = gold["score"].map(lambda score: "no" if score < 2 else "perhaps" if score < 4 else "yes")
    tables = {
        "scored": gold,
        "labelled": gold.assign(label=(gold["score"] >= 3).astype(int)).drop(columns="score"),
        "classified": gold.assign(label=words).drop(columns="score"),
        "positive": triplets[["anchor", "positive"]],
        "triplets": triplets,
        "tuples": triplets.rename(columns={"negative": "negative_1"}).assign(
            negative_2=triplets["negative"].iloc[::-1].tolist()
        ),
        "sentences": frames.sample(160, random_state=0),
        "dev": read["dev"].head(40),
        "test": read["test"].head(60),
    }
    for name, table in tables.items():
        table.to_parquet(folder / f"{name}.parquet", index=False)
    return {name: str(folder / f"{name}.parquet") for name in tables}


@pytest.fixture
def options(files, tiny_model, tmp_path):
    return TrainOptions(
        data=[files["scored"]],
        dev=files["dev"],
        test=files["test"],
        output=str(tmp_path / "run"),
        score_range=(0, 5),
        base=str(tiny_model),
        training=SHORT,
        precision="fp32",
        device="cpu",
        bootstrap_samples=200,
    )


def changed(options, **values):
    return dataclasses.replace(options, **values)


def stages_run(caplog):
    return [line.split(":")[0] for line in caplog.messages if ": done in" in line]


def weights(folder):
    return load_file(folder / "model.safetensors")


def same_weights(first, second):
    a, b = weights(first), weights(second)
    return a.keys() == b.keys() and all((a[name] == b[name]).all() for name in a)


def history_of(result):
    return json.loads((result.model.parent / "stages" / "train" / "history.json").read_text())


def test_metrics_before_and_after_with_intervals(options, tiny_model):
    result = train(options)
    run = result.model.parent
    assert json.loads((run / "metrics.json").read_text()) == result.metrics
    assert list(result.metrics["models"]) == ["zero_shot", "trained"]
    for scores in result.metrics["models"].values():
        for split, rows in (("dev", 40), ("test", 60)):
            assert scores[split]["pairs"] == rows
            assert scores[split]["ci95"][0] <= scores[split]["spearman"] <= scores[split]["ci95"][1]
            assert -1 <= scores[split]["pearson"] <= 1
    assert set(result.metrics["seconds"]) == set(STAGES)
    low, high = result.metrics["paired_difference"]["ci95"]
    assert low <= result.metrics["paired_difference"]["difference"] <= high
    assert result.metrics["verdict"].startswith("Training ")
    assert history_of(result)["evaluations"][0]["step"] == 0
    dev = max(entry["spearman"] for entry in history_of(result)["evaluations"])
    assert result.metrics["models"]["trained"]["dev"]["spearman"] == pytest.approx(dev)
    assert dev > result.metrics["models"]["zero_shot"]["dev"]["spearman"]
    assert not same_weights(result.model, tiny_model)
    assert not (run / "checkpoints").exists()


def test_the_saved_model_gives_the_same_scores_in_plain_sentence_transformers(options, files):
    result = train(options)
    model = SentenceTransformer(str(result.model), device="cpu")
    test = pd.read_parquet(files["test"])
    first, second = model.encode(test["sentence1"].tolist()), model.encode(test["sentence2"].tolist())
    cosines = (first * second).sum(1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)
    expected = pd.Series(cosines).corr(test["score"], method="spearman")
    assert result.metrics["models"]["trained"]["test"]["spearman"] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("kind", "metric", "loss"),
    [
        ("scored", "spearman", "cosine"),
        ("labelled", "average_precision", "online-contrastive"),
        ("positive", "mrr", "mnrl"),
        ("triplets", "mrr", "mnrl"),
        ("tuples", "mrr", "mnrl"),
        ("sentences", "neighbour_accuracy", "supcon"),
    ],
)
def test_every_kind_trains_with_its_first_loss_and_dev_rows_of_its_own(options, files, kind, metric, loss, caplog):
    caplog.set_level(logging.INFO, logger="embedtrain")
    result = train(changed(options, data=[files[kind]], dev=None, test=None))
    assert f"loss {loss} (the first choice for" in caplog.text
    assert result.metrics["metrics"] == {"dev": {"name": metric, "label": result.metrics["metrics"]["dev"]["label"]}}
    before, after = (result.metrics["models"][name]["dev"] for name in ("zero_shot", "trained"))
    assert before["ci95"][0] <= before[metric] <= before["ci95"][1]
    assert after[metric] >= before[metric]
    assert result.metrics["paired_difference"]["split"] == "dev"
    assert any("no test set" in warning for warning in result.metrics["warnings"])
    stage = result.model.parent / "stages" / "read"
    trained, dev = pd.read_parquet(stage / "data_0.parquet"), pd.read_parquet(stage / "dev.parquet")
    assert len(dev) >= 40
    assert not set(trained["row"]) & set(dev["row"])
    assert history_of(result)["train_pairs"] == len(trained)


@pytest.mark.parametrize(
    ("kind", "loss", "more"),
    [
        ("scored", "cosent", {}),
        ("scored", "angle", {"batch_tokens": 600}),
        ("labelled", "contrastive", {}),
        ("labelled", "softmax", {}),
        ("classified", "softmax", {}),
        ("positive", "sigmoid", {}),
        ("positive", "gist", {"guide": True}),
        ("tuples", "gist", {"guide": True}),
        ("triplets", "triplet", {"gradient_accumulation": 2}),
        ("tuples", "mnrl", {"effective_batch": 48, "chunk_size": 8}),
        ("sentences", "batch-all", {}),
        ("sentences", "batch-hard", {"matryoshka": [16, 8]}),
        ("sentences", "batch-semi-hard", {"gradient_checkpointing": True}),
    ],
)
def test_the_other_losses_train_too(options, files, tiny_model, kind, loss, more):
    more = {**more, **({"guide": str(tiny_model)} if "guide" in more else {})}
    result = train(changed(options, data=[files[kind]], loss=[loss], **more))
    losses = [entry["loss"] for entry in history_of(result)["steps"]]
    assert len(losses) >= 10
    assert np.isfinite(losses).all()
    assert history_of(result)["evaluations"][-1]["step"] >= 12


@pytest.mark.parametrize(("kind", "metric"), [("labelled", "average_precision"), ("positive", "mrr")])
def test_what_chooses_the_weights_need_not_be_scored(options, files, tmp_path, kind, metric):
    dev = pd.read_parquet(files["positive"]).head(40)
    if kind == "labelled":
        scored = pd.read_parquet(files["dev"])
        dev = scored.assign(label=(scored["score"] >= 3).astype(int)).drop(columns="score")
    dev.to_parquet(tmp_path / "dev.parquet", index=False)
    result = train(changed(options, dev=str(tmp_path / "dev.parquet")))
    assert result.metrics["metrics"]["dev"]["name"] == metric
    assert result.metrics["metrics"]["test"]["name"] == "spearman"
    before, after = (result.metrics["models"][name]["dev"][metric] for name in ("zero_shot", "trained"))
    assert after >= before
    assert "spearman" in result.metrics["models"]["trained"]["test"]


def test_prompts_are_trained_with_chosen_by_and_kept(options, files, caplog):
    caplog.set_level(logging.INFO, logger="embedtrain")
    plain = changed(options, data=[files["triplets"]], dev=None)
    without = train(changed(plain, output=options.output + "-without"))
    prompts = {"query": "the question: ", "document": "the answer: "}
    result = train(changed(plain, prompts=prompts))
    assert "prompts before the texts: anchor 'the question: ', positive 'the answer: ', negative" in caplog.text
    model = SentenceTransformer(str(result.model), device="cpu")
    assert {name: model.prompts[name] for name in prompts} == prompts
    assert not same_weights(result.model, without.model)
    for page in (result.model / "README.md", result.report):
        shown = page.read_text(encoding="utf-8")
        assert "model.encode_query([" in shown
        assert "model.encode_document([" in shown
    assert "encode_query" not in (without.model / "README.md").read_text(encoding="utf-8")
    before, before_without = (r.metrics["models"]["zero_shot"]["dev"]["mrr"] for r in (result, without))
    assert before != before_without
    caplog.clear()
    train(changed(plain, prompts=prompts | {"document": "another: "}))
    assert stages_run(caplog)[:2] == ["zero_shot", "train"]


def test_two_tables_with_two_losses(options, files, caplog):
    caplog.set_level(logging.INFO, logger="embedtrain")
    for mix in ("proportional", "round-robin"):
        both = changed(options, data=[files["triplets"], files["scored"]], loss=["mnrl", "cosine"], mix=mix)
        result = train(both)
        assert history_of(result)["train_pairs"] > 250
    assert "train: run again" in caplog.text
    manifest = json.loads((result.model.parent / "manifest.json").read_text())
    assert manifest["losses"] == {files["triplets"]: "mnrl", files["scored"]: "cosine"}


def test_pairs_of_dev_and_test_are_not_trained_on(options, files, tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="embedtrain")
    scored, test = pd.read_parquet(files["scored"]), pd.read_parquet(files["test"])
    leaking = tmp_path / "leaking.parquet"
    pd.concat([scored, test.head(5), scored.head(3)]).to_parquet(leaking, index=False)
    result = train(changed(options, data=[str(leaking)]))
    kept = pd.read_parquet(result.model.parent / "stages" / "read" / "data_0.parquet")
    assert len(kept) == len(scored)
    assert f"stand in both {leaking} and test" in caplog.text
    assert "stand more than once" in caplog.text


def test_the_same_command_again_runs_nothing_and_a_change_only_what_depends_on_it(options, files, caplog):
    first = train(options)
    caplog.set_level(logging.INFO, logger="embedtrain")
    caplog.clear()  # what was logged before, where another test left the level as low
    again = train(options)
    assert stages_run(caplog) == []
    assert again.metrics == first.metrics
    train(changed(options, bootstrap_samples=300))
    assert stages_run(caplog) == ["judge"]
    caplog.clear()
    train(changed(options, report_to=[], save_every=3))
    assert stages_run(caplog) == ["judge"]
    caplog.clear()
    train(changed(options, loss=["cosent"]))
    assert stages_run(caplog) == ["train", "predict", "judge"]
    assert "train: run again, losses changed from ['cosine'] to ['cosent']" in caplog.text


def test_frozen_parameters_do_not_move(options, tiny_model):
    longer = dataclasses.replace(SHORT, min_steps=40, evaluations=8)
    result = train(changed(options, freeze=r"embeddings|layer\.0\.", training=longer))
    before, after = weights(tiny_model), weights(result.model)
    moved = {name for name in before if not (before[name] == after[name]).all()}
    assert moved
    assert not [name for name in moved if "embeddings" in name or "layer.0." in name]
    assert any("layer.1." in name for name in moved)


def test_lora_gives_a_plain_model_and_an_adapter_that_agree(options, tiny_model):
    pytest.importorskip("peft")
    result = train(changed(options, lora_rank=4, training=dataclasses.replace(SHORT, learning_rate=1e-2)))
    assert result.adapter == result.model.parent / "adapter"
    assert (result.adapter / "adapter_model.safetensors").is_file()
    assert set(weights(result.model)) == set(weights(tiny_model))
    assert not same_weights(result.model, tiny_model)
    texts = ["the radiator is cold", "how do i reset it"]
    merged = SentenceTransformer(str(result.model), device="cpu").encode(texts)
    adapted = SentenceTransformer(str(result.adapter), device="cpu").encode(texts)
    np.testing.assert_allclose(merged, adapted, atol=1e-5)
    without = train(options)
    assert without.adapter is None
    assert not (without.model.parent / "adapter").exists()


def test_the_best_of_several_seeds_goes_on(options, caplog):
    caplog.set_level(logging.INFO, logger="embedtrain")
    result = train(changed(options, seeds=3, keep_best_after=0.34))
    seeds = result.metrics["seeds"]
    assert [note["seed"] for note in seeds] == [42, 43, 44]
    assert {note["step"] for note in seeds} == {4}
    best = max(seeds, key=lambda note: note["spearman"])
    assert f"seed {best['seed']} goes on" in caplog.text
    assert len({note["spearman"] for note in seeds}) > 1
    assert history_of(result)["max_steps"] == 12
    assert max(entry["step"] for entry in history_of(result)["evaluations"]) == 12
    assert not (result.model.parent / "checkpoints").exists()
    # What the chosen seed becomes is what it would have become alone.
    alone = train(changed(options, seed=best["seed"], output=options.output + "_alone"))
    assert same_weights(alone.model, result.model)


def killed_in(options, *, ready, timeout=150):
    """Start the run in a process of its own and kill it once ``ready`` says so."""
    script = (
        "from embedtrain.pipelines.train.pipeline import train\n"
        "from embedtrain.pipelines.train.options import TrainOptions\n"
        "from embedtrain.training.settings import TrainingSettings\n"
        f"train({options!r})\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + timeout
    while not ready():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_a_training_that_was_killed_goes_on_from_its_checkpoint_and_a_changed_one_begins_anew(
    options, tmp_path, caplog
):
    longer = changed(options, training=dataclasses.replace(SHORT, min_steps=60, evaluations=6))
    cut = changed(longer, output=str(tmp_path / "cut"))
    checkpoints = tmp_path / "cut" / "checkpoints"
    killed_in(cut, ready=lambda: any(checkpoints.glob("*/seed_42/checkpoint-*/whole.json")))
    assert not (tmp_path / "cut" / "stages" / "train").exists()
    shutil.copytree(tmp_path / "cut", tmp_path / "changed")
    caplog.set_level(logging.INFO, logger="embedtrain")
    finished = train(cut)
    assert stages_run(caplog) == ["train", "predict", "judge"]
    assert re.search(r"going on from step \d0 of 60", caplog.text)
    assert same_weights(finished.model, train(changed(longer, output=str(tmp_path / "whole"))).model)
    assert not checkpoints.exists()
    caplog.clear()
    other = changed(longer, training=dataclasses.replace(longer.training, learning_rate=5e-4))
    begun_anew = train(changed(other, output=str(tmp_path / "changed")))
    assert "going on from step" not in caplog.text
    assert not same_weights(begun_anew.model, finished.model)
    assert not (tmp_path / "changed" / "checkpoints").exists()


def test_the_command_shows_the_results(options, files, tiny_model, capsys, tmp_path):
    words = [
        "train",
        "--data",
        files["positive"],
        files["scored"],
        "--loss",
        "mnrl",
        "cosine",
        "--base",
        str(tiny_model),
    ]
    words += [
        "--dev",
        files["dev"],
        "--test",
        files["test"],
        "--score-range",
        "0",
        "5",
        "--output",
        str(tmp_path / "r"),
    ]
    words += ["--training.min-steps", "6", "--training.epochs", "0.1", "--training.evaluations", "2", "--device", "cpu"]
    words += [
        "--precision",
        "fp32",
        "--gradient-checkpointing",
        "--matryoshka",
        "8",
        "16",
        "--bootstrap-samples",
        "200",
    ]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "Spearman, dev" in shown
    assert "before training" in shown
    assert "95 % interval" in shown
    assert str(tmp_path / "r" / "model") in shown
    assert f"report   {tmp_path / 'r' / 'report.html'}" in shown
    page = (tmp_path / "r" / "report.html").read_text()
    assert page.count("<svg") == 2
    assert 'class="missing"' not in page
