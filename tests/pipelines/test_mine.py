"""``embedtrain mine`` on a tiny model and part of the sample data: new pairs, hard negatives, tuples out of scores."""

import dataclasses
import errno
import importlib.util
import json
import logging
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import SAMPLES
from label_models import save_cross_encoder
from sentence_transformers import SentenceTransformer

from embedtrain.cli import main
from embedtrain.data.folding import fold_text
from embedtrain.errors import UserError
from embedtrain.mining.sampling import sample_pairs
from embedtrain.pipelines.mine import encoding, scoring
from embedtrain.pipelines.mine import pairs as pairs_stage
from embedtrain.pipelines.mine.options import MineOptions
from embedtrain.pipelines.mine.pipeline import mine


def part(name, rows, folder):
    lines = (SAMPLES / name).read_text(encoding="utf-8").splitlines()
    target = folder / name
    target.write_text("\n".join(lines[:rows]) + "\n", encoding="utf-8")
    return str(target)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    rows = {"en_gold.tsv": 61, "en_dev.tsv": 41, "en_triplets.tsv": 41, "en_sentences.txt": 80}
    return {name.split("_")[1].split(".")[0]: part(name, count, folder) for name, count in rows.items()}


@pytest.fixture(scope="module")
def teacher(tiny_model, tmp_path_factory):
    """A saved cross-encoder whose scores are spread out."""
    from sentence_transformers import CrossEncoder

    torch.manual_seed(1)
    model = CrossEncoder(str(tiny_model.parent / "hf"), num_labels=1, device="cpu", max_length=48)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(0, 0.2)
        model.model.classifier.weight.normal_(0, 1)
    folder = tmp_path_factory.mktemp("teacher") / "model"
    model.save_pretrained(str(folder), create_model_card=False)
    return str(folder)


@pytest.fixture
def options(files, tiny_model, tmp_path):
    return MineOptions(
        output=str(tmp_path / "run"),
        unlabeled=files["sentences"],
        gold=files["gold"],
        known=[files["dev"]],
        score_range=(0, 5),
        model=str(tiny_model),
        precision="fp32",
        device="cpu",
    )


@pytest.fixture
def for_negatives(files, tiny_model, tmp_path):
    """One hard negative for each anchor, whatever it scores against the positive."""
    return MineOptions(
        output=str(tmp_path / "run"),
        hard_negatives=True,
        positives=files["triplets"],
        unlabeled=files["sentences"],
        num_negatives=1,
        relative_margin=None,
        output_scores=True,
        model=str(tiny_model),
        precision="fp32",
        device="cpu",
    )


def folded(frame, first="sentence1", second="sentence2"):
    return [frozenset(map(fold_text, pair)) for pair in zip(frame[first], frame[second], strict=True)]


def read_tsv(path):
    return pd.read_csv(path, sep="\t", quoting=3)


def stages_run(caplog):
    return [line.split(":")[0] for line in caplog.messages if ": done in" in line]


def test_pairs_are_those_of_the_library(options, files, tiny_model):
    from sentence_transformers import SentenceTransformer

    result = mine(dataclasses.replace(options, strategy=["bm25+semantic"]))
    pairs = pd.read_parquet(result.table)
    gold, dev = read_tsv(files["gold"]), read_tsv(files["dev"])
    lines = Path(files["sentences"]).read_text(encoding="utf-8").split("\n")[:-1]
    texts = list(dict.fromkeys([*lines, *gold["sentence1"], *gold["sentence2"]]))
    embeddings = SentenceTransformer(str(tiny_model), device="cpu").encode(texts, convert_to_tensor=True)
    known = [
        *zip(gold["sentence1"], gold["sentence2"], strict=True),
        *zip(dev["sentence1"], dev["sentence2"], strict=True),
    ]
    expected = sample_pairs(texts, embeddings, strategies=["semantic", "bm25"], known_pairs=known)
    assert set(folded(pairs)) == set(folded(expected))
    assert result.rows == len(pairs) == len(expected) == sum(result.sampled_by.values())
    assert set(result.sampled_by) == {"semantic", "bm25", "semantic+bm25"}
    assert not set(folded(pairs)) & {*folded(gold), *folded(dev)}


def test_manifest_and_config_tell_what_was_done(options):
    result = mine(options)
    folder = result.table.parent
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["result"] == {"file": "pairs.parquet", "rows": result.rows, "sampled_by": {"semantic": result.rows}}
    assert set(manifest["stages"]) == {"read", "encode", "sample"}
    assert manifest["device"]["name"] == "cpu"
    assert (folder / "config.yaml").is_file()
    assert not (folder / "unfinished").exists()


def test_the_same_command_again_runs_nothing_and_a_change_only_what_depends_on_it(options, caplog):
    caplog.set_level(logging.INFO, logger="embedtrain")
    first = pd.read_parquet(mine(options).table)
    caplog.clear()
    again = pd.read_parquet(mine(options).table)
    assert stages_run(caplog) == []
    pd.testing.assert_frame_equal(first, again)
    caplog.clear()
    mine(dataclasses.replace(options, top_k=1))
    assert stages_run(caplog) == ["sample"]
    assert any("top_k changed from 3 to 1" in message for message in caplog.messages)
    caplog.clear()
    mine(dataclasses.replace(options, known=[]))
    assert stages_run(caplog) == ["read", "sample"]


def test_a_cut_off_encoding_goes_on(options, monkeypatch, caplog):
    from embedtrain.pipelines.mine import encoding

    caplog.set_level(logging.INFO, logger="embedtrain")
    whole = pd.read_parquet(mine(dataclasses.replace(options, output=options.output + "_whole")).table)
    monkeypatch.setattr(encoding, "SHARD_ROWS", 32)
    asked = []
    load = encoding.load_encoder

    def failing(*arguments):
        encode = load(*arguments)

        def once(texts):
            if len(asked) == 2:
                raise KeyboardInterrupt
            asked.append(len(texts))
            return encode(texts)

        return once

    monkeypatch.setattr(encoding, "load_encoder", failing)
    with pytest.raises(KeyboardInterrupt):
        mine(options)
    assert asked == [32, 32]
    left = []

    def counting(*arguments):
        encode = load(*arguments)
        return lambda texts: left.append(len(texts)) or encode(texts)

    monkeypatch.setattr(encoding, "load_encoder", counting)
    pairs = pd.read_parquet(mine(options).table)
    assert sum(left) + 64 == len(pd.read_parquet(f"{options.output}/stages/read/texts.parquet"))
    assert pairs[["sentence1", "sentence2"]].equals(whole[["sentence1", "sentence2"]])


def test_shares_of_a_limit(options):
    result = mine(dataclasses.replace(options, strategy=["semantic=0.5", "random=0.5"], limit=60, top_k=4))
    assert result.rows == 60
    assert sum(count for names, count in result.sampled_by.items() if "random" in names) == 30


@pytest.fixture(scope="module")
def raw_teacher(tiny_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw_teacher") / "model"
    return save_cross_encoder(tiny_model.parent / "hf", folder, activation=torch.nn.Identity(), spread=2)


def test_kde_brings_raw_outputs_onto_golds_scale_by_a_sigmoid(options, raw_teacher, monkeypatch):
    given = []
    sampled = pairs_stage.sample_pairs
    monkeypatch.setattr(pairs_stage, "sample_pairs", lambda *a, score, **k: sampled(*a, **k, score=kept(score, given)))
    asking = dataclasses.replace(options, strategy=["kde"], limit=20, labelled_pairs=100, teacher=[raw_teacher])
    found = pd.read_parquet(mine(dataclasses.replace(asking, sigmoid=True)).table)
    assert 0 < len(found) <= 20
    scores = np.concatenate(given)
    assert 0 < scores.min() < scores.max() - 0.2 < scores.max() < 1


def kept(score, given):
    def scored(*texts):
        given.append(score(*texts))
        return given[-1]

    return scored


def test_limits_on_hard_negatives_are_on_what_the_sigmoid_gives(options, files, raw_teacher):
    asked = dataclasses.replace(
        options, hard_negatives=True, positives=files["triplets"], num_negatives=1, output_scores=True, known=[]
    )
    asked = dataclasses.replace(asked, teacher=[raw_teacher], gold=None, relative_margin=None, max_score=0.7)
    with_sigmoid = mine(dataclasses.replace(asked, sigmoid=True)).to_frame()
    raw = mine(dataclasses.replace(asked, output=options.output + "_raw")).to_frame()
    assert with_sigmoid["positive_score"].between(0, 1).all()
    assert with_sigmoid["negative_1_score"].max() <= 0.7
    assert raw["positive_score"].max() > 1


@pytest.mark.ray
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
@pytest.mark.timeout(300)
def test_kde_on_ray_finds_the_same_pairs(options, raw_teacher, monkeypatch):
    monkeypatch.setattr(scoring, "SHARD_ROWS", 64)
    asking = dataclasses.replace(
        options, strategy=["kde", "semantic", "bm25"], limit=60, labelled_pairs=200, teacher=[raw_teacher], sigmoid=True
    )
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        here = mine(dataclasses.replace(asking, output=options.output + "_local")).to_frame()
        there = mine(dataclasses.replace(asking, engine="ray")).to_frame()
    finally:
        torch.set_num_threads(before)
    assert here["sampled_by"].str.contains("kde").any()
    pd.testing.assert_frame_equal(there, here)


def test_kde_asks_the_teacher_and_survives_a_cut(options, teacher, monkeypatch, caplog):
    caplog.set_level(logging.INFO, logger="embedtrain")
    asking = dataclasses.replace(
        options, strategy=["kde"], limit=40, labelled_pairs=200, teacher=[teacher], calibrate=True
    )
    monkeypatch.setattr(scoring, "SHARD_ROWS", 64)
    expected = pd.read_parquet(mine(dataclasses.replace(asking, output=options.output + "_whole")).table)
    assert 0 < len(expected) <= 40
    assert set(expected["sampled_by"]) == {"kde"}
    label_missing = scoring.label_missing

    def cut_off(store, pairs, scorer):
        def stop(shard, frame):
            if shard == 1:
                raise KeyboardInterrupt

        label_missing(store, pairs, scorer, on_shard=stop)

    monkeypatch.setattr(scoring, "label_missing", cut_off)
    with pytest.raises(KeyboardInterrupt):
        mine(asking)
    monkeypatch.setattr(scoring, "label_missing", label_missing)
    caplog.clear()
    pairs = pd.read_parquet(mine(asking).table)
    assert any("2 of 4 shards are there already" in message for message in caplog.messages)
    assert stages_run(caplog) == ["sample"]
    pd.testing.assert_frame_equal(pairs, expected)
    # Everything is kept by now: no teacher is loaded for the same command.
    monkeypatch.setattr("embedtrain.pipelines.label.teachers.load_crossencoder", lambda *a, **k: pytest.fail("loaded"))
    mine(asking)


def test_cross_domain_takes_ready_pairs_or_searches_outside_gold(options, files, tmp_path):
    ready = pd.DataFrame({"question1": ["the drone hovers", "a kite"], "question2": ["a drone in the air", "A  KITE"]})
    ready.to_parquet(tmp_path / "ready.parquet")
    asking = dataclasses.replace(options, strategy=["cross-domain"], known=[])
    asking = dataclasses.replace(
        asking,
        pairs=str(tmp_path / "ready.parquet"),
        unlabeled=None,
        gold=None,
        columns={"sentence1": "question1", "sentence2": "question2"},
    )
    pairs = pd.read_parquet(mine(asking).table)
    assert pairs[["sentence1", "sentence2"]].to_numpy().tolist() == [["the drone hovers", "a drone in the air"]]
    searching = dataclasses.replace(options, strategy=["cross-domain"], output=options.output + "_search")
    pairs = pd.read_parquet(mine(searching).table)
    gold = read_tsv(files["gold"])
    in_gold = {fold_text(text) for text in [*gold["sentence1"], *gold["sentence2"]]}
    assert not {text for pair in folded(pairs) for text in pair} & in_gold


def test_hard_negatives_are_no_positives(for_negatives, files, teacher, caplog):
    caplog.set_level(logging.INFO, logger="embedtrain")
    options = dataclasses.replace(for_negatives, num_negatives=2, max_score=2.0)
    result = mine(options)
    tuples = pd.read_parquet(result.table)
    assert result.table.name == "tuples.parquet"
    assert [*tuples.columns[:4]] == ["anchor", "positive", "negative_1", "negative_2"]
    positives = set(folded(read_tsv(files["triplets"]), "anchor", "positive"))
    assert len(tuples) == 40
    for name in ("negative_1", "negative_2"):
        assert not positives & set(folded(tuples, "anchor", name))
    assert (tuples["negative_1_score"] >= tuples["negative_2_score"]).all()
    filtered = mine(dataclasses.replace(options, teacher=[teacher], max_score=0.5, range_max=30))
    judged = pd.read_parquet(filtered.table)
    assert 0 < len(judged) <= 40
    assert (judged[["negative_1_score", "negative_2_score"]].to_numpy() <= 0.5).all()
    assert stages_run(caplog) == ["read", "encode", "hard_negatives", "hard_negatives"]


def test_hard_negatives_are_searched_with_the_prompts_of_queries_and_documents(
    for_negatives, tiny_model, tmp_path, caplog
):
    caplog.set_level(logging.INFO, logger="embedtrain")
    options = dataclasses.replace(for_negatives, max_score=2.0)
    plain = pd.read_parquet(mine(options).table)
    prompts = {"query": "the question: ", "document": "the answer: "}
    given = pd.read_parquet(mine(dataclasses.replace(options, prompts=prompts)).table)
    first, second = ["read", "encode", "hard_negatives"], ["read", "encode", "encode_anchors", "hard_negatives"]
    assert stages_run(caplog) == first + second
    assert "prompts before the texts: anchors 'the question: ', all others 'the answer: '" in caplog.text

    model = SentenceTransformer(str(tiny_model), device="cpu", prompts=prompts)
    for found, encode in ((given, [model.encode_query, model.encode_document]), (plain, [model.encode] * 2)):
        anchors, negatives = (f(found[name].tolist()) for f, name in zip(encode, ("anchor", "negative_1"), strict=True))
        cosines = (anchors * negatives).sum(1) / np.linalg.norm(anchors, axis=1) / np.linalg.norm(negatives, axis=1)
        np.testing.assert_allclose(found["negative_1_score"], cosines, atol=1e-5)
    assert not np.allclose(plain["positive_score"], given["positive_score"])

    # A model's own prompts are used without being asked for.
    model.save_pretrained(str(tmp_path / "prompted"))
    own = dataclasses.replace(options, model=str(tmp_path / "prompted"), output=str(tmp_path / "own"))
    pd.testing.assert_frame_equal(pd.read_parquet(mine(own).table), given)


@pytest.mark.parametrize("default", ["query", None])
def test_a_model_with_prompts_is_asked_without_where_empty_ones_are_given(for_negatives, tiny_model, tmp_path, default):
    prompts = {"query": "the question: ", "document": "the answer: "}
    model = SentenceTransformer(str(tiny_model), device="cpu", prompts=prompts, default_prompt_name=default)
    model.save_pretrained(str(tmp_path / "prompted"))
    plain = dataclasses.replace(for_negatives, unlabeled=None, output=str(tmp_path / "plain"))
    without = dict.fromkeys(prompts, "")
    asked = dataclasses.replace(for_negatives, unlabeled=None, model=str(tmp_path / "prompted"), prompts=without)
    pd.testing.assert_frame_equal(pd.read_parquet(mine(asked).table), pd.read_parquet(mine(plain).table))


def test_embeddings_of_texts_are_kept_when_those_of_anchors_are_cut_off(for_negatives, monkeypatch):
    options = dataclasses.replace(for_negatives, prompts={"query": "the question: "})
    real, made = encoding.load_encoder, []

    class Killed(Exception):
        pass

    def loaded(source, device, precision, prompt=None, *, kills):
        encode = real(source, device, precision, prompt)

        def counted(texts):
            if kills and prompt:
                raise Killed
            made.append(prompt)
            return encode(texts)

        return counted

    monkeypatch.setattr(encoding, "load_encoder", partial(loaded, kills=True))
    with pytest.raises(Killed):
        mine(options)
    assert set(made) == {""}
    made.clear()
    monkeypatch.setattr(encoding, "load_encoder", partial(loaded, kills=False))
    mine(options)
    assert set(made) == {"the question: "}


def test_hard_negatives_of_labelled_and_scored_pairs(for_negatives, files, tmp_path):
    gold = read_tsv(files["gold"])
    labelled = gold.assign(label=(gold["score"] >= 4).astype(int)).drop(columns="score")
    labelled.to_parquet(tmp_path / "labelled.parquet")
    options = dataclasses.replace(
        for_negatives, unlabeled=None, positives=str(tmp_path / "labelled.parquet"), output_scores=False
    )
    by_label = pd.read_parquet(mine(options).table)
    scored = dataclasses.replace(options, positives=files["gold"], score_range=(0, 5), positive_threshold=0.8)
    by_score = pd.read_parquet(mine(scored).table)
    assert 0 < len(by_label) <= int(labelled["label"].sum())
    pd.testing.assert_frame_equal(by_label, by_score)


def test_tuples_out_of_scored_pairs(tmp_path):
    scored = pd.DataFrame(
        {
            "sentence1": ["a", "a", "a", "b", "c"],
            "sentence2": ["b", "x", "y", "z", "d"],
            "score": [0.9, 0.1, 0.2, 0.5, 0.95],
        }
    )
    scored.to_parquet(tmp_path / "silver.parquet")
    output = str(tmp_path / "run")
    options = MineOptions(
        output=output, scored=str(tmp_path / "silver.parquet"), positive_threshold=0.8, negative_threshold=0.3
    )
    result = mine(options)
    assert pd.read_parquet(result.table).to_numpy().tolist() == [["a", "b", "y"]]
    two = mine(dataclasses.replace(options, num_negatives=2))
    assert pd.read_parquet(two.table).to_numpy().tolist() == [["a", "b", "y", "x"]]
    (tmp_path / "run" / "pairs.parquet").touch()
    mine(options)
    assert not (tmp_path / "run" / "pairs.parquet").exists(), "of another mode, which the manifest does not speak of"


def test_the_command_says_what_it_found(files, tiny_model, tmp_path, capsys):
    words = ["mine", "--unlabeled", files["sentences"], "--gold", files["gold"], "--score-range", "0", "5"]
    words += ["--strategy", "semantic=0.5", "random=0.5", "--limit", "50", "--model", str(tiny_model)]
    assert main([*words, "--output", str(tmp_path / "run")]) == 0
    shown = capsys.readouterr().out
    assert f"50  pairs in {tmp_path / 'run' / 'pairs.parquet'}" in shown
    assert "random" in shown
    assert len(pd.read_parquet(tmp_path / "run" / "pairs.parquet")) == 50


def test_a_full_disk_is_said_in_words(options, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pairs_stage, "write_parquet", full)
    with pytest.raises(UserError, match="the disk is full; what is whole stays"):
        mine(dataclasses.replace(options, strategy=["random"], limit=30))


def test_shares_in_another_order_are_filled_anew(options, caplog):
    caplog.set_level(logging.INFO, logger="embedtrain")
    mine(dataclasses.replace(options, strategy=["semantic=0.5", "bm25=0.5"], limit=40))
    mine(dataclasses.replace(options, strategy=["bm25=0.5", "semantic=0.5"], limit=40))
    assert stages_run(caplog) == ["read", "encode", "sample", "sample"]


def test_the_same_seed_gives_the_same_pairs(options):
    one = mine(dataclasses.replace(options, strategy=["random"], limit=30))
    other = mine(dataclasses.replace(options, strategy=["random"], limit=30, output=options.output + "_other"))
    third = mine(dataclasses.replace(options, strategy=["random"], limit=30, seed=7, output=options.output + "_third"))
    frames = [pd.read_parquet(result.table) for result in (one, other, third)]
    pd.testing.assert_frame_equal(frames[0], frames[1])
    assert set(folded(frames[0])) != set(folded(frames[2]))
    assert np.isnan(frames[0]["similarity"]).all(), "nothing is encoded for random pairs"
