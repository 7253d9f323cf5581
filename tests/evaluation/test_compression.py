"""Smaller embeddings: what they hold, what they cost, and that binary ones rank as the Hamming distance does."""

import numpy as np
import pytest

from embedtrain.evaluation.compression import Size, sizes
from embedtrain.evaluation.similarities import pair_similarities

EMBEDDINGS = np.random.default_rng(0).normal(size=(50, 20)).astype(np.float32)


def test_every_size_is_named_and_told_in_bytes():
    found = dict(sizes(EMBEDDINGS, dimensions=[5, 20, 30], number_types=["int8", "binary"]))
    assert list(found) == [
        Size("full", 20, 80),
        Size("5 dims", 5, 20),
        Size("int8", 20, 20),
        Size("binary", 20, 3),
    ]
    np.testing.assert_array_equal(found[Size("full", 20, 80)], EMBEDDINGS)
    np.testing.assert_array_equal(found[Size("5 dims", 5, 20)], EMBEDDINGS[:, :5])


def test_int8_spreads_each_dimension_over_its_range():
    (_, _), (_, quantised) = sizes(EMBEDDINGS, number_types=["int8"])
    assert quantised.min(axis=0).tolist() == [-128] * 20
    assert quantised.max(axis=0).min() >= 126
    low, high = EMBEDDINGS.min(axis=0), EMBEDDINGS.max(axis=0)
    back = low + (quantised + 128.5) * (high - low) / 255
    assert np.abs(back - EMBEDDINGS).max() <= (high - low).max() / 255


def test_binary_embeddings_rank_pairs_as_the_hamming_distance_does():
    (_, _), (_, signs) = sizes(EMBEDDINGS, number_types=["binary"])
    first, second = np.arange(0, 25), np.arange(25, 50)
    apart = ((EMBEDDINGS[first] > 0) != (EMBEDDINGS[second] > 0)).sum(axis=1)
    found = pair_similarities(signs, first, second)
    assert found["cosine"] == pytest.approx(1 - 2 * apart / 20)
    for name, exact in (("dot", 20 - 2 * apart), ("euclidean", -np.sqrt(4 * apart)), ("manhattan", -2 * apart)):
        assert found[name] == pytest.approx(exact)
