"""Splits of a retrieval folder, and a part of its corpus that keeps what is relevant."""

import pandas as pd
import pytest

from embedtrain.data.retrieval import RetrievalSet
from embedtrain.data.retrieval_parts import is_retrieval_folder, judged_pairs, judged_part, splits_of


def made(documents=50):
    corpus = {f"d{n}": f"文档 {n}" for n in range(documents)}
    queries = {f"q{n}": f"问题 {n}" for n in range(4)}
    rows = [("q0", "d3", 1), ("q0", "d4", 0), ("q1", "d30", 2), ("q1", "d31", 0), ("q2", "d49", 1)]
    return RetrievalSet(corpus, queries, pd.DataFrame(rows, columns=["query-id", "corpus-id", "score"]))


def test_relevant_documents_stay_then_come_the_judged_ones():
    part = judged_part(made(), most_documents=10, seed=0)
    assert len(part.corpus) == 10
    assert {"d3", "d30", "d49", "d4", "d31"} <= set(part.corpus)
    assert list(part.queries) == ["q0", "q1", "q2"]
    assert len(part.qrels) == 5
    few = judged_part(made(), most_documents=2, seed=0)
    assert set(few.corpus) == {"d3", "d30", "d49"}
    assert few.qrels["score"].tolist() == [1, 2, 1]


def test_a_small_corpus_stays_whole_and_a_seed_draws_the_same():
    assert judged_part(made(), most_documents=50, seed=0).corpus == made().corpus
    drawn = [set(judged_part(made(), most_documents=20, seed=seed).corpus) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    # The order of the files decides nothing.
    found = made()
    turned = RetrievalSet(dict(reversed(found.corpus.items())), found.queries, found.qrels)
    assert set(judged_part(turned, most_documents=20, seed=0).corpus) == drawn[0]


def test_pairs_are_those_that_are_relevant_and_not_empty():
    found = made()
    found.corpus["d49"] = " "
    pairs = judged_pairs(found)
    assert pairs.to_dict("list") == {"anchor": ["问题 0", "问题 1"], "positive": ["文档 3", "文档 30"]}


@pytest.mark.parametrize("names", [["qrels/dev.tsv", "qrels/test.parquet"], ["qrels_test.jsonl", "qrels_dev.csv"]])
def test_splits_are_found_in_both_layouts(tmp_path, names):
    assert splits_of(tmp_path) == []
    assert not is_retrieval_folder(tmp_path)
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert splits_of(tmp_path) == ["dev", "test"]
    assert is_retrieval_folder(tmp_path)
    assert not is_retrieval_folder(tmp_path / "nowhere")
