"""What every loss asks of the tensors it is given, and what it answers to an empty batch."""

import torch
from torch import Tensor


def check_embeddings(name: str, tensor: Tensor, *, layout: str = "(batch, dim)") -> None:
    """Refuse a tensor that cannot be embeddings.

    Args:
        name: The argument's name, for the message.
        tensor: What was passed for it.
        layout: The expected axes, such as ``"(batch, dim)"``; only their number is checked here.

    Raises:
        ValueError: If the number of axes differs from the layout's or the type is not floating point.
    """
    if tensor.dim() != layout.count(",") + 1:
        raise ValueError(f"{name} must have shape {layout}, found {tuple(tensor.shape)}")
    if not tensor.is_floating_point():
        raise ValueError(
            f"{name} must be floating-point embeddings, found {tensor.dtype} of shape {tuple(tensor.shape)}"
        )


def check_same_shape(first_name: str, first: Tensor, second_name: str, second: Tensor) -> None:
    """Refuse two embedding tensors that do not pair up row by row (``ValueError`` with both shapes)."""
    if first.shape != second.shape:
        raise ValueError(
            f"{first_name} and {second_name} must have the same shape (batch, dim), "
            f"found {tuple(first.shape)} and {tuple(second.shape)}"
        )


def zero_loss(*tensors: Tensor) -> Tensor:
    """A scalar fp32 zero that depends on the given empty tensors.

    ``backward()`` then works as on any other batch and leaves zero gradients, so that a data-parallel process whose
    share of the batch is empty still takes part in the gradient exchange.
    """
    return torch.stack([tensor.float().sum() for tensor in tensors]).sum()
