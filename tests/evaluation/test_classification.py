"""Metrics of classifications against scikit-learn and SciPy, on all rows and on resamples."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from embedtrain.evaluation.classification import mean_of_estimates, over_runs, score_predictions
from embedtrain.evaluation.comparing import Estimate
from embedtrain.evaluation.resampling import resample_counts

ROWS, SAMPLES, SEED = 80, 50, 3
THEIRS = {
    "matthews": metrics.matthews_corrcoef,
    "f1": lambda gold, said: metrics.f1_score(gold, said, zero_division=0.0),
    "accuracy": metrics.accuracy_score,
    "pearson": lambda gold, said: stats.pearsonr(gold, said).statistic,
    "spearman": lambda gold, said: stats.spearmanr(gold, said).statistic,
}


def drawn_rows():
    for block in resample_counts(ROWS, samples=SAMPLES, seed=SEED):
        for counts in block:
            yield np.repeat(np.arange(ROWS), counts.astype(int))


@pytest.mark.parametrize("metric", THEIRS)
def test_each_metric_is_theirs_on_all_rows_and_on_every_resample(metric):
    random = np.random.default_rng(0)
    if metric in ("pearson", "spearman"):
        gold = random.random(ROWS)
        said = gold + random.random(ROWS)
    else:
        gold = random.integers(0, 2, ROWS)
        said = np.where(random.random(ROWS) < 0.7, gold, 1 - gold)
    found = score_predictions(said, gold, metrics=[metric], samples=SAMPLES, seed=SEED)[metric]
    assert found.value == pytest.approx(THEIRS[metric](gold, said))
    expected = [THEIRS[metric](gold[rows], said[rows]) for rows in drawn_rows()]
    assert found.resampled == pytest.approx(np.array(expected))


def test_accuracy_takes_any_number_of_classes():
    found = score_predictions([0, 2, 1, 2], [0, 2, 2, 2], metrics=["accuracy"], samples=10, seed=0)
    assert found["accuracy"].value == 0.75


@pytest.mark.parametrize("said", [0, 1])
def test_predictions_that_are_all_alike_have_no_correlation(said):
    gold = np.array([0, 1, 1, 0, 1])
    found = score_predictions(np.full(5, said), gold, metrics=["matthews", "f1"], samples=10, seed=0)
    assert found["matthews"].value == 0.0
    assert found["matthews"].resampled.tolist() == [0.0] * 10
    assert found["f1"].value == pytest.approx(metrics.f1_score(gold, np.full(5, said), zero_division=0.0))


@pytest.mark.parametrize(("said", "gold"), [([0, 1], [0]), ([], []), ([0, 2], [0, 1])])
def test_what_cannot_be_measured_is_refused(said, gold):
    with pytest.raises(ValueError, match="expected"):
        score_predictions(said, gold, metrics=["matthews"], samples=10, seed=0)


def test_the_mean_of_estimates_is_taken_on_each_resample():
    one, other = Estimate(0.2, np.array([0.1, 0.3])), Estimate(0.4, np.array([0.5, 0.1]))
    found = mean_of_estimates([one, other])
    assert found.value == pytest.approx(0.3)
    assert found.resampled == pytest.approx(np.array([0.3, 0.2]))


def test_several_trainings_widen_the_interval_by_their_spread_and_one_changes_nothing():
    random = np.random.default_rng(0)
    rows = random.normal(0.5, 0.01, 4000)
    alone = Estimate(0.5, rows)
    assert over_runs([alone], seed=1).resampled.tolist() == rows.tolist()
    runs = [Estimate(0.5 + shift, rows + shift) for shift in (-0.06, 0.0, 0.06)]
    found = over_runs(runs, seed=1)
    assert found.value == pytest.approx(0.5)
    # Means of 3 draws of a spread of 0.049 each have a third of its variance.
    spread = np.sqrt(0.01**2 + 0.06**2 * 2 / 3 / 3)
    assert found.resampled.std() == pytest.approx(spread, rel=0.05)
    # The same trainings are drawn for both sides of a comparison.
    better = [Estimate(run.value + 0.1, run.resampled + 0.1) for run in runs]
    assert over_runs(better, seed=1).minus(found).resampled == pytest.approx(np.full(4000, 0.1))
