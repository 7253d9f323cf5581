"""Data that is read without a mistake and that mteb could not score is told by file and column before anything runs."""

import mteb
import pandas as pd
import pytest
import tiny_mirror as tiny

from embedtrain.cli import main
from embedtrain.errors import UserError
from embedtrain.evaluation.mteb.checking import check_data
from embedtrain.evaluation.mteb.mirror import Mirror
from embedtrain.evaluation.mteb.task_data import find_data


def told(root, name):
    with pytest.raises(UserError) as caught:
        check_data(find_data(mteb.get_task(name), Mirror.at(root).folder(name)), notes=None)
    return "\n".join(caught.value.problems)


def renamed(folder, ids):
    """The queries of a task under other ids."""
    for path in (folder / "queries.jsonl", folder / "qrels" / "test.tsv", folder / "top_ranked.parquet"):
        if path.is_file():
            read = {".jsonl": lambda p: pd.read_json(p, lines=True), ".parquet": pd.read_parquet}.get(
                path.suffix, lambda p: pd.read_csv(p, sep="\t")
            )
            table = read(path)
            column = "_id" if "_id" in table else "query-id"
            values = {name: list(table[name]) for name in table.columns}
            tiny.write(path, {**values, column: [ids(str(one)) for one in values[column]]})


def test_levels_of_instructions(tmp_path):
    tiny.instructed(tmp_path / "IFIRAila")
    renamed(tmp_path / "IFIRAila", lambda one: one.replace("-v3", ""))
    said = told(tmp_path, "IFIRAila")
    assert "qrels/test.tsv: 'query-id' must say the level of the instruction" in said
    assert "found none with v3, but q1-v1, q2-v2, q3" in said


def test_pairs_of_instructions(tmp_path):
    tiny.instructions(tmp_path / "Core17InstructionRetrieval")
    renamed(tmp_path / "Core17InstructionRetrieval", lambda one: one.replace("-changed", "b"))
    said = told(tmp_path, "Core17InstructionRetrieval")
    assert "qrels/test.tsv: 'query-id' must come in pairs" in said
    assert "such as q7-og and q7-changed: found q1-og, q1b, q2-og and 1 more" in said


def test_pairs_of_negation(tmp_path):
    tiny.retrieval(tmp_path / "NevIR", ranked=True)
    said = told(tmp_path, "NevIR")
    assert (
        "qrels/test.tsv: 'query-id' must come in pairs, such as 7_q1 and 7_q2: q1_q1, q1_q2, q2_q1 and 1 more" in said
    )


def test_a_single_row(tmp_path):
    tiny.sts(tmp_path / "STSBenchmark", rows=1)
    assert "STSBenchmark/test.parquet: 1 row, expected at least 2" in told(tmp_path, "STSBenchmark")
    columns = {"sentence1": ["a"], "sentence2": ["b"], "labels": [1]}
    tiny.write(tmp_path / "TwitterURLCorpus" / "test.csv", columns)
    assert "TwitterURLCorpus/test.csv: 1 row" in told(tmp_path, "TwitterURLCorpus")


def test_a_classifier_with_nothing_to_tell_apart(tmp_path):
    folder = tmp_path / "Banking77Classification"
    tiny.classification(folder)
    tiny.write(folder / "train.tsv", {"text": [tiny.sentence(n) for n in range(9)], "label": [3] * 9})
    said = told(tmp_path, "Banking77Classification")
    assert "Banking77Classification/train.tsv: 'label' is 3 in every row, expected two classes at least" in said


def test_what_nobody_thought_of_is_told_without_a_traceback(tiny_model, tmp_path, capsys):
    folder = tmp_path / "mirror" / "EmitClassification"
    tiny.multilabel(folder)
    # Fewer rows than its classifier wants neighbours.
    columns = {"text": [tiny.sentence(n) for n in range(3)], "label": [[n] for n in range(3)]}
    tiny.write(folder / "train.parquet", columns)
    words = ["evaluate", "mteb", "--model", str(tiny_model), "--data-root", str(tmp_path / "mirror"), "--device", "cpu"]
    assert main([*words, "--output", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert "task EmitClassification: mteb cannot score the data in" in said
    assert "(test.parquet, train.parquet): ValueError" in said
