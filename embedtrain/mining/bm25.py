"""BM25 neighbours of each sentence among the others, for scripts with and without spaces between words."""

import logging
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray

from embedtrain.data.folding import fold_text
from embedtrain.progress import progress

# First words of Unicode character names, for scripts written without spaces; Hangul has spaces, but its endings cling
# to the word, so that pieces match where words do not.
UNSPACED = frozenset(
    "CJK IDEOGRAPHIC HIRAGANA KATAKANA KATAKANA-HIRAGANA HANGUL BOPOMOFO THAI LAO KHMER MYANMAR".split()  # noqa: SIM905
)

# Of the query's terms that k sentences or more hold, so many of the rarest tell which score the k best reach.
FLOOR_TERMS = 3


def tokenize(text: str) -> list[str]:
    """Terms of a text for lexical search.

    Letters, digits and marks count, after folding (NFKC, case); the rest separates. A run in a script with spaces is
    one term. A run in a script without is cut into overlapping pairs of characters, a run of one character stays whole:
    bigrams are the usual index terms for Chinese where no word list is at hand (Nie, Gao, Zhang and Zhou, "On the use
    of words and n-grams for Chinese information retrieval", 2000).
    """
    terms: list[str] = []
    for kind, characters in groupby(fold_text(text), key=_kind):
        run = "".join(characters)
        if kind == "unspaced" and len(run) > 1:
            terms.extend(run[i : i + 2] for i in range(len(run) - 1))
        elif kind != "separator":
            terms.append(run)
    return terms


class BM25Index:
    """Sentences indexed by bm25s, each of them document and query.

    Scores are bm25s' Lucene variant with k1 = 1.5 and b = 0.75.

    Args:
        sentences: The n texts.
    """

    def __init__(self, sentences: Sequence[str]) -> None:
        import bm25s

        # Importing bm25s sets its logger to DEBUG, and its notes on each index would reach the user.
        logging.getLogger("bm25s").setLevel(logging.WARNING)
        vocabulary: dict[str, int] = {}
        self.documents = [
            [vocabulary.setdefault(term, len(vocabulary)) for term in tokenize(sentence)] for sentence in sentences
        ]
        self.index = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
        if vocabulary:
            self.index.index((self.documents, vocabulary), show_progress=False)
            # NumPy would make indices of this type anew for every list that it adds up.
            self.index.scores["indices"] = self.index.scores["indices"].astype(np.intp)

    def top_k(
        self, rows: range | None = None, *, k: int, exclude: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As :func:`bm25_top_k`, for some of the sentences as queries; ``exclude`` keeps the numbers of them all.

        Returns:
            Indices and scores of shape (len(rows), k).
        """
        rows = range(len(self.documents)) if rows is None else rows
        indices = torch.full((len(rows), k), -1, dtype=torch.int64)
        scores = torch.full((len(rows), k), -torch.inf)
        pairs = np.empty((0, 2), dtype=np.int64) if exclude is None else exclude.cpu().numpy()
        pairs = pairs[np.argsort(pairs[:, 0], kind="stable")]
        bounds = np.searchsorted(pairs[:, 0], np.arange(len(self.documents) + 1))
        for place, row in enumerate(progress(rows, what="BM25", unit="sentence")):
            terms = self.documents[row]
            if terms:
                found = self.index.get_scores_from_ids(terms)
                found[row] = 0.0
                found[pairs[bounds[row] : bounds[row + 1], 1]] = 0.0
                best = _highest(found, k, floor=self._floor(found, terms, k))
                indices[place, : len(best)] = torch.from_numpy(best)
                scores[place, : len(best)] = torch.from_numpy(found[best])
        return indices, scores

    def _floor(self, scores: NDArray[np.float32], terms: list[int], k: int) -> float:
        """A score that the k best reach: what k of the sentences have that share one of the query's rarest terms."""
        starts = self.index.scores["indptr"]
        lists = sorted((starts[term + 1] - starts[term], term) for term in set(terms))
        reached = [0.0]
        for term in [term for length, term in lists if length >= k][:FLOOR_TERMS]:
            sharing = scores[self.index.scores["indices"][starts[term] : starts[term + 1]]]
            reached.append(float(np.partition(sharing, -k)[-k]))
        return max(reached)


def bm25_top_k(
    sentences: Sequence[str], *, k: int, exclude: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The k other sentences that score highest by BM25 with each sentence as the query.

    Sentences that share no term are not neighbours, equal scores are ranked by the lower index, and the same sentences
    give the same result.

    Args:
        sentences: The n texts, each of them query and document.
        k: Neighbours wanted for each, counted after the sentence itself and everything excluded is left out.
        exclude: Integer tensor of shape (pairs, 2): rows of (query, document) never returned, in that direction only.

    Returns:
        Indices, int64 of shape (n, k), and scores, float32 of shape (n, k), high to low; filled up with index -1 and
        score -inf.
    """
    return BM25Index(sentences).top_k(k=k, exclude=exclude)


def _highest(scores: NDArray[np.float32], k: int, *, floor: float) -> NDArray[np.int64]:
    """Indices of the k highest scores above 0, high to low and equal ones by index; k of them reach the floor."""
    # Picking the k highest of all scores takes longer than making them; the floor leaves a few to pick from.
    candidates = np.flatnonzero(scores >= floor) if floor > 0 else np.flatnonzero(scores > 0)
    if len(candidates) > k:
        least = np.partition(scores[candidates], -k)[-k]
        candidates = candidates[scores[candidates] >= least]
    return candidates[np.argsort(-scores[candidates], kind="stable")][:k]


@lru_cache(maxsize=65536)
def _kind(character: str) -> str:
    # Marks belong to the letter before them: without them words of Hindi, say, would fall apart.
    if unicodedata.category(character)[0] not in "LNM":
        return "separator"
    return "unspaced" if unicodedata.name(character, "").split(" ")[0] in UNSPACED else "spaced"
