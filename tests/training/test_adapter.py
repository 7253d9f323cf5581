"""Losses in the form that sentence-transformers' trainer calls: what separate passes and plain loops give."""

import pytest
import torch
from sentence_transformers import SentenceTransformer
from torch import nn

from embedtrain.losses import (
    CoSENTLoss,
    CosineSimilarityLoss,
    GISTEmbedLoss,
    GradCache,
    MultipleNegativesRankingLoss,
)
from embedtrain.training.adapter import LossAdapter, encode_columns

FIRST = ["how do i reset it", "a much longer question about the device, really", "如何重置密码"]
SECOND = ["reset", "how do i reset it", "忘记密码怎么登录"]


@pytest.fixture
def model(tiny_model):
    return SentenceTransformer(str(tiny_model), device="cpu").eval()


def test_one_pass_gives_the_embeddings_of_separate_passes(model):
    columns = [model.preprocess(FIRST), model.preprocess(SECOND)]
    together = encode_columns(model, columns)
    for embeddings, column in zip(together, columns, strict=True):
        torch.testing.assert_close(embeddings, model(dict(column))["sentence_embedding"], rtol=1e-5, atol=1e-6)


def test_the_loss_and_its_gradient_equal_a_plain_loop(model):
    scores = torch.tensor([0.9, 0.1, 0.6])
    LossAdapter(model, CosineSimilarityLoss())([model.preprocess(FIRST), model.preprocess(SECOND)], scores).backward()
    ours = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}
    model.zero_grad()
    total = 0.0
    for first, second, score in zip(FIRST, SECOND, scores, strict=True):
        pair = [model(model.preprocess([text]))["sentence_embedding"][0] for text in (first, second)]
        total = total + (torch.cosine_similarity(*pair, dim=0) - score) ** 2 / len(scores)
    total.backward()
    assert ours
    for name, parameter in model.named_parameters():
        if name in ours:
            torch.testing.assert_close(ours[name], parameter.grad, rtol=1e-4, atol=1e-6)


class Words:
    """A tokenizer as far as the adapter asks for one."""

    def __init__(self, words):
        self.words = words

    def get_vocab(self):
        return {word: number for number, word in enumerate(self.words)}


class Encoder(nn.Module):
    """Mean of token embeddings; notes how many rows each pass had."""

    def __init__(self, seed=0, words="abc", length=16):
        super().__init__()
        torch.manual_seed(seed)
        self.table = nn.Embedding(20, 6)
        self.tokenizer = Words(words)
        self.max_seq_length = length
        self.passes = []

    def forward(self, features):
        mask = features["attention_mask"].unsqueeze(-1).float()
        self.passes.append(len(mask))
        tokens = self.table(features["input_ids"]) * mask
        return {**features, "sentence_embedding": tokens.sum(1) / mask.sum(1)}


def column(rows, tokens, seed, **more):
    ids = torch.randint(20, (rows, tokens), generator=torch.Generator().manual_seed(seed))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), **more}


def test_columns_of_different_lengths_run_in_one_pass():
    model, columns = Encoder(), [column(3, 5, 0), column(3, 2, 1)]
    joined = encode_columns(model, columns)
    assert model.passes == [6]
    for each, embeddings in zip(columns, joined, strict=True):
        torch.testing.assert_close(embeddings, model(each)["sentence_embedding"])


@pytest.mark.parametrize("more", [{"task": "query"}, {"modality": "text", "extra": 1}])
def test_columns_that_say_something_different_run_alone(more):
    model = Encoder()
    encode_columns(model, [column(3, 5, 0, **more), column(3, 5, 1, **dict.fromkeys(more, "other"))])
    assert model.passes == [3, 3]
    encode_columns(model, [column(3, 5, 0, **more), column(3, 5, 1)])
    assert model.passes == [3, 3, 3, 3]
    encode_columns(model, [column(3, 5, 0, **more), column(3, 5, 1, **more)])
    assert model.passes[4:] == [6]


def test_negatives_columns_and_labels_reach_the_loss():
    model, columns = Encoder(), [column(3, 4, seed) for seed in range(4)]
    anchor, positive, *negatives = (model(each)["sentence_embedding"] for each in columns)
    expected = MultipleNegativesRankingLoss()(anchor, positive, torch.stack(negatives, dim=1))
    torch.testing.assert_close(LossAdapter(model, MultipleNegativesRankingLoss())(columns), expected)
    score = torch.rand(3)
    expected = CoSENTLoss()(anchor, positive, score)
    torch.testing.assert_close(LossAdapter(model, CoSENTLoss())(columns[:2], score), expected)


def test_grad_cache_embeds_chunk_by_chunk():
    plain, chunked = Encoder(), Encoder()
    columns = [column(5, 4, seed) for seed in range(2)]
    LossAdapter(plain, MultipleNegativesRankingLoss())(columns).backward()
    LossAdapter(chunked, GradCache(MultipleNegativesRankingLoss(), chunk_size=2))(columns).backward()
    assert max(chunked.passes) == 2
    torch.testing.assert_close(chunked.table.weight.grad, plain.table.weight.grad)


@pytest.mark.parametrize("cached", [False, True])
def test_a_guide_sees_the_same_columns_and_learns_nothing(cached):
    model, guide, columns = Encoder(0), Encoder(1), [column(6, 4, seed) for seed in range(3)]
    loss = GISTEmbedLoss(scale=20.0)
    found = LossAdapter(model, GradCache(loss, chunk_size=4) if cached else loss, guide=guide)(columns)
    anchor, positive, negative = (model(each)["sentence_embedding"] for each in columns)
    by_guide = [guide(each)["sentence_embedding"].detach() for each in columns]
    named = dict(zip(("guide_anchor", "guide_positive"), by_guide, strict=False))
    expected = loss(anchor, positive, negative.unsqueeze(1), **named, guide_negatives=by_guide[2].unsqueeze(1))
    torch.testing.assert_close(found, expected)
    found.backward()
    assert guide.table.weight.grad is None
    assert "guide" not in " ".join(dict(LossAdapter(model, loss, guide=guide).named_parameters()))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LossAdapter(Encoder(), GISTEmbedLoss(), guide=Encoder(words="xy")), "another vocabulary"),
        (lambda: LossAdapter(Encoder(), GISTEmbedLoss(), guide=Encoder(length=8)), "reads 8 tokens and the model 16"),
        (lambda: LossAdapter(Encoder(), CoSENTLoss(), guide=Encoder()), "CoSENTLoss takes no guide"),
        (lambda: LossAdapter(CoSENTLoss(), Encoder()), r"the model comes first: LossAdapter\(model, CoSENTLoss"),
    ],
)
def test_wrong_use_is_answered(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def ragged(lengths, seed=0):
    longest = max(lengths)
    mask = (torch.arange(longest) < torch.tensor(lengths)[:, None]).long()
    ids = torch.randint(20, (len(lengths), longest), generator=torch.Generator().manual_seed(seed))
    return {"input_ids": ids * mask, "attention_mask": mask}


def test_texts_of_unlike_length_run_in_two_passes_with_the_same_embeddings():
    model = Encoder()
    columns = [ragged([3, 50, 4, 2]), ragged([60, 3, 55, 5], seed=1)]
    expected = [model(dict(column))["sentence_embedding"] for column in columns]
    model.passes.clear()
    found = encode_columns(model, columns)
    assert model.passes == [5, 3]
    for got, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(got, wanted)
    alike = [ragged([3, 4, 4, 2]), ragged([4, 3, 3, 5], seed=1)]
    model.passes.clear()
    encode_columns(model, alike)
    assert model.passes == [8]


def test_padding_on_the_left_is_not_cut_off():
    model = Encoder()
    columns = [{key: value.flip(1) for key, value in ragged(lengths).items()} for lengths in ([3, 50, 4], [60, 3, 2])]
    encode_columns(model, columns)
    assert model.passes == [6]


def test_an_autocast_around_the_adapter_stays_on(model):
    seen = set()
    handle = model.register_forward_hook(lambda *_: seen.add(torch.is_autocast_enabled("cpu")))
    features = [model.preprocess(FIRST), model.preprocess(SECOND)]
    plain = LossAdapter(model, MultipleNegativesRankingLoss())
    with torch.autocast("cpu", torch.bfloat16):
        plain(features)
    assert seen == {True}
    seen.clear()
    plain(features)
    assert seen == {False}
    seen.clear()
    LossAdapter(model, MultipleNegativesRankingLoss(), precision="bf16")(features)
    assert seen == {True}
    handle.remove()
