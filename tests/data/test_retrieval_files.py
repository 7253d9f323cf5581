"""Retrieval tests in BEIR's layout: what is read, and what is said of files that do not fit."""

import json
import re

import pandas as pd
import pytest

from embedtrain.data.retrieval import read_retrieval_set
from embedtrain.errors import UserError

CORPUS = [
    {"_id": "d1", "title": "Passwords", "text": "How to reset one. "},
    {"_id": "d2", "title": "", "text": "No title here. "},
]
QUERIES = [{"_id": "q1", "text": "reset"}, {"_id": "q2", "text": "unjudged", "split": "train"}]
QRELS = "query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td2\t0\n"


def write(folder, *, corpus=CORPUS, queries=QUERIES, qrels=QRELS, qrels_name="qrels/test.tsv"):
    (folder / "qrels").mkdir(exist_ok=True)
    for name, rows in (("corpus", corpus), ("queries", queries)):
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    (folder / qrels_name).write_text(qrels, encoding="utf-8")
    return folder


@pytest.mark.parametrize("qrels_name", ["qrels/test.tsv", "qrels_test.tsv"])
def test_a_folder_is_read_with_titles_before_texts(tmp_path, qrels_name):
    found = read_retrieval_set(write(tmp_path, qrels_name=qrels_name))
    assert found.corpus == {"d1": "Passwords How to reset one.", "d2": "No title here. "}
    assert found.queries == {"q1": "reset", "q2": "unjudged"}
    assert found.qrels.values.tolist() == [["q1", "d1", 1], ["q1", "d2", 0]]
    assert found.qrels["score"].dtype == "int64"


def test_ids_may_be_numbers_and_titles_may_be_missing_altogether(tmp_path):
    corpus = [{"_id": 7, "text": "seven"}, {"_id": "007", "text": "agent"}]
    found = read_retrieval_set(write(tmp_path, corpus=corpus, qrels="query-id\tcorpus-id\tscore\nq1\t7\t2\n"))
    assert found.corpus == {"7": "seven", "007": "agent"}
    assert found.qrels["corpus-id"].tolist() == ["7"]


def test_parquet_with_the_hub_s_names_is_read_alike(tmp_path):
    plain = read_retrieval_set(write(tmp_path))
    other = tmp_path / "parquet"
    (other / "qrels").mkdir(parents=True)
    pd.DataFrame(CORPUS).rename(columns={"_id": "id"}).to_parquet(other / "corpus.parquet")
    pd.DataFrame(QUERIES).rename(columns={"_id": "id"}).to_parquet(other / "queries.parquet")
    plain.qrels.astype({"score": "float64"}).to_parquet(other / "qrels" / "dev.parquet")
    found = read_retrieval_set(other, split="dev")
    assert (found.corpus, found.queries) == (plain.corpus, plain.queries)
    assert found.qrels.values.tolist() == plain.qrels.values.tolist()


def problems_of(folder, **options):
    with pytest.raises(UserError) as refused:
        read_retrieval_set(folder, **options)
    return list(refused.value.problems)


def test_everything_that_is_missing_is_named_at_once(tmp_path):
    assert "no such folder" in problems_of(tmp_path / "nowhere")[0]
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text(QRELS, encoding="utf-8")
    corpus, queries, qrels = problems_of(tmp_path, split="dev")
    assert "there is no corpus{.jsonl,.parquet,.tsv,.csv,.json}; found qrels/test.tsv" in corpus
    assert "there is no queries{" in queries
    assert "there is no qrels/dev{.jsonl,.parquet,.tsv,.csv,.json} or qrels_dev{" in qrels


def test_two_files_of_one_table_are_refused(tmp_path):
    write(tmp_path)
    (tmp_path / "qrels_test.tsv").write_text(QRELS, encoding="utf-8")
    assert "found qrels/test.tsv and qrels_test.tsv" in problems_of(tmp_path)[0]


@pytest.mark.parametrize(
    ("files", "messages"),
    [
        ({"corpus": [*CORPUS, {"_id": "d1", "title": "", "text": "again"}]}, ["'d1' in row 3"]),
        ({"corpus": [{"_id": None, "text": "a"}]}, ["'_id' must be an id"]),
        ({"queries": [{"_id": "q1", "text": 5}]}, ["'text' must hold text, found row 1 5"]),
        ({"queries": [{"name": "q1", "text": "a"}]}, ["there is no column '_id'"]),
        ({"qrels": QRELS + "q1\td2\t0.5\nq1\td1\tyes\n"}, ["whole number.*row 4 '0.5', row 5 'yes'"]),
        ({"qrels": QRELS + "q1\td9\t1\nq8\td1\t1\n"}, ["1 queries are judged .* q8", "1 documents are judged .* d9"]),
        ({"qrels": "query-id\tcorpus-id\nq1\td1\n", "corpus": [{"text": "a"}]}, ["'_id'", "no column 'score'"]),
    ],
)
def test_mistakes_name_their_file_and_rows(tmp_path, files, messages):
    problems = problems_of(write(tmp_path, **files))
    assert len(problems) == len(messages)
    for problem, message in zip(problems, messages, strict=True):
        assert str(tmp_path) in problem
        assert re.search(message, problem), problem
