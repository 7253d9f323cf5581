import json
import re

import numpy as np
import pandas as pd
import pytest
from fake_label_run import PAIRS, TEACHERS, VERDICT, WARNING, build_label_run
from pages import drawn_in, scores_listed, text_of

from embedtrain.report import score_plots, write_label_report


@pytest.fixture
def run(tmp_path):
    return build_label_run(tmp_path / "run")


def changed(run, **values):
    metrics = json.loads((run / "metrics.json").read_text())
    (run / "metrics.json").write_text(json.dumps({**metrics, **values}))
    return text_of(write_label_report(run).read_text())


def test_teachers_stand_beside_their_student(run):
    text = text_of(write_label_report(run).read_text())
    for said in (
        f"Teacher 1 {TEACHERS[0]}, a cross-encoder 84.30 [82.6, 85.8] 83.20", "85.90 [84.2, 87.4]",
        f"Teacher 2 {TEACHERS[1]}, a bi-encoder, by its cosine", "Student all-MiniLM-L6-v2 82.03", "1,500 dev pairs",
        "Labels the mean of the teachers 86.66", VERDICT.partition(". ")[0], WARNING, "Teacher 1: models/教师-large",
        "44.4 s of computing", "6,000 pairs", "2 teachers",
    ):  # fmt: skip
        assert said in text, said


def test_figures_are_those_of_the_labels(run):
    text = text_of(write_label_report(run).read_text())
    silver = pd.read_parquet(run / "labels" / "shards")["score"].to_numpy()
    metrics = json.loads((run / "metrics.json").read_text())
    low, high = (silver <= np.float32(0.4)).mean(), (silver >= np.float32(0.7)).mean()
    for share, label in ((low, "label 0"), (1 - low - high, "no hard label"), (high, "label 1")):
        assert f"{label} {100 * share:.1f} % {share * PAIRS:,.0f}" in text
    assert f"{metrics['distribution']['wasserstein']:.3f}" in text
    assert f"mean silver score {silver.mean():.2f}" in text
    for when in ("before", "after"):
        assert f"{metrics['calibration'][f'error_{when}']:.3f}" in text
    assert "as the teacher gave them; --calibrate would" in text
    assert f"6,000 pairs in 41.3 s: {PAIRS / 41.3:.0f} pairs a second" in text
    assert "At this rate 1,000,000 pairs take 1 h 55 min, 100,000,000 pairs 7 d 23 h." in text


def test_examples_run_from_the_lowest_to_the_highest_score(run):
    page = write_label_report(run).read_text()
    scores = scores_listed(page)
    assert len(scores) == 20
    assert scores == sorted(scores)
    assert (scores[0], scores[-1]) == (0.0, 1.0)
    text = text_of(page)
    assert "row 17" in text
    assert "row 4711" in text


def test_code_reads_the_labels(run):
    page = write_label_report(run).read_text()
    assert f"pd.read_parquet(&#39;{(run / 'labels' / 'shards').as_posix()}&#39;)" in page
    assert "in 3 Parquet files" in text_of(page)


def test_nothing_measured_on_dev_is_said(run):
    teacher = {"name": "t", "kind": "cross-encoder", "dev": None}
    text = changed(run, teachers=[teacher], student=None, calibration=None)
    assert "how good the labels are is not known" in text
    assert "t, a cross-encoder" in text
    assert "Calibration error" not in text
    assert "beside the student" not in text


def test_labels_without_gold_or_thresholds(run):
    distribution = json.loads((run / "metrics.json").read_text())["distribution"]
    distribution |= {"gold_hist": None, "gold_mean": None, "gold_pairs": None, "wasserstein": None, "outside": 12}
    text = changed(run, distribution=distribution, thresholds=None)
    assert "Silver scores" in text
    assert "12 scores lie outside 0 to 1" in text
    assert "Wasserstein" not in text
    assert "thresholds leave" not in text


def test_calibrated_labels_are_called_so(run):
    calibration = json.loads((run / "metrics.json").read_text())["calibration"]
    assert "The labels of this run are calibrated" in changed(run, calibration={**calibration, "applied": True})


def test_a_run_that_was_cut_off(run):
    (run / "metrics.json").unlink()
    (run / "examples.parquet").unlink()
    text = text_of(write_label_report(run).read_text())
    assert "examples.parquet is not in this run folder." in text
    assert "in 3 Parquet files" in text


def test_scores_outside_their_range_and_single_pair_bins_still_draw():
    bins = [
        {"score": -4.0, "gold": 0.1, "count": 1, "low": None, "high": None},
        {"score": 6.0, "gold": 0.9, "count": 9, "low": 0.8, "high": 1.0},
    ]
    assert "<svg" in score_plots.reliability_diagram(bins, [])
    one = score_plots.ScoreSet.of(np.array([-1.0, 0.5, 2.0]), np.linspace(0, 1, 21))
    assert one.counts.sum() == one.pairs == 3
    assert (one.counts[0], one.counts[-1]) == (1, 1)
    assert score_plots.ScoreSet.of(np.array([]), np.linspace(0, 1, 21)) is None


def test_the_histogram_has_area_one():
    edges = np.linspace(0, 1, 21)
    one = score_plots.ScoreSet.of(np.random.default_rng(0).random(500), edges)
    drawn = drawn_in(str(score_plots.score_histogram(one, None, edges, dropped=(0.3, 0.6))))
    assert re.search(r"no hard label", drawn)
    assert "gold: 500 pairs" in drawn
    assert "Scores between 0.3 and 0.6 are marked" in drawn
