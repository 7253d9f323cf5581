import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from embedtrain.mining.kde import draw_like_gold, estimate_density, keep_probabilities


def naive_density(scores, point, *, low=0.0, high=1.0, width=0.001):
    """A Gaussian around every score and around its reflections at both ends, summed up at one point."""
    mean = sum(scores) / len(scores)
    deviation = math.sqrt(sum((score - mean) ** 2 for score in scores) / len(scores))
    bandwidth = max(width, len(scores) ** -0.2 * deviation)
    total = 0.0
    for score in scores:
        for centre in (score, 2 * low - score, 2 * high - score, score - 2 * (high - low), score + 2 * (high - low)):
            total += math.exp(-0.5 * ((point - centre) / bandwidth) ** 2)
    return total / (len(scores) * bandwidth * math.sqrt(2 * math.pi))


def silver_and_gold(seed=0, n=4000, m=500):
    """Random pairs hardly have anything in common, gold's scores are spread over the whole range."""
    rng = np.random.default_rng(seed)
    return rng.beta(1, 8, size=n), rng.uniform(0, 1, size=m)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=30), st.integers(0, 999))
def test_density_equals_loops(scores, bin_number):
    found = estimate_density(np.array(scores), low=0.0, high=1.0)
    assert found.sum() / 1000 == pytest.approx(1.0, abs=1e-6)
    point = (bin_number + 0.5) / 1000
    deviation = float(np.std(scores))
    if len(scores) ** -0.2 * deviation > 0.1:  # where a bin is small against the bandwidth
        assert found[bin_number] == pytest.approx(naive_density(scores, point), rel=0.03, abs=1e-3)


def test_probabilities_are_the_papers():
    silver, gold = silver_and_gold(n=300, m=60)
    found = keep_probabilities(silver, gold)
    for place in range(0, 300, 7):
        ratio = naive_density(gold, silver[place]) / naive_density(silver, silver[place])
        assert found[place] == pytest.approx(min(1.0, ratio), rel=0.05, abs=0.002)
    assert found.max() == 1.0


def test_fewer_pairs_come_nearer_to_gold():
    silver, gold = silver_and_gold()
    rng = np.random.default_rng(3)
    distances = []
    for count in (None, 400, 60):
        drawn = draw_like_gold(silver, gold, count=count, rng=rng)
        if count is not None:
            assert len(drawn) == count
        distances.append(wasserstein_distance(silver[drawn], gold))
    before = wasserstein_distance(silver, gold)
    assert before > distances[0] > distances[1] > distances[2]


def test_places_are_distinct_ascending_and_repeatable():
    silver, gold = silver_and_gold()
    draws = [draw_like_gold(silver, gold, count=500, rng=np.random.default_rng(9)) for _ in range(2)]
    np.testing.assert_array_equal(*draws)
    assert (np.diff(draws[0]) > 0).all()
    other = draw_like_gold(silver, gold, count=500, rng=np.random.default_rng(10))
    assert set(other) != set(draws[0])


def test_every_pair_is_drawn_as_often_as_its_probability_says():
    silver, gold = silver_and_gold(n=60, m=30)
    keep = keep_probabilities(silver, gold, count=12)
    assert keep.sum() == pytest.approx(12)
    rng = np.random.default_rng(1)
    hits = np.zeros(60)
    for _ in range(1000):
        hits[draw_like_gold(silver, gold, count=12, rng=rng)] += 1
    np.testing.assert_allclose(hits / 1000, keep, atol=0.07)


def test_asking_for_more_than_the_density_leaves_gives_what_it_leaves():
    silver, gold = silver_and_gold()
    rng = np.random.default_rng(0)
    all_of_it = draw_like_gold(silver, gold, count=None, rng=rng)
    assert len(draw_like_gold(silver, gold, count=4000, rng=rng)) == pytest.approx(len(all_of_it), abs=1)
    assert len(all_of_it) == pytest.approx(keep_probabilities(silver, gold).sum(), abs=1)


@pytest.mark.parametrize("gold", [[0.5], [0.0, 0.0], [0.0, 1.0, 1.0]])
def test_gold_of_few_values_is_no_mistake(gold):
    silver = np.linspace(0, 1, 101)
    keep = keep_probabilities(silver, np.array(gold))
    assert np.isfinite(keep).all()
    assert ((keep >= 0) & (keep <= 1)).all()
    assert keep[int(100 * gold[-1])] == 1.0


def test_scores_beyond_0_and_1_are_taken():
    rng = np.random.default_rng(0)
    silver, gold = rng.normal(0.1, 0.2, size=2000), rng.uniform(-0.5, 1.2, size=300)
    drawn = draw_like_gold(silver, gold, count=200, rng=rng)
    assert len(drawn) == 200
    assert wasserstein_distance(silver[drawn], gold) < wasserstein_distance(silver, gold)


def test_nothing_to_draw_from_and_nothing_to_compare_with():
    rng = np.random.default_rng(0)
    assert len(draw_like_gold(np.empty(0), np.array([0.5]), count=3, rng=rng)) == 0
    assert len(draw_like_gold(np.array([0.2, 0.4]), np.array([0.2, 0.4]), count=0, rng=rng)) == 0
    with pytest.raises(ValueError, match="expected gold scores, found none"):
        keep_probabilities(np.array([0.5]), np.empty(0))
    with pytest.raises(ValueError, match="finite"):
        keep_probabilities(np.array([0.5, np.nan]), np.array([0.5]))
