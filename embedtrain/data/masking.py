"""Hidden tokens for masked language modelling, a function of seed, epoch and row alone."""

import numpy as np

from embedtrain.data.counted_random import below, draw, row_keys, thresholds
from embedtrain.data.ragged import Ragged

# Of the tokens that are to be found again, so many are masked, and half of the rest replaced by a random one.
MASKED, REPLACED = 0.8, 0.1
_CHOSEN, _HOW, _TOKEN = range(3)


def masked_tokens(
    ids: Ragged, rows: np.ndarray, *, mask_id: int, vocabulary: np.ndarray, share: float, seed: int, epoch: int
) -> tuple[Ragged, np.ndarray]:
    """Choose tokens to be found again, and hide 8 of 10 of them behind the mask, 1 behind another token, 1 not at all.

    Devlin et al. 2019, "BERT", section 3.1. Of each row that has tokens at least one is chosen.

    Args:
        ids: The rows' tokens, without special tokens.
        rows: The rows' numbers in the whole table, integers (rows,).
        mask_id: The mask token.
        vocabulary: The tokens that may stand in a hidden one's place, (ids,).
        share: The chance that a token is chosen, 0 to 1.
        seed: The run's seed, 0 or more.
        epoch: Number of the epoch, 0 or more.

    Returns:
        The rows with tokens hidden, and which tokens were chosen, bool (tokens,).
    """
    lengths = ids.lengths
    keys = np.repeat(row_keys(rows, seed=seed, epoch=epoch), lengths)
    places = np.arange(len(ids.values)) - np.repeat(ids.starts[:-1], lengths)
    draws = draw(keys, purpose=_CHOSEN, number=places)
    filled = np.flatnonzero(lengths)
    # The lowest draw of a row is chosen in any case.
    lowest = np.minimum.reduceat(draws, ids.starts[:-1][filled]) if len(filled) else draws
    chosen = below(draws, thresholds(share)) | (draws == np.repeat(lowest, lengths[filled]))
    how = draw(keys, purpose=_HOW, number=places)
    masked = chosen & below(how, thresholds(MASKED))
    replaced = chosen & ~masked & below(how, thresholds(MASKED + REPLACED))
    random = vocabulary[draw(keys, purpose=_TOKEN, number=places) % np.uint64(len(vocabulary))]
    values = np.where(masked, mask_id, np.where(replaced, random, ids.values)).astype(np.int32)
    return Ragged(values, ids.starts), chosen
