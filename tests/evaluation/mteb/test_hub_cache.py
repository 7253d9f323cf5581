"""A hub cache as it lies on disk stands for a mirror: snapshots, links to blobs, cards, several revisions."""

import json
import os

import mteb
import pandas as pd
import pytest
import tiny_mirror as tiny

from embedtrain.cli import main
from embedtrain.errors import UserError
from embedtrain.evaluation.mteb.hub_cache import open_data_root
from embedtrain.evaluation.mteb.selecting import select
from embedtrain.evaluation.mteb.task_data import fill

OTHER = "f" * 40


def revision_of(task):
    return mteb.get_task(task).metadata.dataset["revision"]


def card(*configs):
    """A data set's card: (configuration, {split: pattern}) for each."""
    lines = ["---", "license: mit", "configs:"]
    for name, splits in configs:
        lines += [f"- config_name: {name}", "  data_files:"]
        lines += [line for split, path in splits.items() for line in (f"  - split: {split}", f"    path: {path}")]
    return "\n".join([*lines, "---", "# A data set", ""]).encode()


def parquet(columns, tmp_path):
    path = tiny.write(tmp_path / "one.parquet", columns)
    return path.read_bytes()


def json_lines(columns, tmp_path):
    return tiny.write(tmp_path / "one.jsonl", columns).read_bytes()


def scored(rows=12, offset=0):
    first, second = tiny.pairs(rows, offset)
    return {"sentence1": first, "sentence2": second, "score": [float(n % 6) for n in range(rows)]}


def snapshot(hub, task, files, *, revision=None, main_is=None):
    """Files as the hub's client keeps them: blobs, a folder of links to them for each revision, refs."""
    repository = hub / ("datasets--" + mteb.get_task(task).metadata.dataset["path"].replace("/", "--"))
    revision = revision or revision_of(task)
    for name, content in files.items():
        blob = repository / "blobs" / f"{abs(hash((name, content))):x}"
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        link = repository / "snapshots" / revision / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs" / "main").write_text(main_is or revision)
    return repository / "snapshots" / revision


def sts(hub, tmp_path, **named):
    return snapshot(hub, "STSBenchmark", {"data/test-00000-of-00001.parquet": parquet(scored(), tmp_path)}, **named)


def retrieval_files(tmp_path):
    return {
        "README.md": card(
            ("corpus", {"corpus": "corpus.jsonl"}),
            ("default", {"test": "qrels/test.jsonl", "train": "qrels/train.jsonl"}),
            ("queries", {"queries": "queries.jsonl"}),
        ),
        "corpus.jsonl": json_lines({"_id": ["d1", "d2"], "title": ["t", ""], "text": ["apple", "密码重置"]}, tmp_path),
        "queries.jsonl": json_lines({"_id": ["q1", "q2"], "text": ["apple?", "unused"]}, tmp_path),
        "qrels/test.jsonl": json_lines({"query-id": ["q1"], "corpus-id": ["d1"], "score": [1]}, tmp_path),
    }


def held(root, tmp_path, *tasks):
    return {data.name: data for data in select(list(tasks), open_data_root(root, copies=tmp_path / "copies")).data}


@pytest.mark.parametrize("given", ["", "hub", "hub/datasets--mteb--stsbenchmark-sts"])
def test_the_cache_its_hub_and_one_data_set(tmp_path, given):
    path = sts(tmp_path / "cache" / "hub", tmp_path)
    data = held(tmp_path / "cache" / given, tmp_path)["STSBenchmark"]
    assert data.folder.origin == f"snapshot {path}, the task's revision"
    fill(data)
    assert data.task.dataset["test"]["sentence1"][:] == tiny.pairs()[0]


def test_retrieval_without_all_of_its_files(tmp_path):
    """The card names judgements of a split that was not fetched, and one query has none."""
    snapshot(tmp_path / "hub", "SciFact", retrieval_files(tmp_path))
    data = held(tmp_path / "hub", tmp_path, "SciFact")["SciFact"]
    fill(data)
    split = data.task.dataset["default"]["test"]
    assert split["relevant_docs"] == {"q1": {"d1": 1}}
    assert split["corpus"]["text"][:] == ["apple", "密码重置"]
    assert split["corpus"]["title"][:] == ["t", ""]


def test_the_subsets_that_were_fetched(tmp_path):
    name = "STSBenchmarkMultilingualSTS"
    described = [(subset, {"test": f"{subset}/test-*", "dev": f"{subset}/dev-*"}) for subset in ("en", "zh")]
    rows = scored()
    rows["similarity_score"] = rows.pop("score")
    files = {"README.md": card(*described), "zh/test-00000-of-00001.parquet": parquet(rows, tmp_path)}
    snapshot(tmp_path / "hub", name, files)
    data = held(tmp_path / "hub", tmp_path, name)[name]
    assert data.parts == (("test", "zh"),)
    assert data.coverage.startswith("1 of 20 splits and subsets: zh test")


def test_what_mteb_does_after_loading_is_done(tmp_path):
    """This task renames the hub's columns and makes numbers of its classes."""
    name = "RUParaPhraserSTS"
    first, second = tiny.pairs()
    rows = {"text_1": first, "text_2": second, "class": [str(n % 3 - 1) for n in range(12)]}
    snapshot(tmp_path / "hub", name, {"test.jsonl": json_lines(rows, tmp_path)})
    data = held(tmp_path / "hub", tmp_path, name)[name]
    fill(data)
    assert data.task.dataset["test"]["sentence2"][:] == second
    assert data.task.dataset["test"]["score"][:3] == [-1.0, 0.0, 1.0]


def test_a_snapshot_with_other_columns(tmp_path):
    rows = {"first": ["a"], "second": ["b"], "score": [1.0]}
    snapshot(tmp_path / "hub", "STSBenchmark", {"test.parquet": parquet(rows, tmp_path)})
    with pytest.raises(UserError, match=r"task STSBenchmark: .*sentence1, sentence2.*found first, second, score"):
        held(tmp_path / "hub", tmp_path, "STSBenchmark")


def test_another_revision_is_used_and_told(tmp_path):
    path = sts(tmp_path / "hub", tmp_path, revision=OTHER)
    data = held(tmp_path / "hub", tmp_path, "STSBenchmark")["STSBenchmark"]
    wanted = revision_of("STSBenchmark")
    assert data.folder.origin == f"snapshot {path}; the task asks for revision {wanted}, which is not in the cache"


def test_the_task_s_own_revision_comes_first_then_main(tmp_path):
    sts(tmp_path / "hub", tmp_path, revision=OTHER)
    sts(tmp_path / "hub", tmp_path, main_is=OTHER)
    cache = open_data_root(tmp_path / "hub", copies=tmp_path / "copies")
    dataset = mteb.get_task("STSBenchmark").metadata.dataset
    assert cache.snapshot(dataset).revision == revision_of("STSBenchmark")
    assert cache.snapshot({**dataset, "revision": "0" * 40}).revision == OTHER


def test_versions_of_a_task_by_revision(tmp_path):
    """Two tasks are made of one data set in two revisions: the one whose revision is there is taken."""
    files = {
        f"{split}.jsonl": json_lines({"text": [tiny.sentence(n) for n in range(6)], "label": [0, 1] * 3}, tmp_path)
        for split in ("train", "test")
    }
    snapshot(tmp_path / "hub", "Banking77Classification.v2", files)
    assert list(held(tmp_path / "hub", tmp_path)) == ["Banking77Classification.v2"]


def test_a_missing_data_set_names_the_folders(tmp_path):
    sts(tmp_path / "hub", tmp_path)
    (tmp_path / "hub" / "datasets--mteb--scifact" / "snapshots" / OTHER).mkdir(parents=True)  # a cut-off download
    with pytest.raises(UserError) as caught:
        held(tmp_path / "hub", tmp_path, "STSBenchmark", "SciFact", "STS12")
    said = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 2
    assert f"hub/datasets--mteb--scifact/snapshots/{revision_of('SciFact')}" in said
    assert f"hub/datasets--mteb--sts12-sts/snapshots/{revision_of('STS12')}" in said
    assert "the cache holds 1 data set" in said


def test_a_snapshot_that_mteb_cannot_load(tmp_path, caplog):
    sts(tmp_path / "hub", tmp_path)
    path = snapshot(tmp_path / "hub", "STS12", {"README.md": b"nothing here"})
    with pytest.raises(UserError, match=r"task STS12: its data cannot be loaded.*snapshots"):
        held(tmp_path / "hub", tmp_path, "STS12")
    # Nobody asked for it: the others are measured.
    assert path.is_dir()
    assert list(held(tmp_path / "hub", tmp_path)) == ["STSBenchmark"]


def test_a_cache_without_any_task(tmp_path):
    (tmp_path / "hub" / "datasets--my--own" / "snapshots" / OTHER).mkdir(parents=True)
    with pytest.raises(UserError, match="no data set in this hub cache is one of mteb's tasks"):
        held(tmp_path / "hub", tmp_path)


def test_folders_of_tasks_beside_data_sets(tmp_path):
    sts(tmp_path / "hub", tmp_path)
    tiny.sts(tmp_path / "hub" / "STS12")
    assert sorted(held(tmp_path / "hub", tmp_path)) == ["STS12", "STSBenchmark"]


def test_the_command_reads_once_and_again_after_a_change(tmp_path, tiny_model, capsys):
    hub = tmp_path / "cache" / "hub"
    sts(hub, tmp_path, revision=OTHER)
    words = ["evaluate", "mteb", "--model", str(tiny_model), "--data-root", str(tmp_path / "cache")]
    words += ["--output", str(tmp_path / "run"), "--device", "cpu"]
    assert main(words) == 0
    said = capsys.readouterr()
    assert "STSBenchmark: reading snapshot" in said.err
    assert f"the task asks for revision {revision_of('STSBenchmark')}" in said.out
    (task,) = json.loads((tmp_path / "run" / "metrics.json").read_text())["tasks"]
    assert OTHER in task["origin"]
    before = task["scores"]
    assert main(words) == 0
    said = capsys.readouterr()
    assert "reading snapshot" not in said.err
    assert "1 of 1 tasks are done already" in said.err
    sts(hub, tmp_path)
    table = pd.DataFrame(scored(offset=2))
    (hub / "datasets--mteb--stsbenchmark-sts" / "snapshots" / revision_of("STSBenchmark") / "data").joinpath(
        "test-00000-of-00001.parquet"
    ).unlink()
    snapshot(hub, "STSBenchmark", {"data/test-00000-of-00001.parquet": parquet(table.to_dict("list"), tmp_path)})
    assert main(words) == 0
    (task,) = json.loads((tmp_path / "run" / "metrics.json").read_text())["tasks"]
    assert task["origin"].endswith("the task's revision")
    assert task["scores"] != before
