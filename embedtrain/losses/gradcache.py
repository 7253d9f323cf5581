"""Batches larger than memory: the encoder runs over one chunk at a time, the loss over the whole batch."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from embedtrain.losses.checks import check_at_least
from embedtrain.losses.module import call_loss

Encoder = Callable[[Any], Any]


class GradCache(nn.Module):
    """Any loss over a batch of which the encoder can hold only a part.

    The encoder first runs over all chunks without keeping activations; the loss of the whole batch gives the gradient
    of every embedding; in the backward pass the encoder runs over each chunk again, with the random numbers of the
    first time, and passes that gradient on. One more forward pass buys memory for one chunk in place of the batch.

    ``cached = GradCache(MultipleNegativesRankingLoss(), chunk_size=32)``
    ``cached(encoder, [anchor_inputs, positive_inputs]).backward()``

    The gradient is that of the same chunks encoded with activations kept. Under autocast, the second run has the
    settings of the first. An encoder in ``DistributedDataParallel`` exchanges its gradients once, with the last chunk.
    Gradients reach the encoder's parameters by ``backward()``; ``torch.autograd.grad`` on them finds nothing.

    Args:
        loss: Called with one tensor of embeddings a column, then the targets.
        chunk_size: Rows that the encoder is given at once.

    Raises:
        ValueError: If the chunk size is below 1, or in a call the columns differ in their number of rows or hold texts
            packed end to end.

    Source: Gao et al. 2021 (arXiv:2101.06983), section 3.
    """

    def __init__(self, loss: nn.Module, *, chunk_size: int = 32) -> None:
        super().__init__()
        check_at_least("chunk_size", chunk_size, 1)
        self.loss = loss
        self.chunk_size = chunk_size

    def forward(self, encoder: Encoder, columns: Sequence[Any], *targets: Any, **named: Any) -> Tensor:
        """The loss of one batch.

        Args:
            encoder: Called with the rows of one chunk of one column; returns embeddings (rows, dim), or a mapping that
                holds them as ``sentence_embedding``.
            columns: One input a text column: a tensor, a mapping of tensors, or a sequence such as a list of texts;
                rows are its first axis. For a loss with negatives, one column a negative.
            targets: What the loss takes after its embeddings, such as scores or labels.
            named: Further named arguments of the loss.

        Returns:
            The loss, a scalar.
        """
        rows = [_row_count(column) for column in columns]
        if not rows or len(set(rows)) > 1:
            raise ValueError(f"columns must be one or more of equal numbers of rows, found {rows}")
        chunks = [
            (column, start, min(start + self.chunk_size, rows[0]))
            for column in range(len(columns))
            for start in range(0, max(rows[0], 1), self.chunk_size)
        ]
        runs = [_Run(encoder, _chunk(columns[column], start, stop)) for column, start, stop in chunks]
        encoded = [run.without_graph() for run in runs]
        # Weights cast to 16 bits without a graph must not be found again by a pass that needs one.
        torch.clear_autocast_cache()
        if torch.is_grad_enabled():
            anchor = torch.zeros((), device=encoded[0].device, requires_grad=True)
            encoded = list(_Replay.apply(anchor, runs, *encoded))
        per_column = len(runs) // len(columns)
        embeddings = [torch.cat(encoded[k : k + per_column]) for k in range(0, len(runs), per_column)]
        return call_loss(self.loss, embeddings, targets, **named)

    def extra_repr(self) -> str:
        """The options, for ``print(loss)``."""
        return f"chunk_size={self.chunk_size}"


class _Run:
    """One chunk's way through the encoder, which can be gone again."""

    def __init__(self, encoder: Encoder, inputs: Any) -> None:
        self.encoder, self.inputs = encoder, inputs

    def without_graph(self) -> Tensor:
        """The chunk's embeddings; remembers the random state and the autocast settings before it."""
        self.random = torch.get_rng_state()
        self.devices = _devices(self.encoder, self.inputs)
        self.device_random = [torch.cuda.get_rng_state(device) for device in self.devices]
        with torch.no_grad():
            embeddings = _embeddings(_plain(self.encoder)(self._inputs()))
        kind = embeddings.device.type
        self.autocast = (kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind))
        return embeddings

    def pass_on(self, gradient: Tensor, *, exchange: bool) -> bool:
        """Run again with a graph and send the embeddings' gradient through it; whether it had anywhere to go."""
        kind, dtype, enabled = self.autocast
        with self._exchange(exchange), torch.enable_grad():
            with self._same_random(), torch.autocast(kind, dtype=dtype, enabled=enabled):
                embeddings = _embeddings(self.encoder(self._inputs()))
            if embeddings.requires_grad:
                torch.autograd.backward(embeddings, gradient.to(embeddings.dtype))
            return embeddings.requires_grad

    def _inputs(self) -> Any:
        # An encoder may write into a mapping what it has computed.
        return dict(self.inputs) if isinstance(self.inputs, Mapping) else self.inputs

    def _exchange(self, wanted: bool) -> AbstractContextManager[Any]:
        return nullcontext() if wanted or not hasattr(self.encoder, "no_sync") else self.encoder.no_sync()

    @contextmanager
    def _same_random(self) -> Iterator[None]:
        with torch.random.fork_rng(devices=self.devices):
            torch.set_rng_state(self.random)
            for device, state in zip(self.devices, self.device_random, strict=True):
                torch.cuda.set_rng_state(state, device)
            yield


class _Replay(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, anchor: Tensor, runs: list[_Run], *encoded: Tensor) -> tuple[Tensor, ...]:
        ctx.runs = runs
        # Outputs must not be the inputs themselves, or autograd would take them for unchanged.
        return tuple(embeddings.view_as(embeddings) for embeddings in encoded)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError("GradCache cannot be differentiated twice; call backward() without create_graph=True")
        last = len(ctx.runs) - 1
        # A list, because every run has to be made.
        passed = [
            run.pass_on(gradient, exchange=k == last)
            for k, (run, gradient) in enumerate(zip(ctx.runs, gradients, strict=True))
        ]
        if not any(passed):
            raise RuntimeError(
                "nothing was trained: the encoder's embeddings carry no gradient (they were detached, made under "
                "no_grad, or come from encode())"
            )
        return (None,) * (2 + len(gradients))


def _plain(encoder: Encoder) -> Encoder:
    """The module inside a data-parallel wrapper, whose own forward prepares an exchange of gradients."""
    return getattr(encoder, "module", encoder) if hasattr(encoder, "no_sync") else encoder


def _devices(encoder: Encoder, inputs: Any) -> list[int]:
    """The GPUs whose random numbers an encoder may draw."""
    tensors = list(inputs.values()) if isinstance(inputs, Mapping) else [inputs]
    if isinstance(encoder, nn.Module):
        tensors += encoder.parameters()
    devices = {tensor.device for tensor in tensors if isinstance(tensor, Tensor) and tensor.is_cuda}
    if torch.cuda.is_initialized():
        devices.add(torch.device("cuda", torch.cuda.current_device()))
    return sorted(device.index for device in devices)


def _embeddings(output: Any) -> Tensor:
    embeddings = output["sentence_embedding"] if isinstance(output, Mapping) else output
    if not isinstance(embeddings, Tensor):
        raise TypeError(
            f"the encoder must return a tensor of embeddings or a mapping with sentence_embedding, "
            f"found {type(embeddings).__name__}"
        )
    return embeddings


def _row_count(column: Any) -> int:
    if isinstance(column, Mapping):
        packed = {"offsets", "cu_seq_lens_q"} & set(column)
        if packed:
            raise ValueError(f"columns must have one row a text, found packed texts ({', '.join(sorted(packed))})")
        return next(len(value) for value in column.values() if isinstance(value, Tensor))
    return len(column)


def _chunk(column: Any, start: int, stop: int) -> Any:
    """Some rows of one column's input."""
    if not isinstance(column, Mapping):
        return column[start:stop]
    rows = _row_count(column)
    return {
        key: value[start:stop] if isinstance(value, (Tensor, list, tuple)) and len(value) == rows else value
        for key, value in column.items()
    }
