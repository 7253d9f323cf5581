"""Commands under torchrun: one process writes and talks, all of them train."""

import json
import os
import subprocess
import sys

import pandas as pd
import pytest
from conftest import SAMPLES
from sentence_transformers import SentenceTransformer

from embedtrain.cli import main


def torchrun(*command):
    starter = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*starter, "embedtrain", *command], env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.timeout(300)
def test_two_processes_train_and_one_writes(tiny_model, tmp_path):
    command = [
        *("train", "--data", str(SAMPLES / "en_gold.tsv"), "--dev", str(SAMPLES / "en_dev.tsv")),
        *("--score-range", "0", "5", "--base", str(tiny_model), "--output", str(tmp_path / "run")),
        *("--training.min-steps", "6", "--training.epochs", "0.1", "--training.evaluations", "2"),
        *("--bootstrap-samples", "100"),
    ]
    done = torchrun(*command)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("before training") == 1
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert set(metrics["models"]) == {"zero_shot", "trained"}
    history = json.loads((tmp_path / "run" / "stages" / "train" / "history.json").read_text())
    # Each process counts its own half of a batch of twice the size.
    assert history["max_steps"] == 6
    assert SentenceTransformer(str(tmp_path / "run" / "model"), device="cpu").encode("how do i reset it").shape == (32,)
    again = torchrun(*command)
    assert again.returncode == 0, again.stderr
    assert "train: kept from an earlier run" in again.stderr


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "command",
    [
        ["tsdae", str(SAMPLES / "zh_sentences.txt"), "--adaptation.min-steps", "4", "--adaptation.epochs", "0.1"],
        [
            *("adapt", str(SAMPLES / "en_sentences.txt"), "--gold", str(SAMPLES / "en_gold.tsv")),
            *("--arms", "simcse", "--score-range", "0", "5", "--supervised.min-steps", "4"),
            *("--supervised.epochs", "0.1", "--adaptation.min-steps", "4", "--adaptation.epochs", "0.1"),
        ],
    ],
    ids=lambda command: command[0],
)
def test_two_processes_learn_from_raw_text(command, tiny_model, tmp_path):
    done = torchrun(*command, "--base", str(tiny_model), "--output", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("read: done") == 1
    assert SentenceTransformer(str(tmp_path / "run" / "model"), device="cpu").encode("how do i reset it").shape == (32,)


@pytest.mark.timeout(300)
def test_one_of_two_processes_mines_and_the_other_waits(tiny_model, tmp_path):
    command = ["mine", "--unlabeled", str(SAMPLES / "en_sentences.txt"), "--model", str(tiny_model), "--device", "cpu"]
    command += ["--strategy", "semantic", "bm25", "--top-k", "2", "--precision", "fp32"]
    done = torchrun(*command, "--output", str(tmp_path / "two"))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("mine works in one process, and the other 1 wait") == 1
    assert done.stdout.count("pairs in ") == 1
    assert main([*command, "--output", str(tmp_path / "one")]) == 0
    one, two = (pd.read_parquet(tmp_path / name / "pairs.parquet") for name in ("one", "two"))
    pd.testing.assert_frame_equal(one, two)


@pytest.mark.timeout(300)
def test_a_mistake_is_said_once(tiny_model, tmp_path):
    done = torchrun("train", "--data", str(tmp_path / "none.tsv"), "--output", str(tmp_path / "run"))
    assert done.returncode != 0
    assert done.stderr.count("none.tsv: ") == 1
