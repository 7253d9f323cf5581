"""Keeps what oneDNN remembers of matrix products within bounds."""

import os

# For products of one shape each. Layers of a model share theirs, so some dozens serve the batches of a length or two.
KERNELS_KEPT = 64
# oneDNN's own cache, and that of PyTorch's layer above it: bounding one of them alone leaves the other to grow.
VARIABLES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")


def bound_kernel_caches() -> None:
    """Let oneDNN keep fewer of the kernels that it makes for each shape of a batch; on a CPU, before a model runs.

    By default it keeps 1024 in either of two caches, at up to a megabyte each: labelling, whose batches come in ever
    new shapes, would go on growing for a million pairs. Making a kernel again costs a fraction of a millisecond; no
    difference in time was found. Where the environment names a number already, that one stays.
    """
    for variable in VARIABLES:
        os.environ.setdefault(variable, str(KERNELS_KEPT))
