import logging
import sys

import pytest
import torch

from embedtrain.errors import UserError
from embedtrain.mining import approximate
from embedtrain.mining.approximate import Neighbours, faiss_top_k, nearest_neighbours
from embedtrain.mining.search import pair_similarity, top_k


def clustered(n, dim=24, centres=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    middle = torch.randn(centres, dim, generator=generator)
    return middle[torch.randint(centres, (n,), generator=generator)] + 0.5 * torch.randn(n, dim, generator=generator)


@pytest.fixture
def faiss():
    return pytest.importorskip("faiss")


def test_small_problems_are_searched_exactly():
    vectors = clustered(60)
    exclude = torch.tensor([[0, 1], [5, 2]])
    found = nearest_neighbours(vectors, k=4, exclude=exclude)
    expected = top_k(vectors, k=4, exclude=exclude)
    assert torch.equal(found.indices, expected[0])
    assert torch.equal(found.similarities, expected[1])
    assert found.recall is None


@pytest.mark.parametrize(("size", "search", "used"), [(99, "auto", False), (101, "auto", True), (9, "faiss", True)])
def test_large_problems_go_to_faiss_and_the_user_is_told(monkeypatch, caplog, size, search, used):
    monkeypatch.setattr(approximate, "EXACT_PRODUCTS", 100 * 100)
    asked = []
    monkeypatch.setattr(approximate, "faiss_top_k", lambda *a, **b: asked.append(b) or Neighbours(None, None, 1.0))
    with caplog.at_level(logging.INFO, "embedtrain"):
        nearest_neighbours(clustered(size), k=2, search=search, seed=7)
    assert bool(asked) == used
    assert ("by FAISS, as there are 1e+04 pairs" in caplog.text) == (used and search == "auto")


def test_exact_search_can_be_asked_for_at_any_size(monkeypatch):
    monkeypatch.setattr(approximate, "EXACT_PRODUCTS", 1)
    assert nearest_neighbours(clustered(30), k=2, search="exact").recall is None


def test_missing_package_is_answered_with_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(UserError, match=r"pip install 'embedtrain\[faiss\]'.*--search exact"):
        nearest_neighbours(clustered(30), k=2, search="faiss")


def test_finds_most_neighbours_and_says_how_many(faiss, caplog):
    vectors = clustered(4000)
    with caplog.at_level(logging.INFO, "embedtrain"):
        found = faiss_top_k(vectors, k=10, target_recall=0.9, sample=300)
    exact = top_k(vectors, k=10)[0]
    hits = (found.indices[:, :, None] == exact[:, None, :]).any(2).float().mean()
    assert found.recall >= 0.9
    assert abs(float(hits) - found.recall) < 0.03
    assert f"{100 * found.recall:.1f} % of the exact neighbours of 300 queries" in caplog.text


def test_similarities_are_exact_and_nothing_is_its_own_neighbour(faiss):
    vectors = clustered(2000)
    indices, similarities, _ = faiss_top_k(vectors, k=5)
    rows = torch.arange(2000).repeat_interleave(5)
    assert (indices.flatten() >= 0).all()
    assert torch.equal(pair_similarity(vectors, rows, indices.flatten()), similarities.flatten())
    assert not (indices == torch.arange(2000)[:, None]).any()


def test_k_is_counted_after_exclusion(faiss):
    vectors = clustered(1500)
    queries, corpus = vectors[:300], vectors[300:]
    # Forty exclusions of one query, its nearest, and none of the others.
    nearest = top_k(queries[:1], corpus, k=40)[0][0]
    exclude = torch.stack([torch.zeros(40, dtype=torch.int64), nearest], dim=1)
    found = faiss_top_k(queries, corpus, k=6, exclude=exclude, target_recall=0.99)
    assert (found.indices >= 0).all()
    assert not set(found.indices[0].tolist()) & set(nearest.tolist())
    assert found.recall >= 0.99
    expected = top_k(queries, corpus, k=6, exclude=exclude)
    same = (found.indices == expected[0]).all(1)
    assert same.float().mean() > 0.9
    assert torch.equal(found.similarities[same], expected[1][same])


def test_search_is_widened_until_the_target_is_reached(faiss, caplog):
    vectors = torch.randn(5000, 256, generator=torch.Generator().manual_seed(1))
    narrow, wide = (faiss_top_k(vectors, k=10, target_recall=target, sample=200).recall for target in (0.1, 0.99))
    assert 0.1 <= narrow < 0.95
    assert wide >= 0.99
    assert not caplog.records
    faiss_top_k(vectors[:300], k=10, target_recall=1.1)
    assert "(wanted: 110.0 %)" in caplog.text


def test_fewer_candidates_than_k(faiss):
    indices, similarities, recall = faiss_top_k(torch.eye(4), k=5, exclude=torch.tensor([[0, 1]]))
    assert indices[0].tolist() == [2, 3, -1, -1, -1]
    assert indices[1].tolist() == [0, 2, 3, -1, -1]
    assert similarities[0].tolist() == [0.0, 0.0, -torch.inf, -torch.inf, -torch.inf]
    assert recall == 1.0


def test_empty_sides(faiss):
    assert faiss_top_k(torch.empty(0, 3), torch.ones(2, 3), k=2).indices.shape == (0, 2)
    assert faiss_top_k(torch.ones(2, 3), torch.empty(0, 3), k=2).indices.tolist() == [[-1, -1]] * 2


def test_recall_counts_a_neighbour_as_near_as_an_exact_one():
    exact = torch.tensor([[0.9, 0.8, 0.8], [0.5, -torch.inf, -torch.inf]])
    found = torch.tensor([[0.9, 0.8, 0.7], [0.5, -torch.inf, -torch.inf]])
    assert approximate._recall(found, exact) == pytest.approx(3 / 4)
    assert approximate._recall(exact, exact) == 1.0
    assert approximate._recall(torch.full((2, 3), -torch.inf), exact) == 0.0
