import math

import pytest
import torch
from helpers import draw, value_and_grads
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from twins import (
    assert_attached_zero,
    assert_autocast_changes_nothing,
    assert_backward_is_like_any_other,
    assert_blocks_do_not_matter,
    assert_equals_twin,
    blocks_of,
)

from embedtrain.losses import MultipleNegativesRankingLoss, multiple_negatives_ranking_loss

ALL_DIRECTIONS = ("query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc")
SYMMETRIC = {"directions": ("query_to_doc", "doc_to_query"), "partition_mode": "per_direction"}
HARDNESS_MODES = ("in_batch_negatives", "hard_negatives", "all_negatives")


def naive(
    anchor,
    positive,
    negatives=None,
    *,
    scale=20.0,
    similarity="cosine",
    directions=("query_to_doc",),
    partition_mode="joint",
    hardness_mode=None,
    hardness_strength=0.0,
    known_positives="ignore",
    ids=None,
    negative_ids=None,
    mask=None,
):
    """The definition, one pair of texts at a time. Positives known by id or mask are never weighed as hard."""
    batch = len(anchor)
    queries, docs = list(anchor), list(positive)
    for row in [] if negatives is None else negatives:
        docs.extend(row)
    n = len(docs) // batch - 1
    owner = [*range(batch), *(i for i in range(batch) for _ in range(n))]
    query_ids = [object() for _ in range(batch)] if ids is None else ids.tolist()
    unknown = [object() for _ in range(batch * n)]
    doc_ids = query_ids + (unknown if negative_ids is None else negative_ids.flatten().tolist())

    def sim(u, v):
        return u @ v if similarity == "dot" else u @ v / (u.norm() * v.norm())

    def is_hard(i, c):
        kind = "hard_negatives" if owner[c] == i else "in_batch_negatives"
        return hardness_mode in (kind, "all_negatives")

    def query_to_doc(i):
        for c, doc in enumerate(docs):
            s = sim(queries[i], doc)
            known = c != i and (doc_ids[c] == query_ids[i] or (mask is not None and bool(mask[i, c])))
            if c == i or (known and known_positives == "positive"):
                yield scale * s, True
            elif not known:
                yield scale * s + (hardness_strength * s.detach() if is_hard(i, c) else 0), False

    def query_to_query(i):
        for j in range(batch):
            if j != i and query_ids[j] != query_ids[i]:
                yield scale * sim(queries[i], queries[j]), False

    def doc_to_query(i):
        for j in range(batch):
            known = j != i and query_ids[j] == query_ids[i]
            if not known or (known_positives, partition_mode) == ("positive", "per_direction"):
                yield scale * sim(docs[i], queries[j]), j == i or known

    def doc_to_doc(i):
        for c in range(len(docs)):
            if owner[c] != i and doc_ids[c] != query_ids[i]:
                yield scale * sim(docs[i], docs[c]), False

    def log_partition(logits):
        return torch.stack([logit for logit, _ in logits]).logsumexp(0)

    def mean_positive(logits):
        return torch.stack([logit for logit, is_positive in logits if is_positive]).mean()

    of = {f.__name__: f for f in (query_to_doc, query_to_query, doc_to_query, doc_to_doc)}
    losses = []
    for i in range(batch):
        rows = {direction: list(of[direction](i)) for direction in directions}
        if partition_mode == "joint":
            together = [pair for row in rows.values() for pair in row]
            losses.append(log_partition(together) - mean_positive(rows["query_to_doc"]))
        else:
            losses.append(sum(log_partition(row) - mean_positive(row) for row in rows.values()) / len(rows))
    return sum(losses) / batch


def columns(batch, dim, n=None, dtype=torch.float32, seed=0):
    """Anchors, positives and (n is not None) negatives."""
    shapes = [(batch, dim), (batch, dim)] + ([] if n is None else [(batch, n, dim)])
    return [draw(shape, seed + place, dtype) for place, shape in enumerate(shapes)]


def known_by(kind, batch, n, seed):
    """Arguments that say which candidates match: few ids, so that rows, and rows and negatives, share them."""
    generator = torch.Generator().manual_seed(seed)
    width = n or 0
    if kind == "mask":
        return {"mask": torch.rand(batch, batch * (1 + width), generator=generator) < 0.3}
    given = {}
    if kind in ("ids", "ids and negative_ids"):
        given["ids"] = torch.randint(3, (batch,), generator=generator)
    if kind == "ids and negative_ids" and n is not None:
        given["negative_ids"] = torch.randint(4, (batch, width), generator=generator)
    return given


def assert_equals_naive(inputs, given=None, **options):
    longest = max(x.detach().norm(dim=-1).max().item() for x in inputs if x.numel())
    reach = longest**2 if options.get("similarity") == "dot" else 1.0
    assert_equals_twin(
        lambda *x: MultipleNegativesRankingLoss(**options)(*x, **(given or {})),
        lambda *x: naive(*x, **(given or {}), **options),
        *inputs,
        size=reach * (options.get("scale", 20.0) + options.get("hardness_strength", 0.0)),
    )


@st.composite
def cases(pick):
    """Options and targets that may stand together."""
    partition_mode = pick(st.sampled_from(["joint", "per_direction"]))
    others = ALL_DIRECTIONS[1:] if partition_mode == "joint" else ["doc_to_query"]
    kind = pick(st.sampled_from(["nothing", "ids", "ids and negative_ids", "mask"]))
    more = [] if kind == "mask" else pick(st.lists(st.sampled_from(others), unique=True))
    options = {
        "similarity": pick(st.sampled_from(["cosine", "dot"])),
        "directions": ("query_to_doc", *more),
        "partition_mode": partition_mode,
        "known_positives": pick(st.sampled_from(["ignore", "positive"])),
    }
    # Dot products are larger, and fp32 holds large logits less exactly.
    unit = 1.0 if options["similarity"] == "cosine" else 0.1
    options["scale"] = unit * pick(st.floats(0.5, 20.0))
    if mode := pick(st.none() | st.sampled_from(HARDNESS_MODES)):
        options |= {"hardness_mode": mode, "hardness_strength": unit * pick(st.floats(0.5, 9.0))}
    return kind, options


@settings(max_examples=100)
@given(
    case=cases(),
    batch=st.integers(1, 5),
    dim=st.integers(2, 6),
    n=st.none() | st.integers(0, 2),
    elements=st.sampled_from([None, 1, 40]),
    seed=st.integers(0, 10**6),
)
def test_equals_loops_in_value_and_gradient(case, batch, dim, n, elements, seed):
    kind, options = case
    with blocks_of(elements):
        assert_equals_naive(columns(batch, dim, n, seed=seed), known_by(kind, batch, n, seed), **options)


@pytest.mark.parametrize("n", [None, 2])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_types_differ_only_by_the_gradient_s_own_rounding(dtype, n):
    assert_equals_naive(columns(4, 6, n, dtype))
    assert_equals_naive(columns(4, 6, n, dtype), known_by("ids", 4, n, 0), directions=ALL_DIRECTIONS)


def dense(known, *, known_positives, scale):
    """``query_to_doc`` through the whole matrix: known candidates get probability, or none of the softmax."""

    def loss(anchor, positive, negatives):
        candidates = torch.cat([positive, negatives.flatten(0, 1)])
        logits = scale * F.normalize(anchor, dim=1) @ F.normalize(candidates, dim=1).T
        own = torch.eye(*logits.shape, dtype=torch.bool)
        if known_positives == "ignore":
            return F.cross_entropy(logits.masked_fill(known & ~own, -torch.inf), torch.arange(len(anchor)))
        matches = (known | own).double()
        return F.cross_entropy(logits, matches / matches.sum(dim=1, keepdim=True))

    return loss


@pytest.mark.parametrize("elements", [None, 500])
@pytest.mark.parametrize("known_positives", ["ignore", "positive"])
@pytest.mark.parametrize("by", ["ids", "mask", "both"])
def test_known_positives_equal_the_dense_form(by, known_positives, elements):
    batch, n = 31, 2
    inputs = columns(batch, 8, n)
    ids, negative_ids = torch.arange(batch) % 7, torch.arange(batch * n).reshape(batch, n) % 11
    negative_ids[5] = ids[5]  # hard negatives that are the anchor's own positives
    from_ids = ids[:, None] == torch.cat([ids, negative_ids.flatten()])
    from_mask = torch.rand(from_ids.shape, generator=torch.Generator().manual_seed(1)) < 0.1
    given, known = {
        "ids": ({"ids": ids, "negative_ids": negative_ids}, from_ids),
        "mask": ({"mask": from_mask}, from_mask),
        "both": ({"ids": ids, "negative_ids": negative_ids, "mask": from_mask}, from_ids | from_mask),
    }[by]
    options = {"known_positives": known_positives, "scale": 10.0}
    with blocks_of(elements):
        assert_equals_twin(
            lambda *x: MultipleNegativesRankingLoss(**options)(*x, **given), dense(known, **options), *inputs, size=10.0
        )


@pytest.mark.parametrize("elements", [None, 200])
def test_positives_of_a_document_are_the_queries_of_its_id(elements):
    inputs, ids = columns(23, 8), torch.arange(23) % 5

    def symmetric(anchor, positive):
        logits = 10 * F.normalize(anchor, dim=1) @ F.normalize(positive, dim=1).T
        matches = (ids[:, None] == ids).double()
        matches = matches / matches.sum(dim=1, keepdim=True)
        return (F.cross_entropy(logits, matches) + F.cross_entropy(logits.T, matches)) / 2

    loss = MultipleNegativesRankingLoss(scale=10.0, known_positives="positive", **SYMMETRIC)
    with blocks_of(elements):
        assert_equals_twin(lambda *x: loss(*x, ids=ids), symmetric, *inputs, size=10.0)


def test_equal_embeddings_give_the_logarithm_of_the_number_of_candidates_that_remain():
    ones, negatives = torch.ones(3, 4), torch.ones(3, 2, 4)
    given = {"ids": torch.tensor([0, 0, 1]), "negative_ids": torch.tensor([[0, 5], [1, 1], [2, 0]])}

    def loss(**options):
        return multiple_negatives_ranking_loss(ones, ones, negatives, **given, **options).item()

    # Of 9 candidates, rows 0 and 1 lose the other's positive and two negatives of id 0, row 2 two negatives of id 1.
    assert loss() == pytest.approx((2 * math.log(6) + math.log(7)) / 3)
    assert loss(known_positives="positive") == pytest.approx(math.log(9))
    # Next to those, rows 0 and 1 see the anchor of row 2, row 2 the anchors of rows 0 and 1.
    more = loss(directions=("query_to_doc", "query_to_query"))
    assert more == pytest.approx((2 * math.log(6 + 1) + math.log(7 + 2)) / 3)
    # Other rows' documents of other ids: row 0 sees one positive and 3 negatives, row 1 one and 2, row 2 two and 2.
    more = loss(directions=("query_to_doc", "doc_to_doc"))
    assert more == pytest.approx((math.log(6 + 1 + 3) + math.log(6 + 1 + 2) + math.log(7 + 2 + 2)) / 3)


def test_a_row_that_shares_its_id_with_all_others_has_nothing_to_learn():
    inputs = columns(4, 5)
    loss = MultipleNegativesRankingLoss()(*inputs, ids=torch.zeros(4, dtype=torch.int64))
    assert loss.item() == pytest.approx(0, abs=1e-6)
    for grad in torch.autograd.grad(loss, inputs):
        torch.testing.assert_close(grad, torch.zeros_like(grad))


def test_ids_all_different_and_an_empty_mask_change_nothing():
    inputs = columns(5, 6, 2)
    expected = MultipleNegativesRankingLoss()(*inputs)
    ids = torch.arange(5)
    for known_positives in ("ignore", "positive"):
        loss = MultipleNegativesRankingLoss(known_positives=known_positives)
        torch.testing.assert_close(loss(*inputs, ids=ids, negative_ids=torch.arange(10).reshape(5, 2) + 5), expected)
        torch.testing.assert_close(loss(*inputs, mask=torch.zeros(5, 15, dtype=torch.bool)), expected)
        torch.testing.assert_close(loss(*inputs, mask=torch.eye(5, 15, dtype=torch.bool)), expected)


REFERENCE_OPTIONS = [
    {},
    {"scale": 3.0},
    {"similarity": "dot", "scale": 0.5},
    SYMMETRIC,
    {"directions": ALL_DIRECTIONS},
    {"directions": ("query_to_doc", "doc_to_doc")},
    {"directions": ("query_to_doc", "query_to_query")},
    *({"hardness_mode": mode, "hardness_strength": 9.0} for mode in HARDNESS_MODES),
    {"directions": ALL_DIRECTIONS, "hardness_mode": "all_negatives", "hardness_strength": 5.0},
    {**SYMMETRIC, "hardness_mode": "in_batch_negatives", "hardness_strength": 5.0},
]


@pytest.mark.parametrize("n", [None, 1, 3])
@pytest.mark.parametrize("options", REFERENCE_OPTIONS, ids=str)
def test_equals_sentence_transformers(options, n):
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss as Reference
    from sentence_transformers.util import cos_sim, dot_score

    similarity = {"cosine": cos_sim, "dot": dot_score}[options.get("similarity", "cosine")]
    others = {name: value for name, value in options.items() if name != "similarity"}
    reference = Reference(model=torch.nn.Identity(), similarity_fct=similarity, **others)

    def columnwise(anchor, positive, negatives=None):
        more = [] if negatives is None else negatives.unbind(dim=1)
        return reference.compute_loss_from_embeddings([anchor, positive, *more], None)

    assert_equals_twin(MultipleNegativesRankingLoss(**options), columnwise, *columns(7, 12, n), size=29.0)


@pytest.mark.parametrize("elements", [None, 40])
@pytest.mark.parametrize("kind", ["nothing", "ids and negative_ids"])
@pytest.mark.parametrize("options", [{}, {"directions": ALL_DIRECTIONS}, SYMMETRIC, {"similarity": "dot"}], ids=str)
def test_gradient_is_that_of_small_differences(options, kind, elements):
    given = known_by(kind, 5, 2, seed=3)
    with blocks_of(elements):
        for known_positives in ("ignore", "positive"):
            loss = MultipleNegativesRankingLoss(scale=2.0, known_positives=known_positives, **options)
            inputs = columns(5, 3, 2, torch.float64)
            assert torch.autograd.gradcheck(lambda *x, loss=loss: loss(*x, **given), inputs)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"directions": ALL_DIRECTIONS, "hardness_mode": "all_negatives", "hardness_strength": 3.0},
        {**SYMMETRIC, "known_positives": "positive"},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["nothing", "ids and negative_ids"])
def test_the_size_of_blocks_does_not_matter(options, kind):
    given = known_by(kind, 23, 2, seed=0)
    loss = MultipleNegativesRankingLoss(**options)
    assert_blocks_do_not_matter(lambda *x: loss(*x, **given), *columns(23, 6, 2, torch.float64))


def test_backward_is_like_any_other_but_runs_once():
    with blocks_of(64):
        assert_backward_is_like_any_other(MultipleNegativesRankingLoss(), *columns(5, 6, 2))


def test_a_small_batch_may_be_differentiated_twice():
    inputs = columns(4, 5, 1, torch.float64)
    assert torch.autograd.gradgradcheck(MultipleNegativesRankingLoss(scale=3.0), inputs)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_small_batches_in_one_piece_equal_blocks(similarity):
    inputs, loss = columns(9, 6, 2, torch.float64), MultipleNegativesRankingLoss(similarity=similarity)
    value, grads = value_and_grads(loss, *inputs)
    with blocks_of(64):
        expected, expected_grads = value_and_grads(loss, *inputs)
    torch.testing.assert_close((value, grads), (expected, expected_grads), rtol=1e-10, atol=1e-12)


def test_autocast_changes_nothing():
    assert_autocast_changes_nothing(MultipleNegativesRankingLoss(), *columns(6, 9, 2))
    assert_autocast_changes_nothing(MultipleNegativesRankingLoss(directions=ALL_DIRECTIONS), *columns(6, 9, 2))


@settings(max_examples=25)
@given(batch=st.integers(1, 9), dim=st.integers(2, 8), n=st.integers(0, 3), seed=st.integers(0, 10**6))
def test_neither_the_order_nor_the_length_of_embeddings_matters(batch, dim, n, seed):
    anchor, positive, negatives = (x.detach() for x in columns(batch, dim, n, seed=seed))
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(batch, generator=generator)
    stretch = torch.rand(batch, 1, generator=generator) + 0.5
    loss = MultipleNegativesRankingLoss()
    expected = loss(anchor, positive, negatives)
    torch.testing.assert_close(loss(anchor[order], positive[order], negatives[order]), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(loss(anchor * stretch, positive, negatives), expected, rtol=1e-5, atol=1e-5)


def test_no_negatives_per_row_is_in_batch_negatives_alone():
    anchor, positive = columns(4, 6)
    loss = MultipleNegativesRankingLoss()
    assert loss(anchor, positive, torch.zeros(4, 0, 6)) == loss(anchor, positive)


def test_zero_embedding_has_cosine_0_and_a_finite_gradient():
    anchor = torch.zeros(1, 4, requires_grad=True)
    loss = MultipleNegativesRankingLoss()(anchor, torch.ones(1, 4), torch.ones(1, 2, 4))
    loss.backward()
    assert loss.item() == pytest.approx(math.log(3))
    assert anchor.grad.isfinite().all()


@pytest.mark.parametrize("options", [{}, {"directions": ALL_DIRECTIONS}, SYMMETRIC], ids=str)
@pytest.mark.parametrize("n", [None, 2])
def test_empty_batch_is_a_zero_attached_to_the_graph(n, options):
    weight = torch.ones(4, 3, requires_grad=True)
    embeddings = torch.zeros(0, 4) @ weight
    negatives = None if n is None else torch.zeros(0, n, 4) @ weight
    loss = MultipleNegativesRankingLoss(**options)
    assert_attached_zero(loss(embeddings, embeddings, negatives), weight)
    assert_attached_zero(loss(embeddings, embeddings, negatives, ids=torch.zeros(0, dtype=torch.int64)), weight)


def test_function_and_module_are_the_same():
    inputs, given = columns(5, 6, 2), known_by("ids and negative_ids", 5, 2, seed=0)
    options = {
        "scale": 0.3,
        "similarity": "dot",
        "directions": ("query_to_doc", "doc_to_query"),
        "partition_mode": "per_direction",
        "hardness_mode": "hard_negatives",
        "hardness_strength": 2.0,
        "known_positives": "positive",
    }
    loss = MultipleNegativesRankingLoss(**options)
    assert multiple_negatives_ranking_loss(*inputs, **given, **options) == loss(*inputs, **given)
    shown = repr(loss)
    assert all(f"{name}={value!r}" in shown for name, value in options.items())


@pytest.mark.parametrize(
    ("anchor", "positive", "negatives", "message"),
    [
        (torch.ones(4), torch.ones(4), None, r"anchor must have shape \(batch, dim\), found \(4,\)"),
        (torch.ones(2, 4), torch.ones(2, 5), None, r"anchor and positive .*found \(2, 4\) and \(2, 5\)"),
        (torch.ones(2, 4), torch.ones(3, 4), None, r"anchor and positive .*found \(2, 4\) and \(3, 4\)"),
        (torch.ones(2, 4), torch.ones(2, 4).int(), None, r"positive must be floating-point .*torch.int32"),
        (torch.ones(2, 4), torch.ones(2, 4), torch.ones(2, 4), r"negatives .*\(batch, n, dim\), found \(2, 4\)"),
        (torch.ones(2, 4), torch.ones(2, 4), torch.ones(3, 1, 4), r"\(2, n, 4\) beside .*found \(3, 1, 4\)"),
        (torch.ones(2, 4), torch.ones(2, 4), torch.ones(2, 1, 5), r"\(2, n, 4\) beside .*found \(2, 1, 5\)"),
        (torch.ones(2, 4), torch.ones(2, 4), torch.ones(2, 1, 4).long(), r"negatives must be floating-point"),
        (torch.ones(2, 4), torch.ones(2, 4, device="meta"), None, r"one device, found cpu and meta"),
        (torch.ones(2, 4), torch.ones(2, 4), torch.ones(2, 1, 4, device="meta"), r"one device, found cpu and meta"),
    ],
)
def test_wrong_use_is_answered_with_what_was_found(anchor, positive, negatives, message):
    with pytest.raises(ValueError, match=message):
        MultipleNegativesRankingLoss()(anchor, positive, negatives)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ids": torch.arange(2)}, r"ids must have shape \(batch,\) = \(3,\), found \(2,\)"),
        ({"ids": torch.arange(6).reshape(3, 2)}, r"ids must have shape \(batch,\) = \(3,\), found \(3, 2\)"),
        ({"ids": torch.ones(3)}, r"ids must be whole numbers, found torch.float32"),
        ({"ids": torch.arange(3, device="meta")}, r"ids .*device cpu, found meta"),
        ({"ids": torch.arange(3), "negative_ids": torch.arange(3)}, r"negative_ids .*\(3, 2\).*found \(3,\)"),
        ({"ids": torch.arange(3), "negative_ids": torch.ones(3, 2)}, r"negative_ids .*whole.*found torch.float32"),
        ({"negative_ids": torch.arange(6).reshape(3, 2)}, r"negative_ids .*without ids"),
        ({"mask": torch.zeros(3, 3, dtype=torch.bool)}, r"mask .*\(3, 9\), found \(3, 3\)"),
        ({"mask": torch.zeros(3, 9)}, r"mask .*bool.*found torch.float32"),
    ],
)
def test_known_positives_that_do_not_fit_are_answered_with_what_was_found(given, message):
    with pytest.raises(ValueError, match=message):
        MultipleNegativesRankingLoss()(torch.ones(3, 4), torch.ones(3, 4), torch.ones(3, 2, 4), **given)


@pytest.mark.parametrize("more", ALL_DIRECTIONS[1:])
def test_a_mask_speaks_of_query_to_doc_alone(more):
    loss = MultipleNegativesRankingLoss(directions=("query_to_doc", more))
    with pytest.raises(ValueError, match=f"mask .*{more}"):
        loss(torch.ones(3, 4), torch.ones(3, 4), mask=torch.zeros(3, 3, dtype=torch.bool))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_nan_and_infinity_are_named_unless_switched_off(place, value):
    inputs = [x.detach() for x in columns(4, 5, 2)]
    inputs[place][2, ..., 0] = value
    name = ["anchor", "positive", "negatives"][place]
    kind = "NaN" if math.isnan(value) else "infinity"
    with pytest.raises(ValueError, match=rf"{name} holds {kind} in row 2 \(1 of 4 rows\)"):
        MultipleNegativesRankingLoss()(*inputs)
    assert not MultipleNegativesRankingLoss(check_finite=False)(*inputs).isfinite()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 0}, "scale must be a finite number above 0, found 0"),
        ({"scale": -1.0}, "scale must be a finite number above 0, found -1.0"),
        ({"scale": float("nan")}, "scale must be a finite number above 0, found nan"),
        ({"scale": float("inf")}, "scale must be a finite number above 0, found inf"),
        ({"similarity": "manhattan"}, "similarity must be one of 'cosine', 'dot', found 'manhattan'"),
        ({"directions": ("query_to_doc", "sideways")}, "directions .*found 'sideways'"),
        ({"directions": "query_to_doc"}, "directions .*found .*'query_to_doc'"),
        ({"directions": ()}, r"directions .*'query_to_doc', found \(\)"),
        ({"directions": ("doc_to_query",)}, r"directions .*'query_to_doc', found \('doc_to_query',\)"),
        ({"partition_mode": "each"}, "partition_mode must be one of .*found 'each'"),
        (
            {"partition_mode": "per_direction", "directions": ALL_DIRECTIONS},
            "per_direction.*query_to_query, doc_to_doc",
        ),
        ({"known_positives": "drop"}, "known_positives must be one of 'ignore', 'positive', found 'drop'"),
        ({"hardness_mode": "all", "hardness_strength": 1.0}, "hardness_mode must be one of .*found 'all'"),
        ({"hardness_mode": "all_negatives"}, "hardness_mode 'all_negatives' .*hardness_strength 0"),
        ({"hardness_mode": "all_negatives", "hardness_strength": -1.0}, "hardness_strength .*found -1.0"),
        ({"hardness_mode": "all_negatives", "hardness_strength": float("nan")}, "hardness_strength .*found nan"),
    ],
)
def test_wrong_options_are_refused_by_module_and_function(options, message):
    with pytest.raises(ValueError, match=message):
        MultipleNegativesRankingLoss(**options)
    with pytest.raises(ValueError, match=message):
        multiple_negatives_ranking_loss(torch.ones(2, 4), torch.ones(2, 4), **options)
