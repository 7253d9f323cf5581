"""Real runs over data whose every text, column and file name, and model's name, is markup that wants to run."""

import shutil
from itertools import cycle

import pandas as pd
import yaml
from conftest import SAMPLES

from embedtrain.cli import main

# ran(...) is what a test's browser listens to. None is longer than what a page shows of a name.
PAYLOADS = (
    '<script>ran("script")</script>',
    '<img src=x onerror=ran("image")>',
    '"><svg onload=ran("double")>',
    "'><svg onload=ran('single')>",
    '</title></style></script><svg onload=ran("closing")>',
    '</textarea></code></pre></bdi><script>ran("code")</script>',
    '<a href="javascript:ran(1)">link</a><iframe srcdoc="<script>parent.ran(2)</script>"></iframe>',
)
# Such as a file name may be on any system that lets it: without a slash.
NAME = "<img src=x onerror=ran('name')> \"><svg onload=ran('name')>"
COLUMNS = {"sentence1": '"><img src=x onerror=ran("first")>', "sentence2": "<script>ran('second')</script>"}
SHORT = {"batch_size": 8, "min_steps": 4, "epochs": 0.1, "evaluations": 2, "patience": 0, "learning_rate": 1e-3}
SHARED = {"device": "cpu", "precision": "fp32", "bootstrap_samples": 100}


def build_hostile_runs(folder, tiny_model):
    """Run every command that leaves a page; the pages by the command's name, those of runs in one folder, ``runs``."""
    data, runs = folder / f"data {NAME}", folder / "runs"
    data.mkdir()
    runs.mkdir()
    base = data / f"model {NAME}"
    shutil.copytree(tiny_model, base)
    files = {name: _pairs(data / f"{name} {NAME}.parquet", name, rows) for name, rows in _ROWS.items()}
    files["pairs"] = _pairs(data / f"pairs {NAME}.parquet", "gold", 30, score=False)
    sentences = data / f"sentences {NAME}.txt"
    sentences.write_text("\n".join(_hostile(_texts(80))) + "\n", encoding="utf-8")
    split = {name: str(files[name]) for name in ("dev", "test")}
    scored = {"score_range": [0.0, 5.0], "columns": COLUMNS, "base": str(base), **SHARED}
    made = {}

    def run(command, **options):
        name = command.replace(" ", "-")
        output = runs / f"{name} {NAME}"
        config = folder / f"{name}.yaml"
        config.write_text(yaml.safe_dump({**options, "output": str(output)}), encoding="utf-8")
        assert main([*command.split(), "--config", str(config), "--quiet"]) == 0, command
        made[name] = output

    trained = {"teacher": "cross-encoder", "teacher_training": SHORT, "student": SHORT}
    silver = {"unlabeled": str(sentences), "strategies": ["semantic", "bm25"]}
    run("augsbert", gold=str(files["gold"]), **silver, **split, **trained, **scored)
    run("train", data=[str(files["gold"])], **split, training=SHORT, **scored)
    adapted = {"sentences": str(sentences), "adaptation": SHORT}
    run("tsdae", **adapted, **split, **scored)
    run("adapt", **adapted, gold=str(files["gold"]), arms=["mlm", "tsdae"], supervised=SHORT, **split, **scored)
    measured = {**SHARED, "columns": COLUMNS, "data": [str(files["test"])]}
    models = [str(base), str(made["train"] / "model")]
    run("evaluate sts", model=models, **measured)
    run("compare", model=models, **measured)
    labelled = {key: value for key, value in scored.items() if key != "base"}
    run("label", pairs=[str(files["pairs"])], teacher=models, dev=split["dev"], **labelled)
    found = {name: run / "report.html" for name, run in made.items()}
    for name, words in {
        "audit": [str(files["gold"]), "--against", str(files["test"])],
        "audit-labels": [str(_classes(data / f"labels {NAME}.parquet"))],
    }.items():
        columns = ["--columns", *(f"{ours}={theirs}" for ours, theirs in COLUMNS.items())] if name == "audit" else []
        found[name] = folder / f"{name} {NAME}.html"
        words += [*columns, "--base", str(base), "--near", "0.5", "--report", str(found[name])]
        assert main(["audit", *words, "--quiet"]) == 0
    return found


_ROWS = {"gold": 60, "dev": 30, "test": 30}


def _classes(path):
    """Labelled sentences whose labels are markup, and a text with two of them."""
    texts = _hostile(_texts(40))
    table = pd.DataFrame({"text": texts, "label": list(PAYLOADS[:4]) * 10})
    table.loc[1, "text"] = table.loc[0, "text"]
    table.to_parquet(path, index=False)
    return path


def _texts(count):
    return (SAMPLES / "en_sentences.txt").read_text(encoding="utf-8").splitlines()[:count]


def _hostile(texts):
    return [f"{payload} {text} {payload}" for payload, text in zip(cycle(PAYLOADS), texts, strict=False)]


def _pairs(path, split, rows, *, score=True):
    table = pd.read_csv(SAMPLES / f"en_{split}.tsv", sep="\t", quoting=3).head(rows)
    table = table.assign(**{name: _hostile(table[name]) for name in COLUMNS})
    # Repeats, empty and shared texts, so that the audit has examples to show.
    table.loc[1] = table.loc[0]
    table.loc[2, "sentence2"] = " "
    table.loc[3, list(COLUMNS)] = [f"{PAYLOADS[0]} in every table", f"{PAYLOADS[1]} in every table"]
    table = table if score else table.drop(columns="score").assign(sampled_by=NAME)
    table.rename(columns=COLUMNS).to_parquet(path, index=False)
    return path
