"""Strategies by name, several joined by ``+``, each with a share of the pairs wanted."""

import math
from collections.abc import Mapping, Sequence

from embedtrain.errors import Problems, did_you_mean
from embedtrain.mining.strategies import STRATEGIES

# Thirds are written as 0.33.
SHARES_OFF_BY = 0.011


def read_strategies(words: Sequence[str], *, option: str = "--strategy") -> list[str] | dict[str, float]:
    """Strategies as people write them: ``semantic bm25``, or with shares ``semantic=0.5 bm25+random=0.5``.

    Returns:
        The names, or the names with their shares.

    Raises:
        UserError: Some have a share and others none, a share is no number, or a name stands there twice with shares.
    """
    parted = [word.partition("=") for word in words]
    if not any(equals for _, equals, _ in parted):
        return list(words)
    problems = Problems()
    shares: dict[str, float] = {}
    for name, equals, value in parted:
        if not equals:
            problems.add(f"{option} {name}: it has no share, and others have; expected NAME=SHARE for all or for none")
        elif name in shares:
            problems.add(f"{option} {name}={value}: {name} is given twice")
        else:
            try:
                shares[name] = float(value)
            except ValueError:
                problems.add(f"{option} {name}={value}: expected a share between 0 and 1, such as {name}=0.5")
                shares[name] = math.nan
    problems.raise_if_any()
    return shares


def strategy_names(strategies: Sequence[str] | Mapping[str, float]) -> list[str]:
    """The single strategies, each once, in the order given."""
    return list(dict.fromkeys(name for entry in strategies for name in entry.split("+")))


def check_strategies(
    strategies: Sequence[str] | Mapping[str, float], problems: Problems, *, limit: int | None = None
) -> None:
    """Note unknown names, and shares that make no sense or have no number of pairs to be shares of."""
    known = ", ".join(STRATEGIES)
    if not strategies:
        problems.add(f"no sampling strategy given; expected one or more of: {known}")
    for name in strategy_names(strategies):
        if name not in STRATEGIES:
            problems.add(f"unknown sampling strategy '{name}'{did_you_mean(name, STRATEGIES)} (known: {known})")
    if not isinstance(strategies, Mapping) or not strategies:
        return
    wrong = {name: share for name, share in strategies.items() if not (math.isfinite(share) and 0 < share <= 1)}
    for name, share in wrong.items():
        problems.add(f"the share of {name} is {share:g}, expected a number above 0 and up to 1")
    total = sum(strategies.values())
    if not wrong and abs(total - 1) > SHARES_OFF_BY:
        listed = ", ".join(f"{name} {share:g}" for name, share in strategies.items())
        problems.add(f"the shares add up to {total:g}, expected 1: {listed}")
    if limit is None:
        problems.add("shares without a limit: they are shares of the pairs wanted, so say how many (--limit)")
    elif not wrong and limit >= 1 and 0 in pairs_for_shares(strategies, limit).values():
        problems.add(f"limit {limit}: too few pairs for {len(strategies)} shares, one of them would get none")


def pairs_for_shares(shares: Mapping[str, float], count: int) -> dict[str, int]:
    """Pairs of each share, ``count`` together: what rounding down leaves goes to those that lost most by it."""
    total = sum(shares.values())
    exact = {name: count * share / total for name, share in shares.items()}
    pairs = {name: math.floor(number) for name, number in exact.items()}
    by_loss = sorted(shares, key=lambda name: pairs[name] - exact[name])
    for name in by_loss[: count - sum(pairs.values())]:
        pairs[name] += 1
    return pairs
