"""Labelling pairs shard by shard: what is there already is kept, and a kill costs at most the shard in hand."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from embedtrain.errors import UserError
from embedtrain.files import DISK_FULL
from embedtrain.mining.label_progress import PAIR_BYTES, LabelProgress
from embedtrain.mining.label_store import LabelStore, OnChange
from embedtrain.mining.names import LOG_SECONDS, SHARD_ROWS
from embedtrain.mining.pair_files import PairFiles

if TYPE_CHECKING:
    from embedtrain.mining.teachers import Scorer

__all__ = [
    "LOG_SECONDS",
    "SHARD_ROWS",
    "LabelStore",
    "OnChange",
    "PairFiles",
    "label_missing",
    "label_shard",
    "labelling_progress",
]

logger = logging.getLogger(__name__)

SHOWN_CHARACTERS = 80


def label_missing(
    store: LabelStore,
    pairs: PairFiles,
    scorer: "Scorer",
    *,
    rank: int = 0,
    world: int = 1,
    on_shard: Callable[[int, pd.DataFrame], None] | None = None,
    log_seconds: float = LOG_SECONDS,
) -> None:
    """Label every shard of a store that is absent or damaged.

    Each shard is labelled by itself, so that its labels do not depend on when the labelling was cut off, nor on how
    many processes do it.

    Args:
        store: Where the labels go.
        pairs: What is labelled; as many pairs as the store is made for.
        scorer: Gives each pair its score.
        rank: Of several processes, which one this is.
        world: How many processes there are; each one labels the shards whose number is its rank modulo their number.
        on_shard: Called with the number of a shard and its labelled pairs once it is written.
        log_seconds: Least time between two lines on the progress.

    Raises:
        UserError: The disk is full, a file cannot be read any further, or the scorer gives what is no number.
    """
    store.clear_leftovers(rank=rank, world=world)
    missing = store.missing(rank=rank, world=world)
    kept = len(range(rank, len(store), world)) - len(missing)
    if kept:
        logger.info("labels: %d of %d shards are there already", kept, kept + len(missing))
    if not missing:
        return
    progress = labelling_progress(store, pairs, missing, log_seconds=log_seconds)
    for shard in missing:
        labelled = label_shard(store, pairs, scorer, shard)
        progress.add(shard, labelled["score"].to_numpy())
        if on_shard is not None:
            on_shard(shard, labelled)


def labelling_progress(
    store: LabelStore, pairs: PairFiles, missing: Sequence[int], *, log_seconds: float = LOG_SECONDS
) -> LabelProgress:
    """What tells how far the labelling of these shards is.

    Raises:
        UserError: A pair lacks a text.
    """
    bounds = {shard: store.bounds(shard) for shard in missing}
    counts = {shard: stop - start for shard, (start, stop) in bounds.items()}
    text_bytes = pairs.text_bytes(store.shard_rows)
    work = {shard: float(text_bytes[shard] + PAIR_BYTES * count) for shard, count in counts.items()}
    return LabelProgress(work, counts, log_seconds=log_seconds)


def label_shard(store: LabelStore, pairs: PairFiles, scorer: "Scorer", shard: int) -> pd.DataFrame:
    """Label one shard and write it; its pairs with their scores.

    Raises:
        UserError: See :func:`label_missing`.
    """
    started = time.perf_counter()
    start, stop = store.bounds(shard)
    frame = pairs.read(start, stop)
    first, second = frame["sentence1"].tolist(), frame["sentence2"].tolist()
    scores = np.asarray(scorer.score(first, second), dtype=np.float32)
    _check_scores(scores, first, second, first_row=start)
    labelled = frame.assign(score=scores)
    try:
        store.write(shard, labelled, seconds=time.perf_counter() - started)
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise UserError(
            f"{store.folder}: the disk is full; {len(store) - len(store.missing())} of {len(store)} shards are whole "
            "and stay: make room, then the same command goes on behind them"
        ) from error
    return labelled


def _check_scores(scores: NDArray[np.float32], first: list[str], second: list[str], *, first_row: int) -> None:
    if scores.shape != (len(first),):
        raise ValueError(f"expected one score a pair, ({len(first)},), found {scores.shape}")
    broken = np.flatnonzero(~np.isfinite(scores))
    if len(broken):
        row = int(broken[0])
        shown = " | ".join(text[:SHOWN_CHARACTERS] for text in (first[row], second[row]))
        raise UserError(
            f"the teacher's score of row {first_row + row + 1} is {scores[row]}, and of {len(broken) - 1} more in its "
            f"shard, expected a finite number: {shown}; --precision fp32 may help"
        )
