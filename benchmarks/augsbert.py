"""Augmented SBERT on STS benchmark: sentence-transformers' own recipe and this pipeline in one process.

    python benchmarks/augsbert.py --output benchmarks/results/augsbert.json    # everything, an hour on two cores
    python benchmarks/augsbert.py --quick --output quick.json                  # a few minutes
    python benchmarks/augsbert.py --no-reference --gold-limit 500 --teacher-base FOLDER \
        --with teacher=auto teacher_members='[cross-encoder, bi-encoder, student]'   # any option of the pipeline

The reference is the semantic-search recipe of sentence-transformers' examples with its steps and hyperparameters (both
orders of gold, batch 16, one epoch, warm-up over a tenth, top-3, dev evaluated every 1,000 steps, the best kept), run
by the library's current trainers at their defaults, its filter against gold pairs applied as it is meant. The example
scores no base model and trains no gold-only student; our pipeline always does. So that both sides make the same four
rows, the reference does too, and `speedup` compares that; `speedup_of_script` takes the time of both out of the
reference alone. Data: the folder in EMBEDTRAIN_DATA, or ../shared/data beside the project.
"""

import argparse
import dataclasses
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pandas as pd
import torch
import yaml
from machine import describe

from embedtrain.data import read_scored_pairs
from embedtrain.models import DEFAULT_MODEL, resolve_model

ROOT = Path(__file__).resolve().parent.parent
BATCH, TOP_K, EVALUATION_STEPS = 16, 3, 1000


def main() -> None:
    """Run both sides and print one line of JSON."""
    options = parse_options()
    data = Path(os.environ.get("EMBEDTRAIN_DATA", ROOT.parent / "shared" / "data")) / "stsb"
    if not data.is_dir():
        sys.exit(f"no data at {data}: set EMBEDTRAIN_DATA to the folder that holds stsb/")
    work = Path(options.work or tempfile.mkdtemp(prefix="embedtrain-benchmark-"))
    files = {split: data / f"{options.language}_{split}.tsv" for split in ("train", "dev", "test")}
    if options.quick:
        files = {
            split: smaller(file, rows, work) for (split, file), rows in zip(files.items(), (600, 300, 300), strict=True)
        }
    result = {
        **describe("augsbert.py"),
        "language": options.language,
        "quick": options.quick,
        "gold_limit": options.gold_limit,
        "with": options.more,
        "reference": None,
        "ours": [],
    }
    for place, seed in enumerate(options.seeds):
        # A shared machine's speed drifts within the hour: half of our runs come before the reference, half after it.
        if place == len(options.seeds) // 2 and not options.no_reference:
            result["reference"] = reference(files, work / "reference", seed=options.seeds[0])
        result["ours"].append(ours(files, work / f"ours-{seed}", seed=seed, options=options))
        report(result, options.output)
    if not options.work:
        shutil.rmtree(work)
    print(json.dumps(summary(result)))


def parse_options() -> argparse.Namespace:
    """Command-line options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="600 training pairs, 300 dev, 300 test")
    parser.add_argument("--language", choices=["en", "zh"], default="en")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[42], help="ours, one run each; the reference takes the first"
    )
    parser.add_argument("--gold-limit", type=int, help="ours: train on this many gold pairs")
    parser.add_argument("--teacher-base", help="ours: what the teacher is made of")
    parser.add_argument(
        "--with",
        dest="more",
        nargs="+",
        default=[],
        metavar="OPTION=VALUE",
        help="ours: further options, values as YAML",
    )
    parser.add_argument("--precision", default="auto", choices=["auto", "bf16", "fp32"], help="ours")
    parser.add_argument("--no-reference", action="store_true", help="leave the reference out")
    parser.add_argument("--work", help="folder for models, kept; default: a temporary one")
    parser.add_argument("--output", default="benchmarks/results/augsbert.json")
    return parser.parse_args()


def ours(files: dict[str, Path], folder: Path, *, seed: int, options: argparse.Namespace) -> dict:
    """This project's pipeline at its defaults, gold = train, unlabelled = the sentences of train."""
    from embedtrain.pipelines.augsbert.options import AugSBERTOptions
    from embedtrain.pipelines.augsbert.pipeline import augsbert

    if folder.exists():
        sys.exit(f"{folder} holds an earlier run, which would be continued and not timed: give another --work")
    started = time.perf_counter()
    gold = read_scored_pairs(files["train"], score_range=(0, 5))
    sentences = folder.parent / "sentences.txt"
    sentences.parent.mkdir(parents=True, exist_ok=True)
    sentences.write_text("\n".join([*gold["sentence1"], *gold["sentence2"]]) + "\n", encoding="utf-8")
    result = augsbert(
        AugSBERTOptions(
            gold=str(files["train"]),
            dev=str(files["dev"]),
            test=str(files["test"]),
            unlabeled=str(sentences),
            score_range=(0, 5),
            gold_limit=options.gold_limit,
            teacher_base=options.teacher_base,
            precision=options.precision,
            output=str(folder),
            seed=seed,
            **further_options(options.more),
        )
    )
    metrics = result.metrics
    silver = pd.read_parquet(folder / "stages" / "silver" / "silver.parquet")
    return {
        "seed": seed,
        "seconds": {**metrics["seconds"], "total": time.perf_counter() - started},
        "spearman": {
            model: {split: scores[split]["spearman"] for split in ("dev", "test")}
            for model, scores in metrics["models"].items()
        },
        "paired_difference": metrics["paired_difference"],
        "winner": metrics["winner"],
        "teacher": metrics["teacher"],
        "silver": metrics["silver"],
        "silver_pairs": len(silver),
        "verdict": metrics["verdict"],
    }


def further_options(words: list[str]) -> dict[str, Any]:
    """Options of the pipeline from words such as ``teacher_seeds=3`` or ``teacher_training.epochs=2``."""
    from embedtrain.pipelines.augsbert.options import AugSBERTOptions

    defaults = AugSBERTOptions(gold="", test="", output="")
    found: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        group, _, setting = name.partition(".")
        if not equals or not hasattr(defaults, group):
            sys.exit(f"--with {word}: expected OPTION=VALUE with an option of the pipeline, such as teacher_seeds=3")
        if setting:
            settings = found.get(group, getattr(defaults, group))
            given = _read_value(value, like=getattr(settings, setting))
            found[group] = dataclasses.replace(settings, **{setting: given})
        else:
            found[group] = _read_value(value, like=getattr(defaults, group))
    return found


def _read_value(text: str, *, like: Any) -> Any:
    # YAML reads 3e-5 as words.
    return float(text) if isinstance(like, float) else yaml.safe_load(text)


def reference(files: dict[str, Path], folder: Path, *, seed: int) -> dict:
    """The recipe of sentence-transformers' example, through its current trainers."""
    from datasets import Dataset
    from sentence_transformers import (
        CrossEncoder,
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
    from sentence_transformers.cross_encoder.evaluation import CrossEncoderCorrelationEvaluator
    from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss
    from sentence_transformers.sentence_transformer.evaluation import EmbeddingSimilarityEvaluator
    from sentence_transformers.sentence_transformer.losses import CosineSimilarityLoss
    from transformers import set_seed

    set_seed(seed)
    seconds: dict[str, float] = {}
    clock = time.perf_counter

    def timed(stage: str, action: Callable[[], Any]) -> Any:
        started = clock()
        value = action()
        seconds[stage] = clock() - started
        return value

    started = clock()
    base = resolve_model(DEFAULT_MODEL).location
    gold, dev, test = (read_scored_pairs(files[split], score_range=(0, 5)) for split in ("train", "dev", "test"))
    both_orders = [
        *gold[["sentence1", "sentence2", "score"]].itertuples(index=False, name=None),
        *gold[["sentence2", "sentence1", "score"]].itertuples(index=False, name=None),
    ]

    def table(rows: list[tuple[str, str, float]]) -> Dataset:
        first, second, score = zip(*rows, strict=True)
        return Dataset.from_dict({"sentence1": first, "sentence2": second, "label": [float(s) for s in score]})

    def arguments(kind: type, name: str, metric: str, rows: int) -> Any:
        return kind(
            output_dir=str(folder / name),
            num_train_epochs=1,
            per_device_train_batch_size=BATCH,
            warmup_steps=0.1,
            seed=seed,
            eval_strategy="steps",
            eval_steps=min(EVALUATION_STEPS, -(-rows // BATCH)),
            save_steps=min(EVALUATION_STEPS, -(-rows // BATCH)),
            save_total_limit=1,
            load_best_model_at_end=True,
            metric_for_best_model=metric,
            report_to="none",
            disable_tqdm=True,
        )

    teacher = CrossEncoder(base, num_labels=1)
    dev_pairs = list(zip(dev["sentence1"], dev["sentence2"], strict=True))
    evaluator = CrossEncoderCorrelationEvaluator(dev_pairs, dev["score"].tolist(), name="dev")
    trainer = CrossEncoderTrainer(
        model=teacher,
        args=arguments(CrossEncoderTrainingArguments, "teacher", "eval_dev_spearman", len(both_orders)),
        train_dataset=table(both_orders),
        loss=BinaryCrossEntropyLoss(teacher),
        evaluator=evaluator,
    )
    timed("teacher", trainer.train)

    def sample() -> list[tuple[str, str]]:
        sentences = list(dict.fromkeys([*gold["sentence1"], *gold["sentence2"]]))
        known = {frozenset(row[:2]) for row in both_orders}
        embeddings = SentenceTransformer(base).encode(sentences, batch_size=BATCH, convert_to_tensor=True)
        found = []
        for row, embedding in enumerate(embeddings):
            cosines = torch.nn.functional.cosine_similarity(embedding[None], embeddings)
            for other in torch.topk(cosines, k=min(TOP_K + 1, len(sentences))).indices.tolist():
                pair = frozenset((sentences[row], sentences[other]))
                if other != row and pair not in known:
                    known.add(pair)
                    found.append((sentences[row], sentences[other]))
        return found

    pairs = timed("sample", sample)
    scores = timed("label", lambda: teacher.predict(pairs, show_progress_bar=False))
    silver = [(first, second, float(score)) for (first, second), score in zip(pairs, scores, strict=True)]

    def train_student(name: str, rows: list[tuple[str, str, float]]) -> SentenceTransformer:
        student = SentenceTransformer(base)
        SentenceTransformerTrainer(
            model=student,
            args=arguments(SentenceTransformerTrainingArguments, name, "eval_dev_spearman_cosine", len(rows)),
            train_dataset=table(rows),
            loss=CosineSimilarityLoss(student),
            evaluator=similarity_evaluator(dev, "dev"),
        ).train()
        return student

    def similarity_evaluator(pairs: pd.DataFrame, name: str) -> EmbeddingSimilarityEvaluator:
        columns = (pairs[column].tolist() for column in ("sentence1", "sentence2", "score"))
        return EmbeddingSimilarityEvaluator(*columns, name=name)

    def judge() -> dict[str, float]:
        test_pairs = list(zip(test["sentence1"], test["sentence2"], strict=True))
        scored = CrossEncoderCorrelationEvaluator(test_pairs, test["score"].tolist(), name="test")
        spearman = {"cross_encoder": scored(teacher)["test_spearman"]}
        for name, student in students.items():
            spearman[name] = similarity_evaluator(test, "test")(student)["test_spearman_cosine"]
        return {name: float(value) for name, value in spearman.items()}

    def zero_shot() -> float:
        model = SentenceTransformer(base)
        similarity_evaluator(dev, "dev")(model)
        return float(similarity_evaluator(test, "test")(model)["test_spearman_cosine"])

    base_spearman = timed("zero_shot", zero_shot)
    students = {
        "gold_only": timed("gold_only", lambda: train_student("gold_only", both_orders)),
        "augmented": timed("augmented", lambda: train_student("augmented", [*both_orders, *silver])),
    }
    spearman = {"zero_shot": base_spearman, **timed("judge", judge)}
    seconds["total"] = clock() - started
    return {"seed": seed, "seconds": seconds, "silver_pairs": len(silver), "spearman": spearman}


def summary(result: dict) -> dict:
    """The line that ends the output: whole pipeline against whole recipe, augmented models on test."""
    reference, runs = result["reference"], result["ours"]
    ours_seconds = statistics.median(run["seconds"]["total"] for run in runs)
    augmented = [run["spearman"]["augmented"]["test"] for run in runs]
    gold_only = [run["spearman"]["gold_only"]["test"] for run in runs]
    speedup = of_script = None
    if reference and result["gold_limit"] is None:
        took = reference["seconds"]
        speedup = round(took["total"] / ours_seconds, 2)
        of_script = round((took["total"] - took["gold_only"] - took["zero_shot"]) / ours_seconds, 2)
    return {
        "speedup": speedup,
        "speedup_of_script": of_script,
        "ours_spearman": round(statistics.mean(augmented), 4),
        "reference_spearman": round(reference["spearman"]["augmented"], 4) if reference else None,
        "ours_seconds": round(ours_seconds, 1),
        "reference_seconds": round(reference["seconds"]["total"], 1) if reference else None,
        "ours_gold_only_spearman": round(statistics.mean(gold_only), 4),
        "seeds": [run["seed"] for run in runs],
        "gpu_speedup": None,
    }


def report(result: dict, output: str) -> None:
    """Write what has been measured so far."""
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    Path(output).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def smaller(file: Path, rows: int, work: Path) -> Path:
    """A random part of a file, drawn with a fixed seed."""
    lines = file.read_text(encoding="utf-8").splitlines()
    kept = pd.Series(lines[1:]).sample(rows, random_state=0)
    work.mkdir(parents=True, exist_ok=True)
    target = work / file.name
    target.write_text("\n".join([lines[0], *kept]) + "\n", encoding="utf-8")
    return target


if __name__ == "__main__":
    import logging

    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("embedtrain").setLevel(logging.INFO)
    logging.getLogger("embedtrain").addHandler(logging.StreamHandler())
    logging.getLogger("embedtrain").propagate = False
    main()
