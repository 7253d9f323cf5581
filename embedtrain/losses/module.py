"""What the loss modules share: how they print, and what their arguments are."""

import inspect
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


class Loss(nn.Module):
    """A loss on embeddings whose options are its plain attributes.

    Attributes:
        embeddings: Names of ``forward``'s arguments that hold embeddings, in their order. Those named ``negatives``
            have shape (batch, n, dim), all others (batch, dim).
        targets: Names of what follows them by position, such as a score.
        as_wide: Those of the targets that are as wide as the embeddings, and are cut with them.
        joins_columns: Whether all text columns are rows of the one batch that it looks at.
    """

    embeddings: ClassVar[tuple[str, ...]]
    targets: ClassVar[tuple[str, ...]]
    as_wide: ClassVar[tuple[str, ...]] = ()
    joins_columns: ClassVar[bool] = False
    _option_names: ClassVar[tuple[str, ...]]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls._option_names = tuple(inspect.signature(cls.__init__).parameters)[1:]
        parameters = list(inspect.signature(cls.forward).parameters.values())[1:]
        positional = [each.name for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD]
        cls.targets = tuple(name for name in positional if name not in cls.embeddings)

    @property
    def options(self) -> dict[str, Any]:
        """The options by name, as the functional twin takes them; what became a parameter is not among them."""
        attributes = vars(self)
        return {name: attributes[name] for name in self._option_names if name in attributes}

    def extra_repr(self) -> str:
        """The options, for ``print(loss)``."""
        return ", ".join(f"{name}={value!r}" for name, value in self.options.items())


def call_loss(loss: nn.Module, columns: Sequence[Tensor], targets: Sequence[Any], **named: Any) -> Tensor:
    """Call a loss with one tensor of embeddings a text column.

    A loss that takes ``negatives`` gets every column from that place on, stacked: n columns of shape (batch, dim)
    become (batch, n, dim). One that joins columns gets one (n * batch, dim), and targets (batch, n, ...) alike. A
    module that does not say what it takes gets everything by position.

    Args:
        loss: The module to call.
        columns: Embeddings of the text columns in the data's order, each (batch, dim).
        targets: What follows the embeddings, such as scores or labels.
        named: Further arguments by name.

    Raises:
        ValueError: If the loss takes another number of columns or targets.
    """
    inner: Any = loss.module if isinstance(loss, DistributedDataParallel) else loss
    names = getattr(inner, "embeddings", None)
    if names is None:
        return loss(*columns, *targets, **named)
    if hasattr(inner, "combine"):
        # Each loss of a sum has names of its own for the same columns.
        inner.check_names(named)
        return inner.combine(
            lambda each: call_loss(
                each,
                columns,
                targets if each.targets else [],
                **{name: value for name, value in named.items() if name in parameter_names(each)},
            )
        )
    if getattr(inner, "joins_columns", False) and len(columns) > 1:
        targets = [_join_targets(inner, target, columns) for target in targets]
        columns = [torch.cat(list(columns))]
    arguments = dict(zip(names, _arrange_columns(inner, columns), strict=False))
    if len(targets) != len(inner.targets):
        needed = f"{', '.join(inner.targets)} beside the embeddings" if inner.targets else "no labels or scores"
        raise ValueError(f"{type(inner).__name__} takes {needed}, found {len(targets)} label columns")
    return loss(**arguments, **dict(zip(inner.targets, targets, strict=False)), **named)


def parameter_names(loss: Any) -> list[str]:
    """What a loss can be called with, by name: its own word for it where it only passes arguments on."""
    return getattr(loss, "parameter_names", None) or list(inspect.signature(loss.forward).parameters)


def _join_targets(loss: Any, target: Tensor, columns: Sequence[Tensor]) -> Tensor:
    rows, count = len(columns[0]), len(columns)
    if target.shape[:2] != (rows, count):
        raise ValueError(
            f"{type(loss).__name__} takes {', '.join(loss.targets)} of shape (batch, columns, ...) = ({rows}, {count}, "
            f"...) beside {count} text columns, found {tuple(target.shape)}"
        )
    return target.transpose(0, 1).flatten(0, 1)


def _arrange_columns(loss: Any, columns: Sequence[Tensor]) -> list[Tensor]:
    names = loss.embeddings
    single = len(names) - (names[-1] == "negatives")
    if len(columns) < single or (len(columns) > single and single == len(names)):
        taken = ", ".join(names[:single]) + (" and any number of negatives" if single < len(names) else "")
        raise ValueError(f"{type(loss).__name__} takes {taken}, found {len(columns)} text columns")
    more = [torch.stack(list(columns[single:]), dim=1)] if len(columns) > single else []
    return [*columns[:single], *more]
