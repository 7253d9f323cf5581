"""Embeddings made smaller: their first dimensions alone, or a byte or a bit for each number."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedtrain.evaluation.names import NumberType


@dataclass(frozen=True)
class Size:
    """One way to keep embeddings.

    Attributes:
        name: ``"full"``, ``"int8"``, ``"binary"``, or ``"<dim> dims"``.
        dimensions: Numbers in an embedding.
        bytes: Of an embedding as it would be stored.
    """

    name: str
    dimensions: int
    bytes: int


def sizes(
    embeddings: NDArray[np.float32], *, dimensions: Sequence[int] = (), number_types: Sequence[NumberType] = ()
) -> Iterator[tuple[Size, NDArray[np.floating]]]:
    """The embeddings whole, and in every smaller size that is asked for.

    Truncated embeddings keep the lengths that are left to them. For ``int8`` each dimension's range over these very
    embeddings becomes -128 to 127, as sentence-transformers quantises; ``binary`` is 1 where a number is above 0 and
    -1 elsewhere, so that cosine, dot product and distances all rank as the Hamming distance does.

    Args:
        embeddings: (texts, dim) in fp32, at least 2 texts.
        dimensions: How many leading dimensions to keep; those that the embeddings do not have more of are left out.
        number_types: Types to quantise to.

    Yields:
        Each size and the embeddings in it, (texts, dimensions), as numbers that can be compared.
    """
    width = embeddings.shape[1]
    yield Size("full", width, 4 * width), embeddings
    for kept in dimensions:
        if kept < width:
            yield Size(f"{kept} dims", kept, 4 * kept), embeddings[:, :kept]
    for number_type in number_types:
        if number_type == "int8":
            from sentence_transformers.util.quantization import quantize_embeddings

            quantised = np.asarray(quantize_embeddings(embeddings, precision="int8"))
            yield Size("int8", width, width), quantised.astype(np.float32)
        else:
            yield Size("binary", width, -(-width // 8)), np.where(embeddings > 0, np.float32(1), np.float32(-1))
