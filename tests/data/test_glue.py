"""GLUE's tasks from files: both layouts, labels, and everything that can be wrong with them."""

import logging

import pandas as pd
import pytest
from tiny_glue import made_rows, write_hub, write_own

from embedtrain.data.glue import TASKS, find_task, open_glue
from embedtrain.errors import UserError


def read(root, name):
    return open_glue(str(root)).read(TASKS[name])


def same(found, expected):
    assert list(found.columns) == list(expected.columns)
    assert found["label"].tolist() == pytest.approx(expected["label"].tolist())
    texts = list(expected.columns[:-1])
    assert found[texts].to_numpy().tolist() == expected[texts].to_numpy().tolist()


@pytest.mark.parametrize("layout", ["own", "parquet", "jsonl", "csv"])
@pytest.mark.parametrize("name", TASKS)
def test_every_task_is_read_in_every_layout(name, layout, tmp_path):
    if layout == "own":
        written = write_own(tmp_path, tasks=[name])[name]
    else:
        written = write_hub(tmp_path, tasks=[name], ending=layout)[name]
    assert [task.name for task in open_glue(str(tmp_path)).tasks] == [name]
    found = read(tmp_path, name)
    same(found.train, written.pop("train"))
    assert list(found.dev) == list(written)
    for part, rows in found.dev.items():
        same(rows, written[part])
    sizes = " and ".join(["20"] * len(written))
    assert found.note.startswith(f"{name} has {sizes} dev rows in place of")


def test_rows_are_called_by_their_lines(tmp_path):
    write_own(tmp_path, tasks=["CoLA", "RTE"])
    assert read(tmp_path, "CoLA").train.index[:2].tolist() == [1, 2]
    assert read(tmp_path, "RTE").train.index[:2].tolist() == [2, 3]


def test_a_split_of_glue_s_own_size_gets_no_note(tmp_path):
    write_own(tmp_path, tasks=["WNLI"], sizes={"dev": 71})
    assert read(tmp_path, "WNLI").note == ""


def test_a_split_in_several_parts_is_one_table(tmp_path):
    (tmp_path / "cola").mkdir()
    rows = made_rows(TASKS["CoLA"], 60).rename(columns={"sentence1": "sentence"})
    for number, part in enumerate((rows[:25], rows[25:])):
        part.to_parquet(tmp_path / "cola" / f"train-0000{number}-of-00002.parquet", index=False)
    rows.to_parquet(tmp_path / "cola" / "validation.parquet", index=False)
    assert read(tmp_path, "CoLA").train["sentence1"].tolist() == rows["sentence"].tolist()


def msr_lines(rows, first=0):
    lines = ["Quality\t#1 ID\t#2 ID\t#1 String\t#2 String"]
    for number, row in enumerate(rows.itertuples(index=False), start=first):
        lines.append(f"{row.label}\t{number}\t{number + 1000}\t{row.sentence1}\t{row.sentence2}")
    return "\n".join(lines) + "\n"


def test_mrpc_as_it_is_published(tmp_path):
    folder = tmp_path / "MRPC"
    folder.mkdir()
    rows, test = made_rows(TASKS["MRPC"], 50), made_rows(TASKS["MRPC"], 30, seed=1)
    (folder / "msr_paraphrase_train.txt").write_text("\ufeff" + msr_lines(rows), encoding="utf-8")
    with pytest.raises(UserError, match=r"expected dev_ids.tsv .* or msr_paraphrase_test.txt"):
        read(tmp_path, "MRPC")
    (folder / "msr_paraphrase_test.txt").write_text(msr_lines(test, first=500), encoding="utf-8")
    found = read(tmp_path, "MRPC")
    same(found.train, rows)
    same(found.dev["dev"], test)
    assert found.note == "MRPC has its own test rows (msr_paraphrase_test.txt), for want of dev_ids.tsv"
    chosen = range(0, 50, 3)
    (folder / "dev_ids.tsv").write_text("".join(f"{one}\t{one + 1000}\n" for one in chosen))
    found = read(tmp_path, "MRPC")
    same(found.dev["dev"], rows.iloc[list(chosen)])
    same(found.train, rows.drop(index=list(chosen)))


def test_a_few_broken_lines_are_left_out_and_many_are_refused(tmp_path, caplog):
    write_own(tmp_path, tasks=["QQP"], sizes={"train": 200})
    path = tmp_path / "QQP" / "train.tsv"
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole + "201\t1\t2\thalf a line\n", encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        assert len(read(tmp_path, "QQP").train) == 200
    assert "1 row without 6 fields left out: row 202" in caplog.text
    path.write_text(whole + "201\tbroken\n" * 5, encoding="utf-8")
    with pytest.raises(UserError, match="expected 6 fields in every line, found another number in rows 202, 203"):
        read(tmp_path, "QQP")


@pytest.mark.parametrize(
    ("given", "name"), [("cola", "CoLA"), ("SST2", "SST-2"), ("sts_b", "STS-B"), ("STSB", "STS-B"), ("MNLI", "MNLI")]
)
def test_tasks_are_known_however_they_are_written(given, name):
    assert find_task(given).name == name


def test_an_unknown_task_is_answered_with_the_nearest():
    with pytest.raises(UserError, match=r"--tasks QNL: GLUE has no such task; did you mean 'QNLI'\?; it has CoLA, SST"):
        find_task("QNL")


def spoil(path, change):
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")


def test_labels_that_the_task_does_not_have_are_named_with_their_rows(tmp_path):
    write_own(tmp_path, tasks=["CoLA", "STS-B", "MNLI"])
    spoil(tmp_path / "CoLA" / "dev.tsv", lambda text: text.replace("gj04\t1\t", "gj04\t7\t", 1))
    with pytest.raises(
        UserError, match=r"dev.tsv: 'label' must be 0 \(unacceptable\) or 1 \(acceptable\), found row 2 '7'"
    ):
        read(tmp_path, "CoLA")
    spoil(tmp_path / "STS-B" / "train.tsv", lambda text: text.replace("\t5.0\n", "\t5.5\n", 1))
    with pytest.raises(UserError, match=r"train.tsv: 'score' must be a number from 0 to 5, found row 4 '5.5'"):
        read(tmp_path, "STS-B")
    spoil(tmp_path / "MNLI" / "dev_matched.tsv", lambda text: text.replace("\tneutral\n", "\tperhaps\n", 1))
    spoil(tmp_path / "MNLI" / "dev_mismatched.tsv", lambda text: text.replace("\tneutral\n", "\t-\n", 1))
    with pytest.raises(UserError) as raised:
        read(tmp_path, "MNLI")
    assert len(raised.value.problems) == 2
    assert "1 (neutral) or 2 (contradiction), found row 3 'perhaps'" in raised.value.problems[0]


def test_hidden_labels_are_told_apart_from_wrong_ones(tmp_path):
    write_hub(tmp_path, tasks=["RTE"])
    path = tmp_path / "rte" / "validation-00000-of-00001.parquet"
    pd.read_parquet(path).assign(label=-1).to_parquet(path)
    with pytest.raises(UserError, match="every 'label' is -1: GLUE keeps the labels of its test rows"):
        read(tmp_path, "RTE")


def test_wrong_columns_are_told_without_an_option_that_is_not_there(tmp_path):
    write_own(tmp_path, tasks=["QQP"])
    write_hub(tmp_path, tasks=["RTE"])
    spoil(tmp_path / "QQP" / "train.tsv", lambda text: text.replace("is_duplicate", "duplicated", 1))
    path = tmp_path / "rte" / "train-00000-of-00001.parquet"
    pd.read_parquet(path).rename(columns={"sentence2": "sentence_2"}).to_parquet(path)
    with pytest.raises(UserError, match=r"no column 'is_duplicate'; found id, .*; did you mean 'duplicated'") as raised:
        read(tmp_path, "QQP")
    assert "--columns" not in str(raised.value)
    with pytest.raises(UserError, match="no column 'sentence2'; found sentence1, sentence_2"):
        read(tmp_path, "RTE")


def test_missing_files_and_folders_are_told_with_what_was_looked_for(tmp_path):
    write_own(tmp_path, tasks=["MNLI"])
    (tmp_path / "MNLI" / "dev_mismatched.tsv").unlink()
    looked = (
        r"looked for dev_mismatched or validation_mismatched with the ending .tsv, .*; found dev_matched.tsv, train"
    )
    with pytest.raises(UserError, match=looked):
        read(tmp_path, "MNLI")
    with pytest.raises(UserError, match=r"--tasks CoLA: looked for the folder .*CoLA, which is not there"):
        read(tmp_path, "CoLA")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"looked for the folders CoLA, SST-2.*; it is empty"):
        _ = open_glue(str(tmp_path / "empty")).tasks
    with pytest.raises(UserError, match="no such folder; expected one that holds folders such as CoLA"):
        _ = open_glue(str(tmp_path / "nowhere")).tasks


def test_what_could_be_meant_twice_is_refused(tmp_path):
    write_own(tmp_path, tasks=["CoLA"])
    (tmp_path / "CoLA" / "train.csv").write_text("sentence,label\na,1\n")
    with pytest.raises(UserError, match=r"found train.tsv and train.csv, which are read as the same rows"):
        read(tmp_path, "CoLA")
    write_hub(tmp_path / "two", tasks=["SST-2"])
    write_own(tmp_path / "two", tasks=["SST-2"])
    with pytest.raises(UserError, match="the folders SST-2 and sst2 both stand for SST-2"):
        _ = open_glue(str(tmp_path / "two")).tasks


def test_splits_that_say_nothing_are_refused(tmp_path):
    write_own(tmp_path, tasks=["RTE"], sizes={"dev": 9})
    spoil(tmp_path / "RTE" / "train.tsv", lambda text: text.replace("not_entailment", "entailment"))
    with pytest.raises(UserError) as raised:
        read(tmp_path, "RTE")
    assert list(raised.value.problems) == [
        "RTE, train: every row has the same label, expected labels that differ",
        "RTE, dev: 9 rows, expected at least 10",
    ]
    header = (tmp_path / "RTE" / "train.tsv").read_text().splitlines()[0]
    (tmp_path / "RTE" / "dev.tsv").write_text(header + "\n")
    with pytest.raises(UserError, match=r"dev.tsv: the file has a header .* but no rows"):
        read(tmp_path, "RTE")


def test_without_a_network_a_hub_name_says_what_was_looked_for():
    source = open_glue("nyu-mll/glue")
    assert len(source.tasks) == 9
    with pytest.raises(
        UserError, match=r"looked for the folders CoLA, .* in a folder of this name.*a data set of the hub"
    ):
        source.read(TASKS["CoLA"])
