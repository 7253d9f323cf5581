import math

import pytest
import torch
from helpers import draw
from hypothesis import given, settings
from hypothesis import strategies as st
from twins import (
    assert_attached_zero,
    assert_autocast_changes_nothing,
    assert_backward_is_like_any_other,
    assert_blocks_do_not_matter,
    assert_equals_twin,
    blocks_of,
)

from embedtrain.losses import GISTEmbedLoss, MultipleNegativesRankingLoss, gist_embed_loss

GUIDE_DIM = 3


def cosine(u, v):
    return u @ v / (u.norm() * v.norm())


def naive(
    anchor,
    positive,
    negatives=None,
    *,
    guide,
    scale=100.0,
    margin_strategy="absolute",
    margin=0.0,
    contrast_anchors=True,
    contrast_positives=True,
    ids=None,
    negative_ids=None,
):
    """The definition, one pair at a time; ``guide`` holds what ``guide_columns`` gives."""
    batch = len(anchor)
    flat = [] if negatives is None else [row for rows in negatives for row in rows]
    guide_anchor, guide_positive = guide["guide_anchor"].double(), guide["guide_positive"].double()
    guide_flat = [row for rows in guide["guide_negatives"].double() for row in rows] if flat else []
    row_ids = [object() for _ in range(batch)] if ids is None else ids.tolist()
    flat_ids = [object() for _ in flat] if negative_ids is None else negative_ids.flatten().tolist()
    total = 0
    for i in range(batch):
        own = cosine(guide_anchor[i], guide_positive[i])
        threshold = own - margin * (own.abs() if margin_strategy == "relative" else 1)
        logits = [cosine(anchor[i], positive[i])]
        for j in range(batch):
            if row_ids[j] == row_ids[i]:
                continue
            if cosine(guide_anchor[i], guide_positive[j]) <= threshold:
                logits.append(cosine(anchor[i], positive[j]))
            if contrast_anchors and cosine(guide_anchor[i], guide_anchor[j]) <= threshold:
                logits.append(cosine(anchor[i], anchor[j]))
            if contrast_positives and cosine(guide_positive[i], guide_positive[j]) <= threshold:
                logits.append(cosine(positive[i], positive[j]))
        for c, embedding in enumerate(flat):
            if flat_ids[c] != row_ids[i] and cosine(guide_anchor[i], guide_flat[c]) <= threshold:
                logits.append(cosine(anchor[i], embedding))
        logits = scale * torch.stack(logits)
        total = total + logits.logsumexp(0) - logits[0]
    return total / batch


def columns(batch, dim, n=None, dtype=torch.float32, seed=0):
    shapes = [(batch, dim), (batch, dim)] + ([] if n is None else [(batch, n, dim)])
    return [draw(shape, seed + place, dtype) for place, shape in enumerate(shapes)]


def guide_columns(batch, n=None, seed=0, dtype=torch.float32):
    """A guide's embeddings that put some positives above and some below other texts."""
    names = ["guide_anchor", "guide_positive"] + ([] if n is None else ["guide_negatives"])
    embeddings = [x.detach() for x in columns(batch, GUIDE_DIM, n, dtype, seed + 100)]
    embeddings[1] = embeddings[1] + embeddings[0]
    return dict(zip(names, embeddings, strict=True))


def some_ids(batch, n, seed):
    generator = torch.Generator().manual_seed(seed)
    given = {"ids": torch.randint(3, (batch,), generator=generator)}
    return given if n is None else {**given, "negative_ids": torch.randint(4, (batch, n), generator=generator)}


def assert_equals_naive(inputs, guide, ids=None, **options):
    given = ids or {}
    assert_equals_twin(
        lambda *x: GISTEmbedLoss(**options)(*x, **guide, **given),
        lambda *x: naive(*x, guide=guide, **given, **options),
        *inputs,
        size=options.get("scale", 100.0),
    )


@settings(max_examples=60)
@given(
    batch=st.integers(1, 5),
    dim=st.integers(2, 6),
    n=st.none() | st.integers(0, 2),
    options=st.fixed_dictionaries(
        {
            "scale": st.floats(0.5, 20.0),
            "margin_strategy": st.sampled_from(["absolute", "relative"]),
            "margin": st.sampled_from([0.0, 0.1, 0.5]),
            "contrast_anchors": st.booleans(),
            "contrast_positives": st.booleans(),
        }
    ),
    with_ids=st.booleans(),
    elements=st.sampled_from([None, 1, 40]),
    seed=st.integers(0, 10**6),
)
def test_equals_loops_in_value_and_gradient(batch, dim, n, options, with_ids, elements, seed):
    ids = some_ids(batch, n, seed) if with_ids else None
    with blocks_of(elements):
        assert_equals_naive(columns(batch, dim, n, seed=seed), guide_columns(batch, n, seed), ids, **options)


@pytest.mark.parametrize("n", [None, 2])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_types_differ_only_by_the_gradient_s_own_rounding(dtype, n):
    assert_equals_naive(columns(5, 6, n, dtype), guide_columns(5, n), scale=20.0)


class Given(torch.nn.Module):
    """Stands in for a model: its embeddings are among the features already."""

    def __init__(self, name, tokenizer):
        super().__init__()
        self.name, self.tokenizer, self.max_seq_length = name, tokenizer, 8

    def forward(self, features):
        return {"sentence_embedding": features[self.name]}


@pytest.mark.parametrize(("dtype", "scale"), [(torch.float32, 20.0), (torch.float64, 100.0)])
@pytest.mark.parametrize("n", [None, 1])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"margin": 0.2},
        {"margin_strategy": "relative", "margin": 0.1},
        {"contrast_anchors": False},
        {"contrast_positives": False},
        {"contrast_anchors": False, "contrast_positives": False},
    ],
    ids=str,
)
def test_equals_sentence_transformers(options, n, dtype, scale):
    from sentence_transformers.sentence_transformer.losses import GISTEmbedLoss as Reference
    from transformers import PreTrainedTokenizerBase

    class Tokenizer(PreTrainedTokenizerBase):
        def __init__(self):
            pass

        def get_vocab(self):
            return {}

    tokenizer = Tokenizer()
    reference = Reference(Given("model", tokenizer), Given("guide", tokenizer), temperature=1 / scale, **options)
    inputs, guide = columns(8, 7, n, dtype), guide_columns(8, n, dtype=dtype)

    def columnwise(anchor, positive, negatives=None):
        embeddings = [anchor, positive] + ([] if negatives is None else [negatives[:, 0]])
        of_guide = [x if x.dim() == 2 else x[:, 0] for x in guide.values()]
        features = [{"model": x, "guide": y.double()} for x, y in zip(embeddings, of_guide, strict=True)]
        return reference(features, None)

    loss = GISTEmbedLoss(scale=scale, **options)
    assert_equals_twin(lambda *x: loss(*x, **guide), columnwise, *inputs, size=scale)


def test_a_matrix_of_guide_similarities_is_as_good_as_embeddings():
    inputs, guide = columns(5, 6, 2), guide_columns(5, 2)
    items = torch.cat([guide["guide_anchor"], guide["guide_positive"], guide["guide_negatives"].flatten(0, 1)])
    items = torch.nn.functional.normalize(items, dim=1)
    expected = GISTEmbedLoss()(*inputs, **guide)
    for elements in (None, 40):
        with blocks_of(elements):
            found = GISTEmbedLoss()(*inputs, guide_similarity=items @ items.T)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    pairs_alone = GISTEmbedLoss()(*inputs[:2], guide_similarity=(items @ items.T)[:10, :10])
    guide.pop("guide_negatives")
    torch.testing.assert_close(pairs_alone, GISTEmbedLoss()(*inputs[:2], **guide))


def test_what_the_guide_finds_nearer_than_the_positive_is_left_out():
    # By the guide, the other row's positive is nearer to anchor 0 than its own, and everything else is far.
    anchor, positive = draw((2, 4)), draw((2, 4), seed=1)
    similarity = torch.full((4, 4), -1.0)
    similarity[0, 2], similarity[1, 3], similarity[0, 3] = 0.4, 0.9, 0.6
    loss = gist_embed_loss(
        anchor, positive, guide_similarity=similarity, contrast_anchors=False, contrast_positives=False, scale=5.0
    )
    logits = [5 * torch.nn.functional.cosine_similarity(anchor[1], positive[k], dim=0) for k in range(2)]
    # Row 0 is left with its positive alone, which costs nothing.
    torch.testing.assert_close(loss, (torch.stack(logits).logsumexp(0) - logits[1]) / 2)


def test_a_guide_that_finds_nothing_near_leaves_the_ranking_loss():
    inputs = columns(5, 6, 2)
    similarity = torch.full((20, 20), -1.0)
    similarity[torch.arange(5), torch.arange(5, 10)] = 1.0
    given = {"ids": torch.tensor([0, 0, 1, 2, 3]), "negative_ids": torch.arange(10).reshape(5, 2)}
    loss = GISTEmbedLoss(scale=20.0, contrast_anchors=False, contrast_positives=False)
    for ids in ({}, given):
        found = loss(*inputs, guide_similarity=similarity, **ids)
        torch.testing.assert_close(found, MultipleNegativesRankingLoss(scale=20.0)(*inputs, **ids))


def test_the_guide_gets_no_gradient():
    guide = {name: x.requires_grad_() for name, x in guide_columns(4, 1).items()}
    GISTEmbedLoss()(*columns(4, 5, 1), **guide).backward()
    assert all(x.grad is None for x in guide.values())


@pytest.mark.parametrize("options", [{}, {"margin": 0.2}, {"contrast_anchors": False}], ids=str)
def test_gradient_is_that_of_small_differences(options):
    guide, given = guide_columns(5, 2), some_ids(5, 2, seed=3)
    loss = GISTEmbedLoss(scale=2.0, **options)
    with blocks_of(40):
        for ids in ({}, given):
            inputs = columns(5, 3, 2, torch.float64)
            assert torch.autograd.gradcheck(lambda *x, ids=ids: loss(*x, **guide, **ids), inputs)


@pytest.mark.parametrize("ids", [{}, some_ids(23, 2, seed=0)], ids=["without ids", "with ids"])
def test_the_size_of_blocks_does_not_matter(ids):
    guide = guide_columns(23, 2, dtype=torch.float64)
    assert_blocks_do_not_matter(
        lambda *x: GISTEmbedLoss(scale=20.0)(*x, **guide, **ids), *columns(23, 6, 2, torch.float64)
    )


def test_backward_is_like_any_other_but_runs_once():
    guide = guide_columns(5, 2)
    assert_backward_is_like_any_other(lambda *x: GISTEmbedLoss(scale=20.0)(*x, **guide), *columns(5, 6, 2))


def test_autocast_changes_nothing():
    guide = guide_columns(6, 2)
    assert_autocast_changes_nothing(lambda *x: GISTEmbedLoss()(*x, **guide), *columns(6, 9, 2))


@pytest.mark.parametrize("n", [None, 2])
def test_empty_batch_is_a_zero_attached_to_the_graph(n):
    weight = torch.ones(4, 3, requires_grad=True)
    embeddings = torch.zeros(0, 4) @ weight
    negatives = None if n is None else torch.zeros(0, n, 4) @ weight
    assert_attached_zero(GISTEmbedLoss()(embeddings, embeddings, negatives, **guide_columns(0, n)), weight)
    assert_attached_zero(GISTEmbedLoss()(embeddings, embeddings, guide_similarity=torch.zeros(0, 0)), weight)


def test_function_and_module_are_the_same():
    inputs, guide = columns(5, 6, 2), guide_columns(5, 2)
    options = {
        "scale": 7.0,
        "margin_strategy": "relative",
        "margin": 0.1,
        "contrast_anchors": False,
        "contrast_positives": False,
    }
    loss = GISTEmbedLoss(**options)
    assert gist_embed_loss(*inputs, **guide, **options) == loss(*inputs, **guide)
    assert gist_embed_loss(*inputs, **guide) == GISTEmbedLoss()(*inputs, **guide)
    shown = repr(loss)
    assert all(f"{name}={value!r}" in shown for name, value in options.items())


PAIR = {"guide_anchor": torch.ones(3, 2), "guide_positive": torch.ones(3, 2)}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "guide_anchor, guide_positive, guide_negatives .*guide_similarity"),
        (PAIR, "missing: guide_negatives"),
        ({**PAIR, "guide_negatives": torch.ones(3, 1, 2)}, r"guide_negatives .*found shape \(3, 1, 2\)"),
        ({**PAIR, "guide_negatives": torch.ones(6, 2)}, r"guide_negatives .*\(batch, n, dim\), found \(6, 2\)"),
        ({**PAIR, "guide_negatives": torch.ones(3, 2, 5)}, r"guide_.* 2.* 5"),
        ({**PAIR, "guide_negatives": torch.ones(3, 2, 2).int()}, r"guide_negatives .*floating-point.*torch.int32"),
        (
            {**PAIR, "guide_negatives": torch.ones(3, 2, 2, device="meta")},
            r"guide_negatives .*one device, found cpu and meta",
        ),
        (
            {**PAIR, "guide_anchor": torch.ones(2, 2), "guide_negatives": torch.ones(3, 2, 2)},
            r"guide_anchor .*found shape \(2, 2\)",
        ),
        ({"guide_similarity": torch.ones(6, 6)}, r"guide_similarity .*\(12, 12\).*found \(6, 6\)"),
        ({"guide_similarity": torch.ones(12, 12), **PAIR}, "guide .*guide_similarity"),
        (
            {"guide_similarity": torch.ones(12, 12), "ids": torch.arange(2)},
            r"ids must have shape \(batch,\) = \(3,\), found \(2,\)",
        ),
        (
            {"guide_similarity": torch.ones(12, 12), "ids": torch.ones(3)},
            r"ids must be whole numbers, found torch.float32",
        ),
    ],
)
def test_a_guide_that_does_not_fit_is_answered_with_what_was_found(given, message):
    with pytest.raises(ValueError, match=message):
        GISTEmbedLoss()(torch.ones(3, 4), torch.ones(3, 4), torch.ones(3, 2, 4), **given)


@pytest.mark.parametrize(
    ("anchor", "positive", "message"),
    [
        (torch.ones(3), torch.ones(3), r"anchor must have shape \(batch, dim\), found \(3,\)"),
        (torch.ones(3, 4), torch.ones(3, 5), r"anchor and positive .*found \(3, 4\) and \(3, 5\)"),
        (torch.ones(3, 4), torch.ones(3, 4).int(), r"positive must be floating-point .*torch.int32"),
    ],
)
def test_wrong_use_is_answered_with_what_was_found(anchor, positive, message):
    with pytest.raises(ValueError, match=message):
        GISTEmbedLoss()(anchor, positive, **PAIR)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_nan_and_infinity_are_named_unless_switched_off(place, value):
    inputs = [x.detach() for x in columns(4, 5, 2)]
    inputs[place][2, ..., 0] = value
    name = ["anchor", "positive", "negatives"][place]
    kind = "NaN" if math.isnan(value) else "infinity"
    # By this guide every text is a negative of every row.
    similarity = torch.full((16, 16), -1.0)
    similarity[torch.arange(4), torch.arange(4, 8)] = 1.0
    with pytest.raises(ValueError, match=rf"{name} holds {kind} in row 2 \(1 of 4 rows\)"):
        GISTEmbedLoss()(*inputs, guide_similarity=similarity)
    assert not GISTEmbedLoss(check_finite=False)(*inputs, guide_similarity=similarity).isfinite()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 0}, "scale must be a finite number above 0, found 0"),
        ({"scale": float("nan")}, "scale must be a finite number above 0, found nan"),
        ({"margin_strategy": "half"}, "margin_strategy must be one of 'absolute', 'relative', found 'half'"),
    ],
)
def test_wrong_options_are_refused_by_module_and_function(options, message):
    with pytest.raises(ValueError, match=message):
        GISTEmbedLoss(**options)
    with pytest.raises(ValueError, match=message):
        gist_embed_loss(*columns(3, 4), **guide_columns(3), **options)
