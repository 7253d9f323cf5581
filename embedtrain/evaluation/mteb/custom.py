"""The user's own data as a task of mteb: one file, or a folder as a mirror's tasks have."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedtrain.errors import UserError
from embedtrain.evaluation.mteb.mirror import ENDINGS, TaskFolder
from embedtrain.evaluation.mteb.task_data import LocalData, find_data
from embedtrain.evaluation.names import CustomType

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask

_MIN_ROWS_OF_A_CLASS = 10
_FOLDERS_ONLY: Mapping[str, str] = {
    "retrieval": "corpus, queries and qrels/test",
    "reranking": "corpus, queries, qrels/test and top_ranked",
    "multilabel-classification": "train and test",
    "regression": "train and test",
}


def custom_data(source: str, kind: CustomType) -> LocalData:
    """A task made of the user's data, judged on the split ``test``.

    A file is that split: ``sentence1``, ``sentence2`` and ``score`` for sts; the same with ``label`` (0 or 1) for
    pair-classification; ``text`` and ``label`` for classification and clustering; ``sentence1`` and ``sentence2`` for
    bitext-mining; ``text``, ``human_summaries``, ``machine_summaries`` and ``relevance`` for summarization. A folder
    holds ``test``, and for classification ``train``; or corpus, queries and qrels. Classification of a single file is
    judged by cross-validation. What multilabel-classification (lists of labels) and regression (numbers) learn from is
    always a table ``train``.

    Args:
        source: The file or folder; the task is called by its name.
        kind: The task's type.

    Raises:
        UserError: When there is no such file, or it cannot be a task of that type.
    """
    path = Path(source)
    if path.is_dir():
        folder = TaskFolder(path)
        splits_itself = kind == "classification" and folder.table("train", "default") is None
    elif path.is_file():
        if kind in _FOLDERS_ONLY:
            raise UserError(f"--custom {source}: {kind} takes a folder with {_FOLDERS_ONLY[kind]}")
        if path.suffix.lower() not in ENDINGS:
            raise UserError(f"--custom {source}: unknown ending '{path.suffix}', expected {', '.join(ENDINGS)}")
        folder, splits_itself = TaskFolder(path.parent, single=path), kind == "classification"
    else:
        raise UserError(f"--custom {source}: no such file or folder")
    name = re.sub(r"[^\w.-]+", "_", path.stem if path.is_file() else path.resolve().name)
    revision = folder.fingerprint[:40]
    return find_data(_task(name, kind, revision=revision, cross_validates=splits_itself), folder)


def check_folds(data: LocalData) -> None:
    """Refuse classes too small for cross-validation.

    Args:
        data: A task of one's own that was filled.

    Raises:
        UserError: With the classes that have too few rows.
    """
    task: Any = data.task
    if not getattr(task, "is_cross_validation", False):
        return
    counts = Counter(task.dataset["test"][task.label_column_name])
    small = [f"'{label}' ({count})" for label, count in counts.items() if count < _MIN_ROWS_OF_A_CLASS]
    if small or len(counts) < 2:
        found = f"too few of {', '.join(small[:5])}" if small else "a single class"
        raise UserError(
            f"--custom {data.folder.files[0]}: found {found}; without a file 'train' beside 'test' in a folder "
            f"the rows are split into folds, which takes two classes and at least {_MIN_ROWS_OF_A_CLASS} rows of each"
        )


def _task(name: str, kind: CustomType, *, revision: str, cross_validates: bool) -> AbsTask:
    from mteb.abstasks.task_metadata import TaskMetadata

    base, type_, category, main_score = _kinds()[kind]
    metadata = TaskMetadata(
        name=name,
        description="Data of one's own.",
        dataset={"path": f"local/{name}", "revision": revision},
        type=type_,
        category=category,
        eval_splits=["test"],
        eval_langs=["und-Zyyy"],
        main_score=main_score,
    )
    attributes: dict[str, Any] = {"metadata": metadata, **_ATTRIBUTES.get(kind, {})}
    if cross_validates:
        attributes |= {"is_cross_validation": True, "train_split": "test"}
    made: AbsTask = type(f"Custom{type_}", (base,), attributes)()
    return made


def _kinds() -> Mapping[str, tuple[Any, Any, Any, str]]:
    from mteb import abstasks
    from mteb.abstasks.multilabel_classification import AbsTaskMultilabelClassification
    from mteb.abstasks.regression import AbsTaskRegression
    from mteb.abstasks.text.bitext_mining import AbsTaskBitextMining
    from mteb.abstasks.text.summarization import AbsTaskSummarization

    return {
        "sts": (abstasks.AbsTaskSTS, "STS", "t2t", "cosine_spearman"),
        "pair-classification": (abstasks.AbsTaskPairClassification, "PairClassification", "t2t", "max_ap"),
        "classification": (abstasks.AbsTaskClassification, "Classification", "t2c", "accuracy"),
        "multilabel-classification": (AbsTaskMultilabelClassification, "MultilabelClassification", "t2c", "accuracy"),
        "regression": (AbsTaskRegression, "Regression", "t2c", "kendalltau"),
        "clustering": (abstasks.AbsTaskClustering, "Clustering", "t2c", "v_measure"),
        "retrieval": (abstasks.AbsTaskRetrieval, "Retrieval", "t2t", "ndcg_at_10"),
        "reranking": (abstasks.AbsTaskRetrieval, "Reranking", "t2t", "map_at_1000"),
        "bitext-mining": (AbsTaskBitextMining, "BitextMining", "t2t", "f1"),
        "summarization": (AbsTaskSummarization, "Summarization", "t2t", "cosine_spearman"),
    }


_ATTRIBUTES: Mapping[str, Mapping[str, Any]] = {
    "pair-classification": {"label_column_name": "label"},
    "regression": {"label_column_name": "label"},
    # All of the rows, where mteb's own, large tasks take a part.
    "clustering": {
        "input_column_name": "text",
        "label_column_name": "label",
        "max_fraction_of_documents_to_embed": None,
    },
    # A correlation does not depend on the scale.
    "summarization": {"min_score": 0, "max_score": 1},
}
