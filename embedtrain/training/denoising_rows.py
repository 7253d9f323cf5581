"""Sentences as token numbers with their words marked, given out with fresh noise for every epoch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from embedtrain.data.masking import masked_tokens
from embedtrain.data.noise import Noise, Ragged
from embedtrain.data.noise_kinds import WordsName
from embedtrain.data.words import word_starts
from embedtrain.training.tokens import CHUNK_ROWS, TokenTable

# A token that begins a word carries this bit in the file; no vocabulary reaches it.
BEGINS_WORD = 1 << 30
# Where there is nothing to predict; torch's losses skip it.
IGNORED = -100


class SentenceTable(TokenTable):
    """Sentences in an Arrow file, tokens without the special ones and a mark on those that begin a word.

    Args:
        path: Where the file is written; it has to stay while the table is in use.
        texts: The sentences, (rows,).
        tokenizer: The encoder's.
        max_length: Tokens at most, special ones counted; what lies beyond is cut off.
        words: What a word is: what the tokenizer splits at, or what jieba does in Chinese.
        seed: Of all noise.
    """

    def __init__(
        self,
        path: Path,
        texts: "pd.Series | Sequence[str]",
        *,
        tokenizer: Any,
        max_length: int,
        words: WordsName = "tokenizer",
        seed: int = 42,
    ) -> None:
        self.seed = seed
        self.before, self.after = _special_tokens(tokenizer)
        self.gives_types = "token_type_ids" in tokenizer.model_input_names

        def tokenise(_: str, some: list[str]) -> dict[str, list[list[int]]]:
            rows = word_starts(tokenizer, some, max_length=max_length, words=words)
            return {
                "input_ids": [
                    (np.asarray(ids, dtype=np.int32) | BEGINS_WORD * np.asarray(begins, dtype=np.int32)).tolist()
                    for ids, begins in rows
                ]
            }

        super().__init__(path, {"text": texts}, tokenise=tokenise, pad_id=tokenizer.pad_token_id or 0)
        self.lengths = {"text": self.lengths["text"] + len(self.before) + len(self.after)}

    def words(self, rows: Sequence[int]) -> tuple[Ragged, np.ndarray]:
        """The tokens of some rows, and which of them begin a word, (tokens,)."""
        pieces = []
        for row in rows:
            tokens, starts = self._tokens["text.input_ids"][row // CHUNK_ROWS]
            pieces.append(tokens[starts[row % CHUNK_ROWS] : starts[row % CHUNK_ROWS + 1]])
        marked = np.concatenate(pieces)
        starts = np.concatenate([[0], np.cumsum([len(piece) for piece in pieces])])
        return Ragged(marked & (BEGINS_WORD - 1), starts), marked >= BEGINS_WORD

    def features(self, tokens: Ragged) -> dict[str, Tensor]:
        """Padded ``input_ids``, ``attention_mask`` and, where models have them, ``token_type_ids``, (rows, longest)."""
        ids = self._spread(tokens, before=self.before, after=self.after, fill=self.pad_id)
        lengths = np.diff(tokens.starts) + len(self.before) + len(self.after)
        mask = (np.arange(ids.shape[1]) < lengths[:, None]).astype(np.int64)
        features = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
        if self.gives_types:
            features["token_type_ids"] = torch.zeros_like(features["input_ids"])
        return features

    def targets(self, tokens: Ragged, wanted: np.ndarray) -> Tensor:
        """The tokens that are ``wanted``, (tokens,), where ``features`` has them, and ``IGNORED`` elsewhere."""
        values = np.where(wanted, tokens.values, IGNORED).astype(np.int32)
        around = {"before": [IGNORED] * len(self.before), "after": [IGNORED] * len(self.after)}
        return torch.from_numpy(self._spread(Ragged(values, tokens.starts), **around, fill=IGNORED))

    @staticmethod
    def _spread(tokens: Ragged, *, before: list[int], after: list[int], fill: int) -> np.ndarray:
        """Rows of different lengths as one matrix, (rows, longest)."""
        counts = np.diff(tokens.starts)
        first = len(before)
        places = np.arange(int(counts.max()) + first + len(after))
        spread = np.full((len(counts), len(places)), fill, dtype=np.int64)
        spread[:, :first] = before
        spread[(places >= first) & (places < first + counts[:, None])] = tokens.values
        for place, token in enumerate(after):
            spread[np.arange(len(counts)), first + counts + place] = token
        return spread


class DenoisingTable(SentenceTable):
    """Rows as (noisy sentence, sentence itself).

    Args:
        noise: What is done to the first of the two.
        *given: As for ``SentenceTable``.
        **named: As for ``SentenceTable``.
    """

    def __init__(self, *given: Any, noise: Noise, **named: Any) -> None:
        super().__init__(*given, **named)
        self.noise = noise

    def batch(self, rows: Sequence[int], epoch: int = 0) -> list[dict[str, Tensor]]:
        """Features of the sentences with the noise of this epoch, and of the sentences as they are."""
        tokens, begins = self.words(rows)
        noisy = self.noise.apply(tokens, begins, np.asarray(rows, dtype=np.int64), seed=self.seed, epoch=epoch)
        return [self.features(noisy), self.features(tokens)]

    def weight(self, rows: Sequence[int], epoch: int = 0) -> int:
        """The tokens that a decoder writes: all but the first of each row."""
        return int(self.longest[np.asarray(rows)].sum()) - len(rows)


class MaskedTable(SentenceTable):
    """Rows as (sentence with tokens masked, sentence itself), for masked language modelling (Devlin et al. 2019).

    Args:
        mask_id: The token that stands for a hidden one.
        vocabulary: Tokens that may stand in a hidden one's place, (tokens,).
        share: Share of the tokens that are to be found again.
        *given: As for ``SentenceTable``.
        **named: As for ``SentenceTable``.
    """

    def __init__(self, *given: Any, mask_id: int, vocabulary: np.ndarray, share: float, **named: Any) -> None:
        super().__init__(*given, **named)
        self.mask_id = mask_id
        self.vocabulary = vocabulary
        self.share = share

    def batch(self, rows: Sequence[int], epoch: int = 0) -> list[dict[str, Tensor]]:
        """Features of the masked sentences, and ``targets``, (rows, longest): ``IGNORED`` but for what is hidden."""
        tokens, masked, chosen = self._masked(rows, epoch)
        return [self.features(masked), {"targets": self.targets(tokens, chosen)}]

    def weight(self, rows: Sequence[int], epoch: int = 0) -> int:
        """The tokens that are to be found again."""
        return int(self._masked(rows, epoch)[2].sum())

    def _masked(self, rows: Sequence[int], epoch: int) -> tuple[Ragged, Ragged, np.ndarray]:
        """The tokens of some rows, the same with some hidden, and which."""
        tokens, _ = self.words(rows)
        masked, chosen = masked_tokens(
            tokens,
            np.asarray(rows, dtype=np.int64),
            mask_id=self.mask_id,
            vocabulary=self.vocabulary,
            share=self.share,
            seed=self.seed,
            epoch=epoch,
        )
        return tokens, masked, chosen


def _special_tokens(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The tokens that a tokenizer puts before and after every text."""
    whole = list(tokenizer("a")["input_ids"])
    content = list(tokenizer("a", add_special_tokens=False)["input_ids"])
    for first in range(len(whole) - len(content) + 1):
        if whole[first : first + len(content)] == content:
            return whole[:first], whole[first + len(content) :]
    raise ValueError(f"{type(tokenizer).__name__}: a text's tokens are others with special tokens around them")
