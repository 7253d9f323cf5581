"""What is said of labels: teachers beside the student, calibration, warnings and verdict."""

import numpy as np
import pandas as pd
import pytest

from embedtrain.evaluation.statistics import spearman
from embedtrain.mining.distribution import LabelSummary, build_label_metrics
from embedtrain.models import ModelSource
from embedtrain.pipelines.label.judging import (
    judge_on_dev,
    label_table,
    label_verdict,
    label_warnings,
    not_judged,
    teacher_warnings,
)
from embedtrain.pipelines.label.teachers import Teacher

PAIRS = 400


def teacher(name, kind="cross-encoder"):
    return Teacher(ModelSource(name, "/nowhere", "folder"), kind, has_sigmoid=True)


@pytest.fixture
def dev():
    """Gold, a teacher that ranks well on a scale of its own, another one, and a weak student."""
    random = np.random.default_rng(0)
    gold = random.integers(0, 6, size=PAIRS) / 5
    scores = [np.clip(0.7 + 0.2 * gold + random.normal(0, noise, size=PAIRS), 0, 1) for noise in (0.05, 0.1, 0.3)]
    return gold, *scores


def judged(dev, *, calibrated, count=1):
    gold, first, second, student = dev
    names, given = [teacher("one"), teacher("two", "bi-encoder")][:count], [first, second][:count]
    return judge_on_dev(
        names,
        given,
        gold,
        student=("small", student),
        calibrated=calibrated,
        bootstrap_samples=100,
        seed=1,
    )


@pytest.mark.parametrize("calibrated", [False, True])
def test_a_single_teacher_keeps_its_order_whatever_is_done_to_its_scores(dev, calibrated):
    told = judged(dev, calibrated=calibrated)
    gold, first, _, student = dev
    assert told["teachers"][0]["dev"]["spearman"] == pytest.approx(spearman(first, gold))
    assert told["labels"]["dev"]["spearman"] == pytest.approx(spearman(first, gold), abs=1e-4)
    assert told["student"]["dev"]["spearman"] == pytest.approx(spearman(student, gold))
    assert told["calibration"]["applied"] is calibrated
    assert told["calibration"]["error_after"] < 0.05 < 0.2 < told["calibration"]["error_before"]


def test_several_teachers_are_judged_by_their_mean(dev):
    told = judged(dev, calibrated=False, count=2)
    gold, first, second, _ = dev
    assert [each["name"] for each in told["teachers"]] == ["one", "two"]
    assert told["labels"]["dev"]["spearman"] == pytest.approx(spearman((first + second) / 2, gold), abs=1e-4)


def metrics_of(told, scores, *, gold=None):
    summary = LabelSummary(positive_threshold=0.8, negative_threshold=0.2)
    texts = np.full(len(scores), "text")
    summary.add(pd.DataFrame({"sentence1": texts, "sentence2": texts, "score": np.float32(scores)}), first_row=0)
    parts = {key: told[key] for key in ("teachers", "student", "calibration")}
    return {**build_label_metrics(summary, gold_scores=gold, seconds=1.0, **parts), "labels": told["labels"]}


def test_a_better_teacher_is_said_to_be_one(dev):
    told = judged(dev, calibrated=False)
    assert teacher_warnings(told) == []
    metrics = metrics_of(told, [0.1, 0.5, 0.9, 0.95], gold=dev[0])
    verdict = label_verdict(metrics)
    assert verdict.startswith("The labels are better than the student on dev")
    assert "4 pairs are labelled by one." in verdict
    assert "25.0 % of the pairs lie between the thresholds" in verdict
    assert label_warnings(metrics) == []
    table = label_table(metrics)
    assert "teacher: one" in table
    assert "student: small" in table
    # One teacher, not calibrated: the labels are its scores, and not a row of their own.
    assert "labels" not in table
    assert "labels" in label_table(metrics_of(judged(dev, calibrated=True), [0.5]))


def test_a_worse_teacher_is_warned_of(dev):
    gold, first, second, student = dev
    told = judged((gold, student, second, first), calibrated=False)
    (warning,) = teacher_warnings(told)
    assert warning.startswith("The teacher is no better than the student")
    assert label_verdict(metrics_of(told, [0.5])).startswith("The labels are no better than the student on dev")


def test_without_dev_nothing_is_claimed():
    told = not_judged([teacher("one")])
    (warning,) = teacher_warnings(told)
    assert "--dev" in warning
    metrics = metrics_of(told, [0.2, 0.4])
    assert label_verdict(metrics).startswith("How good the labels are is not known")
    assert label_table(metrics) is None


def test_scores_outside_and_scores_all_alike_are_warned_of(dev):
    told = judged(dev, calibrated=False)
    (outside,) = label_warnings(metrics_of(told, [-3.0, 0.5, 0.9, 7.0]))
    assert outside.startswith("2 of 4 scores lie outside 0 to 1")
    (alike,) = label_warnings(metrics_of(told, [0.501, 0.502, 0.503]))
    assert alike.startswith("All scores lie between 0.5 and 0.55")
