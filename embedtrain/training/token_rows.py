"""AdamW that spends nothing on the tokens a training has never seen.

A batch holds some hundred of a vocabulary's ten or hundred thousand tokens. The gradient of the token embeddings is
nevertheless a matrix of all of them, nearly all zeros, which is made, measured, read by the optimiser with two moments
of the same size, and thrown away: half of a small encoder's step on a CPU, and most of a multilingual one's.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

# Below it a table (positions, token types) is seen whole soon, and nothing is saved.
MIN_ROWS = 2048


@contextmanager
def sparse_token_gradients(model: nn.Module) -> Iterator[int]:
    """Let the large embedding tables of a model that are trained have sparse gradients while the context lasts.

    A table whose weights serve elsewhere too, such as an output layer's, is left as it is. Yields how many there are.
    """
    uses: dict[int, int] = {}
    for module in model.modules():
        for weight in module.parameters(recurse=False):
            uses[id(weight)] = uses.get(id(weight), 0) + 1
    tables = [
        module
        for module in model.modules()
        if isinstance(module, nn.Embedding)
        and module.num_embeddings >= MIN_ROWS
        and module.weight.requires_grad
        and uses[id(module.weight)] == 1
        and not (module.sparse or module.scale_grad_by_freq or module.max_norm)
    ]
    for table in tables:
        table.sparse = True
    try:
        yield len(tables)
    finally:
        for table in tables:
            table.sparse = False


class TokenRowAdamW(torch.optim.AdamW):
    """``torch.optim.AdamW`` that takes sparse gradients too, and computes what it would for the same dense ones.

    As long as a row's gradient has always been zero, so are its moments, and only weight decay moves it. Rows are
    therefore given moments when they are first seen; all rows seen so far go through torch's fused kernel in one piece,
    so that momentum goes on where a step has no gradient (``torch.optim.SparseAdam`` leaves it out, which is another
    method). Memory of the moments: rows seen, not rows of the table.

    Args:
        params: As for ``torch.optim.AdamW``.
        **options: As for ``torch.optim.AdamW``, with ``fused=True``.

    Raises:
        ValueError: Without ``fused=True``, or with ``amsgrad`` or ``maximize``.
    """

    def __init__(self, params: Any, **options: Any) -> None:
        if not options.get("fused") or options.get("amsgrad") or options.get("maximize"):
            raise ValueError("expected fused=True without amsgrad and maximize")
        super().__init__(params, **options)
        # For each table: where a row stands among those seen (-1: not yet), and two buffers. All follow from the state.
        self._scratch: dict[Tensor, _Scratch] = {}

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of all parameters; gradients stay as they are."""
        sparse = [
            (group, weight, weight.grad)
            for group in self.param_groups
            for weight in group["params"]
            if weight.grad is not None and weight.grad.is_sparse
        ]
        for _, weight, _ in sparse:
            weight.grad = None
        loss = super().step(closure)
        for group, weight, gradient in sparse:
            self._step_rows(group, weight, gradient.coalesce())
            weight.grad = gradient
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As of every optimiser; the numbers of rows come back as whole numbers."""
        super().load_state_dict(state_dict)
        self._scratch.clear()
        for state in self.state.values():
            if "rows" in state:
                state["rows"] = state["rows"].long()  # every tensor of a state is given the weights' type

    def _step_rows(self, group: dict[str, Any], weight: Tensor, gradient: Tensor) -> None:
        state = self.state[weight]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=weight.device)
            state["rows"] = torch.empty(0, dtype=torch.long, device=weight.device)
            state["exp_avg"] = state["exp_avg_sq"] = weight.new_empty((0, weight.shape[1]))
        if weight not in self._scratch:
            self._scratch[weight] = _Scratch(weight, state["rows"])
        scratch = self._scratch[weight]
        touched = gradient.indices()[0]
        unseen = touched[scratch.place[touched] < 0]
        if len(unseen):
            scratch.place[unseen] = torch.arange(
                len(state["rows"]), len(state["rows"]) + len(unseen), device=weight.device
            )
            state["rows"] = torch.cat([state["rows"], unseen])
            for name in ("exp_avg", "exp_avg_sq"):
                state[name] = _with_room(state[name], len(state["rows"]))
        rows = state["rows"]
        places = scratch.place[touched]
        weights, gradients = scratch.buffers(len(rows))
        torch.index_select(weight, 0, rows, out=weights)
        gradients.index_copy_(0, places, gradient.values())
        adamw(
            [weights],
            [gradients],
            [state["exp_avg"][: len(rows)]],
            [state["exp_avg_sq"][: len(rows)]],
            [],
            [state["step"]],
            fused=True,
            grad_scale=getattr(self, "grad_scale", None),
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )
        if group["weight_decay"]:
            weight.mul_(1 - group["lr"] * group["weight_decay"])
        weight.index_copy_(0, rows, weights)
        gradients.index_fill_(0, places, 0.0)


class _Scratch:
    """What one table's steps need beside the state, kept so that no step takes large memory anew."""

    def __init__(self, weight: Tensor, rows: Tensor) -> None:
        self.place = torch.full((len(weight),), -1, dtype=torch.long, device=weight.device)
        self.place[rows] = torch.arange(len(rows), device=weight.device)
        self.weights = self.gradients = weight.new_zeros((0, weight.shape[1]))

    def buffers(self, rows: int) -> tuple[Tensor, Tensor]:
        """Room for the weights of so many rows, and as much that holds zeros, to be left with zeros."""
        if len(self.weights) < rows:
            self.weights, self.gradients = (_with_room(buffer, rows) for buffer in (self.weights, self.gradients))
        return self.weights[:rows], self.gradients[:rows]


def _with_room(tensor: Tensor, rows: int) -> Tensor:
    """A tensor with at least so many rows, the new ones zero; it grows by half, so that growing stays rare."""
    if len(tensor) >= rows:
        return tensor
    grown = tensor.new_zeros((max(rows, len(tensor) * 3 // 2), tensor.shape[1]))
    grown[: len(tensor)] = tensor
    return grown
