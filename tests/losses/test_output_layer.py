"""Cross-entropy chunk by chunk against plain loops, and what it holds in memory."""

import pytest
import torch
from helpers import draw
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from embedtrain.losses import linear_cross_entropy
from embedtrain.losses import output_layer as module

TOKENS, WORDS, DIM = 37, 53, 8


def parts(*, tokens=TOKENS, words=WORDS, dtype=torch.float32, scale=1.0):
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(tokens, DIM, generator=generator, dtype=dtype) * scale
    weight = torch.randn(words, DIM, generator=generator, dtype=dtype)
    bias = torch.randn(words, generator=generator, dtype=dtype)
    targets = torch.randint(words, (tokens,), generator=generator)
    targets[1] = targets[0]
    return [tensor.requires_grad_() for tensor in (hidden, weight, bias)], targets


def loop(hidden, weight, targets, bias, reduction):
    total = hidden.new_zeros(())
    for row, target in zip(hidden, targets.tolist(), strict=True):
        logits = [row @ word + (0 if bias is None else bias[number]) for number, word in enumerate(weight)]
        total = total + torch.stack(logits).logsumexp(0) - logits[target]
    return total / len(hidden) if reduction == "mean" else total


def value_and_gradients(function, tensors):
    for tensor in tensors:
        tensor.grad = None
    value = function()
    (value * 3).backward()
    return value.detach(), [tensor.grad for tensor in tensors]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("chunk_tokens", [None, 1, 10, TOKENS])
def test_equals_the_loop(dtype, with_bias, reduction, chunk_tokens):
    (hidden, weight, bias), targets = parts(dtype=dtype)
    bias = bias if with_bias else None
    tensors = [hidden, weight, *([bias] if with_bias else [])]
    expected = value_and_gradients(lambda: loop(hidden, weight, targets, bias, reduction), tensors)
    options = {"bias": bias, "chunk_tokens": chunk_tokens, "reduction": reduction}
    found = value_and_gradients(lambda: linear_cross_entropy(hidden, weight, targets, **options), tensors)
    assert found[0].dtype == dtype
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 5])
def test_the_softmax_of_a_few_rows_at_a_time(monkeypatch, rows):
    monkeypatch.setitem(module.SOFTMAX_ELEMENTS, "cpu", rows * WORDS)
    (hidden, weight, bias), targets = parts()
    expected = value_and_gradients(
        lambda: F.cross_entropy(F.linear(hidden, weight, bias), targets), [hidden, weight, bias]
    )
    found = value_and_gradients(
        lambda: linear_cross_entropy(hidden, weight, targets, bias=bias), [hidden, weight, bias]
    )
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("chunk_tokens", [None, 10])
def test_bf16_autocast_rounds_no_more_than_plain_autocast(chunk_tokens):
    (hidden, weight, bias), targets = parts()
    tensors = [hidden, weight, bias]

    def plain():
        return F.cross_entropy(F.linear(hidden, weight, bias).float(), targets)

    exact = value_and_gradients(plain, tensors)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = value_and_gradients(plain, tensors)
        found = value_and_gradients(
            lambda: linear_cross_entropy(hidden, weight, targets, bias=bias, chunk_tokens=chunk_tokens), tensors
        )
    assert found[0].dtype == torch.float32
    assert found[0].item() == pytest.approx(exact[0].item(), rel=5e-3)
    for ours, theirs, right in zip(found[1], rounded[1], exact[1], strict=True):
        assert ours.dtype == torch.float32
        assert (ours - right).norm() < 2 * (theirs - right).norm() < 0.05 * right.norm()


def test_bf16_embeddings_get_a_bf16_gradient():
    (hidden, weight, _), targets = parts(dtype=torch.bfloat16)
    found = linear_cross_entropy(hidden, weight, targets)
    found.backward()
    assert found.dtype == torch.float32
    assert hidden.grad.dtype == weight.grad.dtype == torch.bfloat16


def test_very_unlikely_targets_have_their_exact_loss():
    (hidden, weight, bias), targets = parts(scale=100.0)
    expected = value_and_gradients(
        lambda: F.cross_entropy(F.linear(hidden, weight, bias), targets), [hidden, weight, bias]
    )
    assert F.cross_entropy(F.linear(hidden, weight, bias), targets, reduction="none").max() > 200
    found = value_and_gradients(
        lambda: linear_cross_entropy(hidden, weight, targets, bias=bias), [hidden, weight, bias]
    )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("frozen", [0, 1, 2])
def test_what_is_frozen_gets_no_gradient(frozen):
    tensors, targets = parts()
    tensors[frozen].requires_grad_(False)
    hidden, weight, bias = tensors
    expected = F.cross_entropy(F.linear(hidden, weight, bias), targets)
    trained = [tensor for tensor in tensors if tensor.requires_grad]
    found = linear_cross_entropy(hidden, weight, targets, bias=bias)
    torch.testing.assert_close(torch.autograd.grad(found, trained), torch.autograd.grad(expected, trained))


def test_without_gradients_the_value_is_the_same():
    (hidden, weight, bias), targets = parts()
    expected = linear_cross_entropy(hidden, weight, targets, bias=bias)
    with torch.no_grad():
        found = linear_cross_entropy(hidden, weight, targets, bias=bias)
    assert not found.requires_grad
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)


class LargestTensor(TorchDispatchMode):
    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        if isinstance(output, torch.Tensor):
            self.largest = max(self.largest, output.numel())
        return output


def test_all_logits_are_never_in_memory():
    (hidden, weight, bias), targets = parts(tokens=400, words=300)
    with LargestTensor() as seen:
        linear_cross_entropy(hidden, weight, targets, bias=bias, chunk_tokens=40).backward()
    assert 40 * 300 <= seen.largest < 60 * 300


def test_the_default_chunk_holds_32_megabytes(monkeypatch):
    sizes = []
    chunk = module._Run.chunk
    monkeypatch.setattr(module._Run, "chunk", lambda self, h, t: sizes.append(len(h)) or chunk(self, h, t))
    monkeypatch.setitem(module.CHUNK_BYTES, "cpu", 4 * WORDS * 16)
    monkeypatch.setattr(module, "MIN_CHUNK_TOKENS", 4)
    (hidden, weight, _), targets = parts()
    linear_cross_entropy(hidden, weight, targets)
    assert sizes == [13, 12, 12], "three chunks of one size rather than 16, 16 and 5"
    sizes.clear()
    monkeypatch.setattr(module, "MIN_CHUNK_TOKENS", 20)
    linear_cross_entropy(hidden, weight, targets)
    assert sizes == [19, 18]


def test_no_tokens_give_a_zero_with_a_graph():
    (hidden, weight, bias), targets = parts()
    found = linear_cross_entropy(hidden[:0], weight, targets[:0], bias=bias)
    found.backward()
    assert found.item() == 0
    assert not weight.grad.any()


def test_gradients_are_handed_over_once():
    (hidden, weight, _), targets = parts()
    found = linear_cross_entropy(hidden, weight, targets)
    with pytest.raises(RuntimeError, match="cannot be differentiated twice"):
        torch.autograd.grad(found, hidden, create_graph=True)
    found = linear_cross_entropy(hidden, weight, targets)
    found.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="backward\\(\\) was called a second time"):
        found.backward()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden": draw((3, 4, 5))}, r"hidden must have shape \(tokens, dim\)"),
        ({"weight": draw((9, 5))}, r"the same number of columns, found \(3, 4\) and \(9, 5\)"),
        ({"targets": torch.zeros(4, dtype=torch.long)}, r"targets must have shape \(batch,\) = \(3,\), found \(4,\)"),
        ({"bias": torch.zeros(3)}, r"bias must have shape \(vocabulary,\) = \(9,\), found \(3,\)"),
        ({"chunk_tokens": 0}, "chunk_tokens must be a whole number of at least 1, found 0"),
        ({"reduction": "none"}, "reduction must be one of 'mean', 'sum', found 'none'"),
    ],
)
def test_what_does_not_belong_together_is_refused(changes, message):
    right = {"hidden": draw((3, 4)), "weight": draw((9, 4)), "targets": torch.zeros(3, dtype=torch.long)}
    with pytest.raises(ValueError, match=message):
        linear_cross_entropy(**{**right, **changes})
