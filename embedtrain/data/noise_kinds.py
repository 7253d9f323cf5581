"""The kinds of noise by name, and mixtures of them as people write them."""

import math
from collections.abc import Sequence
from typing import Literal

from embedtrain.errors import Problems, did_you_mean

# What noise takes as a word.
WordsName = Literal["tokenizer", "jieba"]
NOISE_KINDS = ("delete", "shuffle", "mask", "replace", "insert")
# Thirds are written as 0.33.
_SHARES_OFF_BY = 0.011


def parse_noise(words: Sequence[str], *, option: str = "--noise") -> dict[str, float]:
    """Kinds of noise with their shares of the rows: ``delete``, or a mixture such as ``delete=0.7 shuffle=0.3``.

    Args:
        words: One kind each, all with a share or none; without shares every kind gets as many rows.
        option: What messages call the place where the words stand.

    Returns:
        The shares by kind, 1 together.

    Raises:
        UserError: With all that is wrong: a kind is unknown or stands there twice, some have shares and others none, or
            the shares are no shares of a whole.
    """
    problems = Problems()
    known = ", ".join(NOISE_KINDS)
    if not words:
        problems.add(f"{option}: no kind of noise given; expected one or more of: {known}")
    parted = [word.partition("=") for word in words]
    with_shares = any(equals for _, equals, _ in parted)
    shares: dict[str, float] = {}
    for name, equals, value in parted:
        if name not in NOISE_KINDS:
            near = did_you_mean(name, NOISE_KINDS)
            problems.add(f"{option} {name}: unknown kind of noise '{name}'{near} (known: {known})")
        if name in shares:
            problems.add(f"{option} {name}: {name} is given twice")
        if with_shares and not equals:
            problems.add(f"{option} {name}: it has no share, and others have; expected KIND=SHARE for all or for none")
        shares[name] = _share(value) if equals else 1 / len(words)
        if not shares[name] > 0:
            problems.add(f"{option} {name}={value}: expected a share above 0 and up to 1, such as {name}=0.5")
    problems.raise_if_any()
    total = sum(shares.values())
    if abs(total - 1) > _SHARES_OFF_BY:
        listed = ", ".join(f"{name} {share:g}" for name, share in shares.items())
        problems.add(f"{option}: the shares add up to {total:g}, expected 1: {listed}")
    problems.raise_if_any()
    return {name: share / total for name, share in shares.items()}


def _share(value: str) -> float:
    """The number written there if it is above 0 and up to 1, else NaN."""
    try:
        share = float(value)
    except ValueError:
        return math.nan
    return share if 0 < share <= 1 else math.nan
