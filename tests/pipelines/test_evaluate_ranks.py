"""Evaluations under torchrun: two processes share the work, one scores and writes, scores are those of one process."""

import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pandas as pd
import pytest
import tiny_mirror as tiny
from conftest import SAMPLES
from label_models import save_cross_encoder
from tiny_glue import write_own

from embedtrain.cli import main

COMMON = ("--device", "cpu", "--batch-size", "4", "--bootstrap-samples", "100")
MISTAKE = "none.tsv"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def commands(tiny_model, folder):
    """Each evaluation's words, by name, with small data."""
    pd.read_csv(SAMPLES / "en_test.tsv", sep="\t", quoting=3).head(60).to_csv(
        folder / "scored.tsv", sep="\t", index=False, quoting=3
    )
    mirror = folder / "mirror"
    tiny.sts(mirror / "STSBenchmark", rows=80)
    tiny.retrieval(mirror / "SciFact")
    tiny.classification(mirror / "Banking77Classification")
    tiny.retrieval(folder / "faq")
    write_own(folder / "glue", tasks=["CoLA", "STS-B"])
    cross = save_cross_encoder(tiny_model.parent / "hf", folder / "cross")
    model = ["--model", tiny_model]
    return {
        "sts": ["sts", *model, "--data", folder / "scored.tsv"],
        "mteb": ["mteb", *model, "--data-root", mirror],
        "retrieval": ["retrieval", *model, "--data", folder / "faq", "--reranker", cross],
        "glue": ["glue", *model, "--data-root", folder / "glue", "--epochs", "1", "--evaluations", "2"],
    }


def free_ports(count):
    """Ports that nobody listens at."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@pytest.fixture(scope="module")
def two(commands, folder, tiny_model):
    """What two processes said that did everything, a mistake among it; starting them once is what takes the time."""
    asked = {
        **commands,
        "mistake": ["sts", "--model", tiny_model, "--data", folder / MISTAKE],
        "again": commands["glue"],
    }
    # GLUE trains, and leaves its process group behind, so that it comes last.
    order = ["sts", "mteb", "retrieval", "mistake", "glue", "again"]
    output = {"again": "glue"}
    words = [
        ["evaluate", *map(str, asked[name]), *COMMON, "--output", str(folder / "two" / output.get(name, name))]
        for name in order
    ]
    starter = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    script = str(Path(__file__).parent / "several_commands.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*starter, script, json.dumps(list(zip(free_ports(len(words)), words, strict=True)))],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    codes = [2 if name == "mistake" else 0 for name in order]
    assert f"codes {codes}" in done.stdout, done.stderr
    return done


@pytest.fixture
def both(commands, folder, two):
    """``metrics.json`` of one process and of two."""

    def call(name):
        words = ["evaluate", *map(str, commands[name]), *COMMON, "--output", str(folder / "one" / name)]
        assert main(words) == 0
        return [json.loads((folder / count / name / "metrics.json").read_text()) for count in ("one", "two")]

    return call


@pytest.mark.timeout(600)
def test_mteb_shares_the_encoding(both, folder, two):
    one, shared = both("mteb")
    for alone, together in zip(one["tasks"], shared["tasks"], strict=True):
        assert together["task"] == alone["task"]
        assert list(together["scores"].values()) == pytest.approx(list(alone["scores"].values()), abs=1e-5)
    assert two.stdout.count("cosine_spearman") == 1
    # The helper wrote nothing of its own.
    files = [{path.name for path in (folder / count / "mteb").rglob("*.json")} for count in ("one", "two")]
    assert files[0] == files[1]


@pytest.mark.timeout(600)
def test_sts_shares_the_encoding(both, tiny_model, folder):
    alone, shared = (found["main"][str(tiny_model)][str(folder / "scored.tsv")]["score"] for found in both("sts"))
    assert shared == pytest.approx(alone, abs=1e-5)


@pytest.mark.timeout(600)
def test_retrieval_and_reranking_share_the_encoding(both):
    one, shared = both("retrieval")
    assert list(one["models"]) == list(shared["models"])
    for search in one["main"]:
        assert shared["main"][search] == one["main"][search]


@pytest.mark.timeout(600)
def test_glue_is_trained_by_both_and_written_by_one(both, folder, two):
    one, shared = both("glue")
    assert list(shared["main"]) == list(one["main"])
    for model, by_task in shared["models"].items():
        for task, found in by_task.items():
            # Each process has a batch of its own, so that there are fewer steps.
            (alone,), (together,) = (entry["models"][model][task]["training"] for entry in (one, shared))
            assert 0 < together["max_steps"] <= alone["max_steps"]
            assert set(found["metrics"]) == set(one["models"][model][task]["metrics"])
    files = [{path.name for path in (folder / count / "glue").rglob("*") if path.is_file()} for count in ("one", "two")]
    assert files[0] == files[1]
    # The same command again trains nothing.
    assert two.stderr.count("CoLA, seed42: done in") == 1
    assert two.stderr.count("CoLA, seed42: kept from an earlier run") == 1


@pytest.mark.timeout(600)
def test_a_mistake_ends_a_command_in_all_processes_and_is_said_once(two):
    assert two.stderr.count(f"{MISTAKE}: ") == 1
