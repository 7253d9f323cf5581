"""How alike a student and its teacher find texts that neither was trained on together."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from embedtrain.evaluation.statistics import pearson

# As many give 130,816 similarities, whose correlation hardly wanders.
TEXTS_AT_MOST = 512


class Agreement:
    """Pearson's correlation of a model's cosines with a teacher's, over any two of some texts.

    Scored pairs say how good a student is, but where there are few of them, or all are easy, they cannot tell a student
    that has learnt from one that has not. This can, and needs no scores.

    Args:
        texts: Distinct texts; of many, some are drawn.
        teacher: The teacher's embeddings, (texts, teacher_dim).
        seed: Of the draw.

    Raises:
        ValueError: There are fewer than three texts, or not an embedding for each.
    """

    name = "agreement"

    def __init__(self, texts: Sequence[str], teacher: NDArray[np.floating], *, seed: int = 0) -> None:
        if len(texts) != len(teacher):
            raise ValueError(f"expected an embedding for each text, found {len(texts)} and {len(teacher)}")
        if len(texts) < 3:
            raise ValueError(f"{len(texts)} texts have no similarities to correlate; give 3 at least")
        drawn = np.sort(np.random.default_rng(seed).permutation(len(texts))[:TEXTS_AT_MOST])
        self.texts = [texts[row] for row in drawn]
        self.expected = _cosines(np.asarray(teacher[drawn], dtype=np.float64))

    def __call__(self, model: SentenceTransformer) -> float:
        """The correlation in [-1, 1]; 0 where all cosines are equal."""
        embeddings = model.encode(self.texts, show_progress_bar=False, convert_to_numpy=True)
        return pearson(_cosines(np.asarray(embeddings, dtype=np.float64)), self.expected)


def _cosines(embeddings: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of any two rows, (rows * (rows - 1) / 2,)."""
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    unit = np.divide(embeddings, lengths, out=np.zeros_like(embeddings), where=lengths > 0)
    return (unit @ unit.T)[np.triu_indices(len(unit), k=1)]
