"""Drawing pairs so that their scores are spread as gold's are (kernel density estimation)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.optimize import brentq

# A thousandth of the range: far below any bandwidth that makes sense for scores that people gave.
BINS = 1000


def draw_like_gold(
    scores: ArrayLike, gold_scores: ArrayLike, *, count: int | None, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Places of pairs drawn so that the density of their scores comes near to that of gold's.

    A pair of score s stays with the probability Q(s) = min(1, F_gold(s) / F_silver(s)), F the estimated densities
    (Thakur et al. 2021, section 3.1). Where fewer are wanted than that leaves, it stays with
    min(1, c F_gold(s) / F_silver(s)) for the c below 1 that leaves so many, which comes nearer to gold's density.

    Args:
        scores: Of the pairs to draw from, (n,).
        gold_scores: (m,), on the same scale.
        count: Pairs wanted at most; None for all that Q leaves.
        rng: Draws; the number drawn does not depend on it but for rounding.

    Returns:
        Places in ``scores``, ascending.

    Raises:
        ValueError: There is no gold score, or a score is not finite.
    """
    keep = keep_probabilities(scores, gold_scores, count=count)
    # Systematic sampling: each pair has its probability, and the number of pairs is fixed (Madow 1949).
    order = rng.permutation(len(keep))
    ticks = np.floor(np.concatenate([[0.0], np.cumsum(keep[order])]) + rng.random())
    drawn = order[np.diff(ticks) >= 1]
    return np.sort(drawn if count is None else drawn[:count])


def keep_probabilities(scores: ArrayLike, gold_scores: ArrayLike, *, count: int | None = None) -> NDArray[np.float64]:
    """For each score the probability that its pair stays, (n,); see :func:`draw_like_gold`."""
    silver, gold = np.asarray(scores, dtype=np.float64), np.asarray(gold_scores, dtype=np.float64)
    if len(gold) == 0:
        raise ValueError("expected gold scores, found none")
    if not (np.isfinite(silver).all() and np.isfinite(gold).all()):
        raise ValueError("expected finite scores, found others among them")
    if len(silver) == 0:
        return np.empty(0)
    low = float(min(0.0, silver.min(), gold.min()))
    high = float(max(1.0, silver.max(), gold.max()))
    place = np.minimum(((silver - low) / (high - low) * BINS).astype(np.int64), BINS - 1)
    of_gold, of_silver = (estimate_density(part, low=low, high=high)[place] for part in (gold, silver))
    ratio = of_gold / of_silver
    if count is None or np.minimum(ratio, 1.0).sum() <= count:
        return np.minimum(ratio, 1.0)
    scale = brentq(lambda c: np.minimum(c * ratio, 1.0).sum() - count, 0.0, 1.0, xtol=1e-15)
    return np.minimum(scale * ratio, 1.0)


def estimate_density(scores: NDArray[np.float64], *, low: float, high: float) -> NDArray[np.float64]:
    """Gaussian kernel density of scores at the centres of ``BINS`` bins from ``low`` to ``high``.

    The bandwidth is Scott's, n**(-1/5) times the standard deviation, and a bin at least. What a kernel would put beyond
    an end of the range is reflected back into it: people's scores lie thick at the ends, and half of each kernel would
    be lost there.
    """
    width = (high - low) / BINS
    counts, _ = np.histogram(scores, bins=BINS, range=(low, high))
    bandwidth = max(width, len(scores) ** -0.2 * float(scores.std()))
    smooth = gaussian_filter1d(counts.astype(np.float64), bandwidth / width, mode="reflect", truncate=8.0)
    return smooth / (len(scores) * width)
