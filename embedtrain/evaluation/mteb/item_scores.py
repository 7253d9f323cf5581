"""The items behind the scores of each of mteb's task types: pairs, queries, examples, texts, experiments."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedtrain.evaluation.items import Items
from embedtrain.evaluation.kept_items import PartItems
from embedtrain.evaluation.mteb.recording import PARALLEL, Recorded, as_classes
from embedtrain.evaluation.mteb.task_content import content_of_part, table_of_part
from embedtrain.evaluation.mteb.task_data import LocalData, Part
from embedtrain.evaluation.pairs import average_precision
from embedtrain.evaluation.resampling import Floats

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask

# mteb rounds some of its scores to five digits.
_TOLERANCE = 1e-5
# Likenesses of a pair, and whether more of them is more alike.
_LIKENESSES = {
    "similarity_scores": 1,
    "cosine_scores": 1,
    "manhattan_distances": -1,
    "euclidean_distances": -1,
    "dot_scores": 1,
}


class NoItems(Exception):
    """A score that is not taken apart into items, and why."""


def items_of_parts(data: LocalData, heard: Recorded, scores: Mapping[Part, Mapping[str, Any]]) -> dict[Part, PartItems]:
    """The items of each split and subset; only such that give mteb's own score again.

    Args:
        data: The task, its data still in place.
        heard: What mteb predicted.
        scores: mteb's own entry for each split and subset.
    """
    found = {}
    for part in data.parts:
        content, main = content_of_part(data, part), float(scores[part]["main_score"])
        try:
            items = _items(data.task, part, heard, scores[part])
            if not items.can_be_resampled:
                raise NoItems(f"too few {items.over}, or not all of them have a number")
            if not math.isclose(items.score, main, abs_tol=_TOLERANCE):
                raise NoItems(f"what is known of its {items.over} does not give mteb's score")
            found[part] = PartItems(main, content, items)
        except NoItems as reason:
            found[part] = PartItems(main, content, None, str(reason))
    return found


def _items(task: AbsTask, part: Part, heard: Recorded, scores: Mapping[str, Any]) -> Items:
    from mteb import abstasks
    from mteb.abstasks.multilabel_classification import AbsTaskMultilabelClassification
    from mteb.abstasks.text.bitext_mining import AbsTaskBitextMining
    from mteb.abstasks.text.summarization import AbsTaskSummarization

    main = str(task.metadata.main_score)
    if isinstance(task, abstasks.AbsTaskRetrieval):
        return _queries(heard.queries.get(part), main)
    if isinstance(task, abstasks.AbsTaskClustering | abstasks.AbsTaskClusteringLegacy):
        return _clusterings(scores, main)
    if isinstance(task, AbsTaskBitextMining):
        return _bitext(heard, part, main)
    said = heard.predictions.get(part)
    if said is None:
        raise NoItems("mteb gives no predictions of this task")
    if isinstance(task, AbsTaskSummarization):
        return _summaries(said, main)
    if isinstance(task, abstasks.AbsTaskSTS):
        return _scored_pairs(said, table_of_part(task, part)["score"], main)
    if isinstance(task, abstasks.AbsTaskPairClassification):
        return _labelled_pairs(said, np.asarray(table_of_part(task, part)[task.label_column_name]), main)
    if isinstance(task, abstasks.AbsTaskClassification):
        return _examples(heard.judged[part], main, has_sets=isinstance(task, AbsTaskMultilabelClassification))
    raise _unknown(main)


def _scored_pairs(said: Mapping[str, Any], gold: Sequence[float], main: str) -> Items:
    likeness, _, method = main.rpartition("_")
    name = {"cosine": "cosine_scores", "manhattan": "manhattan_distances", "euclidean": "euclidean_distances"}.get(
        likeness, "similarity_scores"
    )
    values = said.get(name)
    if method not in ("spearman", "pearson") or values is None:
        raise _unknown(main)
    columns = {"prediction": _floats(values), "gold": _floats(gold)}
    return Items("spearman" if method == "spearman" else "pearson", "pairs", columns)


def _labelled_pairs(said: Mapping[str, Any], labels: NDArray[Any], main: str) -> Items:
    """The best likeness is chosen on all pairs, and kept in every resample: chosen anew it would flatter twice."""
    alike = [sign * _floats(said[name]) for name, sign in _LIKENESSES.items()]
    if main == "max_ap":
        best = max(alike, key=lambda scores: average_precision(labels, scores))
        return Items("average precision", "pairs", {"prediction": best, "gold": _floats(labels)})
    if main == "max_accuracy":
        right = max((_best_decisions(labels, scores) for scores in alike), key=lambda decided: float(decided.mean()))
        return Items("mean", "pairs", {"value": right})
    raise _unknown(main)


def _best_decisions(labels: NDArray[Any], scores: Floats) -> Floats:
    """Whether each pair is decided rightly by the best threshold between two scores, (pairs,)."""
    order = np.argsort(-scores, kind="stable")
    ordered, matches = scores[order], labels[order] == 1
    right = np.cumsum(np.where(matches, 1, -1)) + (~matches).sum()
    between = np.flatnonzero(np.diff(ordered))
    if not len(between):
        raise NoItems("all pairs are equally alike")
    lowest_taken = ordered[between[right[between].argmax()]]
    return ((scores >= lowest_taken) == (labels == 1)).astype(np.float64)


def _examples(judged: Sequence[tuple[Any, Any]], main: str, *, has_sets: bool) -> Items:
    gold = [np.asarray(one) for one, _ in judged]
    said = [np.asarray(one) for _, one in judged]
    if not gold:
        raise NoItems("mteb gives no predictions of this task")
    if main == "accuracy":
        rights = [_equal(*both) for both in zip(gold, said, strict=True)]
        if _are_the_same(gold):
            return Items("mean", "examples", {"value": np.mean(rights, axis=0)})
        # Folds count the same, although one may have an example more.
        weights = [np.full(len(right), 1 / len(right)) for right in rights]
        return Items("mean", "examples", {"value": np.concatenate(rights), "weight": np.concatenate(weights)})
    if main == "f1" and _are_the_same(gold) and not has_sets:
        right, *others = as_classes(gold[0], *said)
        named = {f"predicted_{number}": _floats(one) for number, one in enumerate(others)}
        return Items("macro f1", "examples", {"gold": _floats(right), **named})
    raise _unknown(main)


def _equal(gold: NDArray[Any], said: NDArray[Any]) -> Floats:
    same = gold == said
    return np.asarray(same if same.ndim == 1 else same.all(axis=1), dtype=np.float64)


def _are_the_same(gold: Sequence[NDArray[Any]]) -> bool:
    return all(np.array_equal(one, gold[0]) for one in gold)


def _queries(found: Mapping[str, float] | None, main: str) -> Items:
    if found is None:
        raise _unknown(main)
    # By id: the order is mteb's.
    return Items("mean", "queries", {"value": _floats([found[query] for query in sorted(found)])})


def _clusterings(scores: Mapping[str, Any], main: str) -> Items:
    found = scores.get({"v_measure": "v_measures", "ami": "ami_scores"}.get(main, ""))
    if isinstance(found, Mapping):
        return Items("mean", "experiments", {"value": np.mean([_floats(one) for one in found.values()], axis=0)})
    if found is None:
        raise _unknown(main)
    return Items("mean", "sets", {"value": _floats(found)})


def _bitext(heard: Recorded, part: Part, main: str) -> Items:
    split, subset = part
    pairs = heard.predictions.get(part) or heard.predictions.get((split, PARALLEL)) or {}
    found = pairs.get(subset, next(iter(pairs.values()), None) if len(pairs) == 1 else None)
    if found is None:
        raise NoItems("mteb gives no predictions of this task")
    nearest = np.array([one["corpus_id"] for one in found], dtype=np.int64)
    right = nearest == np.arange(len(nearest))
    if main == "accuracy":
        return Items("mean", "sentences", {"value": right.astype(np.float64)})
    if main != "f1":
        raise _unknown(main)
    # Each sentence is a class of its own: found or not, and taken for so many others' translation.
    taken = np.bincount(nearest, minlength=len(nearest))[: len(nearest)]
    return Items("mean", "sentences", {"value": 2.0 * right / (1 + taken)})


def _summaries(said: Mapping[str, Any], main: str) -> Items:
    from scipy import stats

    likeness, _, method = main.rpartition("_")
    name = {"cosine": "cosine_scores", "dot": "dot_scores"}.get(likeness, "similarity_scores")
    correlate = {"spearman": stats.spearmanr, "pearson": stats.pearsonr}.get(method)
    if correlate is None:
        raise _unknown(main)
    both = zip(said["human_scores"], said[name], strict=True)
    return Items("mean", "texts", {"value": _floats([correlate(human, machine).statistic for human, machine in both])})


def _unknown(main: str) -> NoItems:
    return NoItems(f"its score, {main}, is not taken apart into items")


def _floats(values: Any) -> Floats:
    return np.asarray(values, dtype=np.float64)
