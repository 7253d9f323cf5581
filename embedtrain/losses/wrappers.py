"""Losses made of losses: one loss on shortened embeddings too, and several losses on one batch."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from embedtrain.losses.checks import check_at_least, check_tensor, is_finite_number
from embedtrain.losses.classification import SoftmaxLoss
from embedtrain.losses.distances import unit
from embedtrain.losses.module import parameter_names


class MatryoshkaLoss(nn.Module):
    """A loss summed over embeddings cut to their first numbers, so that short ones work too.

    ``loss = sum_k weight_k * loss(embeddings[..., :dims_k])``

    ``MatryoshkaLoss(MultipleNegativesRankingLoss(), dims=[384, 128, 32])(anchor, positive)``: called like the loss
    itself; every embedding argument is cut, targets are passed on. The empty case is the loss's own.

    Args:
        loss: A loss of this package, or any module with a tuple ``embeddings`` that names its embedding arguments.
        dims: Lengths to cut to; put the full length among them, or it is not trained.
        weights: One weight a length; by default 1 each.
        dims_per_step: Draw this many of the lengths in each call instead of all; the draw is the same on all ranks.
        normalize: Bring embeddings to length 1 after cutting, whole ones too.

    Raises:
        ValueError: If an option is out of range, or in a call a length exceeds the embeddings' own.

    Source: Kusupati et al. 2022 (arXiv:2205.13147), eq. 1.
    """

    def __init__(
        self,
        loss: nn.Module,
        *,
        dims: Sequence[int],
        weights: Sequence[float] | None = None,
        dims_per_step: int | None = None,
        normalize: bool = True,
    ) -> None:
        super().__init__()
        if not isinstance(getattr(loss, "embeddings", None), tuple):
            raise ValueError(
                f"{type(loss).__name__} does not say which of its arguments are embeddings; expected a loss of "
                "embedtrain.losses or a module with a tuple named embeddings"
            )
        if isinstance(loss, SoftmaxLoss):
            raise ValueError("SoftmaxLoss reads embeddings of one length only and cannot be trained on shorter ones")
        if not isinstance(dims, Sequence) or not dims or len(set(dims)) < len(dims):
            raise ValueError(f"dims must be a list of different whole numbers, found {dims!r}")
        for dim in dims:
            check_at_least("each of dims", dim, 1)
        if weights is not None and not (
            isinstance(weights, Sequence) and len(weights) == len(dims) and all(map(is_finite_number, weights))
        ):
            raise ValueError(
                f"weights must be a list of {len(dims)} finite numbers, one for each dim, found {weights!r}"
            )
        if dims_per_step is not None and not 1 <= dims_per_step <= len(dims):
            raise ValueError(f"dims_per_step must be between 1 and {len(dims)}, found {dims_per_step}")
        self.loss: Any = loss
        self.dims = tuple(dims)
        self.weights = tuple(weights) if weights is not None else (1.0,) * len(dims)
        self.dims_per_step = dims_per_step
        self.normalize = normalize
        # Its own stream: ranks whose other random numbers differ must still cut alike.
        self._draw = torch.Generator().manual_seed(0)

    @property
    def embeddings(self) -> tuple[str, ...]:
        """The embedding arguments' names, those of the loss."""
        return self.loss.embeddings

    @property
    def parameter_names(self) -> list[str]:
        """What it can be called with: what the loss can."""
        return parameter_names(self.loss)

    @property
    def joins_columns(self) -> bool:
        """Whether all text columns are one batch to the loss."""
        return getattr(self.loss, "joins_columns", False)

    @property
    def targets(self) -> tuple[str, ...]:
        """The names of what follows the embeddings, those of the loss."""
        return getattr(self.loss, "targets", ())

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """The weighted sum over the lengths, for the loss's own arguments."""
        named = {**_names(self.loss, args), **kwargs}
        cut = (*self.embeddings, *getattr(self.loss, "as_wide", ()))
        whole = {name: named[name] for name in cut if named.get(name) is not None}
        values = []
        for k in self._chosen():
            short = {name: self._cut(name, embeddings, self.dims[k]) for name, embeddings in whole.items()}
            values.append(self.weights[k] * self.loss(**{**named, **short}))
        return torch.stack(values).sum()

    def extra_repr(self) -> str:
        """The options, for ``print(loss)``."""
        return (
            f"dims={list(self.dims)}, weights={list(self.weights)}, dims_per_step={self.dims_per_step}, "
            f"normalize={self.normalize}"
        )

    def _chosen(self) -> list[int]:
        if self.dims_per_step is None:
            return list(range(len(self.dims)))
        return sorted(torch.randperm(len(self.dims), generator=self._draw)[: self.dims_per_step].tolist())

    def _cut(self, name: str, embeddings: Tensor, dim: int) -> Tensor:
        check_tensor(name, embeddings)
        if dim > embeddings.shape[-1]:
            raise ValueError(f"dims holds {dim}, and {name} has only {embeddings.shape[-1]}: {tuple(embeddings.shape)}")
        short = embeddings[..., :dim]
        return unit(short) if self.normalize else short


class WeightedSum(nn.Module):
    """Several losses on one batch, each times its weight.

    ``WeightedSum([(DistillKLDivLoss(), 1.0), (MultipleNegativesRankingLoss(), 0.2)])`` is called with named arguments:
    each loss is given those that its ``forward`` names. Positional arguments take the names of the first loss's
    ``forward``. After a call ``values`` holds each loss's value before weighting, detached, in the order of the losses.

    Args:
        losses: Pairs of a loss and its weight, a finite number.

    Raises:
        ValueError: If there is no loss or a weight is no finite number.
        TypeError: From a call with an argument that no loss takes, or without one that a loss needs.
    """

    def __init__(self, losses: Sequence[tuple[nn.Module, float]]) -> None:
        super().__init__()
        if not losses:
            raise ValueError("losses must hold at least one pair of a loss and its weight, found none")
        for pair in losses:
            if not (isinstance(pair, Sequence) and len(pair) == 2 and isinstance(pair[0], nn.Module)):
                raise ValueError(f"losses must hold pairs of a loss and its weight, found {type(pair).__name__}")
            if not is_finite_number(pair[1]):
                raise ValueError(f"the weight of {type(pair[0]).__name__} must be a finite number, found {pair[1]!r}")
        self.losses: Any = nn.ModuleList(loss for loss, _ in losses)
        self.weights = tuple(float(weight) for _, weight in losses)
        self.values: list[Tensor] = []

    @property
    def embeddings(self) -> tuple[str, ...]:
        """The embedding arguments' names, of all losses."""
        return tuple(dict.fromkeys(name for loss in self.losses for name in loss.embeddings))

    @property
    def parameter_names(self) -> list[str]:
        """What it can be called with: what any of the losses can, those of the first one first."""
        return list(dict.fromkeys(name for loss in self.losses for name in parameter_names(loss)))

    @property
    def targets(self) -> tuple[str, ...]:
        """The names of what follows the embeddings, of all losses."""
        return tuple(dict.fromkeys(name for loss in self.losses for name in loss.targets))

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """The weighted sum, for the arguments of all losses together."""
        named = {**_names(self.losses[0], args), **kwargs}
        self.check_names(named)
        return self.combine(
            lambda loss: loss(**{name: value for name, value in named.items() if name in parameter_names(loss)})
        )

    def check_names(self, names: Iterable[str]) -> None:
        """Refuse arguments that no loss takes (``TypeError``)."""
        unknown = sorted(set(names) - set(self.parameter_names))
        if unknown:
            taken = ", ".join(sorted(self.parameter_names))
            raise TypeError(f"no loss of the sum takes {', '.join(unknown)}; they take {taken}")

    def combine(self, call: Callable[[nn.Module], Tensor]) -> Tensor:
        """The weighted sum of what a function makes of each loss."""
        values = [call(loss) for loss in self.losses]
        self.values = [value.detach() for value in values]
        return torch.stack([weight * value for weight, value in zip(self.weights, values, strict=True)]).sum()

    def extra_repr(self) -> str:
        """The weights, for ``print(loss)``."""
        return f"weights={list(self.weights)}"


def _names(loss: nn.Module, args: tuple[Any, ...]) -> dict[str, Any]:
    names = parameter_names(loss)
    if len(args) > len(names):
        raise TypeError(f"{type(loss).__name__} takes {len(names)} arguments ({', '.join(names)}), found {len(args)}")
    return dict(zip(names, args, strict=False))
