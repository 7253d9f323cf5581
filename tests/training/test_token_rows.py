"""AdamW on rows that were seen gives what AdamW gives on the whole table, and keeps nothing for the others."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from embedtrain.training import token_rows
from embedtrain.training.token_rows import TokenRowAdamW, sparse_token_gradients

ROWS, DIM = 40, 16
OPTIONS = {"lr": 1e-2, "betas": (0.9, 0.99), "eps": 1e-8, "fused": True}


def model(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Embedding(ROWS, DIM), nn.Linear(DIM, 1))


def backward(network, ids):
    network.zero_grad()
    (network(ids).tanh().sum() * 3).backward()


def trained(network, optimizer, batches, *, scale=None):
    for number, ids in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = OPTIONS["lr"] / (1 + number)
        backward(network, torch.tensor(ids))
        if scale is not None:
            optimizer.grad_scale = torch.tensor(scale)
        optimizer.step()
    return network


def both(batches, *, weight_decay=0.0, scale=None):
    dense, sparse = model(), model()
    sparse[0].sparse = True
    trained(dense, torch.optim.AdamW(dense.parameters(), weight_decay=weight_decay, **OPTIONS), batches, scale=scale)
    optimizer = TokenRowAdamW(sparse.parameters(), weight_decay=weight_decay, **OPTIONS)
    trained(sparse, optimizer, batches, scale=scale)
    return dense, sparse, optimizer


batches_of_ids = st.lists(st.lists(st.integers(0, ROWS - 1), min_size=1, max_size=9), min_size=1, max_size=6)


@settings(deadline=None)
@given(batches=batches_of_ids, scale=st.sampled_from([None, 1.0, 2.5]))
def test_the_steps_are_those_of_adamw_on_dense_gradients(batches, scale):
    dense, sparse, _ = both(batches, scale=scale)
    # A token that comes twice has its gradients summed in another order.
    torch.testing.assert_close(sparse[0].weight, dense[0].weight, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(sparse[1].weight, dense[1].weight, rtol=1e-5, atol=1e-6)


def test_without_repeated_tokens_the_steps_are_the_same_to_the_bit():
    dense, sparse, _ = both([[3, 1, 20], [5, 3], [39], [1, 0], [3]])
    assert torch.equal(sparse[0].weight, dense[0].weight)


def test_weight_decay_moves_every_row():
    dense, sparse, _ = both([[3, 1, 20], [5, 3], [39]], weight_decay=0.1)
    torch.testing.assert_close(sparse[0].weight, dense[0].weight, rtol=1e-6, atol=1e-7)
    assert not torch.equal(sparse[0].weight[30], model()[0].weight[30])


def test_momentum_goes_on_where_a_step_has_no_gradient():
    network = model()
    network[0].sparse = True
    optimizer = TokenRowAdamW(network.parameters(), weight_decay=0.0, **OPTIONS)
    trained(network, optimizer, [[7]])
    before = network[0].weight[7].clone()
    trained(network, optimizer, [[8]])
    assert not torch.equal(network[0].weight[7], before)


def test_only_rows_that_were_seen_have_moments():
    _, sparse, optimizer = both([[3, 1, 3], [5, 3]])
    state = optimizer.state[sparse[0].weight]
    assert sorted(state["rows"].tolist()) == [1, 3, 5]
    assert len(state["exp_avg"]) < ROWS / 2


def test_going_on_from_a_saved_state_is_going_on():
    batches = [[3, 1, 20], [5, 3], [39, 20], [1, 0]]
    whole = both(batches)[1]
    network, optimizer = both(batches[:2])[1:]
    again = copy.deepcopy(network)
    resumed = TokenRowAdamW(again.parameters(), weight_decay=0.0, **OPTIONS)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for number, ids in enumerate(batches[2:], start=2):
        for group in resumed.param_groups:
            group["lr"] = OPTIONS["lr"] / (1 + number)
        backward(again, torch.tensor(ids))
        resumed.step()
    assert torch.equal(again[0].weight, whole[0].weight)


def test_gradients_are_left_as_they_are():
    network = model()
    network[0].sparse = True
    optimizer = TokenRowAdamW(network.parameters(), weight_decay=0.0, **OPTIONS)
    backward(network, torch.tensor([4, 4, 9]))
    before = network[0].weight.grad.clone().to_dense()
    optimizer.step()
    assert torch.equal(network[0].weight.grad.to_dense(), before)


@pytest.mark.parametrize("options", [{}, {"fused": True, "amsgrad": True}, {"fused": True, "maximize": True}])
def test_other_forms_of_adamw_are_refused(options):
    with pytest.raises(ValueError, match="expected fused=True"):
        TokenRowAdamW(model().parameters(), **options)


def test_large_trained_tables_that_serve_nothing_else_are_sparse_while_the_context_lasts(monkeypatch):
    monkeypatch.setattr(token_rows, "MIN_ROWS", ROWS)
    network = nn.ModuleDict(
        {
            "words": nn.Embedding(ROWS, DIM),
            "places": nn.Embedding(ROWS - 1, DIM),
            "frozen": nn.Embedding(ROWS, DIM),
            "shared": nn.Embedding(ROWS, DIM),
            "head": nn.Linear(DIM, ROWS, bias=False),
        }
    )
    network["frozen"].weight.requires_grad_(False)
    network["head"].weight = network["shared"].weight
    with sparse_token_gradients(network) as count:
        assert count == 1
        assert [name for name, module in network.items() if getattr(module, "sparse", False)] == ["words"]
    assert not network["words"].sparse
