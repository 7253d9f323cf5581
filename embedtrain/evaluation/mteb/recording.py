"""Listening to mteb while it evaluates: what it predicts, which its result files do not hold."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from embedtrain.evaluation.mteb.task_data import Part

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask

PARALLEL = "parallel"  # what mteb calls the subsets of a task whose languages stand in columns, all together
_HOOKS = ("_save_task_predictions", "_calculate_scores", "task_specific_scores")
# Measures of retrieval, by what trec_eval calls them.
_OF_A_QUERY = {
    "ndcg": "ndcg_cut_{}",
    "map": "map_cut_{}",
    "recall": "recall_{}",
    "precision": "P_{}",
    "hit_rate": "success_{}",
}


@dataclass
class Recorded:
    """What was heard.

    Attributes:
        predictions: As mteb would save them, by split and subset.
        judged: What classifiers said of each experiment or fold with what is right, by split and subset.
        queries: The main score of each query, by split and subset.
    """

    predictions: dict[Part, Any] = field(default_factory=dict)
    judged: dict[Part, list[tuple[Any, Any]]] = field(default_factory=dict)
    queries: dict[Part, dict[str, float]] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """What mteb is told to save predictions to, which it does not get to do."""
        return Path("predictions")


@contextmanager
def recording(task: AbsTask, heard: Recorded) -> Iterator[None]:
    """Take predictions where mteb would write them to files, which is slow and keeps no gold beside them.

    Args:
        task: Which is evaluated while the context lasts.
        heard: Where they are put; give its ``folder`` to ``mteb.evaluate`` as ``prediction_folder``.
    """
    pending: list[tuple[Any, Any]] = []
    score, finish = getattr(task, "_calculate_scores", None), getattr(task, "task_specific_scores", None)

    def save(predictions: Any, _model: Any, _folder: Any, *, hf_split: str, hf_subset: str) -> None:
        part = (hf_split, hf_subset)
        heard.predictions[part] = predictions
        heard.judged[part] = list(pending)
        pending.clear()

    def judged(gold: Any, said: Any, *rest: Any) -> Any:
        assert score is not None  # the method that this stands for
        # Similarities and their scores pass here, too, the other way round; those are taken from the predictions.
        pending.append((gold, said))
        return score(gold, said, *rest)

    def finished(scores: Any, qrels: Any, results: Any, *, hf_split: str, hf_subset: str) -> Any:
        assert finish is not None  # the method that this stands for
        found = _main_of_queries(str(task.metadata.main_score), scores, qrels, results)
        if found is not None:
            heard.queries[hf_split, hf_subset] = found
        return finish(scores, qrels, results, hf_split=hf_split, hf_subset=hf_subset)

    hooks = dict(zip(_HOOKS, (save, judged, finished), strict=True))
    for name, hook in hooks.items():
        if hasattr(task, name):
            setattr(task, name, hook)
    try:
        yield
    finally:
        for name in hooks:
            vars(task).pop(name, None)


def _main_of_queries(
    main_score: str, scores: Mapping[str, Mapping[str, float]], qrels: Any, results: Any
) -> dict[str, float] | None:
    """The main score of each query; None for a measure that is more than a mean over queries."""
    if main_score == "accuracy":
        main_score = "recall_at_1"
    found = re.fullmatch(r"(\w+)_at_(\d+)", main_score)
    if found is None:
        return None
    measure, depth = found[1], int(found[2])
    if measure == "mrr":
        from mteb._evaluators.retrieval_metrics import mrr

        return dict(zip(results, mrr(qrels, results, [depth])[f"MRR@{depth}"], strict=True))
    if measure not in _OF_A_QUERY:
        return None
    name = _OF_A_QUERY[measure].format(depth)
    return {str(query): float(of_query[name]) for query, of_query in scores.items()}


def as_classes(*series: Any) -> list[np.ndarray]:
    """Classes as whole numbers from 0, the same for all series."""
    flat = [np.asarray(one) for one in series]
    _, numbered = np.unique(np.concatenate(flat), return_inverse=True)
    return np.split(numbered.astype(np.int64), np.cumsum([len(one) for one in flat])[:-1])
