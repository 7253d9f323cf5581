"""A folder such as scores over tasks leave behind, of hostile names."""

import json

import yaml
from fake_run import CHINESE, SCRIPT

TASKS = {SCRIPT: "STS", CHINESE: "Retrieval", "STSBenchmark": "STS"}


def build_tasks_run(folder):
    """Fill a folder with the figures of three models on three tasks, one of which the last was not measured on."""
    folder.mkdir(parents=True)
    models = ["all-MiniLM-L6-v2", "runs/\x00\x1b[31m<img src=x>", CHINESE]
    shared = [SCRIPT, CHINESE]

    def score(value):
        return {"score": value, "ci95": [value - 0.02, value + 0.02], "reason": ""}

    def difference(first, second, data, value, p):
        bounds = [value - 0.015, value + 0.015]
        names = {"first": models[first], "second": models[second], "data": data}
        return {**names, "difference": value, "ci95": bounds, "p_value": p, "p_adjusted": min(1, 2 * p)}

    metrics = {
        "task": "compare",
        "metric": {"name": "main", "label": "main score"},
        "data": {
            name: {"type": type_, "metric": "ndcg_at_10", "items": "300 queries"} for name, type_ in TASKS.items()
        },
        "tasks": [{"task": SCRIPT, "data": "differs: 23 characters fewer", "differences": ["x"], "coverage": ""}],
        "benchmarks": [{"says": "MTEB(eng, v2): 3 of 41 tasks in this mirror"}],
        "main": {
            model: {
                task: score(0.5 + 0.1 * at + 0.02 * place)
                for at, task in enumerate(TASKS)
                if task in shared or place < 2
            }
            for place, model in enumerate(models)
        },
        "overall": {
            "tasks": shared,
            "models": {model: score(0.6 + 0.01 * place) for place, model in enumerate(models)},
            "differences": [
                {"first": models[0], "second": models[1], "difference": -0.01, "ci95": [-0.03, 0.01], "p_value": 0.3}
            ],
        },
        "types": {
            type_: {"tasks": [task], "models": {model: 0.5 + 0.02 * place for place, model in enumerate(models)}}
            for type_, task in (("STS", SCRIPT), ("Retrieval", CHINESE))
        },
        "differences": [
            difference(0, 1, SCRIPT, -0.03, 0.002),
            difference(0, 1, CHINESE, -0.01, 0.2),
            difference(1, 2, SCRIPT, 0.021, 0.002),
        ],
        "left_out": ["STSBenchmark: only A and B measured on it", f"{SCRIPT}: no interval"],
        "verdict": "A model is better than another. It is so on one of two tasks.",
        "warnings": [],
    }
    manifest = {
        "embedtrain": "0.1.0",
        "packages": {"torch": "2.13"},
        "seed": 42,
        "stages": {"sts-a": {"seconds": 3.2, "finished": "2026-01-02T03:04:05+00:00", "inputs": {}, "key": "k"}},
    }
    (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    (folder / "config.yaml").write_text(yaml.safe_dump({"model": models, "seed": 42}, allow_unicode=True))
    return folder
