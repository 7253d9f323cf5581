"""Drawing dev and test rows out of training data, in the way that each kind of table can be measured by."""

import numpy as np
import pandas as pd

from embedtrain.data.keyed import key_tables, pair_keys
from embedtrain.data.schema import LABELLED_PAIRS, LABELLED_SENTENCES, POSITIVE_PAIRS, SCORED_PAIRS, TRIPLETS, Kind
from embedtrain.errors import UserError

SHARE = 0.05
# What judges has to tell differences of a point or two, so it takes more of what there is.
TEST_SHARE = 0.2
AT_LEAST, AT_MOST = 50, 1_000
# Fewer measure nothing.
MIN_DEV = 10


def dev_rows(rows: int) -> int:
    """How many of so many rows are held out: 5 %, at least 50 and at most 1,000, but never more than half."""
    return min(max(round(SHARE * rows), AT_LEAST), AT_MOST, rows // 2)


def hold_out(table: pd.DataFrame, *, kind: Kind, name: str, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split a training table into what is left for training and what measures.

    Of positive pairs and triplets, all rows with the same anchor go together, so that no anchor is trained on and
    measured. Of labelled sentences, two rows of a class at a time are drawn, so that each has a neighbour to find, and
    two at least are left. Labelled pairs keep their share of matches.

    Args:
        table: An audited table.
        kind: What it holds; any of training but classified pairs, on which no cosine can be measured.
        name: What messages call it.
        seed: Of the draw.

    Returns:
        Training rows and dev rows, both in the table's order.

    Raises:
        UserError: There are too few rows, or none that could be measured on.
    """
    wanted = dev_rows(len(table))
    if wanted < MIN_DEV:
        raise UserError(
            f"{name}: {len(table)} rows are too few to hold {MIN_DEV} out for dev; give scored pairs with --dev"
        )
    random = np.random.default_rng(seed)
    if kind in (POSITIVE_PAIRS, TRIPLETS):
        chosen = _whole_groups(table["anchor"], wanted, random)
    elif kind is LABELLED_SENTENCES:
        chosen = _by_class(table["label"], wanted, random)
    elif kind is LABELLED_PAIRS:
        chosen = _by_label(table["label"], wanted, random)
    else:
        chosen = random.permutation(len(table))[:wanted]
    held = np.zeros(len(table), dtype=bool)
    held[chosen] = True
    dev, train = table[held], table[~held]
    _check(dev, train, kind=kind, name=name)
    return train, dev


def hold_out_test(pairs: pd.DataFrame, *, name: str, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split scored pairs, not audited yet, into what is left to train on and a test set: a fifth, 50 to 1,000 rows.

    All rows of a pair go together, in either order and after folding, so that none is trained on and tested. Single
    sentences may stand on both sides; the audit that follows counts them.

    Args:
        pairs: ``sentence1``, ``sentence2`` and ``score``.
        name: What messages call the table.
        seed: Of the draw.

    Returns:
        Training rows and test rows, both in the table's order.

    Raises:
        UserError: There are too few rows, or those drawn all have the same score.
    """
    wanted = min(max(round(TEST_SHARE * len(pairs)), AT_LEAST), AT_MOST, len(pairs) // 2)
    keyed = key_tables([(name, pairs, ("sentence1", "sentence2"))])[0]
    chosen = _whole_groups(pd.Series(pair_keys(keyed.folded)), wanted, np.random.default_rng(seed))
    held = np.zeros(len(pairs), dtype=bool)
    held[chosen] = True
    if len(chosen) < MIN_DEV:
        raise UserError(
            f"{name}: {len(pairs)} rows are too few to hold {MIN_DEV} out for test; give a file with --test"
        )
    if pairs["score"][held].nunique() == 1:
        raise UserError(f"{name}: the rows drawn for test all have the same score; give pairs with --test")
    return pairs[~held], pairs[held]


def _whole_groups(groups: pd.Series, wanted: int, random: np.random.Generator) -> np.ndarray:
    codes = pd.factorize(groups)[0]
    sizes = np.bincount(codes)
    drawn, room = [], wanted
    for group in random.permutation(len(sizes)).tolist():
        # Whole groups only; one with more rows than there is room for stays in training.
        if sizes[group] <= room:
            drawn.append(group)
            room -= sizes[group]
        if room == 0:
            break
    return np.flatnonzero(np.isin(codes, drawn))


def _by_class(labels: pd.Series, wanted: int, random: np.random.Generator) -> np.ndarray:
    codes = pd.factorize(labels)[0]
    order = random.permutation(len(codes))
    rows_of: dict[int, list[int]] = {}
    for row in order.tolist():
        rows_of.setdefault(int(codes[row]), []).append(row)
    drawn: list[int] = []
    while len(drawn) < wanted:
        before = len(drawn)
        for rows in rows_of.values():
            if len(rows) >= 4 and len(drawn) < wanted:
                drawn += [rows.pop(), rows.pop()]
        if len(drawn) == before:
            break
    return np.array(drawn, dtype=int)


def _by_label(labels: pd.Series, wanted: int, random: np.random.Generator) -> np.ndarray:
    drawn = []
    for value in (0, 1):
        rows = np.flatnonzero(labels.to_numpy() == value)
        count = min(max(1, round(wanted * len(rows) / len(labels))), len(rows))
        drawn.append(random.permutation(rows)[:count])
    return np.concatenate(drawn)


def _check(dev: pd.DataFrame, train: pd.DataFrame, *, kind: Kind, name: str) -> None:
    cure = "give scored pairs with --dev"
    if len(train) == 0 or len(dev) < MIN_DEV:
        many = (
            "the same anchor stands in most rows" if kind in (POSITIVE_PAIRS, TRIPLETS) else "few classes have 4 rows"
        )
        raise UserError(f"{name}: no {MIN_DEV} rows can be held out for dev ({many}); {cure}")
    if kind in (POSITIVE_PAIRS, TRIPLETS) and (dev["anchor"] == dev["positive"]).all():
        raise UserError(f"{name}: every positive that was drawn for dev is the anchor itself; {cure}")
    if kind is SCORED_PAIRS and dev["score"].nunique() == 1:
        raise UserError(f"{name}: the rows drawn for dev all have the same score; {cure}")
    if kind is LABELLED_PAIRS and dev["label"].nunique() == 1:
        raise UserError(f"{name}: every label is {dev['label'].iloc[0]}, which leaves nothing to measure; {cure}")
