"""What every loss asks of the tensors it is given, and what it answers to an empty batch."""

import math
import numbers
from typing import TypeGuard

import torch
from torch import Tensor

from embedtrain.losses.distances import working


def check_tensor(name: str, value: object) -> None:
    """Refuse what is no tensor, such as a list or a NumPy array (``TypeError``)."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a torch tensor, found {type(value).__name__}")


def check_embeddings(name: str, tensor: Tensor, *, layout: str = "(batch, dim)") -> None:
    """Refuse a tensor that cannot be embeddings.

    Args:
        name: The argument's name, for the message.
        tensor: What was passed for it.
        layout: The expected axes, such as ``"(batch, dim)"``; only their number is checked here.

    Raises:
        TypeError: If it is no tensor.
        ValueError: If the number of axes differs from the layout's or the type is not floating point.
    """
    if not isinstance(tensor, Tensor):
        raise TypeError(
            f"{name} must be a torch tensor of embeddings, found {type(tensor).__name__} (in sentence-transformers' "
            "trainer a loss is wrapped: LossAdapter(model, loss))"
        )
    if tensor.dim() != layout.count(",") + 1:
        raise ValueError(f"{name} must have shape {layout}, found {tuple(tensor.shape)}")
    if not tensor.is_floating_point():
        raise ValueError(
            f"{name} must be floating-point embeddings, found {tensor.dtype} of shape {tuple(tensor.shape)}"
        )


def check_same_shape(first_name: str, first: Tensor, second_name: str, second: Tensor) -> None:
    """Refuse two embedding tensors that do not pair up row by row, on one device, both or neither in fp64."""
    if first.shape != second.shape:
        raise ValueError(
            f"{first_name} and {second_name} must have the same shape (batch, dim), "
            f"found {tuple(first.shape)} and {tuple(second.shape)}"
        )
    check_same_kind(first_name, first, second_name, second)


def check_pairs(first_name: str, first: Tensor, second_name: str, second: Tensor) -> None:
    """Refuse anything but two (batch, dim) tensors of embeddings that pair up row by row."""
    check_embeddings(first_name, first)
    check_embeddings(second_name, second)
    check_same_shape(first_name, first, second_name, second)


def check_negatives(anchor: Tensor, negatives: Tensor, name: str = "negatives") -> None:
    """Refuse negatives that are not (batch, n, dim) beside an anchor of (batch, dim)."""
    check_embeddings(name, negatives, layout="(batch, n, dim)")
    batch, dim = anchor.shape
    if (negatives.shape[0], negatives.shape[2]) != (batch, dim):
        raise ValueError(
            f"{name} must have shape (batch, n, dim) = ({batch}, n, {dim}) beside an anchor of shape "
            f"{tuple(anchor.shape)}, found {tuple(negatives.shape)}"
        )
    check_same_kind("anchor", anchor, name, negatives)


def check_same_kind(first_name: str, first: Tensor, second_name: str, second: Tensor) -> None:
    """Refuse embeddings on two devices, or one in fp64 beside one that is not."""
    check_same_device(first_name, first, second_name, second)
    if first.dtype != second.dtype and torch.float64 in (first.dtype, second.dtype):
        raise ValueError(
            f"{first_name} and {second_name} must both be in fp64 or neither, found {first.dtype} and {second.dtype}"
        )


def check_same_device(first_name: str, first: Tensor, second_name: str, second: Tensor) -> None:
    """Refuse tensors on two devices."""
    if first.device != second.device:
        raise ValueError(
            f"{first_name} and {second_name} must be on one device, found {first.device} and {second.device}"
        )


def check_rows(name: str, values: Tensor, embeddings: Tensor, *, width: int | None = None) -> None:
    """Refuse values that are not one (or ``width``) for each row of the embeddings, on their device."""
    check_tensor(name, values)
    expected = (len(embeddings),) if width is None else (len(embeddings), width)
    if values.shape != expected:
        layout = "(batch,)" if width is None else f"(batch, {width})"
        raise ValueError(f"{name} must have shape {layout} = {expected}, found {tuple(values.shape)}")
    if values.device != embeddings.device:
        raise ValueError(f"{name} must be on the embeddings' device {embeddings.device}, found {values.device}")


def check_scores(score: Tensor, embeddings: Tensor) -> None:
    """Refuse anything but one score in [0, 1] a row. Reads one flag back from the scores' device."""
    check_rows("score", score, embeddings)
    # NaN compares false with everything, so the negation catches it too.
    outside = ~((score >= 0) & (score <= 1))
    if outside.any():
        row = int(outside.nonzero()[0])
        raise ValueError(
            f"score must lie in [0, 1], found {score[row].item()} in row {row} "
            f"({int(outside.sum())} of {len(score)} rows)"
        )


def check_classes(name: str, classes: Tensor, embeddings: Tensor) -> None:
    """Refuse anything but one whole number a row: labels of classes, or ids."""
    check_rows(name, classes, embeddings)
    if classes.is_floating_point() or classes.is_complex():
        raise ValueError(f"{name} must be whole numbers, found {classes.dtype}")


def check_binary(label: Tensor, embeddings: Tensor) -> None:
    """Refuse anything but one 0 or 1 a row. Reads one flag back from the labels' device."""
    check_rows("label", label, embeddings)
    other = (label != 0) & (label != 1)
    if other.any():
        row = int(other.nonzero()[0])
        raise ValueError(
            f"label must be 0 or 1, found {label[row].item()} in row {row} ({int(other.sum())} of {len(label)} rows)"
        )


def check_above_zero(name: str, value: float) -> None:
    """Refuse an option that is not a finite number above 0."""
    if not (is_finite_number(value) and value > 0):
        raise ValueError(f"{name} must be a finite number above 0, found {value!r}")


def check_at_least(name: str, value: int, least: int) -> None:
    """Refuse an option that is not a whole number of at least so much."""
    if not isinstance(value, numbers.Integral) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, found {value!r}")


def is_finite_number(value: object) -> TypeGuard[float]:
    """Whether an option's value is a plain number, neither infinite nor NaN."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def check_choice(name: str, value: object, allowed: tuple[object, ...]) -> None:
    """Refuse an option's value that is not one of the allowed."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, found {value!r}")


def finite(loss: Tensor, check_finite: bool, **embeddings: Tensor | None) -> Tensor:
    """Pass a loss through; when it is NaN or infinite, say which embeddings are the cause.

    Reads one flag back from the loss's device; ``check_finite=False`` leaves that out.

    Raises:
        ValueError: If the loss is not finite and an embedding is not, with the first such row.
    """
    if not check_finite or math.isfinite(loss.item()):
        return loss
    for name, tensor in embeddings.items():
        if tensor is None:
            continue
        bad = ~tensor.isfinite().flatten(1).all(dim=1)
        if bad.any():
            row = int(bad.nonzero()[0])
            kind = "NaN" if tensor[row].isnan().any() else "infinity"
            raise ValueError(f"{name} holds {kind} in row {row} ({int(bad.sum())} of {len(tensor)} rows)")
    return loss


def zero_loss(*tensors: Tensor) -> Tensor:
    """A scalar zero that depends on the given tensors, whatever they hold.

    ``backward()`` then works as on any other batch and leaves zero gradients, so that a data-parallel process whose
    share of the batch is empty still takes part in the gradient exchange.
    """
    return torch.stack([working(tensor.flatten()[:0]).sum() for tensor in tensors]).sum()
