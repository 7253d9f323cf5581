"""GradCache changes memory, not results: the loss and gradient of encoding the same chunks and keeping everything."""

import pytest
import torch
from torch import nn

from embedtrain.losses import (
    CoSENTLoss,
    GISTEmbedLoss,
    GradCache,
    MatryoshkaLoss,
    MultipleNegativesRankingLoss,
    SigmoidContrastiveLoss,
    SoftmaxLoss,
    SupConLoss,
    WeightedSum,
)

FEATURES, DIM, ROWS, CHUNK_SIZE = 5, 8, 7, 3
CHUNKS_A_COLUMN = 3


class Encoder(nn.Module):
    """A small network with dropout that notes on how many rows it ran, with a gradient or without."""

    def __init__(self, dtype=torch.float64):
        super().__init__()
        torch.manual_seed(0)
        layers = [nn.Linear(FEATURES, 16), nn.Tanh(), nn.Dropout(0.3), nn.Linear(16, DIM)]
        self.layers = nn.Sequential(*layers).to(dtype)
        self.runs = []
        self.types = set()

    def forward(self, rows):
        self.runs.append((len(rows), torch.is_grad_enabled()))
        embeddings = self.layers(rows)
        self.types.add(embeddings.dtype)
        return embeddings


class EncoderOfDicts(Encoder):
    """Takes and gives dicts, as SentenceTransformer does; it writes into what it is given, as that one does."""

    def forward(self, features):
        # What the first pass wrote would stay in memory for every chunk.
        assert "sentence_embedding" not in features
        features["sentence_embedding"] = super().forward(features["rows"] * features["weight"].unsqueeze(1))
        return features


class EncoderOfLists(Encoder):
    """Takes a list with one item a row, as a tokenizer takes texts."""

    def forward(self, texts):
        assert isinstance(texts, list)
        numbers = [[float(number) for number in text.split()] for text in texts]
        return super().forward(torch.tensor(numbers, dtype=torch.float64))


def inputs(count, rows=ROWS, dtype=torch.float64):
    draw = torch.Generator().manual_seed(1)
    return [torch.randn(rows, FEATURES, generator=draw, dtype=torch.float64).to(dtype) for _ in range(count)]


def chunked(column, size):
    """A column's chunks: tensors, dicts of tensors, lists."""
    if isinstance(column, dict):
        pieces = {key: value.split(size) for key, value in column.items()}
        return [dict(zip(pieces, values, strict=True)) for values in zip(*pieces.values(), strict=True)]
    if isinstance(column, list):
        return [column[start : start + size] for start in range(0, len(column), size)]
    return list(column.split(size))


def without(loss, encoder, columns, *targets, **named):
    """The same chunks in the same order (the first column's, then the second's), with every activation kept."""
    embeddings = []
    for column in columns:
        found = [encoder(chunk) for chunk in chunked(column, CHUNK_SIZE)]
        embeddings.append(torch.cat([x["sentence_embedding"] if isinstance(x, dict) else x for x in found]))
    if len(embeddings) > 2:
        embeddings = [*embeddings[:2], torch.stack(embeddings[2:], dim=1)]
    return loss(*embeddings, *targets, **named)


def cached(loss, encoder, columns, *targets, **named):
    return GradCache(loss, chunk_size=CHUNK_SIZE)(encoder, columns, *targets, **named)


def gradients(*modules):
    """A copy of all gradients, which are then forgotten."""
    found = []
    for module in modules:
        for parameter in module.parameters():
            assert parameter.grad is not None
            found.append(parameter.grad.clone())
            parameter.grad = None
    assert any(gradient.abs().max() > 1e-6 for gradient in found)
    return found


def assert_same(loss, encoder, columns, *targets, **named):
    """Loss, gradients of the encoder and the loss, and what the random stream gives next."""
    results = []
    for way in (cached, without):
        torch.manual_seed(5)
        value = way(loss, encoder, columns, *targets, **named)
        value.backward()
        results.append((value.detach(), gradients(encoder, loss), torch.rand(3)))
    (value, found, stream), (expected, expected_gradients, expected_stream) = results
    assert value.shape == ()
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)
    for gradient, expected_gradient in zip(found, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, expected_gradient, rtol=1e-10, atol=1e-10)
    assert torch.equal(stream, expected_stream)


LOSSES = {
    "mnrl": (lambda: MultipleNegativesRankingLoss(), 2),
    "mnrl negatives": (lambda: MultipleNegativesRankingLoss(), 4),
    "mnrl symmetric": (
        lambda: MultipleNegativesRankingLoss(
            directions=("query_to_doc", "doc_to_query"), partition_mode="per_direction"
        ),
        2,
    ),
    "sigmoid": (lambda: SigmoidContrastiveLoss().double(), 2),
    "sigmoid negatives": (lambda: SigmoidContrastiveLoss().double(), 4),
    "matryoshka": (lambda: MatryoshkaLoss(MultipleNegativesRankingLoss(), dims=[DIM, 4]), 4),
    "weighted sum": (
        lambda: WeightedSum([(MultipleNegativesRankingLoss(), 1.0), (SigmoidContrastiveLoss().double(), 0.5)]),
        4,
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_loss_gradient_and_random_stream_are_those_without(name):
    make, columns = LOSSES[name]
    assert_same(make(), Encoder(), inputs(columns))


def test_targets_and_named_arguments_reach_the_loss():
    encoder = Encoder()
    scores = torch.tensor([0.1, 0.9, 0.4, 0.4, 0.0, 1.0, 0.6])
    assert_same(CoSENTLoss(), encoder, inputs(2), scores)
    assert_same(SupConLoss(), encoder, inputs(1), torch.tensor([0, 1, 2, 0, 1, 2, 0]))
    ids = torch.tensor([0, 1, 2, 3, 4, 0, 1])
    assert_same(MultipleNegativesRankingLoss(known_positives="positive"), encoder, inputs(2), ids=ids)
    guide = dict(zip(("guide_anchor", "guide_positive"), inputs(2), strict=True))
    assert_same(GISTEmbedLoss(), encoder, inputs(2), **guide)


def test_the_loss_s_own_parameters_get_their_gradient():
    loss = SoftmaxLoss(dim=DIM, num_labels=3).double()
    assert_same(loss, Encoder(), inputs(2), torch.tensor([0, 1, 2, 0, 1, 2, 0]))
    sigmoid = SigmoidContrastiveLoss().double()
    torch.manual_seed(5)
    cached(sigmoid, Encoder(), inputs(2)).backward()
    assert sigmoid.log_scale.grad.abs() > 1e-6
    assert sigmoid.bias.grad.abs() > 1e-6


def test_columns_may_be_dicts():
    weight = torch.linspace(0.5, 1.5, ROWS, dtype=torch.float64)
    columns = [{"rows": rows, "weight": weight} for rows in inputs(4)]
    assert_same(MultipleNegativesRankingLoss(), EncoderOfDicts(), columns)
    # The encoder writes into its chunks, which must not be the caller's dicts.
    assert all(column.keys() == {"rows", "weight"} for column in columns)


def test_what_is_no_tensor_in_a_dict_goes_to_every_chunk():
    class EncoderWithModality(EncoderOfDicts):
        def forward(self, features):
            assert features.pop("modality") == "text"
            return super().forward(features)

    weight = torch.ones(ROWS, dtype=torch.float64)
    columns = [{"rows": rows, "weight": weight, "modality": "text"} for rows in inputs(2)]
    torch.manual_seed(5)
    value = cached(MultipleNegativesRankingLoss(), EncoderWithModality(), columns)
    value.backward()
    torch.manual_seed(5)
    torch.testing.assert_close(value, cached(MultipleNegativesRankingLoss(), Encoder(), inputs(2)))


def test_columns_may_be_lists():
    columns = [[" ".join(map(str, row.tolist())) for row in column] for column in inputs(2)]
    assert_same(MultipleNegativesRankingLoss(), EncoderOfLists(), columns)


def test_dropout_is_replayed_whatever_is_drawn_in_between():
    """Numbers drawn between the two passes move neither the gradient nor, afterwards, the stream."""
    encoder, columns = Encoder(), inputs(2)
    torch.manual_seed(5)
    value = cached(MultipleNegativesRankingLoss(), encoder, columns)
    torch.rand(100)
    before = torch.get_rng_state()
    value.backward()
    assert torch.equal(torch.get_rng_state(), before)
    found = gradients(encoder)
    torch.manual_seed(5)
    without(MultipleNegativesRankingLoss(), encoder, columns).backward()
    for gradient, expected in zip(found, gradients(encoder), strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-10)


def test_dropout_of_another_seed_gives_another_loss():
    encoder, columns = Encoder(), inputs(2)
    torch.manual_seed(5)
    first = cached(MultipleNegativesRankingLoss(), encoder, columns)
    torch.manual_seed(6)
    assert cached(MultipleNegativesRankingLoss(), encoder, columns) != first


@pytest.mark.parametrize("backward_inside", [False, True])
def test_autocast(backward_inside):
    """The second pass computes in the type of the first, and weights that autocast keeps still get a gradient."""
    encoder, columns = Encoder(torch.float32), inputs(2, dtype=torch.float32)
    results = []
    for way in (cached, without):
        torch.manual_seed(5)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            value = way(MultipleNegativesRankingLoss(), encoder, columns)
            if backward_inside:
                value.backward()
        if not backward_inside:
            value.backward()
        assert encoder.types == {torch.bfloat16}
        results.append((value.detach(), gradients(encoder)))
    (value, found), (expected, expected_gradients) = results
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    for gradient, wanted in zip(found, expected_gradients, strict=True):
        # Without the cache, the six chunks' parts are summed in bf16, and each sum is rounded by up to 2^-9.
        allowed = 2**-6 * wanted.abs().max().item()
        torch.testing.assert_close(gradient, wanted, rtol=0, atol=allowed)


def test_the_encoder_sees_one_chunk_at_a_time_and_every_row_with_gradient_once():
    encoder = Encoder()
    cached(MultipleNegativesRankingLoss(), encoder, inputs(2)).backward()
    rows_with_gradient = [rows for rows, with_gradient in encoder.runs if with_gradient]
    assert max(rows for rows, _ in encoder.runs) <= CHUNK_SIZE
    assert sum(rows_with_gradient) == 2 * ROWS
    assert sum(rows for rows, with_gradient in encoder.runs if not with_gradient) == 2 * ROWS


def test_one_chunk_s_activations_are_alive_at_a_time():
    alive, most = 0, 0

    class Counter(torch.autograd.Function):
        @staticmethod
        def forward(ctx, rows):
            nonlocal alive, most
            alive += 1
            most = max(most, alive)
            return rows.clone()

        @staticmethod
        def backward(ctx, gradient):
            nonlocal alive
            alive -= 1
            return gradient

    class Counting(Encoder):
        def forward(self, rows):
            embeddings = super().forward(rows)
            return Counter.apply(embeddings) if torch.is_grad_enabled() else embeddings

    cached(MultipleNegativesRankingLoss(), Counting(), inputs(2)).backward()
    assert (alive, most) == (0, 1)
    without(MultipleNegativesRankingLoss(), Counting(), inputs(2)).backward()
    assert most == 2 * CHUNKS_A_COLUMN


@pytest.mark.parametrize("chunk_size", [1, 3, ROWS, 100])
def test_any_chunk_size_gives_the_gradient_of_the_whole_batch(chunk_size):
    encoder, columns = Encoder().eval(), inputs(4)
    loss = MultipleNegativesRankingLoss()
    value = GradCache(loss, chunk_size=chunk_size)(encoder, columns)
    value.backward()
    found = gradients(encoder)
    anchor, positive, *negatives = [encoder(column) for column in columns]
    expected = loss(anchor, positive, torch.stack(negatives, dim=1))
    expected.backward()
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)
    for gradient, wanted in zip(found, gradients(encoder), strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-10, atol=1e-10)


def test_under_no_grad_it_is_a_plain_evaluation():
    encoder, columns = Encoder().eval(), inputs(2)
    with torch.no_grad():
        value = cached(MultipleNegativesRankingLoss(), encoder, columns)
        runs = list(encoder.runs)
        expected = without(MultipleNegativesRankingLoss(), encoder, columns)
    assert not value.requires_grad
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)
    assert all(rows <= CHUNK_SIZE and not with_gradient for rows, with_gradient in runs)
    assert sum(rows for rows, _ in runs) == 2 * ROWS


def test_gradients_of_two_calls_add_up():
    encoder, loss = Encoder(), MultipleNegativesRankingLoss()
    batches = [inputs(2), inputs(2, rows=5)]
    sums = []
    for way in (cached, without):
        torch.manual_seed(5)
        for batch in batches:
            (way(loss, encoder, batch) / 2).backward()
        sums.append(gradients(encoder))
    for gradient, expected in zip(*sums, strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-10)


def test_two_calls_may_come_before_one_backward():
    encoder, loss = Encoder(), MultipleNegativesRankingLoss()
    keeper = GradCache(loss, chunk_size=CHUNK_SIZE)
    torch.manual_seed(5)
    (keeper(encoder, inputs(2)) + 3 * keeper(encoder, inputs(2, rows=5))).backward()
    found = gradients(encoder)
    torch.manual_seed(5)
    (without(loss, encoder, inputs(2)) + 3 * without(loss, encoder, inputs(2, rows=5))).backward()
    for gradient, expected in zip(found, gradients(encoder), strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-10)


def test_a_scaled_loss_scales_the_gradients_of_encoder_and_loss():
    encoder, loss = Encoder().eval(), SoftmaxLoss(dim=DIM, num_labels=3).double()
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0])
    cached(loss, encoder, inputs(2), labels).backward()
    once = gradients(encoder, loss)
    (cached(loss, encoder, inputs(2), labels) * 8).backward()
    for gradient, expected in zip(gradients(encoder, loss), once, strict=True):
        torch.testing.assert_close(gradient, 8 * expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("chunk_size", [0, -1])
def test_a_chunk_holds_at_least_one_row(chunk_size):
    with pytest.raises(ValueError, match=f"chunk_size .*found {chunk_size}"):
        GradCache(MultipleNegativesRankingLoss(), chunk_size=chunk_size)


def test_another_number_of_columns_than_the_loss_takes_is_refused():
    with pytest.raises(ValueError, match="CoSENTLoss takes embedding1, embedding2, found 3 text columns"):
        cached(CoSENTLoss(), Encoder(), inputs(3), torch.zeros(ROWS))


def test_columns_of_different_lengths_are_refused():
    anchors, positives = inputs(2)
    with pytest.raises(ValueError, match=r"7.*6|6.*7"):
        cached(MultipleNegativesRankingLoss(), Encoder(), [anchors, positives[:-1]])
