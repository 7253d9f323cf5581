"""Several teachers' scores as one: against loops, and honest about pairs they were fitted on."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from embedtrain.mining.calibration import fit_isotonic
from embedtrain.mining.combining import (
    FOLDS,
    Combination,
    cross_fitted_combination,
    disagreement,
    fit_combination,
    most_agreed,
    rank_shares,
)
from embedtrain.mining.strict_calibration import fit_centred_isotonic, fit_logistic


@pytest.fixture(scope="module")
def three():
    """Three teachers on scales of their own, the last one the noisiest, and gold."""
    random = np.random.default_rng(3)
    gold = random.uniform(0, 1, 300)
    scores = [
        gold + random.normal(0, 0.15, 300),
        np.tanh(3 * gold + random.normal(0, 0.4, 300)) * 20,
        -5 + gold + random.normal(0, 0.3, 300),
    ]
    return scores, gold


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=12))
def test_rank_shares_count_what_lies_below_and_half_of_what_is_equal(values):
    shares = rank_shares(values).apply(values)
    for value, share in zip(values, shares, strict=True):
        below = sum(other < value for other in values)
        equal = sum(other == value for other in values)
        assert share == pytest.approx((below + equal / 2) / len(values), abs=1e-6)


def test_calibrated_scores_are_averaged(three):
    scores, gold = three
    expected = np.mean([fit_isotonic(each, gold).apply(each) for each in scores], axis=0)
    fitted = fit_combination(scores, gold)
    np.testing.assert_allclose(fitted.apply(scores), expected, atol=1e-6)
    assert fitted.apply(scores).dtype == np.float32
    assert fitted.mapped(scores).shape == (3, 300)


def test_averaged_ranks_are_brought_onto_golds_scale(three):
    scores, gold = three
    fitted = fit_combination(scores, gold, average="ranks")
    shares = np.mean([rank_shares(each).apply(each) for each in scores], axis=0, dtype=np.float64).astype(np.float32)
    np.testing.assert_allclose(fitted.apply(scores), fit_isotonic(shares, gold).apply(shares), atol=1e-6)
    # However far apart the scales are, no teacher weighs more than another.
    stretched = [1000 * scores[0], scores[1], scores[2]]
    again = fit_combination(stretched, gold, average="ranks")
    np.testing.assert_allclose(again.apply(stretched), fitted.apply(scores), atol=1e-5)


def test_without_calibration_scores_are_averaged_as_they_are_within_0_and_1(three):
    scores, gold = three
    expected = np.mean([np.clip(each, 0, 1) for each in scores], axis=0)
    inside = np.random.default_rng(0).random(50).astype(np.float32)
    np.testing.assert_array_equal(fit_combination([inside], inside, calibrated=False).apply([inside]), inside)
    for combine in (fit_combination(scores, gold, calibrated=False).apply(scores),
                    cross_fitted_combination(scores, gold, calibrated=False)):  # fmt: skip
        np.testing.assert_allclose(combine, expected, atol=1e-6)
    with pytest.raises(ValueError, match="ranks"):
        fit_combination(scores, gold, average="ranks", calibrated=False)


@pytest.mark.parametrize(("method", "fit"), [("centred", fit_centred_isotonic), ("logistic", fit_logistic)])
def test_other_ways_to_calibrate(three, method, fit):
    scores, gold = three
    expected = np.mean([fit(each, gold).apply(each) for each in scores], axis=0)
    np.testing.assert_allclose(fit_combination(scores, gold, method=method).apply(scores), expected, atol=1e-6)
    shares = np.mean([rank_shares(each).apply(each) for each in scores], axis=0, dtype=np.float64).astype(np.float32)
    ranks = fit_combination(scores, gold, average="ranks", method=method)
    np.testing.assert_allclose(ranks.apply(scores), fit(shares, gold).apply(shares), atol=1e-6)
    honest = cross_fitted_combination(scores, gold, method=method, seed=1)
    order = np.random.default_rng(1).permutation(300)
    part = np.array_split(order, FOLDS)[0]
    others = np.setdiff1d(order, part)
    fitted = fit_combination([each[others] for each in scores], gold[others], method=method)
    np.testing.assert_allclose(honest[part], fitted.apply([each[part] for each in scores]), atol=1e-6)


@pytest.mark.parametrize("average", ["scores", "ranks"])
def test_a_combination_comes_back_from_json_and_works_as_a_scorer(three, average):
    scores, gold = three
    scores = [each.astype(np.float32) for each in scores]  # as scorers give them
    fitted = fit_combination(scores, gold, average=average)
    again = Combination.from_dict(json.loads(json.dumps(fitted.as_dict())))
    np.testing.assert_array_equal(again.apply(scores), fitted.apply(scores))

    class Fixed:
        fingerprint = "fixed"

        def __init__(self, values):
            self.values = np.asarray(values, dtype=np.float32)

        def score(self, sentence1, sentence2):
            return self.values

    scorer = again.scorer([Fixed(each) for each in scores])
    np.testing.assert_allclose(scorer.score([], []), fitted.apply(scores), atol=1e-6)
    assert scorer.fingerprint != fit_combination(scores, gold**2, average=average).scorer(
        [Fixed(each) for each in scores]
    ).fingerprint  # fmt: skip


def test_one_teacher_without_a_map_stays_the_scorer_it_was():
    plain = object()
    assert Combination((None,)).scorer([plain]) is plain
    np.testing.assert_array_equal(Combination((None,)).apply([[-1.0, 2.0]]), [-1.0, 2.0])


def test_more_or_fewer_scores_than_maps_are_refused(three):
    scores, gold = three
    with pytest.raises(ValueError, match="argument"):
        fit_combination(scores, gold).apply(scores[:2])


def test_teachers_together_are_better_than_each_alone(three):
    scores, gold = three
    together = spearmanr(cross_fitted_combination(scores, gold), gold).statistic
    assert together > max(spearmanr(each, gold).statistic for each in scores)


@pytest.mark.parametrize("average", ["scores", "ranks"])
def test_no_pair_has_a_say_in_the_map_that_scores_it(three, average):
    scores, gold = three
    scores = [each[:60] for each in scores]
    before = cross_fitted_combination(scores, gold[:60], average=average, seed=1)
    for pair in (0, 17, 59):
        turned = gold[:60].copy()
        turned[pair] = 1 - turned[pair]
        after = cross_fitted_combination(scores, turned, average=average, seed=1)
        order = np.random.default_rng(1).permutation(60)
        part = next(part for part in np.array_split(order, FOLDS) if pair in part)
        np.testing.assert_array_equal(after[part], before[part])
        assert not np.array_equal(after, before)


def test_teachers_that_know_nothing_do_not_look_as_if_they_did():
    random = np.random.default_rng(0)
    gold = random.uniform(0, 1, 200)
    noise = [random.normal(size=200) for _ in range(5)]
    fitted = spearmanr(fit_combination(noise, gold).apply(noise), gold).statistic
    honest = spearmanr(cross_fitted_combination(noise, gold), gold).statistic
    assert fitted > 0.25
    assert abs(honest) < 0.15


def test_disagreement_is_the_spread_over_the_teachers():
    scores = [[0.1, 0.5, 1.0], [0.1, 0.7, 0.0], [0.1, 0.9, 0.5]]
    np.testing.assert_allclose(disagreement(scores), [np.std(pair) for pair in zip(*scores, strict=True)], atol=1e-6)


@given(st.integers(1, 60), st.sampled_from([0.1, 0.3, 0.5, 1.0]), st.integers(0, 1000))
def test_in_each_tenth_of_the_scores_the_pairs_with_least_disagreement_stay(pairs, share, seed):
    random = np.random.default_rng(seed)
    scores, differing = random.integers(0, 8, pairs) / 8, random.integers(0, 5, pairs) / 5
    kept = most_agreed(scores, differing, share=share)
    expected = set()
    for part in np.array_split(sorted(range(pairs), key=lambda pair: (scores[pair], pair)), 10):
        by_agreement = sorted(part.tolist(), key=lambda pair: (differing[pair], pair))
        expected |= set(by_agreement[: round(share * len(part))])
    assert set(np.flatnonzero(kept)) == expected
