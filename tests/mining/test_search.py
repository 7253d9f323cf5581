import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embedtrain.mining import screening, search
from embedtrain.mining.exclusions import Excluded
from embedtrain.mining.search import pair_similarity, top_k
from embedtrain.mining.strips import INTEGERS, Strip

BF16, FP32 = torch.bfloat16, torch.float32


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


def dense_top_k(queries, corpus, *, k, itself=False, exclude=()):
    """The same from one float64 matrix, which holds the exact similarities as well, for larger problems."""
    units = []
    for vectors in (queries, corpus):
        vectors = vectors.double().numpy()
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        units.append(np.round(vectors / np.where(length == 0, 1, length) * 2**24) / 2**24)
    similarities = (units[0] @ units[1].T).astype(np.float32)
    if itself:
        np.fill_diagonal(similarities, -np.inf)
    for row, column in exclude:
        similarities[row, column] = -np.inf
    indices = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
    return indices, np.take_along_axis(similarities, indices, axis=1)


def assert_equal(found, expected):
    assert found[0].dtype == torch.int64
    assert found[1].dtype == torch.float32
    np.testing.assert_array_equal(found[0].cpu().numpy(), np.asarray(expected[0]))
    np.testing.assert_array_equal(found[1].cpu().numpy(), np.asarray(expected[1]))


@pytest.fixture
def screened():
    """Every search, however small, is screened first, with so few lanes that many neighbours share one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "WORTH_SCREENING", 0)
        patch.setattr(search, "can_screen", lambda *args, **options: True)
        patch.setattr(screening, "LANES", 4)
        yield patch


def forbid_exact_pass(monkeypatch):
    monkeypatch.setattr(search, "_exact_pass", lambda *a, **b: pytest.fail("well separated vectors were not screened"))


def count_exact_rows(monkeypatch):
    counted = []
    exact_pass = search._exact_pass
    monkeypatch.setattr(search, "_exact_pass", lambda *a, **b: counted.append(len(a[2])) or exact_pass(*a, **b))
    return counted


@st.composite
def problems(draw):
    n, m = draw(st.integers(1, 24)), draw(st.integers(1, 40))
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


@settings(max_examples=150)
@given(problems())
def test_equals_loops_with_ties_and_exclusions(problem):
    queries, corpus, k, pairs, block_size = problem
    exclude = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)
    found = top_k(queries, corpus, k=k, exclude=exclude, block_size=block_size)
    other = queries if corpus is None else corpus
    expected = naive_top_k(queries.double().numpy(), other.double().numpy(), k=k, exclude=pairs, itself=corpus is None)
    assert_equal(found, expected)


@pytest.mark.parametrize("types", [(BF16,), (FP32,), (BF16, FP32)])
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(problem=problems())
def test_screened_equals_loops_with_ties_and_exclusions(screened, types, problem):
    screened.setattr(search, "screening_types", lambda device: types)
    queries, corpus, k, pairs, block_size = problem
    exclude = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)
    found = top_k(queries, corpus, k=k, exclude=exclude, block_size=block_size)
    other = queries if corpus is None else corpus
    expected = naive_top_k(queries.double().numpy(), other.double().numpy(), k=k, exclude=pairs, itself=corpus is None)
    assert_equal(found, expected)


def random_vectors(n, dim, seed=0):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


def near_ties(seed=0, n=400, dim=48):
    """Vectors in tight bunches: similarities that differ by less than float32 products can tell apart."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(n // 40, dim, generator=generator).repeat_interleave(40, dim=0)
    return centres + 1e-6 * torch.randn(n, dim, generator=generator)


@pytest.mark.parametrize("types", [(BF16,), (FP32,)])
@pytest.mark.parametrize("block_size", [100, 700, 2048])
def test_screening_is_enough_for_well_separated_vectors(monkeypatch, types, block_size):
    monkeypatch.setattr(search, "screening_types", lambda device: types)
    forbid_exact_pass(monkeypatch)
    vectors = random_vectors(2100, 96)
    assert_equal(top_k(vectors, k=10, block_size=block_size), dense_top_k(vectors, vectors, k=10, itself=True))
    queries, corpus = vectors[:800], vectors[600:]
    assert_equal(top_k(queries, corpus, k=7, block_size=block_size), dense_top_k(queries, corpus, k=7))


@pytest.mark.parametrize("types", [(BF16,), (FP32,)])
def test_each_direction_has_its_own_exclusions(monkeypatch, types):
    monkeypatch.setattr(search, "screening_types", lambda device: types)
    forbid_exact_pass(monkeypatch)
    vectors = random_vectors(1300, 64)
    nearest = dense_top_k(vectors, vectors, k=3, itself=True)[0]
    pairs = [(row, column) for row in range(0, 1300, 2) for column in nearest[row]]
    found = top_k(vectors, k=5, exclude=torch.tensor(pairs), block_size=256)
    assert_equal(found, dense_top_k(vectors, vectors, k=5, itself=True, exclude=pairs))


def test_each_product_among_themselves_is_computed_once(monkeypatch):
    blocks = []
    multiply = screening._multiply
    monkeypatch.setattr(
        screening, "_multiply", lambda *a, out: blocks.append(tuple(out.shape)) or multiply(*a, out=out)
    )
    monkeypatch.setattr(search, "screening_types", lambda device: (FP32,))
    top_k(random_vectors(1300, 16), k=3, block_size=512)
    assert blocks == [(512, 512), (512, 512), (512, 384), (512, 512), (512, 384), (384, 384)]


@pytest.mark.parametrize("types", [(BF16,), (FP32,)])
def test_candidates_hold_the_nearest_of_every_sure_query(monkeypatch, types):
    monkeypatch.setattr(search, "screening_types", lambda device: types)
    kept = []

    def spy(*args, **options):
        for part in screening.candidates(*args, **options):
            kept.append(len(part.column) / len(part.rows))
            yield part

    monkeypatch.setattr(search, "candidates", spy)
    vectors = random_vectors(3000, 128, seed=7)
    assert_equal(top_k(vectors, k=10), dense_top_k(vectors, vectors, k=10, itself=True))
    # Few enough that the exact products are no work to speak of.
    assert all(10 <= candidates < 30 for candidates in kept)


@pytest.mark.parametrize("dtype", [BF16, FP32])
@pytest.mark.parametrize("scale", ["even", "steep"])
def test_error_bound_holds_and_is_no_more_than_it_has_to_be(dtype, scale):
    vectors = random_vectors(300, 64, seed=3)
    if scale == "steep":
        vectors = vectors * torch.logspace(0, -4, 64)
    units = search.unit_vectors(vectors)
    low = units.to(dtype)
    rounding = screening._rounding(units, low)
    error = screening._error_bound(rounding, rounding, dim=64)
    products = (low @ low.T).double() if dtype == FP32 else low.double() @ low.double().T
    off = (products - units.double() @ units.double().T).abs().max()
    assert off <= error
    assert error < 2.0**-6 if dtype == BF16 else error < 2.0**-16


@pytest.mark.parametrize("dtype", [BF16, FP32])
def test_nothing_is_lost_to_errors_as_large_as_the_bound(dtype):
    generator = torch.Generator().manual_seed(0)
    # Near ties around a value for each query, every product as far off as can be, up or down, before it is rounded.
    base = 0.3 + 0.6 * torch.rand(600, 1, dtype=torch.float64, generator=generator)
    exact = base + 1e-5 * torch.rand(600, 64, dtype=torch.float64, generator=generator)
    off = 0.02 * (torch.randint(2, (600, 64), generator=generator) * 2 - 1)
    bits = (exact + off).float().to(dtype).view(INTEGERS[dtype])
    excluded = Excluded(None, 600, 64, torch.device("cpu"), itself=False)
    strip = Strip(torch.arange(600), size=600, k=5, lanes=16, dtype=dtype, error=0.02 + 1e-7, excluded=excluded)
    for start in (0, 32):
        strip.look(bits[:, start : start + 32].contiguous().view(600, 2, 16), start=start)
    _, position, column, sure = strip.finish()
    kept = torch.zeros(600, 64, dtype=torch.bool)
    kept[position, column] = True
    assert sure.all()
    assert kept.gather(1, exact.topk(5, dim=1).indices).all()


def test_crowds_of_near_ties_are_left_to_the_exact_pass(monkeypatch):
    monkeypatch.setattr(search, "screening_types", lambda device: (BF16, FP32))
    counted = count_exact_rows(monkeypatch)
    apart = random_vectors(1500, 48)
    vectors = torch.cat([apart, apart[:1] + 1e-7 * random_vectors(400, 48, seed=1)])
    assert_equal(top_k(vectors, k=5), dense_top_k(vectors, vectors, k=5, itself=True))
    # The crowd, and the few for which it is among the nearest.
    assert 401 <= sum(counted) < 450


def test_near_ties_for_bf16_are_screened_again_in_float32(monkeypatch):
    monkeypatch.setattr(search, "screening_types", lambda device: (BF16, FP32))
    forbid_exact_pass(monkeypatch)
    apart = random_vectors(3000, 48)
    vectors = torch.cat([apart, apart[:1] + 0.01 * random_vectors(400, 48, seed=1)])
    assert_equal(top_k(vectors, k=5), dense_top_k(vectors, vectors, k=5, itself=True))


def test_queries_that_point_away_from_the_corpus():
    corpus = random_vectors(1500, 24).abs()
    queries = torch.cat([-corpus[:800], corpus[:10]])
    assert_equal(top_k(queries, corpus, k=4), dense_top_k(queries, corpus, k=4))


def test_more_neighbours_than_lanes_are_for():
    vectors = random_vectors(2050, 24)
    for k in (100, 700):
        assert_equal(top_k(vectors, k=k, block_size=256), dense_top_k(vectors, vectors, k=k, itself=True))


@pytest.mark.parametrize("block_size", [5, 64, 199, 200, 5000])
def test_same_bits_for_any_block_size_on_near_ties(block_size):
    vectors = near_ties(n=200)
    assert_equal(top_k(vectors, k=5, block_size=block_size), top_k(vectors, k=5, block_size=128))


def test_near_ties_are_exact():
    vectors = near_ties(n=120)
    assert_equal(top_k(vectors, k=5), naive_top_k(vectors.double().numpy(), vectors.double().numpy(), k=5, itself=True))


@pytest.mark.parametrize("vectors", [near_ties(seed=1), random_vectors(1500, 40)])
def test_same_bits_for_any_thread_count(vectors):
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


def test_ignores_reduced_precision_of_the_caller_and_leaves_it_in_place(monkeypatch):
    monkeypatch.setattr(search, "screening_types", lambda device: (FP32,))
    vectors = random_vectors(1500, 64, seed=4)
    expected = dense_top_k(vectors, vectors, k=6, itself=True)
    matmul = torch.backends.mkldnn.matmul
    before = matmul.fp32_precision
    matmul.fp32_precision = "bf16"
    try:
        with torch.autocast("cpu", torch.bfloat16):
            assert_equal(top_k(vectors, k=6), expected)
            assert_equal(top_k(vectors[:200], k=6), dense_top_k(vectors[:200], vectors[:200], k=6, itself=True))
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
    indices, similarities = top_k(vectors[:30], vectors[30:], k=3)
    found = pair_similarity(vectors[:30], rows[:90], indices.flatten(), corpus=vectors[30:])
    assert torch.equal(found, similarities.flatten())


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
