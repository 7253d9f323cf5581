"""The denoising loss: which token is told from what."""

import pytest
import torch

from embedtrain.losses import DenoisingLoss

WORDS, DIM = 53, 8


class TinyDecoder(torch.nn.Module):
    """Says of every token the same: what the embedding and the token's own row say."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.output_weight = torch.nn.Parameter(torch.randn(WORDS, DIM))
        self.output_bias = None

    def forward(self, embedding, input_ids, mask):
        return (embedding[:, None] + self.output_weight[input_ids]).masked_fill(~mask[..., None], float("nan"))


IDS = torch.tensor([[4, 7, 9, 2], [4, 8, 2, 0], [4, 0, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], [1, 0, 0, 0]])


@pytest.mark.parametrize("kind", [torch.long, torch.bool])
def test_each_token_is_told_from_those_before_it(kind):
    decoder = TinyDecoder()
    embedding = torch.randn(3, DIM, requires_grad=True)
    found = DenoisingLoss(decoder)(embedding, IDS, MASK.to(kind))
    losses = [
        -(decoder.output_weight @ (embedding[row] + decoder.output_weight[IDS[row, place]])).log_softmax(0)[
            IDS[row, place + 1]
        ]
        for row, length in enumerate([4, 3, 1])
        for place in range(length - 1)
    ]
    assert len(losses) == 5
    expected = torch.stack(losses).mean()
    torch.testing.assert_close(found, expected)
    wanted = [embedding, decoder.output_weight]
    torch.testing.assert_close(torch.autograd.grad(found, wanted), torch.autograd.grad(expected, wanted))


@pytest.mark.parametrize(("ids", "rows"), [(IDS[2:], 1), (IDS[:, :1], 3), (IDS[:0], 0)])
def test_texts_without_a_second_token_give_a_zero_with_a_graph(ids, rows):
    embedding = torch.randn(rows, DIM, requires_grad=True)
    found = DenoisingLoss(TinyDecoder())(embedding, ids, MASK[2:].expand(3, -1)[:rows, : ids.shape[1]])
    found.backward()
    assert found.item() == 0
    assert not embedding.grad.any()


def test_shapes_that_do_not_belong_together_are_refused():
    loss = DenoisingLoss(TinyDecoder())
    with pytest.raises(ValueError, match=r"with a batch of 2, found \(3, 4\) and \(3, 4\)"):
        loss(torch.randn(2, DIM), IDS, MASK)
    with pytest.raises(ValueError, match=r"embedding must have shape \(batch, dim\)"):
        loss(torch.randn(DIM), IDS, MASK)


def test_an_embedding_that_is_not_finite_is_named():
    embedding = torch.randn(3, DIM)
    embedding[1, 2] = float("nan")
    with pytest.raises(ValueError, match="embedding holds NaN in row 1"):
        DenoisingLoss(TinyDecoder())(embedding, IDS, MASK)
    assert DenoisingLoss(TinyDecoder(), check_finite=False)(embedding, IDS, MASK).isnan()
