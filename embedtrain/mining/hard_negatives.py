"""Hard negatives for ranking losses: near texts that are no positives, with guards against false negatives."""

import logging
from collections.abc import Callable, Iterable, Sequence
from itertools import chain

import numpy as np
import pandas as pd
import torch

from embedtrain.data.folding import fold_text
from embedtrain.errors import Problems
from embedtrain.mining.approximate import nearest_neighbours
from embedtrain.mining.names import SearchName
from embedtrain.mining.negative_rules import NegativeRules
from embedtrain.mining.search import pair_similarity

logger = logging.getLogger(__name__)

# Scores of text pairs, float32 (n,), such as a scorer's method ``score``.
Score = Callable[[Sequence[str], Sequence[str]], np.ndarray]


def mine_hard_negatives(
    anchors: Sequence[str],
    positives: Sequence[str],
    corpus: Sequence[str] = (),
    *,
    anchor_embeddings: torch.Tensor,
    positive_embeddings: torch.Tensor,
    corpus_embeddings: torch.Tensor | None = None,
    rules: NegativeRules | None = None,
    known_pairs: Iterable[tuple[str, str]] = (),
    score: Score | None = None,
    output_scores: bool = False,
    search: SearchName = "auto",
) -> pd.DataFrame:
    """Pairs of anchor and positive, each with hard negatives: texts near the anchor that are not its positives.

    Candidates are all positives and the corpus, texts that fold to the same form as one. An anchor's candidates are
    ranked by cosine, exactly, after its known positives (of all its rows, and in either order) and the anchor's own
    text are left out inside the search: ranks count only what could be a negative. Margins are measured from the
    lowest score of the anchor's positives, so that nothing as near as a known positive becomes a negative; all rows of
    an anchor get the same negatives. With ``score`` (a cross-encoder, say) every limit of ``rules`` is on its scores
    instead of cosines, which finds more of the false negatives; the ranks stay those of the search.

    Unlike in sentence-transformers, ranks are counted before a limit rejects anything.

    Args:
        anchors: The n anchors; a repeated one has several positives.
        positives: The n positives.
        corpus: Further texts to take negatives from.
        anchor_embeddings: Shape (n, dim).
        positive_embeddings: Shape (n, dim).
        corpus_embeddings: Shape (len(corpus), dim).
        rules: Number, ranks and limits of the negatives.
        known_pairs: Further pairs of texts that belong together, such as those of dev and test.
        score: Scores pairs for the limits. It is asked only for as many candidates as are needed.
        output_scores: Add the columns ``positive_score`` and ``negative_1_score`` to ``negative_n_score``.
        search: ``exact``, ``faiss``, or ``auto`` for what fits the size.

    Returns:
        Columns ``anchor``, ``positive`` and ``negative_1`` to ``negative_n``, the nearest first, in the order of the
        input. Rows for whose anchor too few candidates are left are dropped, and how many is logged.

    Raises:
        UserError: A rule cannot be followed, there is no pair, or ``score`` is given and no rule has a limit.
        ValueError: The embeddings do not fit the texts.
    """
    rules = rules or NegativeRules()
    anchors, positives, corpus = list(anchors), list(positives), list(corpus)
    _check(anchors, positives, corpus, anchor_embeddings, positive_embeddings, corpus_embeddings, rules, score)
    query_index, query_positions = _distinct(anchors, with_blank=True)
    query_of = np.array([query_index[fold_text(anchor)] for anchor in anchors])
    candidates = [*positives, *corpus]
    candidate_index, candidate_positions = _distinct(candidates)
    candidate_embeddings = positive_embeddings
    if corpus_embeddings is not None:
        candidate_embeddings = torch.cat([positive_embeddings, corpus_embeddings.to(positive_embeddings)])
    if len(candidate_index) < rules.last_rank:
        logger.warning(
            "hard negatives: %d candidates are wanted for each anchor, and there are %d different texts in all",
            rules.last_rank,
            len(candidate_index),
        )
    exclude = _known(query_index, candidate_index, chain(zip(anchors, positives, strict=True), known_pairs))
    neighbours = nearest_neighbours(
        anchor_embeddings[query_positions],
        candidate_embeddings[candidate_positions],
        k=rules.last_rank,
        exclude=exclude.to(anchor_embeddings.device),
        search=search,
    )
    found = neighbours.indices[:, rules.range_min :].cpu().numpy()
    similarities = neighbours.similarities[:, rules.range_min :].cpu().numpy()
    texts = np.array([candidates[position] for position in candidate_positions], dtype=object)
    queries = np.array([anchors[position] for position in query_positions], dtype=object)

    if score is None:
        every = torch.arange(len(anchors), device=anchor_embeddings.device)
        positive_scores = pair_similarity(anchor_embeddings, every, every, corpus=positive_embeddings).cpu().numpy()
    else:
        positive_scores = np.asarray(score(anchors, positives), dtype=np.float32)
    lowest = np.full(len(queries), np.inf)
    np.minimum.at(lowest, query_of, positive_scores.astype(np.float64))
    highest = rules.highest_scores(lowest)
    scores, accepted = _judge(found, similarities, queries, texts, highest=highest, rules=rules, score=score)
    chosen, enough = _choose(accepted, rules)

    rows = np.flatnonzero(enough[query_of])
    negatives = np.take_along_axis(found, chosen, axis=1)[query_of[rows]]
    negative_scores = np.take_along_axis(scores, chosen, axis=1)[query_of[rows]]
    _report(scores, accepted, rows, len(anchors), rules)
    columns: dict[str, object] = {
        "anchor": _strings(np.array(anchors, dtype=object)[rows]),
        "positive": _strings(np.array(positives, dtype=object)[rows]),
    }
    numbers = range(1, rules.num_negatives + 1)
    columns |= {f"negative_{number}": _strings(texts[negatives[:, number - 1]]) for number in numbers}
    if output_scores:
        columns["positive_score"] = positive_scores[rows]
        columns |= {f"negative_{number}_score": negative_scores[:, number - 1] for number in numbers}
    return pd.DataFrame(columns)


def _check(
    anchors: Sequence[str],
    positives: Sequence[str],
    corpus: Sequence[str],
    anchor_embeddings: torch.Tensor,
    positive_embeddings: torch.Tensor,
    corpus_embeddings: torch.Tensor | None,
    rules: NegativeRules,
    score: Score | None,
) -> None:
    problems = Problems()
    rules.check(problems)
    if not len(anchors):
        problems.add("hard negatives: found no pair of anchor and positive, expected 1 or more")
    if score is not None and not rules.can_reject:
        problems.add(
            "hard negatives: a scorer has no effect without --absolute-margin, --relative-margin, --max-score or "
            "--min-score"
        )
    problems.raise_if_any()
    if len(anchors) != len(positives):
        raise ValueError(f"expected as many positives as anchors, found {len(positives)} and {len(anchors)}")
    sizes = [
        ("anchor", len(anchors), len(anchor_embeddings)),
        ("positive", len(positives), len(positive_embeddings)),
        ("corpus text", len(corpus), 0 if corpus_embeddings is None else len(corpus_embeddings)),
    ]
    for name, count, vectors in sizes:
        if count != vectors:
            raise ValueError(f"expected one embedding for each {name}, found {vectors} for {count}")


def _distinct(texts: Sequence[str], *, with_blank: bool = False) -> tuple[dict[str, int], torch.Tensor]:
    """The number of each folded text, and the position of the first text that folds to it."""
    index: dict[str, int] = {}
    positions = []
    for position, folded in enumerate(map(fold_text, texts)):
        if folded not in index and (folded or with_blank):
            index[folded] = len(index)
            positions.append(position)
    return index, torch.tensor(positions, dtype=torch.int64)


def _known(
    query_index: dict[str, int], candidate_index: dict[str, int], pairs: Iterable[tuple[str, str]]
) -> torch.Tensor:
    """(query, candidate), int64 (pairs, 2), of all known pairs in either order and of each query with itself."""
    known = {(query, candidate_index[text]) for text, query in query_index.items() if text in candidate_index}
    for one, other in pairs:
        first, second = fold_text(one), fold_text(other)
        for query, candidate in ((first, second), (second, first)):
            if query in query_index and candidate in candidate_index:
                known.add((query_index[query], candidate_index[candidate]))
    return torch.tensor(sorted(known), dtype=torch.int64).reshape(-1, 2)


def _judge(
    found: np.ndarray,
    similarities: np.ndarray,
    queries: np.ndarray,
    texts: np.ndarray,
    *,
    highest: np.ndarray,
    rules: NegativeRules,
    score: Score | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Scores, NaN where none was asked for, and whether a candidate may be a negative; both (queries, ranks)."""
    scores = np.full(found.shape, np.nan, dtype=np.float32)
    accepted = np.zeros(found.shape, dtype=bool)
    width = found.shape[1]
    # Drawing at random needs all candidates judged; the nearest are found without scoring the rest.
    step = rules.num_negatives if score is not None and rules.sampling_strategy == "top" else width
    for start in range(0, width, step):
        lacking = accepted.sum(axis=1) < rules.num_negatives
        row, column = np.nonzero(lacking[:, None] & (found[:, start : start + step] >= 0))
        column += start
        if not len(row):
            break
        if score is None:
            values = similarities[row, column]
        else:
            values = np.asarray(score(queries[row].tolist(), texts[found[row, column]].tolist()), dtype=np.float32)
        scores[row, column] = values
        exact = values.astype(np.float64)
        lowest = -np.inf if rules.min_score is None else rules.min_score
        accepted[row, column] = (lowest <= exact) & (exact <= highest[row])
    return scores, accepted


def _choose(accepted: np.ndarray, rules: NegativeRules) -> tuple[np.ndarray, np.ndarray]:
    """Columns of the chosen candidates, ascending, (queries, num_negatives), and which queries have enough of them."""
    keys = np.broadcast_to(np.arange(accepted.shape[1], dtype=np.float64), accepted.shape)
    if rules.sampling_strategy == "random":
        keys = np.random.default_rng(rules.seed).random(accepted.shape)
    order = np.argsort(np.where(accepted, keys, np.inf), axis=1, kind="stable")
    chosen = np.sort(order[:, : rules.num_negatives], axis=1)
    return chosen, accepted.sum(axis=1) >= rules.num_negatives


def _report(scores: np.ndarray, accepted: np.ndarray, rows: np.ndarray, pairs: int, rules: NegativeRules) -> None:
    judged = int((~np.isnan(scores)).sum())
    logger.info(
        "hard negatives: %d of %d pairs have %d; the limits rejected %d of %d candidates",
        len(rows),
        pairs,
        rules.num_negatives,
        judged - int(accepted.sum()),
        judged,
    )
    if len(rows) < pairs:
        logger.warning(
            "hard negatives: %d of %d pairs are dropped, their anchors have fewer than %d candidates within limits: "
            "fewer negatives, a larger --range-max or smaller margins keep more",
            pairs - len(rows),
            pairs,
            rules.num_negatives,
        )


def _strings(texts: np.ndarray) -> pd.Series:
    return pd.Series(texts, dtype="str")
