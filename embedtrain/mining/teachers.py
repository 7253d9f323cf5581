"""What gives pairs a score: a cross-encoder, a bi-encoder by its cosine, the mean of several, and calibrated ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from embedtrain.files import sha256_of_value
from embedtrain.mining.calibration import Calibration
from embedtrain.mining.labeling import score_pairs

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder, SentenceTransformer

Floats = NDArray[np.float32]

ENCODED_TOGETHER = 64
# Pairs whose cosines are taken at a time: two double copies of their embeddings are in memory.
PAIRS_TOGETHER = 8192


class Scorer(Protocol):
    """What gives pairs of texts a score."""

    @property
    def fingerprint(self) -> str:
        """Hash of everything that the scores depend on: weights, precision, orders, calibration."""

    def score(self, sentence1: Sequence[str], sentence2: Sequence[str]) -> Floats:
        """The score of each pair, float32 (n,), in the order given."""


@dataclass(frozen=True)
class CrossEncoderScorer:
    """A cross-encoder's scores, after its own activation function.

    Args:
        cross_encoder: A model with one output, on the device to compute on.
        fingerprint: Hash of its weights and of the precision.
        both_orders: Mean of the scores of (first, second) and (second, first).
        dtype: Autocast to this type; None computes in the type of the weights.
    """

    cross_encoder: "CrossEncoder"
    fingerprint: str
    both_orders: bool = True
    dtype: torch.dtype | None = None

    def score(self, sentence1: Sequence[str], sentence2: Sequence[str]) -> Floats:
        """The score of each pair, float32 (n,); see ``score_pairs``."""
        return score_pairs(
            self.cross_encoder, sentence1, sentence2, both_orders=self.both_orders, dtype=self.dtype
        ).astype(np.float32, copy=False)


@dataclass(frozen=True)
class BiEncoderScorer:
    """The cosine of a bi-encoder's embeddings.

    It ranks pairs, but is not on the scale of people's scores: as a label it wants calibrating.

    Args:
        model: The encoder, on the device to compute on.
        fingerprint: Hash of its weights and of the precision.
        dtype: Autocast to this type; None computes in the type of the weights.
    """

    model: "SentenceTransformer"
    fingerprint: str
    dtype: torch.dtype | None = None

    def score(self, sentence1: Sequence[str], sentence2: Sequence[str]) -> Floats:
        """The cosine of each pair, float32 (n,); a text is encoded once a call, and an all-zero embedding scores 0.

        Raises:
            ValueError: There are not as many first as second texts.
        """
        if len(sentence1) != len(sentence2):
            raise ValueError(f"expected as many first as second texts, found {len(sentence1)} and {len(sentence2)}")
        if len(sentence1) == 0:
            return np.empty(0, dtype=np.float32)
        row_of = {text: row for row, text in enumerate(dict.fromkeys([*sentence1, *sentence2]))}
        with torch.autocast(self.model.device.type, dtype=self.dtype, enabled=self.dtype is not None):
            embeddings = self.model.encode(
                list(row_of), batch_size=ENCODED_TOGETHER, convert_to_tensor=True, show_progress_bar=False
            ).float()
        units = torch.nn.functional.normalize(embeddings, dim=1)
        first, second = (
            torch.tensor([row_of[text] for text in side], device=units.device) for side in (sentence1, sentence2)
        )
        parts = [
            (units[one].double() * units[other].double()).sum(dim=1).float()
            for one, other in zip(first.split(PAIRS_TOGETHER), second.split(PAIRS_TOGETHER), strict=True)
        ]
        return torch.cat(parts).cpu().numpy()


@dataclass(frozen=True)
class Calibrated:
    """A scorer whose scores are brought onto gold's scale."""

    scorer: Scorer
    calibration: Calibration

    @property
    def fingerprint(self) -> str:
        """Of the scorer and the calibration."""
        return sha256_of_value([self.scorer.fingerprint, self.calibration.as_dict()])

    def score(self, sentence1: Sequence[str], sentence2: Sequence[str]) -> Floats:
        """The calibrated score of each pair, float32 (n,)."""
        return self.calibration.apply(self.scorer.score(sentence1, sentence2))


@dataclass(frozen=True)
class Averaged:
    """The mean of several scorers' scores; they should be on one scale, as calibrated ones are.

    Args:
        scorers: At least one.
        fingerprint: By default made of the scorers' own.

    Raises:
        ValueError: There is no scorer.
    """

    scorers: Sequence[Scorer]
    fingerprint: str = ""

    def __post_init__(self) -> None:
        if not self.scorers:
            raise ValueError("expected at least one scorer to average, found none")
        if not self.fingerprint:
            made = sha256_of_value([scorer.fingerprint for scorer in self.scorers])
            object.__setattr__(self, "fingerprint", made)

    def score(self, sentence1: Sequence[str], sentence2: Sequence[str]) -> Floats:
        """The mean score of each pair, float32 (n,)."""
        scores = np.stack([scorer.score(sentence1, sentence2) for scorer in self.scorers])
        return scores.mean(axis=0, dtype=np.float64).astype(np.float32)
