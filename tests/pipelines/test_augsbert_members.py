"""Which teachers the options ask for, what each starts from, and what a student is trained on."""

import logging

import numpy as np
import pandas as pd
import pytest
import torch

from embedtrain.errors import UserError
from embedtrain.losses import CoSENTLoss, CosineSimilarityLoss, MultipleNegativesRankingLoss
from embedtrain.losses.module import call_loss
from embedtrain.pipelines.augsbert.checks import warn_without_effect
from embedtrain.pipelines.augsbert.members import Member, candidates_of, trained_members
from embedtrain.pipelines.augsbert.options import AugSBERTOptions
from embedtrain.pipelines.augsbert.tasks import student_tasks
from embedtrain.training.settings import TrainingSettings

FILES = {"gold": "g", "test": "t", "output": "o"}


def options(**values):
    return AugSBERTOptions(**FILES, **{"teacher": "cross-encoder"} | values)


def names(**values):
    return [candidate.name for candidate in candidates_of(options(**values))]


def test_each_kind_of_teacher_is_one_candidate():
    assert [candidate.name for candidate in candidates_of(AugSBERTOptions(**FILES))] == ["cross-encoder + student"]
    assert names(teacher="cross-encoder") == ["cross-encoder"]
    assert names(teacher="bi-encoder") == ["bi-encoder"]
    assert names(teacher="cross-encoder", teacher_seeds=3) == ["3 cross-encoders"]
    assert names(teacher="ensemble") == ["cross-encoder + student"]
    members = ["bi-encoder", "student"]
    assert names(teacher="ensemble", teacher_seeds=2, teacher_members=members) == ["2 bi-encoders + student"]


def test_auto_tries_every_combination_but_the_student_alone_the_simplest_first():
    members = ["cross-encoder", "bi-encoder", "student"]
    assert names(teacher="auto", teacher_members=members) == [
        *("cross-encoder", "bi-encoder", "cross-encoder + bi-encoder", "cross-encoder + student"),
        *("bi-encoder + student", "cross-encoder + bi-encoder + student"),
    ]


def test_no_two_members_share_a_seed_kind_and_stage():
    asked = options(teacher="ensemble", teacher_seeds=3, teacher_members=["cross-encoder", "bi-encoder", "student"])
    members = candidates_of(asked)[0].members
    assert len(members) == 7
    assert len({member.stage for member in members}) == 7
    assert [member.seed(asked) for member in members[:3]] == [42, 43, 44]
    # Of the student's own base, a bi-encoder of the student's seed would be the student.
    assert [member.seed(asked) for member in members[3:6]] == [43, 44, 45]
    assert members[6] == Member("student")
    assert members[6].stage == "gold_only"


def test_cross_encoders_that_start_from_bi_encoders_come_behind_them():
    asked = options(teacher_start="bi-encoder", teacher_seeds=2)
    assert [member.stage for member in trained_members(candidates_of(asked), asked)] == [
        "teacher_bi_encoder",
        "teacher_cross_encoder",
        "teacher_bi_encoder_2",
        "teacher_cross_encoder_2",
    ]
    asked = options(teacher_start="student")
    stages = [member.stage for member in trained_members(candidates_of(asked), asked)]
    assert stages == ["gold_only", "teacher_cross_encoder"]


@pytest.mark.parametrize(
    ("values", "dev_pairs", "calibration"),
    [
        ({}, 1000, "none"),
        ({"teacher_seeds": 2}, 1000, "none"),
        ({"teacher_seeds": 2, "teacher_average": "ranks"}, 1000, "isotonic"),
        ({"teacher_average": "ranks"}, 1000, "none"),
        ({"teacher": "bi-encoder"}, 200, "isotonic"),
        ({"teacher": "bi-encoder"}, 199, "logistic"),
        ({"teacher": "ensemble"}, 50, "logistic"),
        ({"calibration": "isotonic"}, 50, "isotonic"),
        ({"calibration": "logistic"}, 1000, "logistic"),
        ({"calibration": "none", "teacher": "bi-encoder"}, 1000, "none"),
    ],
)
def test_what_is_not_on_golds_scale_is_calibrated_by_as_much_as_dev_can_tell(values, dev_pairs, calibration):
    asked = options(**values)
    assert candidates_of(asked)[0].calibration(asked, dev_pairs=dev_pairs) == calibration


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"teacher": "cross-encoder", "teacher_members": ["bi-encoder"]}, "--teacher-members has no effect"),
        ({"teacher": "bi-encoder", "teacher_base": "x", "teacher_start": "student"}, "--teacher-start has no effect"),
        ({"teacher": "bi-encoder", "teacher_base": "x", "teacher_pooling": "mean"}, "--teacher-pooling has no effect"),
        ({"teacher_base": "x", "teacher_start": "student", "teacher": "cross-encoder"}, "--teacher-base has no effect"),
        ({"teacher": "bi-encoder"}, "the student's own base"),
        (
            {"teacher": "bi-encoder", "teacher_base": "x", "calibration": "none", "silver_targets": "pairs"},
            "not on gold's scale",
        ),
        ({"teacher": "bi-encoder", "teacher_base": "x", "calibration": "none"}, "not what students learn"),
        ({"teacher": "bi-encoder", "teacher_base": "x", "silver_weight": 0.5}, "--silver-weight has no effect"),
        ({"teacher_average": "ranks"}, "there is one teacher"),
        ({"strategies": ["bm25"], "search_model": "gold-only"}, "--search-model has no effect"),
        ({"silver_schedule": "silver-then-gold", "silver_weight": 0.5}, "--silver-weight has no effect"),
        ({"distillation": TrainingSettings(epochs=7)}, "--distillation has no effect"),
        ({"negatives": 2}, "--negatives has no effect"),
        ({"pairs": "p"}, "--pairs has no effect"),
    ],
)
def test_options_without_effect_are_said(values, expected, caplog):
    caplog.set_level(logging.WARNING, logger="embedtrain")
    warn_without_effect(options(**values))
    assert len(caplog.messages) == 1
    assert expected in caplog.text


def test_the_defaults_and_a_full_ensemble_give_no_warning(caplog):
    warn_without_effect(AugSBERTOptions(**FILES))
    full = options(
        teacher="auto",
        teacher_base="x",
        teacher_members=["cross-encoder", "bi-encoder", "student"],
        teacher_start="bi-encoder",
        teacher_pooling="mean",
        teacher_average="ranks",
        search_model="gold-only",
    )
    warn_without_effect(full)
    assert caplog.messages == []


def test_the_steps_of_the_students_are_known_before_anything_is_sampled():
    few = options()
    assert few.student_steps(gold_pairs=600, sentences=100) == 200  # the least
    assert few.student_steps(gold_pairs=12_800, sentences=100_000) == 600  # twice as many silver pairs
    assert options(silver_limit=64_000).student_steps(gold_pairs=640, sentences=10**6) == 1010
    assert options(silver_limit=0).student_steps(gold_pairs=640, sentences=64_000) == 3010
    assert options(silver_limit=0).student_steps(gold_pairs=640, sentences=0, ready_pairs=64_000) == 1010
    both = options(silver_limit=0, strategies=["semantic+bm25=0.5", "bm25=0.5"])
    assert both.student_steps(gold_pairs=640, sentences=64_000) == 6010


@pytest.fixture
def tables():
    gold = pd.DataFrame(
        {
            "sentence1": ["a", "a", "c"],
            "sentence2": ["b", "d", "e"],
            "score": [0.9, 0.1, 0.8],
        }
    )
    silver = pd.DataFrame(
        {
            "sentence1": ["f", "g", "c"],
            "sentence2": ["h", "f", "i"],
            "score": [0.95, 0.05, 0.2],
            "sampled_by": "semantic",
        }
    )
    return {"gold": gold, "silver": silver}


def loss_of(task, columns, targets):
    return call_loss(task.loss, columns, targets)


def test_gold_and_silver_of_equal_weight_are_one_table(tables):
    (task,) = student_tasks(tables, options())
    assert isinstance(task.loss, CosineSimilarityLoss)
    assert task.table.columns.tolist() == ["sentence1", "sentence2", "label"]
    np.testing.assert_allclose(task.table["label"], [0.9, 0.1, 0.8, 0.95, 0.05, 0.2], atol=1e-6)
    assert task.batches == "like_length"


def test_the_loss_that_ranks_takes_the_scores_too(tables):
    (task,) = student_tasks(tables, options(loss="cosent"))
    assert isinstance(task.loss, CoSENTLoss)
    np.testing.assert_allclose(task.table["label"], [0.9, 0.1, 0.8, 0.95, 0.05, 0.2], atol=1e-6)


def test_the_weight_of_silver_multiplies_its_loss_and_leaves_gold_alone(tables):
    gold, silver = student_tasks(tables, options(silver_weight=0.25))
    assert (gold.name, silver.name) == ("gold", "silver")
    columns = [torch.randn(3, 4), torch.randn(3, 4)]
    score = torch.rand(3)
    plain = CosineSimilarityLoss()(*columns, score)
    assert loss_of(gold, columns, [score]).item() == pytest.approx(plain.item())
    assert loss_of(silver, columns, [score]).item() == pytest.approx(0.25 * plain.item())
    # Alone, a weight says nothing.
    (alone,) = student_tasks({"gold": tables["gold"]}, options(silver_weight=0.25))
    assert loss_of(alone, columns, [score]).item() == pytest.approx(plain.item())


def test_the_ranking_loss_takes_the_pairs_above_the_threshold(tables):
    (task,) = student_tasks(tables, options(loss="mnrl", positive_threshold=0.8))
    assert isinstance(task.loss, MultipleNegativesRankingLoss)
    assert task.batches == "unique"
    assert task.table.to_numpy().tolist() == [["a", "b"], ["c", "e"], ["f", "h"]]


def test_with_two_thresholds_pairs_get_hard_negatives_and_none_is_lost(tables):
    both = {"both": pd.concat(tables.values(), ignore_index=True)}
    hard, rest = student_tasks(both, options(loss="mnrl", positive_threshold=0.8, negative_threshold=0.1))
    assert hard.table.to_numpy().tolist() == [["a", "b", "d"], ["f", "h", "g"]]
    assert rest.table.to_numpy().tolist() == [["c", "e"]]
    assert {hard.batches, rest.batches} == {"unique"}
    (only,) = student_tasks(both, options(loss="mnrl", positive_threshold=0.85, negative_threshold=0.1))
    assert only.table.to_numpy().tolist() == hard.table.to_numpy().tolist()
    (none,) = student_tasks(both, options(loss="mnrl", positive_threshold=0.8, negative_threshold=0.1, negatives=2))
    assert none.table.to_numpy().tolist() == [["a", "b"], ["c", "e"], ["f", "h"]]


def test_no_positive_pair_is_a_mistake_that_names_the_highest_score(tables):
    with pytest.raises(UserError, match=r"no silver pair scores that high.*highest is 0\.95"):
        student_tasks({"silver": tables["silver"]}, options(loss="mnrl", positive_threshold=0.97))
