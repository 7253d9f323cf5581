"""``embedtrain adapt`` and ``embedtrain tsdae`` from raw text to a model, on tiny models and the sample data."""

import dataclasses
import json
import logging
import os
import re
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
from embedtrain.evaluation.holdout import LabelledPairsDev
from embedtrain.pipelines.adapt.judging import judge_adaptation
from embedtrain.pipelines.adapt.options import AdaptOptions, TSDAEOptions
from embedtrain.pipelines.adapt.pipeline import adapt
from embedtrain.training.settings import TrainingSettings

SHORT = TrainingSettings(batch_size=8, min_steps=8, epochs=0.01, evaluations=2, patience=0, learning_rate=1e-3)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Chinese sentences and pairs of the sample data, few of them."""
    folder = tmp_path_factory.mktemp("files")
    lines = (SAMPLES / "zh_sentences.txt").read_text(encoding="utf-8").splitlines()
    (folder / "sentences.txt").write_text("\n".join(lines[:120]), encoding="utf-8")
    for name, rows in (("gold", 120), ("dev", 40), ("test", 60)):
        pairs = pd.read_csv(SAMPLES / f"zh_{name}.tsv", sep="\t", quoting=3).head(rows)
        pairs.to_csv(folder / f"{name}.tsv", sep="\t", index=False, quoting=3)
        labelled = pairs.assign(label=(pairs["score"] >= 3).astype(int)).drop(columns="score")
        labelled.to_csv(folder / f"{name}_labels.tsv", sep="\t", index=False, quoting=3)
    return {path.stem: str(path) for path in folder.iterdir()}


@pytest.fixture
def options(files, tiny_chinese_model, tmp_path):
    return AdaptOptions(
        sentences=files["sentences"],
        gold=files["gold"],
        dev=files["dev"],
        test=files["test"],
        output=str(tmp_path / "run"),
        score_range=(0, 5),
        base=str(tiny_chinese_model),
        adaptation=SHORT,
        supervised=SHORT,
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


def test_all_arms_with_gold_beside_each_other(options, caplog):
    caplog.set_level(logging.INFO, logger="embedtrain")
    result = adapt(options)
    run = result.model.parent
    arms = ["mlm", "tsdae", "simcse"]
    assert list(result.metrics["models"]) == ["zero_shot", *arms, "gold", *(f"{arm}+gold" for arm in arms)]
    assert json.loads((run / "metrics.json").read_text()) == result.metrics
    assert result.metrics["baseline"] == "gold"
    assert [entry["model"] for entry in result.metrics["differences"]] == [f"{arm}+gold" for arm in arms]
    for scores in result.metrics["models"].values():
        for split, rows in (("dev", 40), ("test", 60)):
            assert scores[split]["pairs"] == rows
            assert scores[split]["ci95"][0] <= scores[split]["spearman"] <= scores[split]["ci95"][1]
    for entry in result.metrics["differences"]:
        models = result.metrics["models"]
        difference = models[entry["model"]]["test"]["spearman"] - models["gold"]["test"]["spearman"]
        assert entry["difference"] == pytest.approx(difference)
        assert entry["ci95"][0] <= entry["difference"] <= entry["ci95"][1]
    dev = {model: scores["dev"]["spearman"] for model, scores in result.metrics["models"].items()}
    winner = result.metrics["winner"]
    assert dev[winner] == max(dev.values())
    assert same_weights(result.model, run / "stages" / result.metrics["stages"][winner] / "model")
    assert result.report.exists()
    # The training on gold after an arm begins where that arm ended.
    history = json.loads((run / "stages" / "tsdae_gold" / "history.json").read_text())
    assert history["evaluations"][0]["spearman"] == pytest.approx(dev["tsdae"])
    assert not (run / "checkpoints").exists()


def test_the_saved_model_gives_the_same_scores_in_plain_sentence_transformers(options, files):
    result = adapt(changed(options, arms=["tsdae"]))
    model = SentenceTransformer(str(result.model), device="cpu")
    test = pd.read_csv(files["test"], sep="\t", quoting=3)
    first, second = model.encode(test["sentence1"].tolist()), model.encode(test["sentence2"].tolist())
    cosines = (first * second).sum(1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)
    expected = pd.Series(cosines).corr(test["score"], method="spearman")
    found = result.metrics["models"][result.metrics["winner"]]["test"]["spearman"]
    assert found == pytest.approx(expected, abs=1e-4)


def test_raw_text_alone_is_enough(options, caplog):
    caplog.set_level(logging.INFO, logger="embedtrain")
    alone = TSDAEOptions(
        **{field.name: getattr(options, field.name) for field in dataclasses.fields(options) if field.name != "arms"}
    )
    result = adapt(changed(alone, gold=None, dev=None, test=None))
    assert result.metrics["winner"] == "tsdae"
    assert "Nothing was measured" in result.metrics["verdict"]
    run = result.model.parent
    history = json.loads((run / "stages" / "tsdae" / "history.json").read_text())
    assert [0 < entry["token_probability"] < 1 for entry in history["evaluations"]] == [True, True]
    assert not same_weights(result.model, run / "stages" / "zero_shot" / "model")
    assert SentenceTransformer(str(result.model), device="cpu").encode("密码").shape == (32,)


def test_labelled_pairs_and_dev_held_out_of_gold(options, files):
    named = {"gold": files["gold_labels"], "dev": None, "test": files["test_labels"], "arms": ["simcse"]}
    result = adapt(changed(options, **named))
    assert result.metrics["metrics"]["test"]["name"] == "average_precision"
    assert result.metrics["models"]["gold"]["dev"]["rows"] == 50
    assert 0 <= result.metrics["models"]["simcse+gold"]["test"]["average_precision"] <= 1


def test_a_dev_set_that_every_model_solves_is_warned_of():
    table = pd.DataFrame({"sentence1": list("abcd"), "sentence2": list("abcd"), "label": [1, 1, 0, 0]})
    measures = {"dev": LabelledPairsDev(table)}
    right, wrong = np.array([0.9, 0.8, 0.2, 0.1]), np.array([0.1, 0.9, 0.8, 0.2])

    def warnings(**predictions):
        kept = {(model, "dev"): values for model, values in predictions.items()}
        settings = {"fallback": "zero_shot", "bootstrap_samples": 100, "seed": 0}
        return " ".join(judge_adaptation(kept, measures, models=list(predictions), **settings)["warnings"])

    assert "2 of 2 reach the highest average precision" in warnings(zero_shot=right, tsdae=right)
    assert "reach the highest" not in warnings(zero_shot=wrong, tsdae=right)


def test_gold_first_is_possible_and_warned_of(options, caplog):
    caplog.set_level(logging.WARNING, logger="embedtrain")
    result = adapt(changed(options, arms=["mlm"], order="supervised-first"))
    assert "target-first is the order that works" in caplog.text
    assert list(result.metrics["models"]) == ["zero_shot", "gold", "gold+mlm"]


def test_a_second_run_keeps_everything_and_a_changed_option_its_own_stages(options, caplog):
    short = changed(options, arms=["mlm", "tsdae"])
    first = adapt(short)
    caplog.set_level(logging.INFO, logger="embedtrain")
    again = adapt(short)
    assert stages_run(caplog) == []
    assert again.metrics == first.metrics
    caplog.clear()
    adapt(changed(short, delete_ratio=0.4))
    assert stages_run(caplog) == ["tsdae", "tsdae_gold", "judge"]
    assert "delete_ratio changed from 0.6 to 0.4" in caplog.text


@pytest.mark.parametrize("arm", ["tsdae", "mlm", "simcse"])
def test_an_adaptation_that_was_killed_goes_on_from_its_checkpoint(options, arm, tmp_path, caplog):
    longer = changed(
        options,
        arms=[arm],
        gold=None,
        adaptation=dataclasses.replace(SHORT, min_steps=60, evaluations=6),
        output=str(tmp_path / "cut"),
    )
    checkpoints = tmp_path / "cut" / "checkpoints" / arm
    killed_in(longer, ready=lambda: any(checkpoints.glob("*/checkpoint-*/whole.json")))
    assert not (tmp_path / "cut" / "stages" / arm).exists()
    caplog.set_level(logging.INFO, logger="embedtrain")
    finished = adapt(longer)
    assert re.search(r"going on from step \d0 of 60", caplog.text)
    whole = adapt(changed(longer, output=str(tmp_path / "whole")))
    stage = ("stages", arm, "model")
    assert same_weights(finished.model.parent.joinpath(*stage), whole.model.parent.joinpath(*stage))


def killed_in(options, *, ready, timeout=150):
    """Start the run in a process of its own and kill it once ``ready`` says so."""
    script = (
        "from embedtrain.pipelines.adapt.pipeline import adapt\n"
        "from embedtrain.pipelines.adapt.options import AdaptOptions\n"
        "from embedtrain.training.settings import TrainingSettings\n"
        f"adapt({options!r})\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + timeout
    while not ready():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_the_command_takes_the_text_first_and_shows_the_results(options, files, tiny_chinese_model, capsys, tmp_path):
    words = ["tsdae", files["sentences"], "--base", str(tiny_chinese_model), "--output", str(tmp_path / "r")]
    words += ["--dev", files["dev"], "--test", files["test"], "--score-range", "0", "5", "--device", "cpu"]
    words += ["--adaptation.min-steps", "4", "--adaptation.epochs", "0.01", "--pooling", "cls"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "against zero-shot" in out
    assert re.search(r"^TSDAE", out, flags=re.MULTILINE)
    assert "Kept in model/" in out
    pooling = json.loads(next((tmp_path / "r" / "model").glob("*Pooling/config.json")).read_text())
    assert "cls" in json.dumps(pooling)
    assert SentenceTransformer(str(tmp_path / "r" / "model"), device="cpu").encode("密码").shape == (32,)
