"""``embedtrain label`` from files to labels and what they are worth, with tiny teachers and part of the sample data."""

import dataclasses
import importlib.util
import json
import logging
import os
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from conftest import SAMPLES
from label_models import save_cross_encoder
from sentence_transformers import CrossEncoder, SentenceTransformer

from embedtrain.cli import main
from embedtrain.errors import UserError
from embedtrain.evaluation.statistics import spearman
from embedtrain.mining.labeling import score_pairs
from embedtrain.mining.shards import label_missing
from embedtrain.pipelines.label.options import LabelOptions
from embedtrain.pipelines.label.pipeline import label

DEV = str(SAMPLES / "en_dev.tsv")
PAIRS = 90


@pytest.fixture(scope="module")
def teacher(tiny_model, tmp_path_factory):
    return save_cross_encoder(tiny_model.parent / "hf", tmp_path_factory.mktemp("teachers") / "one")


@pytest.fixture(scope="module")
def other_teacher(tiny_model, tmp_path_factory):
    return save_cross_encoder(tiny_model.parent / "hf", tmp_path_factory.mktemp("teachers") / "two", seed=9)


@pytest.fixture(scope="module")
def table():
    gold = pd.read_csv(SAMPLES / "en_gold.tsv", sep="\t", quoting=3).head(PAIRS)
    return gold[["sentence1", "sentence2"]].assign(sampled_by="semantic", row=range(PAIRS))


@pytest.fixture
def options(table, teacher, tmp_path):
    table.to_parquet(tmp_path / "pairs.parquet", index=False)
    return LabelOptions(
        pairs=[str(tmp_path / "pairs.parquet")],
        teacher=[teacher],
        output=str(tmp_path / "run"),
        dev=DEV,
        score_range=(0, 5),
        shard_rows=20,
        device="cpu",
        precision="fp32",
        bootstrap_samples=100,
    )


def changed(options, **values):
    return dataclasses.replace(options, **values)


def labels_of(result):
    return pd.read_parquet(result.shards)


def bits_of(result):
    return {path.name: path.read_bytes() for path in sorted(result.shards.iterdir())}


def expected_scores(folder, table, **how):
    model = CrossEncoder(folder, device="cpu")
    parts = [table.iloc[start : start + 20] for start in range(0, len(table), 20)]
    scores = [score_pairs(model, part["sentence1"].tolist(), part["sentence2"].tolist(), **how) for part in parts]
    return np.concatenate(scores)


def dev_table():
    dev = pd.read_csv(DEV, sep="\t", quoting=3)
    return dev.assign(score=dev["score"] / 5)


def test_labels_are_the_teachers_scores_and_everything_is_told_of_them(options, table, teacher, tiny_model):
    result = label(changed(options, student=str(tiny_model), positive_threshold=0.8, negative_threshold=0.2))
    labels = labels_of(result)
    assert list(labels.columns) == ["sentence1", "sentence2", "sampled_by", "row", "score"]
    pd.testing.assert_frame_equal(labels.drop(columns="score"), table)
    assert labels["score"].nunique() > PAIRS / 2
    np.testing.assert_allclose(labels["score"], expected_scores(teacher, table), atol=1e-6)
    pd.testing.assert_frame_equal(pd.read_parquet(result.merged), labels)
    run = result.shards.parent.parent
    metrics = result.metrics
    assert json.loads((run / "metrics.json").read_text()) == metrics
    dev = dev_table()
    predicted = expected_scores(teacher, dev)
    (told,) = metrics["teachers"]
    assert told["name"] == teacher
    assert told["kind"] == "cross-encoder"
    assert told["dev"]["spearman"] == pytest.approx(spearman(predicted, dev["score"]), abs=1e-3)
    assert metrics["labels"]["dev"] == told["dev"]
    student = SentenceTransformer(str(tiny_model), device="cpu")
    embeddings = [student.encode(dev[side].tolist(), normalize_embeddings=True) for side in ("sentence1", "sentence2")]
    assert metrics["student"]["dev"]["spearman"] == pytest.approx(
        spearman(np.sum(embeddings[0] * embeddings[1], axis=1), dev["score"]), abs=1e-3
    )
    scores = labels["score"]
    assert metrics["pairs"] == sum(metrics["distribution"]["silver_hist"]) == PAIRS
    assert metrics["distribution"]["gold_pairs"] == len(dev)
    assert metrics["distribution"]["wasserstein"] > 0
    assert metrics["thresholds"]["dropped_share"] == pytest.approx(((scores > 0.2) & (scores < 0.8)).mean())
    assert metrics["calibration"]["applied"] is False
    assert metrics["calibration"]["error_before"] > metrics["calibration"]["error_after"]
    assert metrics["seconds"] > 0
    examples = pd.read_parquet(run / "examples.parquet")
    assert examples["score"].min() == scores.min()
    assert examples["score"].max() == scores.max()
    assert "Wasserstein" in result.report.read_text()
    manifest = json.loads((run / "labels" / "manifest.json").read_text())
    assert set(manifest["shards"]) == set(bits_of(result))
    assert manifest["inputs"]["teacher"].keys() == {teacher}


def test_a_second_run_keeps_everything(options, caplog, monkeypatch):
    first = label(options)
    before = bits_of(first)

    def must_not_load(*args, **kwargs):
        raise AssertionError("a model was loaded though nothing is left to do")

    monkeypatch.setattr("embedtrain.pipelines.label.teachers.load_crossencoder", must_not_load)
    caplog.set_level(logging.INFO, logger="embedtrain")
    second = label(options)
    assert bits_of(second) == before
    assert second.metrics == first.metrics
    assert "5 of 5 shards are there already" in caplog.text


def test_a_damaged_shard_of_a_finished_run_is_redone(options, caplog):
    first = label(options)
    before = bits_of(first)
    victim = first.shards / "part-00001.parquet"
    victim.write_bytes(victim.read_bytes()[:-50])
    second = label(options)
    assert "part-00001.parquet: damaged" in caplog.text
    assert bits_of(second) == before
    assert second.metrics == first.metrics


def test_one_order(options, table, teacher):
    labels = labels_of(label(changed(options, one_order=True)))
    np.testing.assert_allclose(labels["score"], expected_scores(teacher, table, both_orders=False), atol=1e-6)


def test_a_bi_encoder_labels_by_its_cosine_cut_at_zero(options, table, tiny_model, caplog):
    caplog.set_level(logging.INFO, logger="embedtrain")
    result = label(changed(options, teacher=[str(tiny_model)]))
    model = SentenceTransformer(str(tiny_model), device="cpu")
    first, second = (
        model.encode(table[side].tolist(), normalize_embeddings=True) for side in ("sentence1", "sentence2")
    )
    np.testing.assert_allclose(labels_of(result)["score"], np.clip((first * second).sum(axis=1), 0, 1), atol=1e-5)
    assert result.metrics["teachers"][0]["kind"] == "bi-encoder"


def test_several_teachers_are_averaged(options, table, teacher, other_teacher):
    result = label(changed(options, teacher=[teacher, other_teacher]))
    expected = (expected_scores(teacher, table) + expected_scores(other_teacher, table)) / 2
    np.testing.assert_allclose(labels_of(result)["score"], expected, atol=1e-6)
    assert [told["name"] for told in result.metrics["teachers"]] == [teacher, other_teacher]
    both = [told["dev"]["spearman"] for told in result.metrics["teachers"]]
    assert result.metrics["labels"]["dev"]["spearman"] not in both


def test_teachers_given_in_another_order_keep_their_own_scores_and_calibrations(
    options, teacher, other_teacher, caplog
):
    caplog.set_level("INFO", logger="embedtrain")
    asked = changed(options, teacher=[teacher, other_teacher], calibrate=True)
    first = label(asked)
    before = labels_of(first)["score"]
    assert "dev Spearman: " in caplog.text.split("labelled ")[0]
    shard = sorted(first.shards.iterdir())[-1]
    shard.unlink()
    second = label(changed(asked, teacher=[other_teacher, teacher]))
    np.testing.assert_allclose(labels_of(second)["score"], before, atol=1e-6)

    def told(result):
        return {each["name"]: each["dev"]["spearman"] for each in result.metrics["teachers"]}

    assert told(second) == told(first)
    assert len(set(told(first).values())) == 2


def test_calibrated_labels_are_on_the_scale_of_gold(options, teacher, tiny_model):
    plain = labels_of(label(options))["score"]
    result = label(changed(options, calibrate=True, output=options.output + "_calibrated"))
    calibrated = labels_of(result)["score"]
    order = np.argsort(plain, kind="stable")
    # A rising function of the teacher's scores.
    assert (np.diff(calibrated.to_numpy()[order]) >= 0).all()
    gold = dev_table()["score"].mean()
    assert abs(calibrated.mean() - gold) < abs(plain.mean() - gold)
    assert result.metrics["calibration"]["applied"] is True
    mixed = label(changed(options, teacher=[teacher, str(tiny_model)], calibrate=True, output=options.output + "_mix"))
    assert len(mixed.metrics["teachers"]) == 2


def test_other_options_for_labels_in_the_way_are_refused_before_a_model_is_loaded(
    options, other_teacher, monkeypatch, caplog
):
    label(options)
    other = changed(options, teacher=[other_teacher])
    with monkeypatch.context() as patched:
        patched.setattr("embedtrain.pipelines.label.teachers.load_crossencoder", None)
        with pytest.raises(UserError, match=r"5 shards of labels made with other inputs \(teacher .+ removed"):
            label(other)
        with pytest.raises(UserError, match="one_order changed from False to True"):
            label(changed(options, one_order=True))
    caplog.set_level(logging.INFO, logger="embedtrain")
    begun = label(changed(other, restart=True))
    assert "labels: begun again, teacher " in caplog.text
    fresh = label(changed(other, output=options.output + "_fresh"))
    assert bits_of(begun) == bits_of(fresh)


def test_what_does_not_change_labels_is_no_reason_to_refuse(options, caplog):
    first = label(options)
    caplog.set_level(logging.INFO, logger="embedtrain")
    second = label(changed(options, positive_threshold=0.9, negative_threshold=0.1, gold=DEV, merge=False))
    assert "5 of 5 shards are there already" in caplog.text
    assert bits_of(second) == bits_of(first)
    assert second.merged is None
    assert second.metrics["thresholds"]["positive"] == 0.9


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "json"])
def test_other_files_keep_their_columns_too(options, table, teacher, tmp_path, ending):
    given = table.rename(columns={"sentence1": "q1", "sentence2": "q2"}).assign(score=0.25)
    file = tmp_path / f"given.{ending}"
    if ending in ("csv", "tsv"):
        given.to_csv(file, sep="," if ending == "csv" else "\t", index=False)
    else:
        given.to_json(file, orient="records", lines=ending == "jsonl", force_ascii=False)
    columns = {"sentence1": "q1", "sentence2": "q2"}
    labels = labels_of(label(changed(options, pairs=[str(file)], columns=columns, dev=None)))
    assert list(labels.columns) == ["sentence1", "sentence2", "sampled_by", "row", "given_score", "score"]
    assert labels["sentence1"].tolist() == table["sentence1"].tolist()
    assert labels["row"].astype(int).tolist() == table["row"].tolist()
    assert set(labels["given_score"].astype(float)) == {0.25}
    np.testing.assert_allclose(labels["score"], expected_scores(teacher, table), atol=1e-6)


def test_several_files_are_one_table_whatever_their_format(options, table, teacher, tmp_path):
    texts = table[["sentence1", "sentence2"]]
    texts.head(30).to_parquet(tmp_path / "a.parquet", index=False)
    texts.iloc[30:].to_csv(tmp_path / "b.csv", index=False)
    files = [str(tmp_path / "a.parquet"), str(tmp_path / "b.csv")]
    labels = labels_of(label(changed(options, pairs=files)))
    assert labels["sentence2"].tolist() == texts["sentence2"].tolist()
    np.testing.assert_allclose(labels["score"], expected_scores(teacher, table), atol=1e-6)


@pytest.fixture(scope="module")
def raw_teacher(tiny_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("teachers") / "raw"
    return save_cross_encoder(tiny_model.parent / "hf", folder, activation=torch.nn.Identity(), spread=20)


def test_logits_without_a_sigmoid_are_refused_with_what_helps(options, table, raw_teacher):
    raw = changed(options, teacher=[raw_teacher])
    with pytest.raises(UserError) as error:
        label(raw)
    (message,) = error.value.problems
    assert "its scores of the first pairs run from -" in message
    assert "expected 0 to 1" in message
    assert "--sigmoid" in message
    assert "--calibrate" in message
    logits = expected_scores(raw_teacher, table)
    assert logits.min() < -1
    with_sigmoid = labels_of(label(changed(raw, sigmoid=True)))["score"]
    assert with_sigmoid.between(0, 1).all()
    calibrated = labels_of(label(changed(raw, calibrate=True, output=options.output + "_calibrated")))["score"]
    assert calibrated.between(0, 1).all()
    assert (np.diff(calibrated.to_numpy()[np.argsort(logits)]) >= 0).all()


def test_without_dev_it_is_said_that_nothing_is_known(options, caplog):
    result = label(changed(options, dev=None, gold=DEV))
    assert "Nothing is known of how good the teacher is" in caplog.text
    assert result.metrics["teachers"][0]["dev"] is None
    assert result.metrics["verdict"].startswith("How good the labels are is not known")
    assert result.metrics["distribution"]["wasserstein"] is not None
    assert result.report.is_file()


def test_pairs_with_an_empty_text_are_labelled_and_told_of_before_and_after(options, table, caplog):
    table.assign(sentence2=[" ", "", *table["sentence2"][2:]]).to_parquet(options.pairs[0], index=False)
    result = label(options)
    told = f"2 of {len(table)} pairs have a text with nothing in it (row 1, 2)"
    assert told in caplog.text
    assert any(warning.startswith(told) for warning in result.metrics["warnings"])
    assert labels_of(result)["score"].notna().all()


def test_a_teacher_no_better_than_its_student_is_said_before_labelling(options, teacher, tiny_model, caplog):
    caplog.set_level(logging.INFO, logger="embedtrain")
    result = label(changed(options, student=str(tiny_model)))
    dev = [result.metrics[who]["dev"]["spearman"] for who in ("labels", "student")]
    assert dev[0] < dev[1], "the random teacher is meant to be the worse one"
    warned = next(place for place, message in enumerate(caplog.messages) if "The teacher is no better" in message)
    labelled = next(place for place, message in enumerate(caplog.messages) if message.startswith("labelled "))
    assert warned < labelled
    assert result.metrics["verdict"].startswith("The labels are no better than the student on dev")


@pytest.mark.timeout(240)
def test_a_labelling_that_was_killed_goes_on_to_the_same_bits(options, tmp_path):
    options = changed(options, precision="bf16", shard_rows=4, dev=None)
    cut = changed(options, output=str(tmp_path / "cut"))
    shards = tmp_path / "cut" / "labels" / "shards"
    script = (
        "import time\n"
        "from embedtrain.pipelines.label.options import LabelOptions\n"
        "from embedtrain.pipelines.label import pipeline\n"
        # Slowly enough to be killed in between.
        "real = pipeline.label_missing\n"
        "pipeline.label_missing = lambda *a, **k: real(*a, **k | {'on_shard': lambda *_: time.sleep(0.05)})\n"
        f"pipeline.label({cut!r})\n"
    )
    moments = np.random.default_rng(3)
    for wanted in (2, 9):
        process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL, start_new_session=True)
        deadline = time.monotonic() + 150
        while len(list(shards.glob("part-*.parquet"))) < wanted:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.1))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    done = len(list(shards.glob("part-*.parquet")))
    assert 9 <= done < 23
    finished, whole = label(cut), label(changed(options, output=str(tmp_path / "whole")))
    assert bits_of(finished) == bits_of(whole)


@pytest.mark.timeout(300)
def test_two_processes_label_their_own_shards_and_one_talks(options, tmp_path, table, teacher):
    arguments = ["label", "--pairs", *options.pairs, "--teacher", teacher, "--output", str(tmp_path / "two")]
    arguments += ["--shard-rows", "20", "--device", "cpu", "--precision", "fp32", "--bootstrap-samples", "100"]
    arguments += ["--dev", DEV, "--score-range", "0", "5"]
    starter = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "embedtrain"]
    done = subprocess.run(
        [*starter, *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("90 pairs are labelled by") == 1
    labels = pd.read_parquet(tmp_path / "two" / "labels" / "shards")
    np.testing.assert_allclose(labels["score"], expected_scores(teacher, table), atol=1e-6)
    manifest = json.loads((tmp_path / "two" / "labels" / "manifest.json").read_text())
    assert len(manifest["shards"]) == 5
    # Rank 0 has three of the five shards, of the 20 pairs each, but for the last.
    assert "labelled 50 of 50 pairs" in done.stderr


def test_the_ray_engine_is_handed_what_it_can_send_to_other_processes(options, monkeypatch, caplog):
    expected = bits_of(label(changed(options, output=options.output + "_local")))
    caplog.set_level(logging.INFO, logger="embedtrain")
    caplog.clear()

    def labelled_here(store, pairs, load_scorer, *, on_shard, **_):
        load, files = pickle.loads(pickle.dumps((load_scorer, pairs)))
        label_missing(store, files, load(), on_shard=on_shard)

    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: name == "ray" or found(name, *rest))
    monkeypatch.setattr("embedtrain.mining.ray_engine.label_with_ray", labelled_here)
    assert bits_of(label(changed(options, engine="ray"))) == expected
    # Its own progress and that of the stand-in.
    assert caplog.text.count("labelled 90 of 90 pairs") == 2


def test_the_command_shows_what_labels_are_worth(options, teacher, tiny_model, capsys):
    words = ["label", "--pairs", *options.pairs, "--teacher", teacher, "--output", options.output]
    words += ["--student", str(tiny_model), "--dev", DEV, "--score-range", "0", "5", "--one-order", "--calibrate"]
    words += ["--shard-rows", "50", "--device", "cpu", "--precision", "fp32", "--bootstrap-samples", "100"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert f"teacher: {teacher}" in shown
    assert "student: " in shown
    assert "Spearman, dev" in shown
    assert "90 pairs are labelled by" in shown
    assert "silver.parquet" in shown
    assert "report.html" in shown


def test_a_full_disk_is_exit_code_2_and_the_same_command_goes_on(options, teacher, monkeypatch, capsys):
    words = ["label", "--pairs", *options.pairs, "--teacher", teacher, "--output", options.output]
    words += ["--shard-rows", "20", "--device", "cpu", "--precision", "fp32"]
    from embedtrain.mining import label_store

    written, real = [], pq.write_table

    def fills_up(table, path, **how):
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        real(table, path, **how)
        written.extend([path] if "part-" in str(path) else [])

    with monkeypatch.context() as patched:
        patched.setattr(label_store.pq, "write_table", fills_up)
        assert main(words) == 2
    shown = capsys.readouterr().err
    assert "the disk is full; 2 of 5 shards are whole" in shown
    assert "Traceback" not in shown
    assert main(words) == 0
    assert "2 of 5 shards are there already" in capsys.readouterr().err
