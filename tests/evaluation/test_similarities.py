"""Every similarity against its definition, and what is special about cosines."""

import numpy as np
import pytest

from embedtrain.evaluation import similarities
from embedtrain.evaluation.similarities import SIMILARITIES, pair_similarities


def naive(a, b):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    lengths = [sum(x * x for x in side) ** 0.5 for side in (a, b)]
    return {
        "cosine": dot / (lengths[0] * lengths[1]),
        "dot": dot,
        "euclidean": -(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) ** 0.5),
        "manhattan": -sum(abs(x - y) for x, y in zip(a, b, strict=True)),
    }


@pytest.mark.parametrize("block", [4096, 3])
def test_each_pair_has_what_the_definitions_say(block, monkeypatch):
    monkeypatch.setattr(similarities, "_BLOCK", block)
    generator = np.random.default_rng(0)
    embeddings = generator.normal(size=(9, 5)).astype(np.float32)
    first, second = generator.integers(0, 9, 20), generator.integers(0, 9, 20)
    found = pair_similarities(embeddings, first, second)
    assert list(found) == list(SIMILARITIES)
    for row, (a, b) in enumerate(zip(first, second, strict=True)):
        for name, value in naive(embeddings[a].tolist(), embeddings[b].tolist()).items():
            assert found[name][row] == pytest.approx(value, abs=1e-12)


def test_an_empty_embedding_has_no_likeness_and_no_pair_no_figure():
    embeddings = np.array([[0.0, 0.0], [3.0, 4.0]], dtype=np.float32)
    assert pair_similarities(embeddings, np.array([0]), np.array([1]))["cosine"].tolist() == [0.0]
    nothing = np.array([], dtype=np.int64)
    assert all(len(values) == 0 for values in pair_similarities(embeddings, nothing, nothing).values())
