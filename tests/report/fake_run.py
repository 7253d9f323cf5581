"""A run folder such as the Augmented SBERT pipeline leaves behind, without running it."""

import json

import numpy as np
import pandas as pd
import yaml

SCRIPT = "<script>alert(1)</script>"
CHINESE = "扫地机器人充电时一直闪红灯怎么办？"
SUBJECTS = ["The vacuum", "My coffee maker", "The app", "Our router", "扫地机器人", "咖啡机"]
TROUBLES = ["does not start", "blinks red", "stops after a minute", "loses its connection", "一直闪红灯", "连不上网络"]
DEV = {"zero_shot": 0.8672, "teacher": 0.8603, "gold_only": 0.8940, "augmented": 0.8858}
TEST = {"zero_shot": 0.8203, "teacher": 0.8284, "gold_only": 0.8577, "augmented": 0.8491}
VERDICT = (
    "Silver labels did not help: on test the augmented model stands 0.86 points below the model trained on gold alone, "
    "which is the one kept."
)
WARNING = "The teacher is worse on dev (86.03) than the untrained student (86.72): its labels have little to add."


def pairs(random, count, *, score):
    def sentence():
        return f"{random.choice(SUBJECTS)} {random.choice(TROUBLES)} ({random.integers(1000)})"

    return pd.DataFrame(
        {
            "sentence1": [sentence() for _ in range(count)],
            "sentence2": [sentence() for _ in range(count)],
            "score": score,
        }
    )


def history(random, *, steps, dev, pairs_trained):
    at = np.arange(5, steps + 1, 5)
    evaluated = np.arange(0, steps + 1, steps // 8)
    rise = dev - 0.06 * np.exp(-evaluated / (steps / 5)) - 0.01 * (evaluated / steps) ** 2
    best = int(np.argmax(rise))
    loss = 0.04 + 0.1 * np.exp(-at / (steps / 4)) + random.normal(0, 0.012, len(at))
    return {
        "steps": [{"step": int(s), "loss": float(v), "learning_rate": 2e-5} for s, v in zip(at, loss, strict=True)],
        "evaluations": [
            {"step": int(s), "spearman": float(v), "pearson": float(v) - 0.01}
            for s, v in zip(evaluated, rise + dev - rise[best], strict=True)
        ],
        "best_step": int(evaluated[best]),
        "max_steps": steps,
        "stopped_early": False,
        "seconds": 81.5,
        "pairs_per_second": 104.2,
        "train_pairs": pairs_trained,
    }


def metrics():
    def split(value, count):
        return {
            "spearman": value,
            "pearson": value - 0.011,
            "ci95": [value - 0.0167, value + 0.0153],
            "pearson_ci95": [value - 0.029, value + 0.005],
            "pairs": count,
        }

    return {
        "models": {role: {"dev": split(DEV[role], 1500), "test": split(TEST[role], 1379)} for role in DEV},
        "paired_difference": {
            "difference": -0.0086, "ci95": [-0.0142, -0.0031], "metric": "spearman", "of": "augmented - gold_only",
            "split": "test",
        },
        "verdict": VERDICT,
        "warnings": [WARNING],
        "winner": "gold_only",
        "teacher": {
            "name": "cross-encoder + student", "dev": 0.8603,
            "members": [{"name": "cross-encoder"}, {"name": "student"}],
            "candidates": [
                {"name": "cross-encoder", "dev": 0.8511}, {"name": "cross-encoder + student", "dev": 0.8603},
            ],
        },
        "silver": {"labelled": 5002, "confident": 4502, "pairs": 4502, "wasserstein": 0.1234},
        "seconds": {"read": 0.8, "teacher": 81.5},
    }  # fmt: skip


def build_run(folder):
    """Fill a run folder with plausible figures and made-up sentences, some of them hostile."""
    random = np.random.default_rng(7)
    stages = folder / "stages"
    for name in ("read", "teacher", "gold_only", "augmented", "zero_shot", "label", "predict"):
        (stages / name).mkdir(parents=True)
    (folder / "model").mkdir()
    settings = {"gold": "gold.tsv", "base": "all-MiniLM-L6-v2", "sampling": {"top_k": 3, "by": ["semantic", "bm25"]}}
    (folder / "config.yaml").write_text(yaml.safe_dump({**settings, "positive_threshold": None}))
    took = {"read": 0.8, "zero_shot": 9.1, "teacher": 81.5, "sample": 14.2, "label": 62.0, "augmented": 204.4}
    manifest = {
        "embedtrain": "0.1.0",
        "packages": {"torch": "2.13.0", "sentence-transformers": "6.2.0", "transformers": "5.23.0"},
        "device": {"name": "cpu", "reason": "no GPU was found"},
        "precision": {"name": "bf16", "reason": "the processor has bf16 matrix instructions"},
        "seed": 42,
        "stages": {n: {"key": "0" * 64, "seconds": s, "finished": "2025-05-30T10:12:31Z"} for n, s in took.items()},
    }
    leak = {"sentence1": "The app blinks red", "sentence2": SCRIPT, "score": 0.8, "rows": [3, 17]}
    audit = {
        "findings": [
            {"kind": "leak", "table": "gold", "message": "12 pairs also stand in test.", "count": 12, "dropped": 12,
             "examples": [leak]},
            {"kind": "empty_text", "table": "unlabeled", "message": "2 rows hold no text.", "count": 2, "dropped": 2,
             "examples": []},
        ],
        "tables": {"gold": {"rows_read": 5749, "rows_kept": 5737}, "test": {"rows_read": 1379, "rows_kept": 1379}},
    }  # fmt: skip
    for name, value in (("manifest.json", manifest), ("metrics.json", metrics()), ("stages/read/audit.json", audit)):
        (folder / name).write_text(json.dumps(value))
    for name, trained in (("teacher", 11474), ("gold_only", 5737), ("augmented", 24769)):
        value = history(random, steps=1440, dev=DEV[name], pairs_trained=trained)
        (stages / name / "history.json").write_text(json.dumps(value))
    for split, count in (("gold", 3000), ("dev", 2400), ("test", 300)):
        scores = random.integers(0, 26, count) / 25
        pairs(random, count, score=scores).to_parquet(stages / "read" / f"{split}.parquet")
        if split == "dev":
            noisy = 1 / (1 + np.exp(-(6 * scores - 3 + random.normal(0, 1.1, count))))
            dev = pd.DataFrame({"split": "dev", "score": scores, "prediction": noisy})
            models = ("zero_shot", "teacher", "gold_only", "augmented")
            judged = pd.concat([dev.assign(model=name) for name in models])
            judged.to_parquet(stages / "predict" / "predictions.parquet")
    silver = pairs(random, 5000, score=random.beta(2, 1.3, 5000))
    silver["sampled_by"] = random.choice(["semantic", "bm25", "semantic+bm25"], len(silver))
    # The lowest and the highest score are always among the examples.
    silver.loc[len(silver)] = [
        SCRIPT,
        "\x00\x1b[31m</code></pre><img src=http://evil.example/x onerror=alert(2)>",
        0.0,
        "bm25",
    ]
    silver.loc[len(silver)] = [CHINESE, "扫地机器人充电时指示灯是红色的，正常吗？", 1.0, "semantic"]
    silver.to_parquet(stages / "label" / "scored.parquet")
    return folder
