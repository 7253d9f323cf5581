"""A run folder such as labelling leaves behind, without a teacher; its figures are made as those of a real one are."""

import json

import numpy as np
import pandas as pd
import yaml
from fake_run import CHINESE, SCRIPT, SUBJECTS, TROUBLES

from embedtrain.mining.calibration import calibration_error, fit_isotonic, reliability
from embedtrain.mining.distribution import LabelSummary, build_label_metrics

VERDICT = "The teacher is better than its student. On dev its Spearman is 84.30, the student's 82.03."
WARNING = "41 % of the pairs lie between the thresholds."
TEACHERS = ("models/教师-large", "models/bi <i>encoder</i>")
PAIRS = 6000


def measured(value):
    bounds = {"ci95": [value - 0.0167, value + 0.0153], "pearson_ci95": [value - 0.029, value + 0.005]}
    return {"spearman": value, "pearson": value - 0.011, **bounds, "pairs": 1500}


def labelled(random):
    def sentence():
        return f"{random.choice(SUBJECTS)} {random.choice(TROUBLES)} ({random.integers(1000)})"

    pairs = pd.DataFrame(
        {"sentence1": [sentence() for _ in range(PAIRS)], "sentence2": [sentence() for _ in range(PAIRS)]}
    )
    pairs["score"] = (0.02 + 0.96 * random.beta(1.6, 1.1, PAIRS)).astype(np.float32)
    pairs.loc[17] = [SCRIPT, "\x00\x1b[31m</code></pre><img src=http://evil.example/x onerror=alert(2)>", 0.0]
    pairs.loc[4711] = [CHINESE, "扫地机器人充电时指示灯是红色的，正常吗？", 1.0]
    return pairs


def build_label_run(folder):
    """Fill a run folder with the labels of made-up pairs, some of them hostile."""
    random = np.random.default_rng(11)
    pairs = labelled(random)
    (folder / "labels" / "shards").mkdir(parents=True)
    summary = LabelSummary(positive_threshold=0.7, negative_threshold=0.4)
    for number, first in enumerate(range(0, PAIRS, 2500)):
        shard = pairs.iloc[first : first + 2500]
        shard.to_parquet(folder / "labels" / "shards" / f"part-{number:05d}.parquet", index=False)
        summary.add(shard, first_row=first)
    summary.examples().to_parquet(folder / "examples.parquet")
    gold = random.integers(0, 26, 1500) / 25
    given = 1 / (1 + np.exp(-(7 * gold - 4.2 + random.normal(0, 1.0, len(gold)))))
    halves = slice(None, 750), slice(750, None)
    after = np.concatenate([fit_isotonic(given[b], gold[b]).apply(given[a]) for a, b in (halves, halves[::-1])])
    metrics = build_label_metrics(
        summary,
        gold_scores=gold,
        teachers=[
            {"name": TEACHERS[0], "kind": "cross-encoder", "dev": measured(0.8430)},
            {"name": TEACHERS[1], "kind": "bi-encoder", "dev": measured(0.8590)},
        ],
        student={"name": "all-MiniLM-L6-v2", "dev": measured(0.8203)},
        calibration={
            "applied": False,
            "pairs": len(gold),
            "error_before": calibration_error(given, gold),
            "error_after": calibration_error(after, gold),
            "reliability_before": reliability(given, gold),
            "reliability_after": reliability(after, gold),
        },
        seconds=41.3,
    )
    metrics |= {"labels": {"dev": measured(0.8666)}, "verdict": VERDICT, "warnings": [WARNING]}
    manifest = {
        "embedtrain": "0.1.0",
        "packages": {"torch": "2.13.0"},
        "device": {"name": "cpu", "reason": "no GPU was found"},
        "precision": {"name": "bf16", "reason": "the processor has bf16 matrix instructions"},
        "models": {"teacher 1": {"name": TEACHERS[0], "kind": "folder"}},
        "stages": {"judge": {"key": "0" * 64, "seconds": 3.1, "finished": "2025-05-30T10:12:31Z"}},
    }
    (folder / "metrics.json").write_text(json.dumps(metrics, allow_nan=False))
    (folder / "manifest.json").write_text(json.dumps(manifest))
    settings = {"pairs": ["pool.parquet"], "teacher": list(TEACHERS), "positive_threshold": 0.7, "calibrate": False}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings, allow_unicode=True))
    return folder
