"""The losses on a GPU: the same values and gradients as on the CPU, and the memory they promise."""

import pytest
import torch
from helpers import draw, value_and_grads

from embedtrain import losses

pytestmark = pytest.mark.gpu

BOTH_WAYS = {"directions": ("query_to_doc", "doc_to_query"), "partition_mode": "per_direction"}
LABELS = torch.arange(40) % 6
SCORES = torch.linspace(0, 1, 40)
CASES = {
    "cosine": (losses.CosineSimilarityLoss(), 2, {"score": SCORES}),
    "cosent": (losses.CoSENTLoss(), 2, {"score": SCORES}),
    "angle": (losses.AnglELoss(), 2, {"score": SCORES}),
    "mnrl": (losses.MultipleNegativesRankingLoss(), 2, {}),
    "mnrl of both directions with ids": (
        losses.MultipleNegativesRankingLoss(
            directions=("query_to_doc", "doc_to_query"), partition_mode="per_direction"
        ),
        2,
        {"ids": LABELS},
    ),
    "gist": (losses.GISTEmbedLoss(), 2, {"guide_anchor": draw((40, 8), 7), "guide_positive": draw((40, 8), 8)}),
    "sigmoid": (losses.SigmoidContrastiveLoss(), 2, {}),
    "supcon": (losses.SupConLoss(), 1, {"labels": LABELS}),
    "hard triplets": (losses.BatchHardTripletLoss(), 1, {"labels": LABELS}),
    "semi-hard triplets": (losses.BatchSemiHardTripletLoss(), 1, {"labels": LABELS}),
    "all triplets": (losses.BatchAllTripletLoss(), 1, {"labels": LABELS}),
}


@pytest.mark.parametrize("small", [True, False], ids=["as it comes", "in blocks"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("name", CASES)
def test_equals_the_cpu(name, dtype, tolerance, small, monkeypatch):
    if not small:
        monkeypatch.setattr(losses.blockwise, "BLOCK_ELEMENTS", {"cpu": 64, "cuda": 64})
        monkeypatch.setattr(losses.blockwise, "MIN_BLOCK_ROWS", 7)
        monkeypatch.setattr(losses.blockwise, "PLAIN_ELEMENTS", 0)
    loss, count, targets = CASES[name]
    inputs = [draw((40, 16), seed, dtype) for seed in range(count)]
    value, grads = value_and_grads(lambda *x: loss(*x, **targets), *inputs)
    on_gpu = [x.detach().cuda().requires_grad_() for x in inputs]
    there = {key: target.detach().cuda() for key, target in targets.items()}
    found, found_grads = value_and_grads(lambda *x: loss.cuda()(*x, **there), *on_gpu)
    loss.cpu()
    torch.testing.assert_close(found.cpu(), value, rtol=tolerance, atol=tolerance)
    for grad, expected in zip(found_grads, grads, strict=True):
        largest = expected.abs().max().item()
        torch.testing.assert_close(grad.cpu(), expected, rtol=0, atol=tolerance * largest)


def test_grad_cache_draws_the_same_dropout_again():
    torch.manual_seed(0)
    encoder = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Dropout(0.5), torch.nn.Linear(16, 8)).cuda()
    inputs = [torch.randn(6, 8, device="cuda") for _ in range(2)]
    loss = losses.MultipleNegativesRankingLoss()
    gradients = []
    for cached in (True, False):
        torch.manual_seed(1)
        encoder.zero_grad()
        if cached:
            losses.GradCache(loss, chunk_size=2)(encoder, inputs).backward()
        else:
            loss(*(torch.cat([encoder(some) for some in column.split(2)]) for column in inputs)).backward()
        gradients.append([parameter.grad.clone() for parameter in encoder.parameters()])
    torch.testing.assert_close(gradients[0], gradients[1])


def test_a_large_batch_needs_little_memory():
    inputs = [torch.randn(65_536, 768, device="cuda", dtype=torch.bfloat16, requires_grad=True) for _ in range(2)]
    losses.MultipleNegativesRankingLoss()(*(x[:64] for x in inputs)).backward()
    for x in inputs:
        x.grad = None
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    losses.MultipleNegativesRankingLoss()(*inputs).backward()
    assert torch.cuda.max_memory_allocated() - before <= 1e9
