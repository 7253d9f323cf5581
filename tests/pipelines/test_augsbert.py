"""The whole Augmented SBERT pipeline on a tiny model and part of the sample data."""

import dataclasses
import json
import logging
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from conftest import SAMPLES
from sentence_transformers import SentenceTransformer

from embedtrain.data.folding import fold_text
from embedtrain.mining.labeling import score_pairs
from embedtrain.models import ModelSource, load_crossencoder
from embedtrain.pipelines.augsbert.inputs import collect_inputs
from embedtrain.pipelines.augsbert.options import AugSBERTOptions
from embedtrain.pipelines.augsbert.pipeline import augsbert
from embedtrain.pipelines.augsbert.reading import read
from embedtrain.pipelines.augsbert.workspace import Workspace
from embedtrain.pipelines.run import Run
from embedtrain.training.settings import TrainingSettings

SHORT = TrainingSettings(batch_size=16, min_steps=12, epochs=0.1, evaluations=3, patience=0, learning_rate=1e-3)
STAGES = [
    *("read", "zero_shot", "gold_only", "teacher_cross_encoder", "teacher", "sample", "label_cross_encoder", "label"),
    *("silver", "augmented", "predict", "judge"),
]


def part(name, rows, folder):
    lines = (SAMPLES / name).read_text(encoding="utf-8").splitlines()
    target = folder / name
    target.write_text("\n".join(lines[:rows]) + "\n", encoding="utf-8")
    return str(target)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    rows = {"en_gold.tsv": 81, "en_dev.tsv": 41, "en_test.tsv": 61, "en_sentences.txt": 60}
    return {name.split("_")[1].split(".")[0]: part(name, count, folder) for name, count in rows.items()}


@pytest.fixture(scope="module")
def options(files, tiny_model, tmp_path_factory):
    return AugSBERTOptions(
        gold=files["gold"],
        dev=files["dev"],
        test=files["test"],
        unlabeled=files["sentences"],
        output=str(tmp_path_factory.mktemp("run") / "first"),
        score_range=(0, 5),
        base=str(tiny_model),
        strategies=["semantic", "bm25"],
        teacher="cross-encoder",
        teacher_training=SHORT,
        student=SHORT,
        precision="fp32",
        device="cpu",
        bootstrap_samples=200,
    )


@pytest.fixture(scope="module")
def result(options):
    return augsbert(options)


def stages_run(caplog):
    return [line.split(":")[0] for line in caplog.messages if ": done in" in line]


def changed(options, **values):
    return dataclasses.replace(options, **values)


def test_metrics_have_the_four_models_with_intervals(result, options):
    metrics = json.loads((result.report.parent / "metrics.json").read_text())
    assert metrics == result.metrics
    assert list(metrics["models"]) == ["zero_shot", "teacher", "gold_only", "augmented"]
    for scores in metrics["models"].values():
        for split, pairs in (("dev", 40), ("test", 60)):
            assert scores[split]["pairs"] == pairs
            assert scores[split]["ci95"][0] <= scores[split]["spearman"] <= scores[split]["ci95"][1]
            assert -1 <= scores[split]["pearson"] <= 1
    assert list(metrics["seconds"]) == STAGES
    assert metrics["teacher"]["name"] == "cross-encoder"
    assert metrics["teacher"]["dev"] == pytest.approx(metrics["models"]["teacher"]["dev"]["spearman"])
    assert metrics["silver"]["pairs"] == metrics["silver"]["labelled"] > 50
    assert 0 < metrics["silver"]["wasserstein"] < 1
    assert not metrics["dev_held_out"]
    low, high = metrics["paired_difference"]["ci95"]
    assert low <= metrics["paired_difference"]["difference"] <= high
    assert metrics["verdict"]


def test_the_winner_is_chosen_by_dev_and_kept(result, options):
    dev = {name: scores["dev"]["spearman"] for name, scores in result.metrics["models"].items()}
    winner = result.metrics["winner"]
    if winner != max(("gold_only", "augmented"), key=dev.__getitem__):
        # Against the dev scores only where the teacher is no better, and never for gold + silver.
        assert winner == "gold_only"
        assert dev["teacher"] <= dev["gold_only"]
        assert "has to be more than chance" in result.metrics["verdict"]
    kept = (result.model / "model.safetensors").read_bytes()
    assert kept == (result.report.parent / "stages" / winner / "model" / "model.safetensors").read_bytes()


def test_the_saved_model_gives_the_same_scores_in_plain_sentence_transformers(result, files):
    model = SentenceTransformer(str(result.model), device="cpu")
    test = pd.read_csv(files["test"], sep="\t", quoting=3)
    first, second = model.encode(test["sentence1"].tolist()), model.encode(test["sentence2"].tolist())
    cosines = (first * second).sum(1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)
    expected = pd.Series(cosines).corr(test["score"], method="spearman")
    assert result.metrics["models"][result.metrics["winner"]]["test"]["spearman"] == pytest.approx(expected, abs=1e-4)


def test_silver_holds_no_known_pair_no_repeat_and_no_sentence_with_itself(result, files):
    silver = pd.read_parquet(result.report.parent / "stages" / "silver" / "silver.parquet")
    assert len(silver) > 50
    assert set(silver["sampled_by"]) <= {"semantic", "bm25", "semantic+bm25"}
    assert silver["score"].between(0, 1).all()
    pairs = [frozenset(map(fold_text, pair)) for pair in zip(silver["sentence1"], silver["sentence2"], strict=True)]
    assert len(set(pairs)) == len(pairs)
    assert all(len(pair) == 2 for pair in pairs)
    for name in ("gold", "dev", "test"):
        table = pd.read_csv(files[name], sep="\t", quoting=3)
        known = {frozenset(map(fold_text, pair)) for pair in zip(table["sentence1"], table["sentence2"], strict=True)}
        assert not known & set(pairs)


def test_the_labels_are_the_teachers_scores(result):
    stages = result.report.parent / "stages"
    silver = pd.read_parquet(stages / "silver" / "silver.parquet")
    teacher = load_crossencoder(
        ModelSource("t", str(stages / "teacher_cross_encoder" / "model"), "folder"), device="cpu"
    )
    expected = score_pairs(teacher, silver["sentence1"].tolist(), silver["sentence2"].tolist())
    np.testing.assert_allclose(silver["score"], expected, atol=1e-5)
    assert not (result.report.parent / "labels").exists()
    assert not (result.report.parent / "checkpoints").exists()


def test_both_students_have_the_same_maximum_of_steps(result):
    histories = [
        json.loads((result.report.parent / "stages" / name / "history.json").read_text())
        for name in ("gold_only", "augmented")
    ]
    assert histories[0]["max_steps"] == histories[1]["max_steps"]
    assert histories[0]["train_pairs"] < histories[1]["train_pairs"]
    assert [evaluation["step"] for evaluation in histories[0]["evaluations"]] == [0, 4, 8, 12]


def test_the_report_is_one_page_with_the_verdict(result):
    page = result.report.read_text(encoding="utf-8")
    assert result.metrics["verdict"].split(":")[0][:30] in page
    assert "is not in this run folder" not in page


def test_the_same_command_again_runs_nothing(result, options, caplog):
    caplog.set_level(logging.INFO, logger="embedtrain")
    again = augsbert(options)
    assert stages_run(caplog) == []
    assert again.metrics == result.metrics


def test_another_test_file_trains_nothing_again(result, options, files, tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="embedtrain")
    lines = (SAMPLES / "en_test.tsv").read_text(encoding="utf-8").splitlines()
    other = tmp_path / "other.tsv"
    other.write_text("\n".join([lines[0], *lines[100:150]]) + "\n", encoding="utf-8")
    augsbert(changed(options, test=str(other)))
    # Sampling looks again because no test pair may be sampled; it finds the same, so nothing after it runs.
    assert stages_run(caplog) == ["read", "zero_shot", "sample", "predict", "judge"]
    assert "read: run again, test changed" in caplog.text
    augsbert(options)


def test_a_silver_limit_labels_that_many_pairs_and_zero_all_of_them(result, options):
    everything = len(pd.read_parquet(result.report.parent / "stages" / "label" / "scored.parquet"))
    limited = augsbert(changed(options, silver_limit=40))
    assert len(pd.read_parquet(limited.report.parent / "stages" / "label" / "scored.parquet")) == 40
    assert options.silver_pairs_at_most(80) == 10_000
    assert options.silver_pairs_at_most(6_000) == 12_000
    assert changed(options, silver_limit=0).silver_pairs_at_most(80) is None
    augsbert(options)
    assert len(pd.read_parquet(limited.report.parent / "stages" / "label" / "scored.parquet")) == everything


def test_more_bootstrap_samples_encode_nothing_again(result, options, caplog):
    caplog.set_level(logging.INFO, logger="embedtrain")
    augsbert(changed(options, bootstrap_samples=300))
    assert stages_run(caplog) == ["judge"]
    assert "judge: run again, bootstrap_samples changed from 200 to 300" in caplog.text
    augsbert(options)


def test_thresholds_give_hard_labels_without_labelling_again(result, options, caplog):
    caplog.set_level(logging.INFO, logger="embedtrain")
    scores = pd.read_parquet(result.report.parent / "stages" / "label" / "scored.parquet")["score"]
    low, high = (float(scores.quantile(share)) for share in (0.3, 0.7))
    hard = augsbert(changed(options, negative_threshold=low, positive_threshold=high))
    # As many pairs as the batch fits in as many steps: the gold-only student stays as it is.
    assert stages_run(caplog) == ["silver", "augmented", "predict", "judge"]
    silver = pd.read_parquet(hard.report.parent / "stages" / "silver" / "silver.parquet")
    assert set(silver["score"]) == {0, 1}
    assert len(silver) == ((scores >= high) | (scores <= low)).sum()
    augsbert(options)


def test_the_ranking_loss_trains_on_pairs_above_the_threshold(result, options):
    scores = pd.read_parquet(result.report.parent / "stages" / "label" / "scored.parquet")["score"]
    threshold = float(scores.quantile(0.5))
    ranked = augsbert(changed(options, loss="mnrl", positive_threshold=threshold))
    history = json.loads((ranked.report.parent / "stages" / "augmented" / "history.json").read_text())
    gold = pd.read_parquet(ranked.report.parent / "stages" / "read" / "gold.parquet")["score"]
    assert history["train_pairs"] == (scores >= threshold).sum() + (gold >= threshold).sum()
    augsbert(options)


def test_a_gold_limit_draws_the_same_pairs_for_the_same_seed(options, tmp_path):
    drawn = []
    for name in ("a", "b"):
        limited = changed(options, gold_limit=30, output=str(tmp_path / name))
        with Run(limited.output, config={}) as run:
            read(Workspace(limited, collect_inputs(limited), run))
        drawn.append(pd.read_parquet(tmp_path / name / "stages" / "read" / "gold.parquet"))
    assert len(drawn[0]) == 30
    pd.testing.assert_frame_equal(*drawn)


@pytest.mark.gpu
def test_the_whole_pipeline_on_a_gpu(options, tmp_path):
    finished = augsbert(changed(options, device="cuda", precision="auto", output=str(tmp_path / "gpu")))
    manifest = json.loads((tmp_path / "gpu" / "manifest.json").read_text())
    assert manifest["device"]["name"] == "cuda"
    assert np.isfinite(finished.metrics["models"]["augmented"]["test"]["spearman"])


def test_chinese_goes_from_pairs_to_report(options, tmp_path):
    rows = {"zh_gold.tsv": 81, "zh_dev.tsv": 41, "zh_test.tsv": 61, "zh_sentences.txt": 60}
    names = {name.split("_")[1].split(".")[0]: part(name, count, tmp_path) for name, count in rows.items()}
    chinese = changed(
        options,
        gold=names["gold"],
        dev=names["dev"],
        test=names["test"],
        unlabeled=names["sentences"],
        output=str(tmp_path / "run"),
    )
    finished = augsbert(chinese)
    silver = pd.read_parquet(tmp_path / "run" / "stages" / "silver" / "silver.parquet")
    # BM25 has to find words in text without spaces: its pairs share characters.
    by_words = silver[silver["sampled_by"] == "bm25"]
    assert len(by_words) > 20
    shared = [len(set(a) & set(b)) for a, b in zip(by_words["sentence1"], by_words["sentence2"], strict=True)]
    assert np.mean([count >= 2 for count in shared]) > 0.8
    lowest = silver.sort_values(["score", "sentence1", "sentence2"])["sentence1"].iloc[0]
    assert lowest in finished.report.read_text(encoding="utf-8")


def test_a_killed_run_continues_from_the_last_whole_stage(options, tmp_path, caplog):
    killed = changed(options, output=str(tmp_path / "killed"))
    script = (
        "from embedtrain.pipelines.augsbert.pipeline import augsbert\n"
        "from embedtrain.pipelines.augsbert.options import AugSBERTOptions\n"
        "from embedtrain.training.settings import TrainingSettings\n"
        f"augsbert({killed!r})\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while not (tmp_path / "killed" / "stages" / "teacher").is_dir():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    whole = {path.name for path in (tmp_path / "killed" / "stages").iterdir() if not path.name.startswith(".")}
    assert {"read", "zero_shot", "gold_only", "teacher"} <= whole
    assert "judge" not in whole
    caplog.set_level(logging.INFO, logger="embedtrain")
    finished = augsbert(killed)
    assert set(stages_run(caplog)) == set(STAGES) - whole
    assert finished.model.is_dir()
