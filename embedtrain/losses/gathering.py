"""Rows of all ranks as one tensor, so that the gradient of W ranks is the gradient of one process on the joined batch.

Each rank returns a loss whose mean over the ranks is the loss of the joined batch. Data-parallel training averages the
ranks' gradients, which is then exactly the gradient of that loss: no factor is left to the learning rate.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """The rows of every rank in the order of ranks, and where this rank's own stand among them.

    Args:
        rows: (total, ...): of all ranks when gathered, else the given tensor itself.
        first: Index in ``rows`` of this rank's first row.
    """

    rows: Tensor
    first: int

    @property
    def total(self) -> int:
        """How many rows all ranks hold together."""
        return len(self.rows)


def world_size(gather: bool) -> int:
    """How many ranks take part: 1 when nothing is to be gathered or no process group is there."""
    return dist.get_world_size() if gather and dist.is_available() and dist.is_initialized() else 1


def gather_rows(tensor: Tensor, *, gather: bool = True) -> Rows:
    """Join the rows that each rank holds; ranks may hold different numbers of rows, also none.

    The gradient of a joined row is summed over the ranks and sent to the rank that holds it.

    Args:
        tensor: This rank's rows, (rows, ...); the same on every rank but for the first axis.
        gather: False leaves the tensor as it is.
    """
    if world_size(gather) == 1:
        return Rows(tensor, 0)
    counts = torch.zeros(dist.get_world_size(), dtype=torch.int64, device=tensor.device)
    counts[dist.get_rank()] = len(tensor)
    dist.all_reduce(counts)
    rows_of = counts.tolist()
    return Rows(_Join.apply(tensor, rows_of), sum(rows_of[: dist.get_rank()]))


def sum_over_ranks(value: Tensor, *, gather: bool = True) -> Tensor:
    """The sum of a tensor without gradient over all ranks."""
    if world_size(gather) == 1:
        return value
    value = value.clone()
    dist.all_reduce(value)
    return value


class _Join(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, rows_of: list[int]) -> Tensor:
        rank = dist.get_rank()
        ctx.start, ctx.rows = sum(rows_of[:rank]), rows_of[rank]
        # Ranks may only exchange tensors of one shape: shorter ones are filled up and cut again.
        own = tensor.new_zeros(max(rows_of), *tensor.shape[1:])
        own[: len(tensor)] = tensor.detach()
        parts = [torch.empty_like(own) for _ in rows_of]
        dist.all_gather(parts, own)
        return torch.cat([part[:count] for part, count in zip(parts, rows_of, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "losses over several ranks cannot be differentiated twice: the exchange of gradients has no gradient; "
                "call backward() or torch.autograd.grad() without create_graph=True"
            )
        gradient = gradients[0].contiguous().clone()
        dist.all_reduce(gradient)
        return gradient[ctx.start : ctx.start + ctx.rows], None
