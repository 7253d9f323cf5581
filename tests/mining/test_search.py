import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from embedtrain.mining import search
from embedtrain.mining.search import pair_similarity, top_k


def naive_top_k(queries, corpus, *, k, exclude=(), itself=False):
    """Loops in float64 on the same rounded unit vectors; sorted by similarity, then by index."""

    def unit(vector):
        length = np.linalg.norm(vector)
        return np.round(vector / (length or 1.0) * 2**24) / 2**24

    excluded = {tuple(pair) for pair in exclude}
    indices = np.full((len(queries), k), -1)
    values = np.full((len(queries), k), -np.inf, dtype=np.float32)
    for row, query in enumerate(queries):
        found = [
            (-np.float32(unit(query) @ unit(vector)), column)
            for column, vector in enumerate(corpus)
            if (row, column) not in excluded and not (itself and row == column)
        ]
        for rank, (negative, column) in enumerate(sorted(found)[:k]):
            indices[row, rank], values[row, rank] = column, -negative
    return indices, values


def assert_equal(found, expected):
    assert found[0].dtype == torch.int64
    assert found[1].dtype == torch.float32
    np.testing.assert_array_equal(found[0].cpu().numpy(), np.asarray(expected[0]))
    np.testing.assert_array_equal(found[1].cpu().numpy(), np.asarray(expected[1]))


@st.composite
def problems(draw):
    n, m = draw(st.integers(1, 14)), draw(st.integers(1, 30))
    dim = draw(st.integers(1, 5))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    # Small integers make many exact ties, zero vectors and parallel vectors; large scale factors make long ones.
    spread = draw(st.integers(1, 3))
    queries = torch.randint(-spread, spread + 1, (n, dim), generator=generator).float() * draw(
        st.sampled_from([1, 37.5])
    )
    corpus = torch.randint(-spread, spread + 1, (m, dim), generator=generator).float()
    itself = draw(st.booleans())
    size = n if itself else m
    pairs = draw(st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, size - 1)), max_size=20))
    return queries, None if itself else corpus, draw(st.integers(1, 6)), pairs, draw(st.integers(1, 40))


@settings(max_examples=150, deadline=None)
@given(problems())
def test_equals_loops_with_ties_and_exclusions(problem):
    queries, corpus, k, pairs, block_size = problem
    exclude = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)
    found = top_k(queries, corpus, k=k, exclude=exclude, block_size=block_size)
    other = queries if corpus is None else corpus
    expected = naive_top_k(queries.double().numpy(), other.double().numpy(), k=k, exclude=pairs, itself=corpus is None)
    assert_equal(found, expected)


def near_ties(seed=0, n=400, dim=48):
    """Vectors in tight bunches: similarities that differ by less than float32 products can tell apart."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(n // 40, dim, generator=generator).repeat_interleave(40, dim=0)
    return centres + 1e-6 * torch.randn(n, dim, generator=generator)


@pytest.mark.parametrize("block_size", [5, 64, 199, 200, 5000])
def test_same_bits_for_any_block_size_on_near_ties(block_size):
    vectors = near_ties(n=200)
    assert_equal(top_k(vectors, k=5, block_size=block_size), top_k(vectors, k=5, block_size=128))


def test_near_ties_are_exact():
    vectors = near_ties(n=120)
    assert_equal(top_k(vectors, k=5), naive_top_k(vectors.double().numpy(), vectors.double().numpy(), k=5, itself=True))


def test_same_bits_for_any_thread_count():
    vectors = near_ties(seed=1)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(top_k(vectors, k=4))
    finally:
        torch.set_num_threads(before)
    assert_equal(results[1], results[0])
    assert_equal(results[2], results[0])


def test_fast_and_slow_passes_agree(monkeypatch):
    vectors = torch.randn(300, 32, generator=torch.Generator().manual_seed(3))
    monkeypatch.setattr(search, "_slow_pass", lambda *a, **b: pytest.fail("well separated vectors took the slow pass"))
    fast = top_k(vectors, k=3, block_size=100)
    monkeypatch.undo()
    monkeypatch.setattr(search, "SPARE", 0)
    doubted = []
    slow_pass = search._slow_pass
    monkeypatch.setattr(search, "_slow_pass", lambda *a, **b: doubted.append(len(a[2])) or slow_pass(*a, **b))
    assert_equal(top_k(vectors, k=3, block_size=100), fast)
    assert sum(doubted) == 300  # with nothing spare the k-th kept candidate always casts doubt on the rest


def test_ignores_reduced_precision_of_the_caller_and_leaves_it_in_place():
    vectors = torch.randn(500, 64, generator=torch.Generator().manual_seed(4))
    expected = top_k(vectors, k=6)
    matmul = torch.backends.mkldnn.matmul
    before = matmul.fp32_precision
    matmul.fp32_precision = "bf16"
    try:
        with torch.autocast("cpu", torch.bfloat16):
            assert_equal(top_k(vectors, k=6), expected)
        assert matmul.fp32_precision == "bf16"
    finally:
        matmul.fp32_precision = before


def test_identical_vectors_rank_by_index():
    indices, similarities = top_k(torch.ones(50, 8), k=3, block_size=4)
    assert indices[0].tolist() == [1, 2, 3]
    assert indices[2].tolist() == [0, 1, 3]
    assert indices[49].tolist() == [0, 1, 2]
    assert torch.allclose(similarities, torch.ones(()), atol=1e-6)


def test_k_is_counted_after_exclusion_and_padding_marks_what_is_missing():
    vectors = torch.eye(4)
    exclude = torch.tensor([[0, 1], [0, 2], [3, 0], [3, 1], [3, 2]])
    indices, similarities = top_k(vectors, k=2, exclude=exclude)
    assert indices.tolist() == [[3, -1], [0, 2], [0, 1], [-1, -1]]
    assert similarities[0].tolist() == [0.0, -torch.inf]
    assert similarities[3].tolist() == [-torch.inf, -torch.inf]


def test_exclusion_has_a_direction():
    indices, _ = top_k(torch.eye(2), k=1, exclude=torch.tensor([[0, 1]]))
    assert indices.tolist() == [[-1], [0]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_takes_any_float_type(dtype):
    vectors = torch.randn(40, 8, generator=torch.Generator().manual_seed(5), dtype=torch.float64).to(dtype)
    as_read = vectors.double().numpy()
    assert_equal(top_k(vectors, k=3), naive_top_k(as_read, as_read, k=3, itself=True))


def test_empty_sides():
    indices, similarities = top_k(torch.empty(0, 3), torch.randn(4, 3), k=2)
    assert indices.shape == similarities.shape == (0, 2)
    indices, similarities = top_k(torch.randn(2, 3), torch.empty(0, 3), k=2)
    assert indices.tolist() == [[-1, -1]] * 2


def test_pair_similarity_has_the_bits_of_the_search():
    vectors = near_ties(seed=2, n=80)
    indices, similarities = top_k(vectors, k=3)
    rows = torch.arange(80).repeat_interleave(3)
    assert torch.equal(pair_similarity(vectors, rows, indices.flatten()), similarities.flatten())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "at least 1"),
        ({"k": 1, "block_size": 0}, "at least 1"),
        ({"k": 1, "corpus": torch.ones(2, 4)}, r"\(3, 2\) and \(2, 4\)"),
        ({"k": 1, "exclude": torch.tensor([[0, 3]])}, "outside 3 queries and 3"),
        ({"k": 1, "exclude": torch.tensor([0, 1])}, r"shape \(pairs, 2\)"),
        ({"k": 1, "queries": torch.tensor([[1.0, 0.0], [torch.nan, 0.0], [1.0, 1.0]])}, "row 1"),
    ],
)
def test_refuses_what_makes_no_sense(arguments, message):
    arguments = {"queries": torch.ones(3, 2), **arguments}
    with pytest.raises(ValueError, match=message):
        top_k(arguments.pop("queries"), arguments.pop("corpus", None), **arguments)


@pytest.mark.gpu
def test_gpu_gives_the_bits_of_the_cpu():
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    try:
        for vectors in (near_ties(n=2000), torch.randn(3000, 96)):
            assert_equal(top_k(vectors.cuda(), k=5, block_size=700), top_k(vectors, k=5))
    finally:
        torch.backends.cuda.matmul.fp32_precision = "none"
