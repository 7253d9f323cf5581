"""Texts that are nearly the same: MinHash over character n-grams finds candidates, their exact overlap decides.

MinHash: Broder, "On the resemblance and containment of documents" (1997). Banding: Leskovec, Rajaraman and Ullman,
"Mining of Massive Datasets", chapter 3.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, pairwise

import numpy as np

from embedtrain.data.characters import UNSPACED_LETTER
from embedtrain.data.folding import fold_text

# 16 bands of 5 hashes: texts whose n-grams overlap by 0.8 meet in a band with a probability of 0.998, by 0.5 with 0.40.
BANDS, ROWS = 16, 5
CHUNK_CHARACTERS = 500_000
# In larger buckets each text is compared with the first and with the next one only, so that they cost no squares.
SMALL_BUCKET = 12
# The estimate from 80 hashes is off by 0.045 (standard error at 0.8).
_ESTIMATE_MARGIN = 0.15
_BLOCK = 200_000
_APART = re.compile(r"[\W_]+")


@dataclass(frozen=True, eq=False)
class NearDuplicates:
    """Pairs of texts that are nearly the same.

    Attributes:
        pairs: Places of the two texts, the smaller one first, int64 (pairs, 2).
        overlap: Jaccard similarity of their n-grams, float64 (pairs,).
    """

    pairs: np.ndarray
    overlap: np.ndarray


def find_near_duplicates(texts: Sequence[str], *, threshold: float = 0.8, seed: int = 0) -> NearDuplicates:
    """Find pairs of texts whose sets of n-grams overlap (Jaccard) by ``threshold`` at least.

    Texts are folded (see ``fold_text``) and freed of punctuation first. The n-grams are three characters long, in
    scripts written without spaces two. A text without any is like no other. Memory: some 700 bytes a text beside the
    texts themselves, and 50 MB.

    Args:
        texts: Different texts; of equal ones every two are a pair.
        threshold: Between 0 and 1; below 0.7 more and more pairs are missed.
        seed: Of the hash functions.
    """
    plain = [_plain(text) for text in texts]
    signatures, has_grams = _signatures(plain, seed=seed)
    candidates = _candidates(signatures, np.flatnonzero(has_grams), least=threshold - _ESTIMATE_MARGIN)
    grams = lru_cache(maxsize=4_000)(lambda place: frozenset(_grams(plain[place]).tolist()))
    found, overlaps = [], []
    for first, second in candidates.tolist():
        ours, theirs = grams(first), grams(second)
        shared = len(ours & theirs)
        overlap = shared / (len(ours) + len(theirs) - shared)
        if overlap >= threshold:
            found.append((first, second))
            overlaps.append(overlap)
    return NearDuplicates(np.array(found, dtype=np.int64).reshape(-1, 2), np.array(overlaps, dtype=np.float64))


def _plain(text: str) -> str:
    return _APART.sub(" ", fold_text(text)).strip()


def _grams(text: str) -> np.ndarray:
    """The text's n-grams as numbers, two n-grams alike only where they are equal; repeats included, uint64 (grams,)."""
    codes = np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), dtype=np.uint32)
    if not len(codes):
        return np.zeros(0, dtype=np.uint64)
    wide = codes.astype(np.uint64)
    unspaced = 0 if text.isascii() else len(UNSPACED_LETTER.findall(text))
    # A character takes 21 bits; shorter n-grams are told apart from longer ones by their leading zeros.
    length = min(2 if 2 * unspaced > len(codes) else 3, len(codes))
    grams = np.zeros(len(codes) - length + 1, dtype=np.uint64)
    for place in range(length):
        grams = (grams << np.uint64(21)) | wide[place : len(codes) - length + 1 + place]
    return grams


def _signatures(texts: Sequence[str], *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The least value of each hash function over a text's n-grams, uint32 (texts, hashes), and which texts have any."""
    random = np.random.default_rng(seed)
    hashes = BANDS * ROWS
    factors = random.integers(0, 2**63, size=hashes, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    offsets = random.integers(0, 2**64, size=hashes, dtype=np.uint64)
    signatures = np.zeros((len(texts), hashes), dtype=np.uint32)
    has_grams = np.zeros(len(texts), dtype=bool)
    for first, chunk in _chunks(texts):
        rows = [_grams(text) for text in chunk]
        lengths = np.array([len(row) for row in rows])
        filled = np.flatnonzero(lengths)
        if not len(filled):
            continue
        mixed = _mix(np.concatenate(rows))
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])[filled]
        for number, (factor, offset) in enumerate(zip(factors, offsets, strict=True)):
            values = ((mixed * factor + offset) >> np.uint64(32)).astype(np.uint32)
            signatures[first + filled, number] = np.minimum.reduceat(values, starts)
        has_grams[first + filled] = True
    return signatures, has_grams


def _chunks(texts: Sequence[str]) -> Iterator[tuple[int, Sequence[str]]]:
    """The place of the first text and as many texts as have a bounded number of characters together."""
    first, characters = 0, 0
    for place, text in enumerate(texts):
        if characters > CHUNK_CHARACTERS:
            yield first, texts[first:place]
            first, characters = place, 0
        characters += len(text)
    if first < len(texts):
        yield first, texts[first:]


def _mix(values: np.ndarray) -> np.ndarray:
    """Spread close numbers over all 64 bits (the finaliser of SplitMix64, Steele, Lea and Flood 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _candidates(signatures: np.ndarray, places: np.ndarray, *, least: float) -> np.ndarray:
    """Pairs that meet in a band and whose signatures agree by ``least``, each once, int64 (pairs, 2)."""
    found: set[tuple[int, int]] = set()
    for band in range(BANDS):
        rows = np.ascontiguousarray(signatures[places, band * ROWS : (band + 1) * ROWS])
        keys = rows.view(np.dtype((np.void, rows.dtype.itemsize * ROWS))).ravel()
        order = np.argsort(keys, kind="stable")
        new = np.flatnonzero(keys[order][1:] != keys[order][:-1]) + 1
        bounds = [0, *new.tolist(), len(order)]
        pairs = [
            pair
            for start, end in pairwise(bounds)
            if end - start > 1
            for pair in _pairs_of(places[order[start:end]].tolist())
        ]
        found.update(map(tuple, _agreeing(signatures, np.array(pairs, dtype=np.int64).reshape(-1, 2), least).tolist()))
    return np.array(sorted(found), dtype=np.int64).reshape(-1, 2)


def _pairs_of(bucket: Sequence[int]) -> Iterator[tuple[int, int]]:
    members = sorted(bucket)
    if len(members) <= SMALL_BUCKET:
        yield from combinations(members, 2)
        return
    yield from ((members[0], other) for other in members[1:])
    yield from pairwise(members[1:])


def _agreeing(signatures: np.ndarray, pairs: np.ndarray, least: float) -> np.ndarray:
    kept = [
        block[(signatures[block[:, 0]] == signatures[block[:, 1]]).mean(axis=1) >= least]
        for block in (pairs[start : start + _BLOCK] for start in range(0, len(pairs), _BLOCK))
    ]
    return np.concatenate(kept) if kept else pairs
