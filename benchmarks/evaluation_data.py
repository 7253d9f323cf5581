"""A mirror of four of mteb's tasks, written from the folder in EMBEDTRAIN_DATA."""

import csv
import json
from pathlib import Path

import pandas as pd

TASKS = ("STSBenchmark", "Banking77Classification", "SciFact", "STSBenchmarkMultilingualSTS")
FOLDERS = ("stsb", "banking77", "scifact")


def write_mirror(data: Path, mirror: Path, *, rows: int | None) -> None:
    """Write the test data of each task, of ``STSBenchmarkMultilingualSTS`` the Chinese part.

    Args:
        data: The folder with the real data.
        mirror: The folder to write, one folder a task.
        rows: About as many pairs, texts and documents of each; None for all.
    """
    _write(mirror / "STSBenchmark" / "test.parquet", _pairs(data / "stsb" / "en_test_with_genre.tsv").head(_all(rows)))
    chinese = _pairs(data / "stsb" / "zh_test.tsv").head(_all(rows))
    _write(mirror / "STSBenchmarkMultilingualSTS" / "zh" / "test.parquet", chinese)
    _write_banking(data / "banking77", mirror / "Banking77Classification", rows)
    _write_scifact(data / "scifact", mirror / "SciFact", rows)


def _write_banking(data: Path, folder: Path, rows: int | None) -> None:
    # mteb's data has the intents numbered in this order.
    order = sorted(json.loads((data / "categories.json").read_text(encoding="utf-8")), key=str.lower)
    numbers = {name: number for number, name in enumerate(order)}
    for split in ("train", "test"):
        table = _table(data / f"{split}.tsv")
        if rows is not None:
            # Classifiers learn from eight texts of each intent.
            table = table.groupby("label").head(8) if split == "train" else table.sample(rows, random_state=0)
        _write(folder / f"{split}.parquet", table.assign(label=table["label"].map(numbers)))


def _write_scifact(data: Path, folder: Path, rows: int | None) -> None:
    corpus, queries = (_lines(data / f"{name}.jsonl") for name in ("corpus", "queries"))
    judged = _table(data / "qrels_test.tsv")
    if rows is not None:
        wanted = judged["query-id"].drop_duplicates().head(rows // 10)
        judged = judged[judged["query-id"].isin(wanted)]
        relevant = corpus["_id"].isin(judged["corpus-id"])
        corpus = pd.concat([corpus[relevant], corpus[~relevant].head(rows)])
    _write(folder / "corpus.parquet", corpus[["_id", "title", "text"]])
    _write(folder / "queries.parquet", queries[["_id", "text"]])
    _write(folder / "qrels" / "test.parquet", judged.assign(score=judged["score"].astype(int)))


def _pairs(file: Path) -> pd.DataFrame:
    table = _table(file)
    return table[["sentence1", "sentence2"]].assign(score=table["score"].astype(float))


def _table(file: Path) -> pd.DataFrame:
    return pd.read_csv(file, sep="\t", quoting=csv.QUOTE_NONE, keep_default_na=False, dtype=str, encoding="utf-8")


def _lines(file: Path) -> pd.DataFrame:
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]
    return pd.DataFrame(rows).assign(_id=[str(row["_id"]) for row in rows])


def _write(file: Path, table: pd.DataFrame) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(file, index=False)


def _all(rows: int | None) -> int:
    return 10**9 if rows is None else rows
