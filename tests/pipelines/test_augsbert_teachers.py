"""Teachers of every kind, their combinations, schedules, and what is left of a run that was killed in the middle."""

import dataclasses
import json
import logging
import os
import shutil
import subprocess
import sys
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import SAMPLES, build_tiny_model
from safetensors.torch import load_file
from scipy.stats import spearmanr

from embedtrain.cli import main
from embedtrain.errors import UserError
from embedtrain.evaluation.sts import cosine_of_pairs
from embedtrain.mining.combining import Combination
from embedtrain.mining.strict_calibration import fit_centred_isotonic, fit_logistic
from embedtrain.models import load_biencoder, resolve_model
from embedtrain.pipelines.augsbert import labelling
from embedtrain.pipelines.augsbert.choosing import make_teacher
from embedtrain.pipelines.augsbert.inputs import collect_inputs
from embedtrain.pipelines.augsbert.members import Member
from embedtrain.pipelines.augsbert.options import AugSBERTOptions
from embedtrain.pipelines.augsbert.pipeline import augsbert
from embedtrain.pipelines.augsbert.reading import read
from embedtrain.pipelines.augsbert.taught import taught_texts
from embedtrain.pipelines.augsbert.workspace import Workspace
from embedtrain.pipelines.mine import encoding
from embedtrain.pipelines.run import Run
from embedtrain.training.keeper import Keeper
from embedtrain.training.settings import TrainingSettings

SHORT = TrainingSettings(batch_size=16, min_steps=12, epochs=0.1, evaluations=3, patience=0, learning_rate=1e-3)
STILL = TrainingSettings(batch_size=16, min_steps=1, epochs=0.01, evaluations=1, patience=0, learning_rate=1e-12)


@pytest.fixture(scope="module")
def other_model(tmp_path_factory):
    """Another size than the student's."""
    return build_tiny_model(tmp_path_factory.mktemp("other"), layers=1, hidden=16)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    rows = {"en_gold.tsv": 81, "en_dev.tsv": 61, "en_test.tsv": 61, "en_sentences.txt": 60}
    found = {}
    for name, count in rows.items():
        lines = (SAMPLES / name).read_text(encoding="utf-8").splitlines()
        target = folder / name
        target.write_text("\n".join(lines[:count]) + "\n", encoding="utf-8")
        found[name.split("_")[1].split(".")[0]] = str(target)
    return found


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """One folder for many runs: what a run has in common with the one before is not done again."""
    return tmp_path_factory.mktemp("run") / "shared"


@pytest.fixture
def options(files, tiny_model, other_model, run_folder):
    return AugSBERTOptions(
        gold=files["gold"],
        dev=files["dev"],
        test=files["test"],
        unlabeled=files["sentences"],
        output=str(run_folder),
        score_range=(0, 5),
        base=str(tiny_model),
        teacher="cross-encoder",
        teacher_base=str(other_model),
        silver_limit=80,
        teacher_training=SHORT,
        bi_encoder_training=SHORT,
        student=SHORT,
        distillation=SHORT,
        precision="fp32",
        device="cpu",
        bootstrap_samples=100,
    )


def changed(options, **values):
    return dataclasses.replace(options, **values)


def stages_run(caplog):
    return [line.split(":")[0] for line in caplog.messages if ": done in" in line]


def stage(result, name, file):
    path = result.report.parent / "stages" / name / file
    return json.loads(path.read_text()) if file.endswith(".json") else pd.read_parquet(path)


def first_evaluation(result, name):
    return stage(result, name, "history.json")["evaluations"][0]


def best(result, name):
    return max(each["spearman"] for each in stage(result, name, "history.json")["evaluations"])


def weights(folder):
    return load_file(folder / "model" / "model.safetensors")


@pytest.mark.parametrize(("calibration", "fit"), [("auto", fit_logistic), ("isotonic", fit_centred_isotonic)])
def test_a_bi_encoder_teacher_labels_by_its_cosine_on_golds_scale(options, calibration, fit):
    result = augsbert(changed(options, teacher="bi-encoder", calibration=calibration))
    scored = stage(result, "label", "scored.parquet")
    teacher = result.report.parent / "stages" / "teacher_bi_encoder"
    model = load_biencoder(resolve_model(str(teacher / "model")), device="cpu")
    cosines = cosine_of_pairs(model, scored["sentence1"].tolist(), scored["sentence2"].tolist())
    dev = pd.read_parquet(teacher / "dev.parquet")
    expected = fit(dev["prediction"], dev["score"]).apply(cosines)
    np.testing.assert_allclose(scored["score"], expected, atol=1e-3)
    assert scored["score"].between(0, 1).all()
    assert not np.allclose(expected, cosines, atol=0.05)
    assert model.get_embedding_dimension() == 16
    assert result.metrics["teacher"]["name"] == "bi-encoder"
    assert result.metrics["teacher"]["calibration"] == {"auto": "logistic"}.get(calibration, calibration)
    # A calibration keeps the order, and with it the correlation.
    raw = spearmanr(dev["prediction"], dev["score"]).statistic
    assert result.metrics["models"]["teacher"]["dev"]["spearman"] == pytest.approx(raw, abs=1e-3)


def test_cosines_as_they_are_are_the_labels_without_calibration(options):
    result = augsbert(changed(options, teacher="bi-encoder", calibration="none"))
    raw = stage(result, "label_bi_encoder", "scores.parquet")["score"]
    np.testing.assert_allclose(stage(result, "label", "scored.parquet")["score"], raw.clip(0, 1), atol=1e-7)
    assert result.metrics["teacher"]["calibration"] == "none"


def test_a_bi_encoder_of_another_base_is_the_default_and_teaches_every_similarity_of_a_batch(options):
    result = augsbert(changed(options, teacher=None))
    assert result.metrics["teacher"]["name"] == "bi-encoder"
    assert result.metrics["silver"]["targets"] == "batch"
    assert "silver_only" in result.metrics["seconds"]
    scored = stage(result, "label", "scored.parquet")
    texts, embeddings = stage(result, "embed_bi_encoder", "texts.parquet")["text"].tolist(), embedded(result)
    assert sorted(texts) == sorted({*scored["sentence1"], *scored["sentence2"]})
    model = load_biencoder(resolve_model(str(result.report.parent / "stages/teacher_bi_encoder/model")), device="cpu")
    np.testing.assert_allclose(embeddings, model.encode(texts, normalize_embeddings=True), atol=1e-5)
    rows = {text: row for row, text in enumerate(texts)}
    pairs = [[rows[text] for text in scored[side]] for side in ("sentence1", "sentence2")]
    cosines = (embeddings[pairs[0]] * embeddings[pairs[1]]).sum(axis=1)
    np.testing.assert_allclose(stage(result, "label_bi_encoder", "scores.parquet")["score"], cosines, atol=1e-5)
    assert not (result.report.parent / "embeddings").exists()


def embedded(result):
    return np.load(result.report.parent / "stages" / "embed_bi_encoder" / "embeddings.npy")


def test_students_come_nearer_to_the_teachers_similarities(options):
    longer = dataclasses.replace(SHORT, min_steps=40)
    result = augsbert(changed(options, teacher=None, distillation=longer, bi_encoder_training=STILL))
    losses = [each["loss"] for each in stage(result, "silver_only", "history.json")["steps"]]
    assert np.mean(losses[-4:]) < 0.7 * np.mean(losses[:4])


def test_the_similarities_of_several_members_are_averaged(options):
    asked = changed(options, teacher="ensemble", teacher_members=["bi-encoder", "student"])
    result = augsbert(asked)
    assert result.metrics["silver"]["targets"] == "batch"
    with Run(asked.output, config=asked.as_dict()) as run:
        work = Workspace(asked, collect_inputs(asked), run)
        taught = taught_texts(work, make_teacher(work))
        table = stage(result, "silver", "silver.parquet")[["sentence1", "sentence2"]]
        given = taught.of(table)[np.arange(len(table))]
        alone = [
            load_biencoder(resolve_model(str(run.path(name, "model"))), device="cpu")
            for name in ("teacher_bi_encoder", "gold_only")
        ]
    cosine = (given[:, 0] * given[:, 1]).sum(axis=1) / np.linalg.norm(given, axis=2).prod(axis=1)
    both = [cosine_of_pairs(model, table["sentence1"].tolist(), table["sentence2"].tolist()) for model in alone]
    np.testing.assert_allclose(cosine, np.mean(both, axis=0), atol=1e-5)


@pytest.mark.parametrize(
    ("values", "targets"),
    [
        ({"silver_targets": "pairs"}, "pairs"),
        ({"silver_targets": "batch", "silver_schedule": "mixed", "silver_weight": 3.0}, "batch"),
        ({"loss": "mnrl", "positive_threshold": 0.2}, "pairs"),
        ({"positive_threshold": 0.5, "negative_threshold": 0.4999}, "pairs"),
    ],
)
def test_what_students_learn_of_silver_can_be_chosen(options, values, targets):
    result = augsbert(changed(options, teacher="bi-encoder", **values))
    assert result.metrics["silver"]["targets"] == targets
    rows = len(stage(result, "silver", "silver.parquet")) + len(stage(result, "read", "gold.parquet"))
    if options.loss == "cosine" and "loss" not in values:
        assert stage(result, "augmented", "history.json")["train_pairs"] == rows


def test_a_cross_encoder_cannot_teach_the_similarities_of_a_batch(options):
    thresholds = {"positive_threshold": 0.5, "negative_threshold": 0.4}
    with pytest.raises(UserError, match=r"needs a teacher that embeds each text") as error:
        augsbert(changed(options, silver_targets="batch", **thresholds))
    assert "--teacher ensemble --teacher-members bi-encoder student, or --silver-targets pairs" in str(error.value)
    assert "--silver-targets batch with both thresholds" in str(error.value)


def test_auto_compares_every_combination_on_dev_and_labels_with_the_best(options, caplog):
    caplog.set_level(logging.INFO, logger="embedtrain")
    members = ["cross-encoder", "bi-encoder", "student"]
    result = augsbert(changed(options, teacher="auto", teacher_members=members))
    facts = result.metrics["teacher"]
    assert len(facts["candidates"]) == 6
    assert facts["dev"] == max(candidate["dev"] for candidate in facts["candidates"])
    assert facts["dev"] == pytest.approx(result.metrics["models"]["teacher"]["dev"]["spearman"])
    assert f"{facts['name']} *" in caplog.text
    for member in facts["trained"]:
        kept = stage(result, Member(member["kind"], member["number"]).stage, "dev.parquet")
        assert member["dev"] == pytest.approx(spearmanr(kept["prediction"], kept["score"]).statistic)
    chosen = {member["name"] for member in facts["members"]}
    labelled = {name.removeprefix("label_").replace("_", "-") for name in result.metrics["seconds"] if "label_" in name}
    assert labelled == chosen


def test_an_ensemble_averages_calibrated_scores_and_keeps_what_it_agrees_on(options):
    members = ["cross-encoder", "bi-encoder", "student"]
    asked = changed(options, teacher="ensemble", teacher_members=members, teacher_seeds=2, silver_confidence=0.5)
    result = augsbert(asked)
    slugs = ["cross_encoder", "cross_encoder_2", "bi_encoder", "bi_encoder_2", "student"]
    raw = [stage(result, f"label_{slug}", "scores.parquet")["score"].to_numpy() for slug in slugs]
    combination = Combination.from_dict(stage(result, "teacher", "teacher.json")["combination"])
    scored = stage(result, "label", "scored.parquet")
    mapped = np.stack([scored[f"score_{slug}"] for slug in slugs])
    dev = [stage(result, "gold_only" if s == "student" else f"teacher_{s}", "dev.parquet") for s in slugs]
    for given, kept, values in zip(raw, dev, mapped, strict=True):
        np.testing.assert_allclose(fit_logistic(kept["prediction"], kept["score"]).apply(given), values, atol=1e-6)
    np.testing.assert_allclose(scored["score"], mapped.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(scored["score"], combination.apply(raw), atol=1e-6)
    np.testing.assert_allclose(scored["disagreement"], mapped.std(axis=0), atol=1e-6)
    assert not np.array_equal(raw[0], raw[1])
    silver = stage(result, "silver", "silver.parquet")
    assert len(silver) == pytest.approx(len(scored) / 2, abs=5)
    assert silver["disagreement"].mean() < scored["disagreement"].mean()
    assert result.metrics["silver"]["confident"] == len(silver) < result.metrics["silver"]["labelled"] == len(scored)
    assert result.metrics["teacher"]["name"] == "2 cross-encoders + 2 bi-encoders + student"
    assert result.metrics["models"]["teacher"]["test"]["pairs"] == 60


def test_ranks_are_averaged_and_calibrated(options):
    result = augsbert(changed(options, teacher="ensemble", teacher_average="ranks"))
    combination = stage(result, "teacher", "teacher.json")["combination"]
    assert combination["final"] is not None
    shares = np.array(combination["maps"][0]["values"])
    assert 0 < shares.min() < 0.05
    assert 0.95 < shares.max() < 1
    assert stage(result, "label", "scored.parquet")["score"].between(0, 1).all()


@pytest.mark.parametrize("start", ["student", "bi-encoder"])
def test_a_cross_encoder_can_start_from_weights_that_gold_trained(options, start):
    result = augsbert(changed(options, teacher_start=start, teacher_training=STILL))
    stages = result.report.parent / "stages"
    begun = weights(stages / ("gold_only" if start == "student" else "teacher_bi_encoder"))
    ended = weights(stages / "teacher_cross_encoder")
    name = "encoder.layer.0.attention.self.query.weight"
    assert name in begun
    np.testing.assert_allclose(ended[f"bert.{name}"].numpy(), begun[name].numpy(), atol=1e-6)
    base = load_file(f"{options.base if start == 'student' else options.teacher_base}/model.safetensors")
    assert np.abs(begun[name].numpy() - base[name].numpy()).max() > 1e-4


def test_a_cross_encoder_can_read_its_score_from_the_mean_of_its_tokens(options):
    result = augsbert(changed(options, teacher_pooling="mean"))
    modules = stage(result, "teacher_cross_encoder", "model/modules.json")
    assert [module["type"].rsplit(".", 1)[-1] for module in modules] == ["Transformer", "Pooling", "Dense"]
    assert stage(result, "label", "scored.parquet")["score"].nunique() > 10


def test_silver_then_gold_begins_the_gold_training_from_the_weights_of_silver(options, caplog):
    caplog.set_level(logging.INFO, logger="embedtrain")
    result = augsbert(changed(options, silver_schedule="silver-then-gold"))
    assert {"silver_only", "augmented"} <= set(stages_run(caplog))
    assert first_evaluation(result, "augmented")["step"] == 0
    assert first_evaluation(result, "augmented")["spearman"] == pytest.approx(best(result, "silver_only"))
    trained = {name: stage(result, name, "history.json")["train_pairs"] for name in ("silver_only", "augmented")}
    assert trained == {"silver_only": 80, "augmented": len(stage(result, "read", "gold.parquet"))}
    steps = {stage(result, name, "history.json")["max_steps"] for name in ("silver_only", "augmented", "gold_only")}
    assert len(steps) == 1


def test_gold_then_mixed_is_never_worse_on_dev_than_gold_alone(options):
    result = augsbert(changed(options, silver_schedule="gold-then-mixed"))
    assert first_evaluation(result, "augmented")["spearman"] == pytest.approx(best(result, "gold_only"))
    models = result.metrics["models"]
    assert models["augmented"]["dev"]["spearman"] >= models["gold_only"]["dev"]["spearman"] - 1e-9


def test_the_weight_of_silver_changes_the_augmented_student_alone(options, caplog):
    augsbert(options)
    caplog.set_level(logging.INFO, logger="embedtrain")
    lighter = augsbert(changed(options, silver_weight=0.3))
    assert stages_run(caplog) == ["augmented", "predict", "judge"]
    assert "augmented: run again, silver_weight changed from 1.0 to 0.3" in caplog.text
    assert np.isfinite(lighter.metrics["models"]["augmented"]["test"]["spearman"])


def test_the_ranking_loss_with_hard_negatives_goes_through(options):
    scores = stage(augsbert(options), "label", "scored.parquet")["score"]
    low, high = float(scores.quantile(0.6)), float(scores.quantile(0.7))
    ranked = changed(options, loss="mnrl", positive_threshold=high, negative_threshold=low)
    result = augsbert(ranked)
    silver, gold = stage(result, "silver", "silver.parquet"), stage(result, "read", "gold.parquet")
    assert set(silver["score"]) != {0, 1}
    positives = (silver["score"] >= high).sum() + (gold["score"] >= high).sum()
    assert stage(result, "augmented", "history.json")["train_pairs"] == positives


@pytest.mark.parametrize("strategy", ["random", "kde", "cross-domain"])
def test_the_other_strategies_give_pairs(options, strategy):
    # On gold's scale, for kde; so short a training leaves a cross-encoder's scores all alike.
    result = augsbert(changed(options, strategies=[strategy], teacher="bi-encoder"))
    silver = stage(result, "silver", "silver.parquet")
    assert set(silver["sampled_by"]) == {strategy}
    assert 5 < len(silver) <= 80


def test_ready_pairs_of_another_domain_are_what_is_labelled(options, tmp_path, files):
    dev = pd.read_csv(files["dev"], sep="\t", quoting=3)
    ready = pd.DataFrame({"left": [f"about {text}" for text in dev["sentence1"]], "right": dev["sentence2"]})
    ready.to_csv(tmp_path / "pairs.csv", index=False)
    columns = {"anchor": "left", "positive": "right"}
    asked = changed(options, strategies=["cross-domain"], pairs=str(tmp_path / "pairs.csv"), columns=columns)
    silver = stage(augsbert(asked), "silver", "silver.parquet")
    found = {frozenset(pair) for pair in zip(silver["sentence1"], silver["sentence2"], strict=True)}
    assert found == {frozenset(pair) for pair in zip(ready["left"], ready["right"], strict=True)}


def test_shares_of_strategies_and_the_search_among_the_students_embeddings(options, caplog):
    shares = changed(options, strategies=["semantic=0.5", "bm25=0.5"])
    counts = stage(augsbert(shares), "silver", "silver.parquet")["sampled_by"].str.contains("semantic").sum()
    assert counts >= 40
    caplog.set_level(logging.INFO, logger="embedtrain")
    augsbert(changed(shares, search_model="gold-only"))
    assert "sample: run again, search_model changed" in caplog.text


def test_a_teacher_that_knows_less_than_gold_teaches_is_said_before_labelling(options, tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="embedtrain")
    result = augsbert(changed(options, teacher_training=STILL, output=str(tmp_path / "run")))
    warned = next(row for row, line in enumerate(caplog.messages) if "is no better than the student that gold" in line)
    labelled = next(row for row, line in enumerate(caplog.messages) if line.startswith("label_cross_encoder: done"))
    assert warned < labelled
    assert result.metrics["warnings"][0] == caplog.messages[warned]


def test_dev_is_held_out_of_gold_where_none_is_given(options, tmp_path):
    result = augsbert(changed(options, dev=None, gold_limit=70, output=str(tmp_path / "run")))
    gold, dev = stage(result, "read", "gold.parquet"), stage(result, "read", "dev.parquet")
    assert (len(gold), len(dev)) == (35, 35)
    assert not set(gold["row"]) & set(dev["row"])
    assert result.metrics["dev_held_out"]
    assert result.metrics["models"]["augmented"]["dev"]["pairs"] == 35
    silver = stage(result, "silver", "silver.parquet")
    known = {frozenset(pair) for pair in zip(dev["sentence1"], dev["sentence2"], strict=True)}
    assert not known & {frozenset(pair) for pair in zip(silver["sentence1"], silver["sentence2"], strict=True)}


def test_one_file_of_pairs_is_enough(options, tmp_path):
    """Without dev and test both come out of gold; a subset of gold leaves test as it is."""
    metrics, tests = [], []
    for name, limit in (("all", None), ("some", 20)):
        asked = changed(options, dev=None, test=None, gold_limit=limit, output=str(tmp_path / name))
        with Run(asked.output, config={}) as run:
            read(Workspace(asked, collect_inputs(asked), run))
        tables = {
            split: pd.read_parquet(tmp_path / name / "stages" / "read" / f"{split}.parquet")
            for split in ("gold", "dev", "test")
        }
        rows = [row for table in tables.values() for row in table["row"]]
        assert len(rows) == len(set(rows))
        tests.append(tables["test"])
        metrics.append({split: len(table) for split, table in tables.items()})
    assert metrics == [{"gold": 20, "dev": 20, "test": 40}, {"gold": 10, "dev": 10, "test": 40}]
    pd.testing.assert_frame_equal(*tests)


def test_another_seed_holds_out_other_pairs(options, tmp_path):
    drawn = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        asked = changed(options, dev=None, seed=seed, output=str(tmp_path / name))
        with Run(asked.output, config={}) as run:
            read(Workspace(asked, collect_inputs(asked), run))
        drawn.append(pd.read_parquet(tmp_path / name / "stages" / "read" / "dev.parquet"))
    pd.testing.assert_frame_equal(drawn[0], drawn[1])
    assert set(drawn[0]["row"]) != set(drawn[2]["row"])


def test_a_pool_without_a_new_pair_is_a_mistake_that_says_so(options, tmp_path):
    texts = [f"the boiler number {number} is cold" for number in range(5)]
    rows = [(texts[i], texts[j], (i + j) % 6) for i in range(5) for j in range(i)]
    gold = tmp_path / "gold.tsv"
    pd.DataFrame(rows, columns=["sentence1", "sentence2", "score"]).to_csv(gold, sep="\t", index=False)
    with pytest.raises(UserError, match=r"no new pair is left among 5 sentences; give more of them with --unlabeled"):
        augsbert(changed(options, gold=str(gold), unlabeled=None, output=str(tmp_path / "run")))


class Killed(BaseException):
    """What a test raises where a process would be killed."""


def test_labelling_that_was_cut_off_goes_on_behind_its_last_shard(options, tmp_path, monkeypatch, caplog):
    whole = stage(augsbert(options), "label", "scored.parquet")
    monkeypatch.setattr(labelling, "SHARD_ROWS", 16)
    real = labelling.label_missing
    shards = []

    def cut_off(*args, **options):
        def stop(shard, frame):
            shards.append(shard)
            if len(shards) == 3:
                raise Killed

        real(*args, **options, on_shard=stop)

    monkeypatch.setattr(labelling, "label_missing", cut_off)
    elsewhere = changed(options, output=str(tmp_path / "run"))
    with pytest.raises(Killed):
        augsbert(elsewhere)
    assert shards == [0, 1, 2]
    shards.clear()
    caplog.set_level(logging.INFO, logger="embedtrain")
    monkeypatch.setattr(
        labelling, "label_missing", lambda *a, **o: real(*a, **o, on_shard=lambda s, _: shards.append(s))
    )
    finished = augsbert(elsewhere)
    assert shards == [3, 4]
    assert stages_run(caplog)[0] == "label_cross_encoder"
    scored = stage(finished, "label", "scored.parquet")
    assert scored["sentence1"].tolist() == whole["sentence1"].tolist()
    np.testing.assert_allclose(scored["score"], whole["score"], atol=1e-5)
    assert not (tmp_path / "run" / "labels").exists()


@pytest.mark.parametrize("name", ["gold_only", "teacher_cross_encoder", "silver_only"])
def test_a_training_that_was_cut_off_goes_on_from_its_checkpoint(options, tmp_path, monkeypatch, caplog, name):
    longer = dataclasses.replace(SHORT, min_steps=30, evaluations=6)
    lengths = {"student": SHORT if name == "silver_only" else longer, "teacher_training": longer}
    teacher = "bi-encoder" if name == "silver_only" else "cross-encoder"
    elsewhere = changed(options, **lengths, distillation=longer, teacher=teacher, output=str(tmp_path / "run"))
    real = Keeper.on_save

    def cut_off(self, args, state, control, **more):
        real(self, args, state, control, **more)
        if state.global_step >= 10 and self.description.replace(" ", "_").replace("-", "_") in name:
            raise Killed

    monkeypatch.setattr(Keeper, "on_save", cut_off)
    with pytest.raises(Killed):
        augsbert(elsewhere)
    assert (tmp_path / "run" / "checkpoints" / name).is_dir()
    assert not (tmp_path / "run" / "stages" / name).exists()
    monkeypatch.setattr(Keeper, "on_save", real)
    caplog.set_level(logging.INFO, logger="embedtrain")
    finished = augsbert(elsewhere)
    assert "going on from step 10 of 30" in caplog.text
    assert not (tmp_path / "run" / "checkpoints").exists()
    uncut = augsbert(changed(elsewhere, output=str(tmp_path / "uncut")))
    assert {model: scores["test"] for model, scores in finished.metrics["models"].items()} == {
        model: scores["test"] for model, scores in uncut.metrics["models"].items()
    }
    first, second = (weights(result.report.parent / "stages" / name) for result in (finished, uncut))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_embedding_that_was_cut_off_goes_on_behind_its_last_shard(options, tmp_path, monkeypatch):
    asked = changed(options, teacher="bi-encoder")
    whole = embedded(augsbert(asked))
    real, made = encoding.load_encoder, []
    monkeypatch.setattr(encoding, "SHARD_ROWS", 16)

    def cut_off(*given, after=None):
        encode = real(*given)

        def counted(texts):
            if len(made) == after:
                raise Killed
            made.append(len(texts))
            return encode(texts)

        return counted

    elsewhere = changed(asked, output=str(tmp_path / "run"))
    monkeypatch.setattr(encoding, "load_encoder", partial(cut_off, after=2))
    with pytest.raises(Killed):
        augsbert(elsewhere)
    assert made == [16, 16]
    monkeypatch.setattr(encoding, "load_encoder", cut_off)
    finished = embedded(augsbert(elsewhere))
    assert sum(made) == len(whole)
    np.testing.assert_allclose(finished, whole, atol=1e-6)
    assert not (tmp_path / "run" / "embeddings").exists()


@pytest.mark.timeout(400)
def test_two_processes_learn_similarities_as_one_does_with_twice_the_batch(files, tiny_model, other_model, tmp_path):
    still = {name: without_dropout(folder, tmp_path / name) for name, folder in (("b", tiny_model), ("t", other_model))}

    def words(output, batch_size):
        given = ["augsbert", "--gold", files["gold"], "--dev", files["dev"], "--test", files["test"], "--device", "cpu"]
        given += ["--unlabeled", files["sentences"], "--score-range", "0", "5", "--precision", "fp32"]
        given += ["--base", still["b"], "--teacher-base", still["t"], "--output", str(tmp_path / output)]
        given += ["--silver-limit", "80", "--bootstrap-samples", "100"]
        for group, steps in (("student", 2), ("bi-encoder-training", 2), ("distillation", 8)):
            given += [f"--{group}.min-steps", str(steps), f"--{group}.epochs", "0.001", f"--{group}.evaluations", "2"]
            given += [f"--{group}.batch-size", str(batch_size), f"--{group}.learning-rate", "1e-3"]
        return given

    assert main(words("one", 16)) == 0
    starter = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "embedtrain")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*starter, *words("two", 8)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in ("gold_only", "teacher_bi_encoder", "silver_only", "augmented"):
        one, two = (tmp_path / run / "stages" / name for run in ("one", "two"))
        losses = [[each["loss"] for each in json.loads((f / "history.json").read_text())["steps"]] for f in (one, two)]
        np.testing.assert_allclose(losses[1], losses[0], rtol=1e-3)
        first, second = weights(one), weights(two)
        for key, value in first.items():
            torch.testing.assert_close(second[key], value, atol=1e-4, rtol=0)


def without_dropout(folder, target):
    """Two processes draw different dropout: none for comparing them."""
    shutil.copytree(folder, target)
    file = target / "config.json"
    config = {**json.loads(file.read_text()), "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    file.write_text(json.dumps(config))
    return str(target)


@pytest.mark.timeout(400)
def test_two_processes_train_train_and_share_the_labelling(tiny_model, tmp_path):
    words = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "embedtrain"),
        *("augsbert", "--gold", str(SAMPLES / "en_gold.tsv"), "--test", str(SAMPLES / "en_test.tsv")),
        *("--score-range", "0", "5", "--base", str(tiny_model), "--output", str(tmp_path / "run"), "--device", "cpu"),
        *("--top-k", "5", "--teacher", "bi-encoder", "--silver-targets", "pairs", "--precision", "fp32"),
        *("--bootstrap-samples", "100"),
    ]
    for group in ("student", "bi-encoder-training"):
        words += [f"--{group}.min-steps", "2", f"--{group}.epochs", "0.001", f"--{group}.evaluations", "1"]
    done = subprocess.run(
        words, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("zero-shot") == 1
    stages = tmp_path / "run" / "stages"
    candidates = pd.read_parquet(stages / "sample" / "candidates.parquet")
    # Of two shards each process had one.
    assert labelling.SHARD_ROWS < len(candidates) <= 2 * labelling.SHARD_ROWS
    assert f"labelled {labelling.SHARD_ROWS:,} of {labelling.SHARD_ROWS:,} pairs" in done.stderr
    model = load_biencoder(resolve_model(str(stages / "teacher_bi_encoder" / "model")), device="cpu")
    cosines = cosine_of_pairs(model, candidates["sentence1"].tolist(), candidates["sentence2"].tolist())
    np.testing.assert_allclose(
        pd.read_parquet(stages / "label_bi_encoder" / "scores.parquet")["score"], cosines, atol=1e-5
    )
