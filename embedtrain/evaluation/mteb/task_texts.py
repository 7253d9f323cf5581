"""The texts that a task judges, for telling which of them a model was trained on."""

from __future__ import annotations

from typing import Any

from embedtrain.evaluation.leakage import Texts
from embedtrain.evaluation.mteb.shapes import shape_of
from embedtrain.evaluation.mteb.task_content import table_of_part
from embedtrain.evaluation.mteb.task_data import LocalData, empty, fill


def task_texts(data: LocalData) -> Texts:
    """Texts and pairs of every split and subset that is judged; of retrieval the queries and what is relevant to them.

    Args:
        data: A task; it is filled and let go of.
    """
    fill(data)
    try:
        return _texts(data)
    finally:
        empty(data)


def _texts(data: LocalData) -> Texts:
    shape, found = shape_of(data.task), Texts()
    dataset: Any = data.task.dataset
    for split, subset in data.parts:
        if shape.is_retrieval:
            _add_retrieval(found, dataset[subset][split])
            continue
        table = dataset[split] if shape.languages_in_columns else table_of_part(data.task, (split, subset))
        single = [column.name for column in shape.columns if column.holds == "text"]
        if shape.languages_in_columns:
            single = subset.split("-")
        if len(single) == 2:
            found.pairs += zip(table[single[0]], table[single[1]], strict=True)
        else:
            for name in single:
                found.texts += table[name]
        for column in shape.columns:
            if column.holds == "texts":
                found.texts += [text for texts in table[column.name] for text in texts]
    return found


def _add_retrieval(found: Texts, part: Any) -> None:
    queries = dict(zip(part["queries"]["id"], part["queries"]["text"], strict=True))
    judged = part["relevant_docs"]
    wanted = {document for documents in judged.values() for document, score in documents.items() if score > 0}
    corpus = zip(part["corpus"]["id"], part["corpus"]["text"], strict=True)
    documents = {name: text for name, text in corpus if name in wanted}
    found.texts += queries.values()
    found.pairs += [
        (queries[query], documents[document])
        for query, scores in judged.items()
        for document, score in scores.items()
        if score > 0 and query in queries and document in documents
    ]
