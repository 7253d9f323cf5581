"""How a whole pipeline uses memory on a CPU."""

from collections.abc import Iterator
from contextlib import contextmanager

from embedtrain.mining.kernel_caches import bound_kernel_caches
from embedtrain.training.cpu import memory_kept_mapped


@contextmanager
def lean_memory(device: str) -> Iterator[None]:
    """On a CPU: blocks stay mapped from step to step, and oneDNN's kernels are kept within bounds."""
    if device != "cpu":
        yield
        return
    bound_kernel_caches()
    with memory_kept_mapped():
        yield
