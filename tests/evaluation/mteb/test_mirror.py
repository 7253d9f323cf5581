"""What a mirror may look like, and what people are told when its files are wrong."""

import mteb
import pytest
import tiny_mirror as tiny

from embedtrain.errors import UserError
from embedtrain.evaluation.mteb.mirror import Mirror
from embedtrain.evaluation.mteb.selecting import select
from embedtrain.evaluation.mteb.task_data import fill, find_data


def data_of(root, name, **named):
    return find_data(mteb.get_task(name, **named), Mirror.at(root).folder(name))


def told(root, name):
    with pytest.raises(UserError) as caught:
        fill(data_of(root, name))
    return "\n".join(caught.value.problems)


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".tsv", ".jsonl"])
def test_the_same_table_in_every_form(tmp_path, ending):
    tiny.sts(tmp_path / "STSBenchmark", ending=ending)
    data = data_of(tmp_path, "STSBenchmark")
    fill(data)
    table = data.task.dataset["test"]
    first, second = tiny.pairs()
    assert table["sentence1"][:] == first
    assert table["sentence2"][:] == second
    assert table["score"][:] == [float(n % 6) for n in range(12)]


@pytest.mark.parametrize("ending", [".tsv", ".parquet", ".jsonl"])
def test_no_character_is_lost(tmp_path, ending):
    """White space at either end, two spaces, a hard space and quotation marks: statistics count them all."""
    texts = [
        " Where?",
        "here. ",
        "two  spaces",
        "hard\u00a0space",
        'said "pending"',
        "“好”\u3000。",
        '"whole"',
        "it's 1£…",
    ]
    columns = {"text": texts * 3, "label": list(range(len(texts))) * 3}
    for split in ("train", "test"):
        tiny.write(tmp_path / "Banking77Classification" / f"{split}{ending}", columns)
    data = find_data(mteb.get_task("Banking77Classification"), Mirror.at(tmp_path).folder("Banking77Classification"))
    fill(data)
    assert list(data.task.dataset["test"]["text"]) == columns["text"]


def test_a_folder_for_the_only_subset_is_fine(tmp_path):
    tiny.sts(tmp_path / "STSBenchmark" / "default")
    assert data_of(tmp_path, "STSBenchmark").parts == (("test", "default"),)


def test_retrieval_tables(tmp_path):
    tiny.retrieval(tmp_path / "SciFact")
    data = data_of(tmp_path, "SciFact")
    fill(data)
    split = data.task.dataset["default"]["test"]
    assert split["queries"]["id"][:] == ["q1", "q2"]  # the third is not judged
    assert split["relevant_docs"] == {"q1": {"d1": 1, "d2": 0}, "q2": {"d4": 2}}
    assert split["corpus"]["title"][4:6] == ["title", ""]
    assert split["top_ranked"] is None


def test_ids_keep_their_zeros(tmp_path):
    folder = tmp_path / "SciFact"
    tiny.write(folder / "corpus.tsv", {"id": ["007", "08"], "text": ["a", "b"]})
    tiny.write(folder / "queries.tsv", {"id": ["01"], "text": ["c"]})
    tiny.write(folder / "qrels_test.tsv", {"query-id": ["01"], "corpus-id": ["007"], "score": [1]})
    data = data_of(tmp_path, "SciFact")
    fill(data)
    assert data.task.dataset["default"]["test"]["relevant_docs"] == {"01": {"007": 1}}


def test_corpus_of_each_split_and_subset(tmp_path):
    folder = tmp_path / "SciFact"
    tiny.retrieval(folder)
    tiny.write(folder / "corpus" / "test.jsonl", {"id": ["d1", "d2", "d4"], "text": ["own"] * 3})
    data = data_of(tmp_path, "SciFact")
    fill(data)
    assert data.task.dataset["default"]["test"]["corpus"]["text"][:] == ["own"] * 3


def test_a_missing_task_says_what_was_looked_for(tmp_path):
    tiny.sts(tmp_path / "STSBenchmark")
    with pytest.raises(UserError) as caught:
        select(["STSBenchmark", "SciFact", "STS12"], Mirror.at(tmp_path))
    said = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 2
    for expected in ("SciFact/corpus.{parquet,csv,tsv,jsonl,json}", "SciFact/qrels/test.{", "STS12/test.{parquet,"):
        assert expected in said
    assert "there is no such folder" in said


def test_a_missing_subset_is_named(tmp_path):
    name = "STSBenchmarkMultilingualSTS"
    tiny.sts(tmp_path / name / "en")
    with pytest.raises(UserError, match=r"zh/dev\.\{parquet.*found en/test\.parquet"):
        data_of(tmp_path, name, hf_subsets=["zh"])


def test_missing_training_split_is_named(tmp_path):
    tiny.classification(tmp_path / "Banking77Classification")
    (tmp_path / "Banking77Classification" / "train.tsv").unlink()
    said = told(tmp_path, "Banking77Classification")
    assert "learns from the split 'train'" in said
    assert "Banking77Classification/train.{parquet" in said


def test_unknown_names_get_the_nearest(tmp_path):
    tiny.sts(tmp_path / "STSBenchmark")
    with pytest.raises(UserError) as caught:
        select(["STSBenchmerk", "MTEB(eng, v9)"], Mirror.at(tmp_path))
    said = "\n".join(caught.value.problems)
    assert "did you mean 'STSBenchmark'" in said
    assert "did you mean 'MTEB(eng, v" in said


def test_coverage_of_a_benchmark(tmp_path):
    tiny.clustering(tmp_path / "TwentyNewsgroupsClustering.v2")
    tiny.sts(tmp_path / "STSBenchmark")
    tiny.retrieval(tmp_path / "SciFact")  # in another version of the benchmark
    selection = select(["MTEB(eng, v2)"], Mirror.at(tmp_path))
    (coverage,) = selection.coverage
    assert str(coverage) == "MTEB(eng, v2): 2 of 41 tasks in this mirror"
    assert sorted(data.name for data in selection.data) == ["STSBenchmark", "TwentyNewsgroupsClustering.v2"]


def test_a_benchmark_without_any_task(tmp_path):
    tiny.sts(tmp_path / "STSBenchmarkMultilingualSTS" / "zh")
    with pytest.raises(UserError, match="none of its 41 tasks is in"):
        select(["MTEB(eng, v2)"], Mirror.at(tmp_path))


def test_all_that_the_mirror_holds(tmp_path, caplog):
    tiny.sts(tmp_path / "STSBenchmark")
    tiny.sts(tmp_path / "STSBenchmork")
    with caplog.at_level("WARNING", logger="embedtrain"):
        selection = select([], Mirror.at(tmp_path))
    assert [data.name for data in selection.data] == ["STSBenchmark"]
    assert "STSBenchmork; did you mean 'STSBenchmark'?" in caplog.text


def test_an_aggregate_is_its_parts(tmp_path):
    tiny.retrieval(tmp_path / "CQADupstackGamingRetrieval")
    with pytest.raises(UserError) as caught:
        select(["CQADupstackRetrieval"], Mirror.at(tmp_path))
    assert len(caught.value.problems) == 11
    assert all("CQADupstackGaming" not in problem for problem in caught.value.problems)


WRONG = [
    ({"sentence1": ["a"], "sentence": ["b"], "score": [1]}, ["sentence2", "did you mean"]),
    ({"sentence1": ["a", "c"], "sentence2": ["b", "d"], "score": [1, "high"]}, ["'score' must be a number", "'high'"]),
    ({"sentence1": ["a"], "sentence2": ["b"], "score": ["nan"]}, ["'score' must be a number"]),
    ({"sentence1": [], "sentence2": [], "score": []}, ["no rows"]),
]


@pytest.mark.parametrize("ending", [".tsv", ".jsonl"])
@pytest.mark.parametrize(("columns", "expected"), WRONG)
def test_wrong_tables(tmp_path, columns, expected, ending):
    path = tiny.write(tmp_path / "STSBenchmark" / f"test{ending}", columns)
    said = told(tmp_path, "STSBenchmark")
    assert str(path) in said
    if ending == ".tsv" or columns["score"]:
        assert all(part in said for part in expected)


def test_labels_as_text_where_numbers_belong(tmp_path):
    columns = {"sentence1": ["a", "b"], "sentence2": ["c", "d"], "labels": ["yes", "1"]}
    tiny.write(tmp_path / "TwitterURLCorpus" / "test.csv", columns)
    said = told(tmp_path, "TwitterURLCorpus")
    assert "'labels' must be 0 or 1, found row 2 'yes'" in said


def test_lists_in_delimited_files(tmp_path):
    columns = {"sentences": ["['a']"], "labels": ["[1]"]}
    tiny.write(tmp_path / "TwentyNewsgroupsClustering" / "test.tsv", columns)
    assert "write Parquet or JSONL" in told(tmp_path, "TwentyNewsgroupsClustering")


def test_lists_of_unequal_length(tmp_path):
    columns = {"sentences": [["a", "b"], ["c", "d"]], "labels": [[1, 0], [1]]}
    tiny.write(tmp_path / "TwentyNewsgroupsClustering" / "test.jsonl", columns)
    assert "not equally long in row 2" in told(tmp_path, "TwentyNewsgroupsClustering")


def test_qrels_that_name_unknown_documents(tmp_path):
    folder = tmp_path / "SciFact"
    tiny.retrieval(folder)
    columns = {"query-id": ["q1", "q2", "q7"], "corpus-id": ["d1", "d99", "d98"], "score": [1, 1, 1]}
    tiny.write(folder / "qrels" / "test.tsv", columns)
    said = told(tmp_path, "SciFact")
    assert "2 documents are judged but not there: d98, d99" in said
    assert "1 queries are judged but not there: q7" in said


def test_candidates_that_do_not_fit(tmp_path):
    folder = tmp_path / "AskUbuntuDupQuestions"
    tiny.retrieval(folder, ranked=True)
    tiny.write(folder / "top_ranked.parquet", {"query-id": ["q1"], "corpus-ids": [["d1", "d77"]]})
    said = told(tmp_path, "AskUbuntuDupQuestions")
    assert "1 documents are candidates but not there: d77" in said
    assert "1 judged queries have no candidates: q2" in said


def test_two_files_for_one_table(tmp_path):
    tiny.sts(tmp_path / "STSBenchmark")
    tiny.sts(tmp_path / "STSBenchmark", ending=".csv")
    with pytest.raises(UserError, match=r"test\.parquet and test\.csv.*keep one"):
        data_of(tmp_path, "STSBenchmark")


def test_no_mirror(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        Mirror.at(tmp_path / "nothing")
    with pytest.raises(UserError, match="no folder in it is called"):
        select([], Mirror.at(tmp_path))


def test_the_fingerprint_follows_the_content(tmp_path):
    folder = Mirror.at(tmp_path).folder("STSBenchmark")
    tiny.sts(tmp_path / "STSBenchmark")
    before = folder.fingerprint
    tiny.sts(tmp_path / "STSBenchmark")
    assert folder.fingerprint == before
    tiny.sts(tmp_path / "STSBenchmark", offset=1)
    assert folder.fingerprint != before


def test_tasks_of_instructions_need_what_changes(tmp_path):
    name = "Core17InstructionRetrieval"
    tiny.instructions(tmp_path / name)
    (tmp_path / name / "qrel_diff.jsonl").unlink()
    said = told(tmp_path, name)
    assert "there is no qrel_diff" in said
    assert f"{name}/qrel_diff.{{parquet" in said


@pytest.mark.parametrize("ending", [".parquet", ".jsonl"])
def test_an_empty_split(tmp_path, ending):
    """A table whose columns are right and that holds no row."""
    columns = {"sentence1": [], "sentence2": [], "score": []}
    path = tiny.write(tmp_path / "STSBenchmark" / f"test{ending}", columns)
    said = told(tmp_path, "STSBenchmark")
    assert str(path) in said
    assert "no rows" in said or "is empty" in said


def test_retrieval_with_empty_tables(tmp_path):
    folder = tmp_path / "SciFact"
    tiny.retrieval(folder)
    (folder / "corpus.jsonl").write_text("")
    tiny.write(folder / "qrels" / "test.tsv", {"query-id": [], "corpus-id": [], "score": []})
    said = told(tmp_path, "SciFact")
    assert f"{folder / 'corpus.jsonl'}" in said
    assert f"{folder / 'qrels' / 'test.tsv'}" in said


def test_wrong_columns_of_each_retrieval_table(tmp_path):
    folder = tmp_path / "SciFact"
    tiny.write(folder / "corpus.jsonl", {"_id": ["d1"], "txt": ["a"]})
    tiny.write(folder / "queries.jsonl", {"query": ["q1"], "text": ["a"]})
    tiny.write(folder / "qrels" / "test.tsv", {"query-id": ["q1"], "corpus": ["d1"], "score": ["high"]})
    said = told(tmp_path, "SciFact")
    for file, column in (("corpus.jsonl", "'text'"), ("queries.jsonl", "id"), ("test.tsv", "'corpus-id'")):
        assert any(file in line and column in line for line in said.splitlines())
