"""Scored pairs as positive pairs or n-tuples for a ranking loss, by two thresholds on the score."""

import logging

import numpy as np
import pandas as pd

from embedtrain.data.folding import fold_text
from embedtrain.errors import Problems, did_you_mean
from embedtrain.mining.labeling import check_thresholds
from embedtrain.mining.negative_rules import SAMPLING_STRATEGIES, SamplingStrategy

logger = logging.getLogger(__name__)


def ranking_tuples(
    pairs: pd.DataFrame,
    *,
    positive_threshold: float,
    negative_threshold: float,
    num_negatives: int = 1,
    both_orders: bool = False,
    sampling_strategy: SamplingStrategy = "top",
    seed: int = 42,
) -> pd.DataFrame:
    """Augmented SBERT for a ranking loss: (anchor, positive, negatives) out of scored pairs.

    A pair that scores at or above the first threshold is positive. Its anchor's negatives are the partners that the
    anchor has in pairs at or below the second; pairs between are left out. Where the pairs were sampled as neighbours,
    such partners are near in the space and apart by the teacher, hence hard. Texts that fold to the same form count as
    one, and what is a positive of an anchor in one pair is none of its negatives in another.

    Args:
        pairs: Columns ``sentence1``, ``sentence2`` and ``score`` in [0, 1]: silver, gold, or both.
        positive_threshold: Scores at or above it make a positive.
        negative_threshold: Scores at or below it make a negative.
        num_negatives: Negatives in each tuple; with 0 the result is positive pairs, for negatives out of the batch.
        both_orders: Make a tuple with either sentence as the anchor where both have enough negatives; otherwise one
            for each pair, ``sentence1`` the anchor where it has enough.
        sampling_strategy: ``top`` takes the negatives with the highest score, ``random`` draws.
        seed: Of ``random``.

    Returns:
        Columns ``anchor``, ``positive`` and ``negative_1`` to ``negative_n``, in the order of the positive pairs. A
        positive pair of which neither sentence has enough negatives is dropped, and how many is logged.

    Raises:
        UserError: The thresholds cannot split scores, or an option is out of its range.
        ValueError: A score is NaN.
    """
    _check_options(num_negatives, sampling_strategy)
    check_thresholds(positive_threshold=positive_threshold, negative_threshold=negative_threshold)
    score = pairs["score"].to_numpy(dtype=np.float64)
    if np.isnan(score).any():
        raise ValueError(f"expected a score for each pair, found none for {int(np.isnan(score).sum())} of {len(pairs)}")
    texts, first, second = _numbered(pairs)
    different = first != second
    positive = np.flatnonzero(different & (score >= positive_threshold))
    positive = positive[_first_of_each(_unordered(first[positive], second[positive], len(texts)))]
    negative = np.flatnonzero(different & (score <= negative_threshold))
    order = -score if sampling_strategy == "top" else np.random.default_rng(seed).random(len(pairs))
    negatives, enough = _negatives_of(
        np.concatenate([first[negative], second[negative]]),
        np.concatenate([second[negative], first[negative]]),
        np.concatenate([order[negative], order[negative]]),
        known=_unordered(first[positive], second[positive], len(texts)),
        size=len(texts),
        count=num_negatives,
    )
    forward, backward = enough[first[positive]], enough[second[positive]]
    if not both_orders:
        backward = backward & ~forward
    row = np.concatenate([np.flatnonzero(forward), np.flatnonzero(backward)])
    reverse = np.repeat([False, True], [int(forward.sum()), int(backward.sum())])
    by_pair = np.lexsort((reverse, row))
    row, reverse = row[by_pair], reverse[by_pair]
    anchor = np.where(reverse, second[positive[row]], first[positive[row]])
    partner = np.where(reverse, first[positive[row]], second[positive[row]])
    logger.info(
        "ranking tuples: %d of %d pairs are positive and %d negative by score; %d tuples with %d negatives; %d "
        "positive pairs have too few and are dropped",
        len(positive),
        len(pairs),
        len(negative),
        len(row),
        num_negatives,
        len(positive) - len(np.unique(row)),
    )
    columns = {"anchor": anchor, "positive": partner}
    columns |= {f"negative_{number + 1}": negatives[anchor, number] for number in range(num_negatives)}
    return pd.DataFrame({name: pd.Series(texts[ids], dtype="str") for name, ids in columns.items()})


def _check_options(num_negatives: int, sampling_strategy: str) -> None:
    problems = Problems()
    if num_negatives < 0:
        problems.add(f"--num-negatives {num_negatives}: expected 0 or more")
    if sampling_strategy not in SAMPLING_STRATEGIES:
        hint = did_you_mean(str(sampling_strategy), SAMPLING_STRATEGIES)
        problems.add(f"--sampling-strategy {sampling_strategy}: expected top or random{hint}")
    problems.raise_if_any()


def _numbered(pairs: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The distinct texts, each as it first stands, and the two columns as numbers of them."""
    both = pairs["sentence1"].tolist() + pairs["sentence2"].tolist()
    index: dict[str, int] = {}
    texts: list[str] = []
    numbers = np.empty(len(both), dtype=np.int64)
    for position, text in enumerate(both):
        number = index.setdefault(fold_text(text), len(texts))
        if number == len(texts):
            texts.append(text)
        numbers[position] = number
    return np.array(texts, dtype=object), numbers[: len(pairs)], numbers[len(pairs) :]


def _unordered(first: np.ndarray, second: np.ndarray, size: int) -> np.ndarray:
    """One number for each pair, the same in either order."""
    return np.minimum(first, second) * size + np.maximum(first, second)


def _first_of_each(codes: np.ndarray) -> np.ndarray:
    """Positions at which a code stands for the first time, ascending."""
    return np.sort(np.unique(codes, return_index=True)[1])


def _negatives_of(
    anchor: np.ndarray, partner: np.ndarray, order: np.ndarray, *, known: np.ndarray, size: int, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """The ``count`` partners of each text that come first by ``order``, (size, count), and which texts have so many."""
    allowed = ~np.isin(_unordered(anchor, partner, size), known)
    anchor, partner, order = anchor[allowed], partner[allowed], order[allowed]
    sorted_by = np.lexsort((order, anchor))
    anchor, partner = anchor[sorted_by], partner[sorted_by]
    # A pair may be there twice, with two scores.
    once = _first_of_each(anchor * size + partner)
    anchor, partner = anchor[once], partner[once]
    available = np.bincount(anchor, minlength=size)
    rank = np.arange(len(anchor)) - (np.cumsum(available) - available)[anchor]
    kept = rank < count
    negatives = np.full((size, count), -1, dtype=np.int64)
    negatives[anchor[kept], rank[kept]] = partner[kept]
    return negatives, available >= count
