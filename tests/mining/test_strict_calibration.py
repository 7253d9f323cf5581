"""Calibrations that keep the order of scores, against loops and against what scipy makes of it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import spearmanr

from embedtrain.mining.calibration import fit_isotonic
from embedtrain.mining.strict_calibration import fit_centred_isotonic, fit_logistic

FITS = [fit_centred_isotonic, fit_logistic]


def cosines(pairs, *, seed):
    """Gold, and cosines that follow it on another scale."""
    random = np.random.default_rng(seed)
    gold = random.integers(0, 26, pairs) / 25
    return 0.3 + 0.6 * np.sqrt(gold) + random.normal(0, 0.08, pairs), gold


def naive_blocks(scores, gold):
    """Pool adjacent violators, one pair after the other: (mean score, mean gold, pairs) of each level stretch."""
    blocks = []
    for score in sorted(set(scores)):
        same = [g for s, g in zip(scores, gold, strict=True) if s == score]
        blocks.append([float(score), float(np.mean(same)), len(same)])
        while len(blocks) > 1 and blocks[-2][1] >= blocks[-1][1] - 1e-12:
            (s1, g1, n1), (s2, g2, n2) = blocks[-2], blocks.pop()
            blocks[-1] = [(s1 * n1 + s2 * n2) / (n1 + n2), (g1 * n1 + g2 * n2) / (n1 + n2), n1 + n2]
    return blocks


@given(st.lists(st.tuples(st.integers(-3, 3), st.sampled_from([0.0, 0.3, 0.7, 1.0])), min_size=1, max_size=25))
def test_the_centres_of_the_level_stretches_are_the_knots(pairs):
    scores, gold = (np.array(side, dtype=float) for side in zip(*pairs, strict=True))
    fitted = fit_centred_isotonic(scores, gold)
    blocks = naive_blocks(scores, gold)
    for score, value, _ in blocks:
        assert fitted.apply([score])[0] == pytest.approx(value, abs=1e-5)
    assert fitted.scores[0] == pytest.approx(blocks[0][0])
    assert fitted.scores[-1] == pytest.approx(blocks[-1][0])


@pytest.mark.parametrize("fit", FITS)
def test_different_scores_stay_different_where_isotonic_regression_makes_them_equal(fit):
    scores, gold = cosines(300, seed=0)
    raw = spearmanr(scores, gold).statistic
    strict = fit(scores, gold).apply(scores)
    assert len(np.unique(strict)) > 280
    assert len(np.unique(fit_isotonic(scores, gold).apply(scores))) < 80
    assert spearmanr(strict, gold).statistic == pytest.approx(raw, abs=1e-3)
    assert (strict[np.argsort(scores)][1:] >= strict[np.argsort(scores)][:-1]).all()


@pytest.mark.parametrize("fit", FITS)
def test_pairs_it_has_not_seen_come_nearer_to_gold_and_no_farther_than_by_isotonic_regression(fit):
    scores, gold = cosines(4000, seed=1)
    errors = {fit: [], fit_isotonic: []}
    for part in np.array_split(np.arange(4000), 20):
        others = np.setdiff1d(np.arange(4000), part)
        for each, found in errors.items():
            found.append(np.mean((each(scores[part], gold[part]).apply(scores[others]) - gold[others]) ** 2))
    assert np.mean(errors[fit]) < np.mean(errors[fit_isotonic])
    assert np.mean(errors[fit]) < 0.5 * np.mean((scores - gold) ** 2)


def test_the_logistic_curve_has_the_least_cross_entropy():
    scores, gold = cosines(200, seed=2)
    curve = fit_logistic(scores, gold).apply(scores).astype(float)

    def cost(parameters):
        p = 1 / (1 + np.exp(-(parameters[0] + parameters[1] * scores)))
        return -np.sum(gold * np.log(p) + (1 - gold) * np.log(1 - p))

    offset, slope = minimize(cost, [0, 1], method="Nelder-Mead", options={"maxiter": 5000, "xatol": 1e-8}).x
    np.testing.assert_allclose(curve, 1 / (1 + np.exp(-(offset + slope * scores))), atol=2e-3)


def test_the_logistic_curve_does_not_depend_on_the_scale_of_the_scores():
    scores, gold = cosines(100, seed=3)
    expected = fit_logistic(scores, gold).apply(scores)
    for scale, shift in ((1000.0, -5.0), (1e-4, 0.7)):
        np.testing.assert_allclose(fit_logistic(scale * scores + shift, gold).apply(scale * scores + shift), expected,
                                   atol=1e-4)  # fmt: skip


def test_the_logistic_curve_goes_on_beyond_the_scores_it_was_fitted_on():
    scores, gold = cosines(100, seed=4)
    fitted = fit_logistic(scores, gold)
    below, above = fitted.apply([scores.min() - 0.3, scores.max() + 0.3])
    assert below < fitted.apply([scores.min()])[0]
    assert above > fitted.apply([scores.max()])[0]
    assert below >= 0
    assert above <= 1


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize(
    ("scores", "gold"),
    [([1, 2, 3, 4], [1.0, 0.7, 0.3, 0.0]), ([2, 2, 2], [0.0, 0.5, 1.0]), ([5], [0.25]), ([1, 2], [0.5, 0.5])],
    ids=["falling", "one score", "one pair", "one gold score"],
)
def test_scores_that_tell_nothing_become_the_mean_of_gold(fit, scores, gold):
    np.testing.assert_allclose(fit(scores, gold).apply(scores), np.mean(gold), atol=1e-6)


@pytest.mark.parametrize("fit", FITS)
def test_gold_that_the_scores_part_in_two_stays_finite(fit):
    fitted = fit([0.1, 0.2, 0.3, 0.7, 0.8], [0, 0, 0, 1, 1])
    assert fitted.apply([0.15])[0] < 0.05
    assert fitted.apply([0.75])[0] > 0.95
    assert np.isfinite(fitted.values).all()


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize(
    ("scores", "gold", "expected"),
    [
        ([1, 2], [0.5], "found"),
        ([], [], "found"),
        ([1, np.nan], [0.5, 0.5], "finite"),
        ([1, 2], [0.5, 1.5], "1.5"),
    ],
)
def test_what_cannot_be_fitted_is_refused(fit, scores, gold, expected):
    with pytest.raises(ValueError, match=expected):
        fit(scores, gold)
