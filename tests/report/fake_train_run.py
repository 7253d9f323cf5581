"""A run folder such as a training leaves behind, without running it."""

import json

import numpy as np
import pandas as pd
import yaml
from fake_run import CHINESE, SCRIPT

SOURCE = "客服/questions <b>.tsv"
VERDICT = (
    "Training helped. The trained model against the untrained one: +4.10 points of Spearman on test, "
    "95 % interval +3.02 to +5.21."
)
DEV = {"zero_shot": 0.6120, "trained": 0.7345}
TEST = {"zero_shot": 0.8203, "trained": 0.8613}
SEEDS = [{"seed": seed, "step": 30, "mrr": mrr} for seed, mrr in ((42, 0.66), (43, 0.69), (44, 0.64))]


def metrics():
    def dev(value):
        return {"mrr": value, "accuracy_at_1": value - 0.11, "ci95": [value - 0.02, value + 0.02], "rows": 300}

    def test(value):
        bounds = {"ci95": [value - 0.0167, value + 0.0153], "pearson_ci95": [value - 0.029, value + 0.005]}
        return {"spearman": value, "pearson": value - 0.011, **bounds, "pairs": 1379}

    return {
        "models": {model: {"dev": dev(DEV[model]), "test": test(TEST[model])} for model in DEV},
        "metrics": {"dev": {"name": "mrr", "label": "MRR"}, "test": {"name": "spearman", "label": "Spearman"}},
        "paired_difference": {
            "of": "trained - zero_shot", "metric": "spearman", "split": "test", "difference": 0.0410,
            "ci95": [0.0302, 0.0521],
        },
        "verdict": VERDICT,
        "warnings": ["The learning rate was <high>."],
        "seeds": SEEDS,
        "seconds": {"read": 0.8, "train": 81.5},
    }  # fmt: skip


def history(*, steps=120):
    at = np.arange(1, steps + 1)
    evaluated = np.arange(0, steps + 1, steps // 8)
    rise = DEV["trained"] - 0.12 * np.exp(-evaluated / (steps / 4)) - 0.02 * (evaluated / steps) ** 3
    best = int(np.argmax(rise))
    loss = 0.4 + 2.1 * np.exp(-at / (steps / 4)) + np.random.default_rng(3).normal(0, 0.15, len(at))
    return {
        "steps": [{"step": int(s), "loss": float(v), "learning_rate": 2e-5} for s, v in zip(at, loss, strict=True)],
        "evaluations": [
            {"step": int(s), "mrr": float(v), "accuracy_at_1": float(v) - 0.1}
            for s, v in zip(evaluated, rise + DEV["trained"] - rise[best], strict=True)
        ],
        "best_step": int(evaluated[best]),
        "max_steps": steps,
        "stopped_early": False,
        "seconds": 81.5,
        "pairs_per_second": 104.2,
        "tokens_per_second": 4312.0,
        "padding_share": 0.0431,
        "train_pairs": 3021,
    }


def build_train_run(folder):
    """Fill a run folder with plausible figures: a table of pairs with dev held out of it, several seeds, an adapter."""
    stages = folder / "stages"
    for name in ("read", "zero_shot", "train", "predict", "judge"):
        (stages / name).mkdir(parents=True)
    for name in ("model", "adapter"):
        (folder / name).mkdir()
    settings = {
        "data": [SOURCE],
        "loss": [],
        "lora_rank": 8,
        "training": {"batch_size": 16, "epochs": 1.0},
        "dev": None,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(settings, allow_unicode=True))
    manifest = {
        "embedtrain": "0.1.0",
        "packages": {"torch": "2.13.0", "sentence-transformers": "6.2.0"},
        "device": {"name": "cpu", "reason": "no GPU was found"},
        "precision": {"name": "bf16", "reason": "the processor has bf16 matrix instructions"},
        "attention": {"name": "eager", "reason": "short sentences on a CPU"},
        "models": {"base": {"name": "all-MiniLM-L6-v2", "location": "/models/mini", "kind": "folder"}},
        "losses": {SOURCE: "mnrl"},
        "seed": 42,
        "stages": {
            name: {"key": "0" * 64, "seconds": took, "finished": "2025-05-30T10:12:31Z"}
            for name, took in (("read", 0.8), ("zero_shot", 9.1), ("train", 81.5), ("predict", 6.0), ("judge", 2.5))
        },
    }
    audit = {
        "findings": [
            {"kind": "duplicate", "table": SOURCE, "message": "3 rows stand more than once.", "count": 3, "dropped": 3,
             "examples": [{"anchor": SCRIPT, "positive": CHINESE, "rows": [3, 17]}]},
        ],
        "tables": {SOURCE: {"rows_read": 3324, "rows_kept": 3321}, "test": {"rows_read": 1379, "rows_kept": 1379}},
    }  # fmt: skip
    files = (
        ("manifest.json", manifest),
        ("metrics.json", metrics()),
        ("stages/read/audit.json", audit),
        ("stages/train/history.json", history()),
    )
    for name, value in files:
        (folder / name).write_text(json.dumps(value))
    questions = {"anchor": [CHINESE, "How do I reset it?"], "positive": ["闪红灯怎么处理？", "Reset it how?"]}
    dev = pd.DataFrame({"row": [1, 2], **questions})
    dev.to_parquet(stages / "read" / "dev.parquet")
    return folder
