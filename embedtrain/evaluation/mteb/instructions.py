"""Tasks that measure whether a model follows instructions: each query twice, and what its changed instruction changes.

Their queries are called ``...-og`` and ``...-changed``; a third table names the documents that the changed instruction
makes irrelevant. mteb fetches it while it scores, so that a task of local data gets another way to score.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from embedtrain.evaluation.kept_items import Part

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask

PART = "qrel_diff"
_METRIC = "p-MRR"

Changes = Mapping[str, list[str]]


def measures_instructions(task: AbsTask) -> bool:
    """Whether a task is scored by what its changed instructions change."""
    return str(task.metadata.main_score) == _METRIC


def put_changes(task: AbsTask, changes: Mapping[Part, Changes]) -> None:
    """Let a task score by documents that are given, of each split and subset, instead of such as it would fetch."""
    from mteb._evaluators.retrieval_metrics import evaluate_p_mrr_change

    def task_specific_scores(scores: Any, qrels: Any, results: Any, hf_split: str, hf_subset: str) -> Any:
        known = dict(changes[hf_split, hf_subset])
        return evaluate_p_mrr_change(qrels, results, known, task.k_values)  # type: ignore[attr-defined]

    vars(task)["task_specific_scores"] = task_specific_scores


def take_changes(task: AbsTask) -> None:
    """Undo ``put_changes``."""
    vars(task).pop("task_specific_scores", None)


def load_changes(task: AbsTask, subset: str) -> dict[str, list[str]]:
    """The documents of one subset from where mteb fetches them."""
    import datasets

    from embedtrain.evaluation.mteb.mirror import DEFAULT_SUBSET

    # Subsets of two languages, such as eng-fas, are queries of one language for documents of the other.
    config = PART if subset == DEFAULT_SUBSET else f"{PART}-{subset.split('-')[-1]}"
    where = task.metadata.dataset
    rows = datasets.load_dataset(where["path"], config, split=PART, revision=where["revision"])
    return {row["query-id"]: list(row["corpus-ids"]) for row in rows}
