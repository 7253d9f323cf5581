"""A folder such as an evaluation leaves behind, of hostile names."""

import json

import yaml
from fake_run import CHINESE, SCRIPT

VERDICT = "A model is better than another. It is so on one of two sets."
SETS = (f"{SCRIPT}.tsv", f"{CHINESE}.tsv")


def build_evaluate_run(folder):
    """Fill a folder with the figures of three models on two sets."""
    folder.mkdir(parents=True)
    models = ["all-MiniLM-L6-v2", "runs/\x00\x1b[31m<img src=x>", CHINESE]

    def score(value):
        return {"score": value, "ci95": [value - 0.02, value + 0.02]}

    def difference(first, second, data, value, p):
        bounds = [value - 0.015, value + 0.015]
        names = {"first": models[first], "second": models[second], "data": SETS[data]}
        return {**names, "difference": value, "ci95": bounds, "p_value": p, "p_adjusted": min(1, 2 * p)}

    metrics = {
        "task": "sts",
        "metric": {"name": "spearman", "label": "Spearman"},
        "data": {name: {"pairs": 1379} for name in SETS},
        "models": {},
        "main": {
            model: {name: score(0.8 + 0.01 * (place + at)) for at, name in enumerate(SETS)}
            for place, model in enumerate(models)
        },
        "differences": [
            difference(0, 1, 0, -0.03, 0.002),
            difference(0, 1, 1, -0.01, 0.2),
            difference(0, 2, 0, -0.02, 0.002),
            difference(1, 2, 1, 0.021, 0.002),
        ],
        "verdict": VERDICT,
        "warnings": ["12 pairs of train.tsv stand in the test set too."],
    }
    manifest = {
        "embedtrain": "0.1.0",
        "packages": {"torch": "2.13"},
        "seed": 42,
        "device": {"name": "cpu", "reason": "asked for"},
        "precision": {"name": "fp32", "reason": "asked for"},
        "models": {f"model_{n}": {"name": one, "location": "x", "kind": "folder"} for n, one in enumerate(models)},
        "stages": {"sts-a": {"seconds": 3.2, "finished": "2026-01-02T03:04:05+00:00", "inputs": {}, "key": "k"}},
    }
    (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    (folder / "config.yaml").write_text(yaml.safe_dump({"model": models, "seed": 42}, allow_unicode=True))
    return folder
