"""Pairs of texts as padded batches of like length, tokenised in the background while a model works."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Pairs tokenised at a time: enough for batches of like length. The tokenizer holds some kilobytes of each.
CHUNK_PAIRS = 2500
TOKEN_KEYS = ("input_ids", "token_type_ids")


@dataclass(frozen=True)
class TokenChunk:
    """Some pairs as tokens, the longest first.

    Attributes:
        start: Number of the first pair among all of them.
        pairs: How many pairs there are; with both orders each is there twice.
        characters: Length of their texts.
        order: Which row of the chunk stands in each place, (rows,); rows from ``pairs`` on are pairs turned round.
        lengths: Tokens in each place, never rising, (rows,).
        tokens: The tokens of all places end to end, by key, each (sum of the lengths,).
    """

    start: int
    pairs: int
    characters: int
    order: NDArray[np.int64]
    lengths: NDArray[np.int64]
    tokens: Mapping[str, NDArray[np.int64]]

    def batches(self, token_budget: int) -> Iterator[tuple[int, int]]:
        """First place and end of each batch, longest first, so that too large a batch fails at once."""
        start = 0
        while start < len(self.lengths):
            size = max(1, token_budget // max(1, int(self.lengths[start])))
            yield start, min(start + size, len(self.lengths))
            start += size


class PairTokens:
    """A tokenizer's view of pairs, a chunk at a time.

    Args:
        tokenizer: Of transformers.
        sentence1: First texts, (n,).
        sentence2: Second texts, (n,).
        both_orders: Whether each pair is there a second time, turned round.
    """

    def __init__(
        self, tokenizer: Any, sentence1: Sequence[str], sentence2: Sequence[str], *, both_orders: bool
    ) -> None:
        self.tokenizer = tokenizer
        self.sentence1 = sentence1
        self.sentence2 = sentence2
        self.both_orders = both_orders
        self.padding = {"input_ids": tokenizer.pad_token_id or 0, "token_type_ids": tokenizer.pad_token_type_id}
        self.pads_left = tokenizer.padding_side == "left"

    def chunks(self) -> Iterator[TokenChunk]:
        """The chunks in order; while one is worked on, the next one is tokenised."""
        starts = iter(range(0, len(self.sentence1), CHUNK_PAIRS))
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="tokenising") as background:
            first = next(starts, None)
            waiting = None if first is None else background.submit(self._chunk, first)
            while waiting is not None:
                chunk = waiting.result()
                start = next(starts, None)
                waiting = None if start is None else background.submit(self._chunk, start)
                yield chunk

    def features(self, chunk: TokenChunk, start: int, stop: int) -> dict[str, Tensor]:
        """The places ``start`` to ``stop`` of a chunk as the model takes them, each int64 (batch, longest)."""
        lengths = chunk.lengths[start:stop, None]
        longest = int(lengths.max())
        places = np.arange(longest)
        real = places >= longest - lengths if self.pads_left else places < lengths
        first = int(chunk.lengths[:start].sum())
        end = first + int(lengths.sum())
        features = {"attention_mask": torch.from_numpy(real.astype(np.int64))}
        for key, tokens in chunk.tokens.items():
            padded = np.full(real.shape, self.padding[key], dtype=np.int64)
            # True places are filled row by row, in the order in which the tokens lie.
            padded[real] = tokens[first:end]
            features[key] = torch.from_numpy(padded)
        return features

    def _chunk(self, start: int) -> TokenChunk:
        first = list(self.sentence1[start : start + CHUNK_PAIRS])
        second = list(self.sentence2[start : start + CHUNK_PAIRS])
        pairs, characters = len(first), sum(map(len, first)) + sum(map(len, second))
        if self.both_orders:
            first, second = first + second, second + first
        encoded = self.tokenizer(
            first, second, truncation="longest_first", padding=False, return_attention_mask=False, verbose=False
        )
        rows = encoded["input_ids"]
        lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
        order = np.argsort(-lengths, kind="stable")
        tokens = {key: _joined(encoded[key], order, int(lengths.sum())) for key in TOKEN_KEYS if key in encoded}
        return TokenChunk(start, pairs, characters, order, lengths[order], tokens)


def _joined(rows: Sequence[Sequence[int]], order: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    in_order: Callable[[int], Sequence[int]] = rows.__getitem__
    return np.fromiter(chain.from_iterable(map(in_order, order.tolist())), dtype=np.int64, count=count)
