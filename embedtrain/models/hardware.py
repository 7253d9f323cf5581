"""Which device and precision to use on this machine, and the reason in words."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from embedtrain.errors import UserError
from embedtrain.models.names import DeviceName, PrecisionName


@dataclass(frozen=True)
class Choice:
    """Something that was chosen, with the reason for it."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})"


def cpu_bf16_instructions() -> str | None:
    """The processor's bf16 matrix instructions by name, or None when it only emulates them.

    Emulated bf16 is slower than fp32, so support by the library is not enough: the instructions have to be there.
    """
    if torch.cpu._is_amx_tile_supported():
        return "AMX"
    if torch.cpu._is_avx512_bf16_supported():
        return "AVX512-BF16"
    return None


def choose_device(requested: DeviceName = "auto") -> Choice:
    """The device to compute on: the GPU where there is one.

    Raises:
        UserError: When ``cuda`` is asked for on a machine without a usable GPU.
    """
    if requested == "cpu":
        return Choice("cpu", "asked for")
    if torch.cuda.is_available():
        # Of several processes on a machine each has a GPU of its own.
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        return Choice("cuda", torch.cuda.get_device_name())
    if requested == "cuda":
        raise UserError("--device cuda: PyTorch finds no usable CUDA GPU on this machine; expected: auto or cpu")
    return Choice("cpu", f"no CUDA GPU found, {torch.get_num_threads()} threads")


def choose_precision(device: str, requested: PrecisionName = "auto") -> Choice:
    """The precision of matrix products: bf16 autocast where the hardware has bf16 matrix instructions, else fp32.

    Weights, optimiser state and losses stay in fp32 in every case. TF32 (fp32 with short mantissas inside products) is
    never chosen by itself: every GPU that has it has the faster bf16, too.

    Args:
        device: ``cpu`` or ``cuda``.
        requested: ``auto`` decides; ``bf16``, ``tf32`` and ``fp32`` force.

    Raises:
        UserError: When ``tf32`` is asked for where there is none.
    """
    if requested == "tf32" and not (device == "cuda" and torch.cuda.get_device_capability() >= (8, 0)):
        raise UserError("--precision tf32: only NVIDIA GPUs from Ampere on have it; expected: auto, bf16 or fp32")
    if requested != "auto":
        return Choice(requested, "asked for")
    if device == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Choice("bf16", "the GPU has bf16 matrix instructions")
        return Choice("fp32", "the GPU has no bf16 matrix instructions")
    instructions = cpu_bf16_instructions()
    if instructions:
        return Choice("bf16", f"the processor has {instructions} matrix instructions")
    return Choice("fp32", "the processor has no bf16 matrix instructions")


def autocast(device: str, precision: str) -> torch.autocast:
    """The autocast context of a chosen precision; a context without effect for ``fp32``."""
    return torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bf16")


@contextmanager
def tf32_products(precision: str) -> Iterator[None]:
    """Let fp32 matrix products run in TF32 while the context lasts, where that precision was chosen."""
    before = torch.get_float32_matmul_precision()
    if precision == "tf32":
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def choose_attention(device: str) -> Choice:
    """The attention implementation of transformers models: plain matrix products on a CPU."""
    if device == "cpu":
        return Choice("eager", "on a CPU plain matrix products are faster than the fused kernel for short sentences")
    # Asking for fused kernels by name is refused by models that have none; asking for nothing gets them where they are.
    return Choice("default", "fused kernels where the model has them")


def attention_arguments(device: str) -> dict[str, str]:
    """The chosen attention as keyword arguments for loading a transformers model."""
    choice = choose_attention(device)
    return {} if choice.name == "default" else {"attn_implementation": choice.name}


@contextmanager
def own_random_numbers(seed: int, device: torch.device) -> Iterator[None]:
    """Random numbers from a seed while the context lasts, and afterwards those that would have come."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
