"""What makes a training step cheaper on a CPU: memory that stays mapped."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# glibc's mallopt parameters (malloc.h).
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4
_open_contexts: list[object] = []


@contextmanager
def memory_kept_mapped() -> Iterator[None]:
    """Let glibc keep freed blocks instead of returning them to the kernel while the context lasts.

    A step frees and takes the same large tensors again (the gradient of the token embeddings alone is tens of
    megabytes). By default each of them is mapped anew, and the kernel zeroes every page of it a second time. Without
    glibc nothing is changed. Contexts may lie in one another; after the outermost, glibc's documented defaults are
    back and free memory is returned.
    """
    try:
        libc = ctypes.CDLL("libc.so.6") if sys.platform.startswith("linux") else None
        mallopt, malloc_trim = (libc.mallopt, libc.malloc_trim) if libc else (None, None)
    except (OSError, AttributeError):  # another C library
        mallopt = malloc_trim = None
    if mallopt is None or malloc_trim is None:
        yield
        return
    _open_contexts.append(mallopt)
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        _open_contexts.pop()
        if not _open_contexts:
            mallopt(M_MMAP_MAX, 65536)
            mallopt(M_TRIM_THRESHOLD, 128 * 1024)
            malloc_trim(0)
