"""Which near texts may be negatives: how many, of which ranks, within which limits on their scores."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from embedtrain.errors import Problems, did_you_mean

if TYPE_CHECKING:
    import numpy as np

SamplingStrategy = Literal["top", "random"]
SAMPLING_STRATEGIES = ("top", "random")
# Of this many candidates for each negative wanted, enough survive a margin for most anchors.
CANDIDATES_PER_NEGATIVE = 10


@dataclass(frozen=True)
class NegativeRules:
    """Which candidates may be negatives, in the terms of sentence-transformers' ``mine_hard_negatives``.

    Attributes:
        num_negatives: Negatives for each pair of anchor and positive.
        range_min: Candidates skipped from the nearest on: the nearest of all are the likeliest false negatives.
        range_max: Rank of the last candidate looked at, of those that are no known positives; by default
            ``range_min`` plus ten for each negative.
        max_score: A negative scores at most this.
        min_score: A negative scores at least this.
        absolute_margin: A negative scores at least this much below the positive.
        relative_margin: A negative scores at least this share of the positive's score below it; 0.05 is the
            positive-aware rule that won in NV-Retriever (Moreira et al. 2024, arXiv 2407.15831: TopK-PercPos, 95 %).
        sampling_strategy: ``top`` takes the nearest candidates that may be negatives, ``random`` draws among them.
        seed: Of ``random``.
    """

    num_negatives: int = 3
    range_min: int = 0
    range_max: int | None = None
    max_score: float | None = None
    min_score: float | None = None
    absolute_margin: float | None = None
    relative_margin: float | None = 0.05
    sampling_strategy: SamplingStrategy = "top"
    seed: int = 42

    @property
    def last_rank(self) -> int:
        """Candidates looked at for each anchor, those that ``range_min`` skips included."""
        if self.range_max is not None:
            return self.range_max
        return self.range_min + CANDIDATES_PER_NEGATIVE * self.num_negatives

    @property
    def can_reject(self) -> bool:
        """Whether a score can keep a candidate from being a negative."""
        limits = (self.max_score, self.min_score, self.absolute_margin, self.relative_margin)
        return any(limit is not None for limit in limits)

    def highest_scores(self, positive_scores: "np.ndarray") -> "np.ndarray":
        """The highest score that a negative may have beside a positive of each of these scores, float64 (n,)."""
        import numpy as np

        highest = np.full(len(positive_scores), np.inf if self.max_score is None else self.max_score)
        if self.absolute_margin is not None:
            highest = np.minimum(highest, positive_scores - self.absolute_margin)
        if self.relative_margin is not None:
            # A share of the magnitude: a logit may be below 0, and the margin goes down from there, too.
            highest = np.minimum(highest, positive_scores - np.abs(positive_scores) * self.relative_margin)
        return highest

    def check(self, problems: Problems) -> None:
        """Note every rule that cannot be followed."""
        if self.num_negatives < 1:
            problems.add(f"--num-negatives {self.num_negatives}: expected 1 or more")
        if self.range_min < 0:
            problems.add(f"--range-min {self.range_min}: expected 0 or more")
        if self.range_max is not None and self.range_max - self.range_min < self.num_negatives:
            problems.add(
                f"--range-min {self.range_min} and --range-max {self.range_max} leave "
                f"{max(0, self.range_max - self.range_min)} candidates for --num-negatives {self.num_negatives}"
            )
        for option, margin in (
            ("--absolute-margin", self.absolute_margin),
            ("--relative-margin", self.relative_margin),
        ):
            if margin is not None and not margin >= 0:
                problems.add(f"{option} {margin:g}: expected 0 or more")
        if self.max_score is not None and self.min_score is not None and not self.min_score <= self.max_score:
            problems.add(f"--min-score {self.min_score:g} is above --max-score {self.max_score:g}")
        if self.sampling_strategy not in SAMPLING_STRATEGIES:
            name = str(self.sampling_strategy)
            problems.add(f"--sampling-strategy {name}: expected top or random{did_you_mean(name, SAMPLING_STRATEGIES)}")
