"""A mirror written from what mteb loads gives back the same data, whatever form the task held it in."""

import mteb
import pytest
import tiny_mirror as tiny
from datasets import Dataset, DatasetDict

from embedtrain.errors import UserError
from embedtrain.evaluation.mteb.exporting import export_task, lacks_parts
from embedtrain.evaluation.mteb.mirror import Mirror
from embedtrain.evaluation.mteb.task_data import fill, find_data


def loading(task, dataset):
    """The task, whose loading gives the data set instead of fetching it."""

    def load_data(*_, **__):
        task.dataset, task.data_loaded = dataset, True

    task.load_data = load_data
    return task


def exported(name, dataset, root, **named):
    """The data set of a task after it was exported and read from the mirror."""
    export_task(loading(mteb.get_task(name, **named), dataset), root)
    data = find_data(mteb.get_task(name, **named), Mirror.at(root).folder(name))
    fill(data)
    return data.task.dataset


def test_a_table(tmp_path):
    first, second = tiny.pairs(5)
    columns = {"sentence1": first, "sentence2": second, "score": [1.0, 2.0, 3.5, 4.0, 0.0]}
    dataset = DatasetDict({"test": Dataset.from_dict({**columns, "genre": ["x"] * 5}), "other": Dataset.from_dict({})})
    read = exported("STSBenchmark", dataset, tmp_path)
    assert {name: read["test"][name][:] for name in columns} == columns
    assert sorted(path.name for path in (tmp_path / "STSBenchmark").iterdir()) == ["test.parquet"]


def test_subsets(tmp_path):
    first, second = tiny.pairs(3)
    table = Dataset.from_dict({"sentence1": first, "sentence2": second, "score": [1.0, 2.0, 3.0]})
    dataset = {subset: DatasetDict({"test": table, "dev": table}) for subset in ("de", "zh")}
    read = exported("STSBenchmarkMultilingualSTS", dataset, tmp_path, hf_subsets=["de", "zh"])
    assert set(read) == {"de", "zh"}
    assert set(read["zh"]) == {"dev", "test"}


def test_training_split_comes_along(tmp_path):
    table = Dataset.from_dict({"text": ["a", "b"], "label": [3, 4]})
    read = exported("Banking77Classification", DatasetDict({"train": table, "test": table}), tmp_path)
    assert read["train"]["label"][:] == [3, 4]


def test_pairs_in_the_lists_of_a_single_row(tmp_path):
    row = {"sentence1": [["a", "b"]], "sentence2": [["c", "d"]], "labels": [[0, 1]]}
    read = exported("TwitterURLCorpus", DatasetDict({"test": Dataset.from_dict(row)}), tmp_path)
    assert read["test"]["sentence2"][:] == ["c", "d"]
    assert read["test"]["labels"][:] == [0, 1]


def test_a_single_set_to_cluster_stays_one_row(tmp_path):
    row = {"sentences": [["a", "b"]], "labels": [[0, 1]]}
    read = exported("TwentyNewsgroupsClustering", DatasetDict({"test": Dataset.from_dict(row)}), tmp_path)
    assert read["test"]["sentences"][:] == [["a", "b"]]


def test_reranking(tmp_path):
    split = {
        "corpus": Dataset.from_dict({"id": ["d1", "d2"], "title": ["", "t"], "text": ["a", "b"]}),
        "queries": Dataset.from_dict({"id": ["q"], "text": ["c"], "instruction": ["do"]}),
        "relevant_docs": {"q": {"d1": 1, "d2": 0}},
        "top_ranked": {"q": ["d2", "d1"]},
    }
    read = exported("AskUbuntuDupQuestions", {"default": {"test": split}}, tmp_path)["default"]["test"]
    assert read["relevant_docs"] == split["relevant_docs"]
    assert read["top_ranked"] == split["top_ranked"]
    assert read["corpus"].to_dict() == {"id": ["d1", "d2"], "text": ["a", "b"], "title": ["", "t"]}
    assert read["queries"]["instruction"][:] == ["do"]


def test_nothing_is_left_of_a_task_that_cannot_be_loaded(tmp_path):
    task = mteb.get_task("STSBenchmark")

    def load_data(*_, **__):
        raise ConnectionError("no route to the hub\nand more")

    task.load_data = load_data
    with pytest.raises(UserError, match="task STSBenchmark: its data cannot be loaded: ConnectionError: no route"):
        export_task(task, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_subsets_that_are_there_are_kept_when_others_are_wanted(tmp_path):
    name = "STSBenchmarkMultilingualSTS"
    for split in ("dev", "test"):
        tiny.sts(tmp_path / name / "zh", split=split)
    folder = Mirror.at(tmp_path).folder(name)
    assert not lacks_parts(mteb.get_task(name, hf_subsets=["zh"]), folder)
    task = mteb.get_task(name, hf_subsets=["de"])
    assert lacks_parts(task, folder)
    assert task.hf_subsets == ["de", "zh"]
    assert lacks_parts(mteb.get_task("STSBenchmark"), Mirror.at(tmp_path).folder("STSBenchmark"))
