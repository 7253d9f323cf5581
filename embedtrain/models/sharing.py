"""Several processes encode for one: the first does a command as if it were alone, the others encode parts of its texts.

What torchrun or accelerate started together is a leader and helpers. The leader reads, scores and writes; where a model
that it shares is called with more than a batch of texts, whole batches of like length go to all processes, and the
leader has the numbers as if it had made them itself. Helpers do nothing else, so that nothing depends on them taking
the same decisions as the leader.
"""

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist

from embedtrain.models.hardware import autocast, choose_device
from embedtrain.models.names import DeviceName
from embedtrain.models.packing import is_packed, packed

if TYPE_CHECKING:
    from numpy.typing import NDArray

Result = TypeVar("Result")
# Helpers wait while the leader reads and scores; when it dies, torchrun ends them.
_PATIENCE = timedelta(days=7)
_LEADER = 0
_BATCH_SIZE = 32  # of sentence-transformers
_is_leading = False


@dataclass(frozen=True)
class _Load:
    """What a helper is to load; it holds one model for each method at a time."""

    method: str
    load: Callable[[], Any]
    device: DeviceName


@dataclass(frozen=True)
class _Call:
    """A helper's part of a call, and the state of the leader's process that its numbers depend on."""

    method: str
    inputs: list[Any]
    options: dict[str, Any]
    precision: str
    products: str
    is_packed: bool


def processes() -> int:
    """How many processes were started together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_leading() -> bool:
    """Whether other processes help this one."""
    return _is_leading


def with_helpers(work: Callable[[], Result]) -> Result | None:
    """Do work in the first of the processes that were started together, the others helping it.

    Args:
        work: What the first one does; alone, it is just done.

    Returns:
        What the work gives; None in helpers, which return when it is done.
    """
    global _is_leading
    if processes() == 1 or _is_leading:
        return work()
    dist.init_process_group("gloo", timeout=_PATIENCE)
    try:
        if dist.get_rank() != _LEADER:
            _help()
            return None
        _is_leading = True
        try:
            return work()
        finally:
            _tell([None] * processes())
            _is_leading = False
    finally:
        dist.destroy_process_group()


def share_model(load: Callable[[], Result], *, device: str, method: str = "encode") -> Result:
    """A model of which one method is shared with helpers, where there are any.

    Args:
        load: Loads it, here and, pickled, in every helper.
        device: ``cpu``, or ``cuda`` for each process's own GPU.
        method: Gives an array with a row for each of the inputs in the list that is its first argument; what else it
            takes is given by name.
    """
    if not _is_leading:
        return load()
    _tell([_Load(method, load, "cuda" if device == "cuda" else "cpu")] * processes())
    model: Any = load()
    setattr(model, method, _shared(model, method, device))
    return model


def _shared(model: Any, method: str, device: str) -> Callable[..., Any]:
    alone = getattr(model, method)

    @wraps(alone)
    def call(inputs: Any, *rest: Any, **options: Any) -> Any:
        batch_size = int(options.get("batch_size") or _BATCH_SIZE)
        is_plain = not rest and isinstance(inputs, list) and options.get("output_value") in (None, "sentence_embedding")
        wants_array = options.get("convert_to_numpy", True) or options.get("convert_to_tensor", False)
        if not is_plain or not wants_array or len(inputs) <= batch_size:
            return alone(inputs, *rest, **options)
        rows = _dealt(inputs, batch_size, processes())
        wants_tensor = bool(options.get("convert_to_tensor", False))
        if wants_tensor:
            options = {**options, "convert_to_tensor": False, "convert_to_numpy": True}
        precision = "bf16" if torch.is_autocast_enabled(device) else "fp32"
        state = (
            precision,
            torch.get_float32_matmul_precision(),
            isinstance(model, torch.nn.Module) and is_packed(model),
        )
        _tell([_Call(method, [inputs[row] for row in part], options, *state) for part in rows])
        own = np.asarray(alone([inputs[row] for row in rows[_LEADER]], **options))
        result = np.empty((len(inputs), *own.shape[1:]), dtype=own.dtype)
        result[rows[_LEADER]] = own
        for helper, part in enumerate(rows):
            if helper != _LEADER and len(part):
                result[part] = _receive(helper, (len(part), *own.shape[1:]), own.dtype)
        return torch.from_numpy(result).to(device) if wants_tensor else result

    return call


def _dealt(inputs: Sequence[Any], batch_size: int, shares: int) -> list["NDArray[np.int64]"]:
    """Rows of each share: whole batches in the order of length, dealt out in turn, the leader's first."""
    order = np.argsort([-_length(one) for one in inputs], kind="stable")
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    empty = np.empty(0, dtype=np.int64)
    return [np.concatenate([empty, *batches[share::shares]]) for share in range(shares)]


def _length(text: Any) -> int:
    return len(text) if isinstance(text, str) else sum(map(len, text))


def _help() -> None:
    models: dict[str, Any] = {}
    device: DeviceName = "cpu"
    while True:
        told: list[Any] = [None]
        dist.scatter_object_list(told, None, src=_LEADER)
        (message,) = told
        if message is None:
            return
        if isinstance(message, _Load):
            models.pop(message.method, None)
            device = message.device
            choose_device(device)  # each process has a GPU of its own
            models[message.method] = message.load()
        elif message.inputs:
            _send(_answer(models[message.method], message, device))


def _answer(model: Any, call: _Call, device: str) -> "NDArray[Any]":
    torch.set_float32_matmul_precision(call.products)
    with autocast(device, call.precision), packed(model) if call.is_packed else contextlib.nullcontext():
        return np.asarray(getattr(model, call.method)(call.inputs, **call.options))


def _tell(messages: Sequence[_Load | _Call | None]) -> None:
    dist.scatter_object_list([None], list(messages), src=_LEADER)


def _send(values: "NDArray[Any]") -> None:
    dist.send(torch.from_numpy(np.ascontiguousarray(values)).reshape(-1).view(torch.uint8), dst=_LEADER)


def _receive(helper: int, shape: tuple[int, ...], dtype: "np.dtype[Any]") -> "NDArray[Any]":
    values = np.empty(shape, dtype=dtype)
    dist.recv(torch.from_numpy(values).reshape(-1).view(torch.uint8), src=helper)
    return values
