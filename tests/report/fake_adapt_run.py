"""A run folder such as a domain adaptation leaves behind, without running it."""

import json

import numpy as np
import pandas as pd
import yaml
from fake_run import CHINESE, SCRIPT

TEXT = "客服/manual <b>.txt"
VERDICT = (
    "Better than gold only on test (Spearman points, 95 % interval): TSDAE → gold +2.10 (+0.80 ... +3.41). "
    "No difference to gold only that test can show: MLM → gold +0.40 (-0.70 ... +1.55), "
    "SimCSE → gold -0.20 (-1.31 ... +0.90). Kept in model/: TSDAE → gold, by dev (82.30 against 80.91)."
)
WARNING = "1.5 % of the sentences are longer than <128> tokens and are cut there."
DEV = {
    "zero_shot": 0.7210, "mlm": 0.6105, "tsdae": 0.7433, "simcse": 0.7320,
    "gold": 0.8091, "mlm+gold": 0.8104, "tsdae+gold": 0.8230, "simcse+gold": 0.8077,
}  # fmt: skip
TEST = {model: value - 0.0137 for model, value in DEV.items()}
DIFFERENCES = {
    "mlm+gold": (0.0040, -0.0070, 0.0155),
    "tsdae+gold": (0.0210, 0.0080, 0.0341),
    "simcse+gold": (-0.0020, -0.0131, 0.0090),
}
FIRST_LOSS = {"mlm": 3.1, "tsdae": 6.4, "simcse": 0.4, "gold": 0.12}


def measured(value):
    bounds = {"ci95": [value - 0.0167, value + 0.0153], "pearson_ci95": [value - 0.029, value + 0.005]}
    return {"spearman": value, "pearson": value - 0.011, **bounds, "pairs": 1379}


def metrics():
    return {
        "models": {model: {"dev": measured(DEV[model]), "test": measured(TEST[model])} for model in DEV},
        "metrics": {split: {"name": "spearman", "label": "Spearman"} for split in ("dev", "test")},
        "baseline": "gold",
        "differences": [
            {"of": f"{model} - gold", "model": model, "split": "test", "metric": "spearman", "difference": value,
             "ci95": [low, high]}
            for model, (value, low, high) in DIFFERENCES.items()
        ],
        "winner": "tsdae+gold",
        "verdict": VERDICT,
        "warnings": [WARNING],
        "text": {
            "unknown_share": 0.0042, "cut_share": 0.015, "mean_tokens": 23.46, "max_length": 128, "sentences": 2000,
        },
        "stages": {model: model.replace("+", "_") for model in DEV},
        "seconds": {"read": 0.8, "tsdae": 81.5},
    }  # fmt: skip


def history(model, *, metric="spearman", best=None, steps=300):
    """A curve that rises from what the model started from to its best score."""
    arm = model.rpartition("+")[2]
    best = DEV[model] if best is None else best
    random = np.random.default_rng(len(model))
    at = np.arange(2, steps + 1, 2)
    loss = FIRST_LOSS[arm] * (0.4 + 0.6 * np.exp(-at / (steps / 4)) + random.normal(0, 0.05, len(at)))
    evaluated = np.arange(0 if metric == "spearman" else steps // 5, steps + 1, steps // 5)
    rise = -0.11 * np.exp(-evaluated / (steps / 4)) - 0.02 * (evaluated / steps) ** 3
    kept = int(np.argmax(rise))
    return {
        "steps": [{"step": int(s), "loss": float(v), "learning_rate": 3e-5} for s, v in zip(at, loss, strict=True)],
        "evaluations": [
            {"step": int(s), metric: float(v)} for s, v in zip(evaluated, rise + best - rise[kept], strict=True)
        ],
        "best_step": int(evaluated[kept]),
        "max_steps": steps,
        "stopped_early": False,
        "seconds": 81.5,
        "pairs_per_second": 104.2,
        "train_pairs": 5749 if arm == "gold" else 20317,
    }


def write(run, name, value):
    (run / name).write_text(json.dumps(value))


def build_adapt_run(folder):
    """Fill a run folder with plausible figures: three ways to adapt, gold, dev and test."""
    stages = folder / "stages"
    for name in ("read", "text", "judge", *metrics()["stages"].values()):
        (stages / name).mkdir(parents=True)
    (folder / "model").mkdir()
    settings = {
        "sentences": TEXT,
        "gold": "gold.tsv",
        "arms": ["mlm", "tsdae", "simcse"],
        "delete_ratio": 0.6,
        "adaptation": {"batch_size": 32},
        "dev": None,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(settings, allow_unicode=True))
    took = {"read": 0.8, "text": 1.2, "zero_shot": 9.1, "tsdae": 81.5, "tsdae_gold": 40.2, "judge": 2.5}
    manifest = {
        "embedtrain": "0.1.0",
        "packages": {"torch": "2.13.0", "sentence-transformers": "6.2.0"},
        "device": {"name": "cpu", "reason": "no GPU was found"},
        "precision": {"name": "bf16", "reason": "the processor has bf16 matrix instructions"},
        "attention": {"name": "eager", "reason": "short sentences on a CPU"},
        "models": {"base": {"name": "all-MiniLM-L6-v2", "location": "/models/mini", "kind": "folder"}},
        "loss": "cosent",
        "seed": 42,
        "stages": {n: {"key": "0" * 64, "seconds": s, "finished": "2025-05-30T10:12:31Z"} for n, s in took.items()},
    }
    audit = {
        "findings": [
            {"kind": "repeated_sentence", "table": TEXT, "message": "41 sentences stand more than once.", "count": 41,
             "dropped": 57, "examples": [{"text": SCRIPT, "row": 3}, {"text": CHINESE, "row": 17}]},
            {"kind": "sentence_in_test", "table": TEXT, "message": "12 sentences also stand in test.", "count": 12,
             "dropped": 0, "examples": []},
            {"kind": "repeated_sentence", "table": "gold", "message": "Not of the text.", "count": 99, "dropped": 99,
             "examples": []},
        ],
        "tables": {TEXT: {"rows_read": 20874, "rows_kept": 20817}, "gold": {"rows_read": 5749, "rows_kept": 5749}},
    }  # fmt: skip
    for name, value in (("manifest.json", manifest), ("metrics.json", metrics()), ("stages/read/audit.json", audit)):
        write(folder, name, value)
    for model, stage in metrics()["stages"].items():
        if model != "zero_shot":
            write(folder, f"stages/{stage}/history.json", history(model))
    dev = {"sentence1": [CHINESE, "How do I reset it?"], "sentence2": ["闪红灯怎么处理？", "Reset it how?"]}
    pd.DataFrame({"row": [1, 2], **dev, "score": [0.9, 1.0]}).to_parquet(stages / "read" / "dev.parquet")
    return folder


def measure_nothing(run):
    """Make the run one of text alone: no pairs, so that held-out sentences chose the weights."""
    arms = ("mlm", "tsdae", "simcse")
    stages = {model: model for model in ("zero_shot", *arms)}
    nothing = {
        "models": {model: {} for model in stages},
        "metrics": {},
        "baseline": "zero_shot",
        "differences": [],
        "winner": "tsdae",
        "verdict": "Nothing was measured: there are no pairs with scores or labels. Kept in model/: TSDAE. "
        "Whether it is better than before only pairs can tell: give some with --dev and --test.",
        "warnings": [],
        "stages": stages,
    }
    write(run, "metrics.json", {**metrics(), **nothing})
    for arm, best in zip(arms, (0.412, 0.087, 0.966), strict=True):
        metric = "finding_probability" if arm == "simcse" else "token_probability"
        write(run, f"stages/{arm}/history.json", history(arm, metric=metric, best=best))
    (run / "stages/read/dev.parquet").unlink()
    sentences = pd.Series(["What is it?", "Reset <the> device first.", "再按一次电源键，等指示灯变绿。"], name="text")
    sentences.to_frame().to_parquet(run / "stages/read/sentences.parquet")
    return run
