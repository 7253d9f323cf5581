"""Tiny mirrors for tests: a few rows for a real task of each text type, written as a person would write them."""

import json

import pandas as pd

WORDS = ["apple", "river", "stone", "cloud", "bread", "horse", "table", "green", "paper", "light"]


def sentence(number):
    return " ".join(WORDS[(number * step + step) % len(WORDS)] for step in (1, 3, 7)) + f" {number}"


def pairs(rows=12, offset=0):
    return [sentence(n) for n in range(rows)], [sentence(n + offset + n % 3) for n in range(rows)]


def write(path, columns):
    """A table in the form that the path's ending names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pd.DataFrame(columns).to_parquet(path, index=False)
    elif path.suffix == ".jsonl":
        names = list(columns)
        lines = [
            json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False)
            for row in zip(*columns.values(), strict=True)
        ]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    else:
        separator = {".csv": ",", ".tsv": "\t"}[path.suffix]
        lines = [list(columns), *zip(*columns.values(), strict=True)]
        path.write_text("\n".join(separator.join(map(str, line)) for line in lines) + "\n", encoding="utf-8")
    return path


def sts(folder, *, split="test", ending=".parquet", rows=12, offset=0):
    first, second = pairs(rows, offset)
    scores = [float(n % 6) for n in range(rows)]
    return write(folder / f"{split}{ending}", {"sentence1": first, "sentence2": second, "score": scores})


def pair_classification(folder):
    first, second = pairs()
    return write(folder / "test.csv", {"sentence1": first, "sentence2": second, "labels": [n % 2 for n in range(12)]})


def classification(folder):
    for split, rows in (("train", 24), ("test", 9)):
        texts = [sentence(n + (100 if split == "test" else 0)) for n in range(rows)]
        write(folder / f"{split}.tsv", {"text": texts, "label": [n % 3 for n in range(rows)]})


def clustering(folder, rows=60):
    columns = {"sentences": [sentence(n) for n in range(rows)], "labels": [f"topic {n % 3}" for n in range(rows)]}
    return write(folder / "test.parquet", columns)


def legacy_clustering(folder):
    sets = [[sentence(n + start) for n in range(8)] for start in (0, 50)]
    return write(folder / "test.jsonl", {"sentences": sets, "labels": [[n % 2 for n in range(8)]] * 2})


def retrieval(folder, *, ranked=False):
    documents = {f"d{n}": sentence(n) for n in range(10)}
    titles = ["title"] * 5 + [""] * 5
    write(folder / "corpus.jsonl", {"_id": list(documents), "title": titles, "text": list(documents.values())})
    write(folder / "queries.jsonl", {"_id": ["q1", "q2", "unused"], "text": [sentence(1), sentence(4), sentence(9)]})
    qrels = {"query-id": ["q1", "q1", "q2"], "corpus-id": ["d1", "d2", "d4"], "score": [1, 0, 2]}
    write(folder / "qrels" / "test.tsv", qrels)
    if ranked:
        candidates = {"query-id": ["q1", "q2"], "corpus-ids": [["d1", "d2", "d3"], ["d4", "d5"]]}
        write(folder / "top_ranked.parquet", candidates)


def multilabel(folder):
    for split, rows in (("train", 40), ("test", 20)):
        labels = [[n % 3, 3] if n % 2 else [n % 3] for n in range(rows)]
        write(folder / f"{split}.parquet", {"text": [sentence(n) for n in range(rows)], "label": labels})


def regression(folder):
    for split, rows in (("train", 30), ("test", 12)):
        columns = {"text": [sentence(n) for n in range(rows)], "value": [n % 7 for n in range(rows)]}
        write(folder / f"{split}.csv", columns)


def instructed(folder):
    """Each query in one of three levels of instruction."""
    retrieval(folder)
    queries = [f"q{n}-v{n}" for n in (1, 2, 3)]
    texts = {"_id": queries, "text": [sentence(n) for n in range(3)], "instruction": ["all of it"] * 3}
    write(folder / "queries.jsonl", texts)
    qrels = {"query-id": queries, "corpus-id": ["d0", "d1", "d2"], "score": [1, 1, 1]}
    write(folder / "qrels" / "test.tsv", qrels)


def instructions(folder):
    """Each query twice, the second with a changed instruction that makes a document irrelevant."""
    retrieval(folder)
    queries = [f"q{n}-{version}" for n in (1, 2) for version in ("og", "changed")]
    told = ["all of it", "nothing about rivers"] * 2
    texts = [sentence(1)] * 2 + [sentence(4)] * 2
    write(folder / "queries.jsonl", {"_id": queries, "text": texts, "instruction": told})
    documents = ["d1", "d2", "d1", "d2", "d4", "d5", "d4", "d5"]
    judged = [query for query in queries for _ in range(2)]
    qrels = {"query-id": judged, "corpus-id": documents, "score": [1, 1, 1, 0, 1, 1, 0, 1]}
    write(folder / "qrels" / "test.tsv", qrels)
    candidates = {"query-id": queries, "corpus-ids": [["d1", "d2", "d3", "d4", "d5"]] * 4}
    write(folder / "top_ranked.parquet", candidates)
    write(folder / "qrel_diff.jsonl", {"query-id": ["q1", "q2"], "corpus-ids": [["d2"], ["d4"]]})


def bitext(folder):
    first, second = pairs(8)
    return write(folder / "test.tsv", {"sentence1": first, "sentence2": second})


def summaries(folder):
    columns = {
        "text": [sentence(n) for n in range(3)],
        "human_summaries": [[sentence(n), sentence(n + 1)] for n in range(3)],
        "machine_summaries": [[sentence(n + k) for k in range(4)] for n in range(3)],
        "relevance": [[5.0, 3.5, 2.0, 1.0], [4.0, 3.0, 2.5, 1.0], [5, 4, 3, 1]],
    }
    return write(folder / "test.parquet", columns)
