"""GLUE's nine tasks with a few made-up rows, in the layout of its own download and in that of the hub."""

import numpy as np
import pandas as pd

from embedtrain.data.glue import TASKS

LETTERS = "abcdefghijklmnop"
# What tells the classes apart: whoever finds this word has solved the task.
SIGNS = ("xxx", "yyy", "zzz")
OWN_COLUMNS = {
    "SST-2": ("sentence", "label"),
    "MRPC": ("Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"),
    "STS-B": ("index", "genre", "sentence1", "sentence2", "score"),
    "QQP": ("id", "qid1", "qid2", "question1", "question2", "is_duplicate"),
    "MNLI": ("index", "sentence1_parse", "sentence2_parse", "sentence1", "sentence2", "label1", "gold_label"),
    "QNLI": ("index", "question", "sentence", "label"),
    "RTE": ("index", "sentence1", "sentence2", "label"),
    "WNLI": ("index", "sentence1", "sentence2", "label"),
}
FIRST = ("sentence1", "question1", "question", "premise", "#1 String")
SECOND = ("sentence2", "question2", "hypothesis", "#2 String")
NAMED = ("MNLI", "QNLI", "RTE")


def made_rows(task, count, seed=0):
    """Rows as the package reads them: texts and ``label``, a class number or a score in [0, 1]."""
    random = np.random.default_rng([seed, count])
    classes = len(task.labels) or 3
    label = np.arange(count) % classes
    texts = {}
    for column in task.text_columns:
        words = ["".join(random.choice(list(LETTERS), 4)) for _ in range(count)]
        texts[column] = [f'{word} "怎么" {number}' for number, word in enumerate(words)]
    last = task.text_columns[-1]
    texts[last] = [f"{SIGNS[one]} {text}" for one, text in zip(label, texts[last], strict=True)]
    return pd.DataFrame({**texts, "label": label if task.labels else np.array([0.0, 0.5, 1.0])[label]})


def write_own(root, sizes=None, tasks=TASKS):
    """As GLUE's own download; gives the rows of each task by part."""
    return {name: _write_own(root / name, TASKS[name], sizes or {}) for name in tasks}


def write_hub(root, sizes=None, ending="parquet", tasks=TASKS):
    """As the hub's copy; gives the rows of each task by part."""
    return {name: _write_hub(root / TASKS[name].hub_name, TASKS[name], sizes or {}, ending) for name in tasks}


def parts_of(task, sizes):
    """The rows of each part, and how its file is called in each of the layouts."""
    parts = {"train": ("train", "train"), **task.dev_splits}
    return {
        part: (made_rows(task, sizes.get(part, 40 if part == "train" else 20), seed=place), names)
        for place, (part, names) in enumerate(parts.items())
    }


def _write_own(folder, task, sizes):
    folder.mkdir(parents=True)
    found = {}
    for part, (rows, (name, _)) in parts_of(task, sizes).items():
        found[part] = rows
        lines = [] if task.name == "CoLA" else ["\t".join(OWN_COLUMNS[task.name])]
        lines += [_own_line(task, number, row) for number, row in rows.iterrows()]
        text = "\n".join(lines) + "\n"
        (folder / f"{name}.tsv").write_text("\ufeff" + text if task.name == "MRPC" else text, encoding="utf-8")
    return found


def _own_line(task, number, row):
    label = row["label"]
    if not task.labels:
        label = 5 * label
    elif task.name in NAMED:
        label = task.labels[int(label)]
    if task.name == "CoLA":
        return f"gj04\t{label}\t{'' if label else '*'}\t{row['sentence1']}"
    values = {name: f"{name}-{number}" for name in OWN_COLUMNS[task.name]}
    for column in values:
        if column in FIRST or (column == "sentence" and task.name == "SST-2"):
            values[column] = row["sentence1"]
        elif column in SECOND or column == "sentence":
            values[column] = row["sentence2"]
        elif column in ("label", "gold_label", "is_duplicate", "Quality", "score"):
            values[column] = str(label)
    return "\t".join(values.values())


def _write_hub(folder, task, sizes, ending):
    folder.mkdir(parents=True)
    found = {}
    for part, (rows, (_, name)) in parts_of(task, sizes).items():
        found[part] = rows
        *texts, label = task.forms[-1]
        table = rows.set_axis([*texts, label], axis=1).assign(idx=range(len(rows)))
        if not task.labels:
            table[label] *= 5
        if ending == "parquet":
            table.to_parquet(folder / f"{name}-00000-of-00001.parquet")
        elif ending == "jsonl":
            table.to_json(folder / f"{name}.jsonl", orient="records", lines=True, force_ascii=False)
        else:
            table.to_csv(folder / f"{name}.csv", index=False)
    return found
