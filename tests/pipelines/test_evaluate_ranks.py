"""Evaluations under torchrun: two processes encode, one scores and writes, and the scores are those of one process."""

import json

import pandas as pd
import pytest
import tiny_mirror as tiny
from conftest import SAMPLES
from label_models import save_cross_encoder
from test_ranks import torchrun

from embedtrain.cli import main

COMMON = ("--device", "cpu", "--batch-size", "4")


def both(words, tmp_path):
    """``metrics.json`` of one process and of two, and what the two said."""
    given = [str(word) for word in (*words, *COMMON)]
    assert main([*given, "--output", str(tmp_path / "one")]) == 0
    done = torchrun(*given, "--output", str(tmp_path / "two"))
    assert done.returncode == 0, done.stderr
    found = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("one", "two")]
    return *found, done


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    frame = pd.read_csv(SAMPLES / "en_test.tsv", sep="\t", quoting=3).head(60)
    path = tmp_path_factory.mktemp("data") / "scored.tsv"
    frame.to_csv(path, sep="\t", index=False, quoting=3)
    return path


@pytest.mark.timeout(600)
def test_mteb_shares_the_encoding(tiny_model, tmp_path):
    mirror = tmp_path / "mirror"
    tiny.sts(mirror / "STSBenchmark", rows=80)
    tiny.retrieval(mirror / "SciFact")
    tiny.classification(mirror / "Banking77Classification")
    one, two, done = both(["evaluate", "mteb", "--model", tiny_model, "--data-root", mirror], tmp_path)
    for alone, shared in zip(one["tasks"], two["tasks"], strict=True):
        assert shared["task"] == alone["task"]
        assert list(shared["scores"].values()) == pytest.approx(list(alone["scores"].values()), abs=1e-5)
    assert done.stdout.count("cosine_spearman") == 1
    # The helper wrote nothing of its own.
    files = [{path.name for path in (tmp_path / name).rglob("*.json")} for name in ("one", "two")]
    assert files[0] == files[1]


@pytest.mark.timeout(600)
def test_sts_shares_the_encoding(tiny_model, scored, tmp_path):
    words = ["evaluate", "sts", "--model", tiny_model, "--data", scored, "--bootstrap-samples", "100"]
    one, two, _ = both(words, tmp_path)
    alone, shared = (found["main"][str(tiny_model)][str(scored)]["score"] for found in (one, two))
    assert shared == pytest.approx(alone, abs=1e-5)


@pytest.mark.timeout(600)
def test_retrieval_and_reranking_share_the_encoding(tiny_model, tmp_path):
    tiny.retrieval(tmp_path / "faq")
    cross = save_cross_encoder(tiny_model.parent / "hf", tmp_path / "cross")
    words = ["evaluate", "retrieval", "--model", tiny_model, "--data", tmp_path / "faq", "--reranker", cross]
    one, two, _ = both([*words, "--bootstrap-samples", "100"], tmp_path)
    assert list(one["models"]) == list(two["models"])
    for search in one["main"]:
        assert two["main"][search] == one["main"][search]


@pytest.mark.timeout(600)
def test_a_mistake_ends_all_processes_and_is_said_once(tiny_model, tmp_path):
    done = torchrun("evaluate", "sts", "--model", str(tiny_model), "--data", str(tmp_path / "none.tsv"))
    assert done.returncode != 0
    assert done.stderr.count("none.tsv: ") == 1
