"""A first look at all similarities in low precision: which few vectors may be among the nearest of each query.

Every product is off by at most ``error``, by the rounding of the vectors (measured, and bounded by Cauchy-Schwarz) and
of the sums (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1). The k-th highest product of a query
is therefore at most ``error`` above the k-th highest similarity, and all of the k nearest have products of at least
that minus ``2 * error``. What is below is dropped; the rest is left to exact arithmetic.

Products are looked at in blocks. The corpus is dealt into lanes, and the highest product in each lane is kept: the k-th
highest of these is never above the k-th highest of all, and with many more lanes than k hardly below. So most of a
block is only read once for the maxima of its lanes, and lanes that stay below a query's bound are never opened.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from embedtrain.mining.exclusions import Excluded
from embedtrain.mining.strips import INTEGERS, Candidates, Strip
from embedtrain.progress import Progress

# As many 16-bit numbers as torch's vectorised maximum takes at a time on AVX-512; fewer would be compared one by one.
LANES = 128
UNIT_ROUNDOFF = 2.0**-24  # of float32, in which products are summed whatever their factors


def screening_types(device: torch.device) -> tuple[torch.dtype, ...]:
    """Types to screen in, fastest first: bf16 only where the processor has instructions for it."""
    # Emulated bf16 products are slower than float32. Those of a GPU may be summed in bf16, beyond the error bound.
    instructions = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    library = torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled
    if device.type == "cpu" and instructions and library:
        return torch.bfloat16, torch.float32
    return (torch.float32,)


def can_screen(corpus: int, *, k: int, block_size: int) -> bool:
    """Whether there are lanes enough in a block for k maxima, and vectors enough in the corpus for lanes."""
    lanes = _lanes(k)
    return lanes <= max(block_size, LANES) and corpus >= 8 * lanes


def candidates(
    queries: torch.Tensor,
    corpus: torch.Tensor,
    rows: torch.Tensor,
    *,
    k: int,
    dtype: torch.dtype,
    block_size: int,
    excluded: Excluded,
    symmetric: bool,
) -> Iterator[Candidates]:
    """Candidates for the k nearest of each query, in runs of up to ``block_size`` queries.

    A query is left unsure when it has fewer than k products above 0, or more near ties than are worth keeping.

    Args:
        queries: Unit vectors, float32 of shape (n, dim).
        corpus: Unit vectors, float32 of shape (m, dim).
        rows: The queries to look at, int64.
        k: Neighbours wanted.
        dtype: Of the products, a key of ``INTEGERS``.
        block_size: Vectors on each side of a block of products; rounded up to whole lanes.
        excluded: Pairs that are no candidates.
        symmetric: ``corpus`` is ``queries``, and ``rows`` are all of them: each product is computed once for both.
    """
    lanes = _lanes(k)
    block = lanes * math.ceil(block_size / lanes)
    columns = lanes * math.ceil(len(corpus) / lanes)
    # Zero vectors fill up the last lanes: their products are 0 and never above a bound.
    right = torch.zeros((columns, corpus.shape[1]), dtype=dtype, device=corpus.device)
    right[: len(corpus)] = corpus
    of_corpus = _rounding(corpus, right)
    if symmetric:
        left, of_queries = right, of_corpus
    else:
        left = queries[rows].to(dtype)
        of_queries = _rounding(queries[rows], left)
    error = _error_bound(of_queries, of_corpus, dim=corpus.shape[1])
    strips = [
        Strip(
            rows[start : start + block],
            size=min(block, len(left) - start),
            k=k,
            lanes=lanes,
            dtype=dtype,
            error=error,
            excluded=excluded,
        )
        for start in range(0, len(left), block)
    ]
    buffer = torch.empty(min(block, len(left)) * min(block, columns), dtype=dtype, device=corpus.device)
    total = sum(math.ceil((columns - (number * block if symmetric else 0)) / block) for number in range(len(strips)))
    with Progress(total, what="neighbours", unit="block") as progress:
        for number, strip in enumerate(strips):
            first = number * block
            strip.lay_out_by_rows()
            for start in range(first if symmetric else 0, columns, block):
                stop = min(start + block, columns)
                products = buffer[: strip.size * (stop - start)].view(strip.size, stop - start)
                _multiply(left[first : first + strip.size], right[start:stop], out=products)
                bits = products.view(INTEGERS[dtype])
                with _hidden(bits, *strip.excluded_within(start, stop)):
                    strip.look(bits.view(strip.size, -1, lanes), start=start)
                if symmetric and start > first:
                    other = strips[start // block]
                    with _hidden(bits.T, *other.excluded_within(first, first + strip.size)):
                        other.look(bits.view(-1, lanes, other.size).permute(2, 0, 1), start=first)
                progress.update()
            yield strip.finish()
            strips[number].forget()


def _lanes(k: int) -> int:
    """Twice k at least: with k maxima in as few lanes, 1.4 k products on average are above the lowest of them."""
    return LANES * math.ceil(2 * k / LANES)


def _rounding(exact: torch.Tensor, rounded: torch.Tensor) -> float:
    """The longest difference between a vector and its rounded form."""
    parts = zip(exact.split(4096), rounded[: len(exact)].split(4096), strict=True)
    return max((float((part - low.float()).norm(dim=1).max()) for part, low in parts), default=0.0)


def _error_bound(of_queries: float, of_corpus: float, *, dim: int) -> float:
    """The most by which a product of rounded unit vectors, before its own rounding, is off the similarity.

    With x' for x rounded, |x y - x' y'| <= |x - x'| |y| + |x'| |y - y'|. The sum over ``dim`` products is off by less
    than 1.01 dim u; twice that leaves room for a similarity's own rounding and for lengths not quite 1.
    """
    return 1.001 * (of_queries + of_corpus) + of_queries * of_corpus + (2 * dim + 4) * UNIT_ROUNDOFF


def _multiply(left: torch.Tensor, right: torch.Tensor, *, out: torch.Tensor) -> None:
    """``out = left @ right.T``, in IEEE float32 or bf16 whatever the caller has allowed: the error bound needs it."""
    backends = [torch.backends.mkldnn.matmul, torch.backends.cuda.matmul]  # type: ignore[attr-defined]
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        with torch.autocast(left.device.type, enabled=False):
            torch.mm(left, right.T, out=out)
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


@contextmanager
def _hidden(bits: torch.Tensor, position: torch.Tensor, column: torch.Tensor) -> Iterator[None]:
    """Take excluded pairs out of a block for one look: the other direction may be allowed."""
    if not len(position):
        yield
        return
    before = bits[position, column]
    bits[position, column] = -1
    try:
        yield
    finally:
        bits[position, column] = before
