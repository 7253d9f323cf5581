"""Losses on tensors inside sentence-transformers' trainer give what separate forward passes give."""

import pytest
import torch
from sentence_transformers import SentenceTransformer

from embedtrain.losses import CosineSimilarityLoss, MultipleNegativesRankingLoss
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


def test_without_labels_the_loss_gets_the_embeddings_alone(model):
    columns = [model.preprocess(FIRST), model.preprocess(SECOND)]
    loss = LossAdapter(model, MultipleNegativesRankingLoss())(columns, None)
    expected = MultipleNegativesRankingLoss()(*encode_columns(model, columns))
    torch.testing.assert_close(loss, expected)
