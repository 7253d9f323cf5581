"""Does raw text of a domain make an encoder better there: MLM, TSDAE and SimCSE on medical text, over several seeds.

    python benchmarks/adaptation.py --work runs                    # everything: some hours on two cores
    python benchmarks/adaptation.py --work runs --bases minilm     # one base
    python benchmarks/adaptation.py --quick                        # minutes, only to see that it runs

Text: sentences of MedQuAD (consumer health), drawn by seed 0. Judged by medical question entailment (its train split is
gold, 5 % of it dev, its test split test): average precision and best F1 of the cosine; and, for the models adapted to
text alone, by nDCG@10 on SciFact, to see whether general ability is lost. Bases: ``minilm``, all-MiniLM-L6-v2, whose
similarity training is done; ``bert``, a small BERT with random weights and MiniLM's tokenizer, pre-trained here by
masked language modelling on MedQuAD alone, which never saw a similarity. TSDAE deletes 60 % of the words (the paper)
and, on the same seeds, 40 % (what the library's scripts do); all other options are the pipeline's defaults. Dev, held
out of gold, chooses the weights of the trainings on gold; those on text end where held-out text says.

Data: the folder in EMBEDTRAIN_DATA, or ../shared/data beside the project. Everything measured is added to one JSON
file, and a CSV file beside it holds the table: means over seeds, and the difference to the base (for models with gold:
to gold alone) with a 95 % interval over test pairs and seeds. What stands in ``--work`` already is not computed again.
The last line is JSON.
"""

import argparse
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
import pandas as pd
import torch
from machine import describe
from sentence_transformers import SentenceTransformer
from training_data import ROOT, data_folder

from embedtrain.data.retrieval import read_retrieval_set
from embedtrain.evaluation.pairs import best_f1, resampled_average_precision
from embedtrain.evaluation.retrieval import evaluate_retrieval
from embedtrain.files import read_json, sha256_of_folder, whole_folder, write_json
from embedtrain.models import DEFAULT_MODEL, autocast, choose_device, choose_precision, resolve_model
from embedtrain.pipelines.adapt.options import AdaptOptions
from embedtrain.pipelines.adapt.pipeline import adapt
from embedtrain.training.mlm import train_mlm
from embedtrain.training.settings import TrainingSettings

RATIOS = (0.6, 0.4)
RESAMPLES = 2000
TABLE = ("base", "model", "seeds", "average_precision", "f1", "against", "difference", "low", "high", "ndcg_at_10")


def main() -> None:
    """Run what is asked for and not yet there, and print the table."""
    options = parse_options()
    data = data_folder()
    work = Path(options.work or tempfile.mkdtemp(prefix="embedtrain-benchmark-"))
    work.mkdir(parents=True, exist_ok=True)
    text = write_text(data, work, options.sentences)
    record = read_json(options.output) if options.output.exists() else {"runs": [], "table": []}
    for base in options.bases:
        folder = Path(resolve_model(DEFAULT_MODEL).location) if base == "minilm" else small_bert(data, work, options)
        for seed in options.seeds:
            runs = [*one_seed(base, folder, seed, data, text, work, options)]
            others = [old for old in record["runs"] if (old["base"], old["seed"]) != (base, seed)]
            record = {**describe("adaptation.py"), "sentences": options.sentences, "runs": [*others, *runs]}
            record["table"] = list(table(record["runs"], work))
            write_json(options.output, record)
            rows = pd.DataFrame(record["table"], columns=list(TABLE))
            rows.to_csv(options.output.with_suffix(".csv"), index=False, lineterminator="\n", float_format="%.4f")
    print(pd.DataFrame(record["table"], columns=list(TABLE)).to_string(index=False, float_format="%.4f"))
    print(
        json.dumps({"better": [f"{row['base']}: {row['model']}" for row in record["table"] if (row["low"] or 0) > 0]})
    )


def parse_options() -> argparse.Namespace:
    """Command-line options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bases", nargs="+", choices=["minilm", "bert"], default=["minilm", "bert"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44])
    parser.add_argument("--scifact-seeds", type=int, nargs="*", default=[42], help="SciFact takes minutes a model")
    parser.add_argument("--sentences", type=int, default=10_000, help="of MedQuAD, to adapt to")
    parser.add_argument("--pretraining-steps", type=int, default=3_000, help="of the small BERT")
    parser.add_argument("--gold", type=int, help="use so many rows of gold")
    parser.add_argument("--work", help="folder for runs, kept and continued; default: a temporary one")
    parser.add_argument("--quick", action="store_true", help="a little data, two seeds; its figures mean nothing")
    parser.add_argument("--output", type=Path, help="JSON file; with --quick by default a temporary one")
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.scifact_seeds, options.sentences = options.seeds[:2], [], 300
        options.pretraining_steps, options.gold = 10, 200
    if options.output is None:
        folder = Path(tempfile.mkdtemp()) if options.quick else ROOT / "benchmarks" / "results"
        options.output = folder / "adaptation.json"
    return options


def medquad(data: Path) -> list[str]:
    """Every different sentence of MedQuAD, questions and answers."""
    lines: list[str] = []
    for file in sorted((data / "medquad").glob("*.tsv")):
        lines += file.read_text(encoding="utf-8").splitlines()[1:]
    return list(dict.fromkeys(line for line in lines if line.strip()))


def write_text(data: Path, work: Path, count: int) -> Path:
    """So many sentences of MedQuAD, one a line."""
    file = work / f"medquad_{count}.txt"
    if not file.exists():
        drawn = np.random.default_rng(0).permutation(np.array(medquad(data), dtype=object))[:count]
        file.write_text("\n".join(drawn) + "\n", encoding="utf-8")
    return file


def small_bert(data: Path, work: Path, options: argparse.Namespace) -> Path:
    """A BERT of four layers and 256 dimensions that knows nothing but MedQuAD, with mean pooling."""
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import AutoTokenizer, BertConfig, BertModel

    folder = work / f"bert-{options.pretraining_steps}"
    if folder.exists():
        return folder / "model"
    tokenizer = AutoTokenizer.from_pretrained(resolve_model(DEFAULT_MODEL).location)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=1024,
        max_position_embeddings=256,
    )
    device = choose_device("auto").name
    with whole_folder(folder) as beside:
        BertModel(config).save_pretrained(beside / "plain")
        tokenizer.save_pretrained(beside / "plain")
        modules = [Transformer(str(beside / "plain"), max_seq_length=128), Pooling(256, pooling_mode="mean")]
        model = SentenceTransformer(modules=modules, device=device)
        lines = medquad(data)
        history = train_mlm(
            model,
            pd.Series(lines[500:]),
            held_out=pd.Series(lines[:500]),
            settings=TrainingSettings(
                min_steps=1, batch_size=64, learning_rate=5e-4, weight_decay=0.01, evaluations=8, patience=0
            ),
            max_steps=options.pretraining_steps,
            seed=0,
            precision=choose_precision(device).name,
        )
        model.save_pretrained(str(beside / "model"), create_model_card=False)
        write_json(beside / "history.json", history.as_dict())
    return folder / "model"


def one_seed(
    base: str, folder: Path, seed: int, data: Path, text: Path, work: Path, options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """Every model of one base and seed, with what it scored; the second ratio shares all that does not depend on it."""
    first = work / f"{base}-{seed}-{RATIOS[0]}"
    gold = gold_file(data, work, options.gold)
    for ratio in RATIOS:
        run = work / f"{base}-{seed}-{ratio}"
        if ratio != RATIOS[0] and not run.exists():
            shutil.copytree(first, run)
        short: dict[str, Any] = {}
        if options.quick:
            short = {group: TrainingSettings(min_steps=6, epochs=0.01) for group in ("adaptation", "supervised")}
        metrics = adapt(
            AdaptOptions(
                sentences=str(text),
                gold=str(gold),
                test=str(data / "medical_rqe" / "test.tsv"),
                columns={"sentence1": "question1", "sentence2": "question2"},
                base=str(folder),
                delete_ratio=ratio,
                seed=seed,
                output=str(run),
                **short,
            )
        ).metrics
        test = pd.read_parquet(run / "stages" / "read" / "test.parquet")
        for model, scores in metrics["models"].items():
            if ratio != RATIOS[0] and "tsdae" not in model:
                continue
            stage = run / "stages" / metrics["stages"][model]
            kept = pd.read_parquet(stage / "predictions.parquet")
            predictions = kept.loc[kept["split"] == "test", "prediction"].to_numpy()
            yield {
                "base": base,
                "seed": seed,
                "model": model.replace("tsdae", f"tsdae {ratio}"),
                "dev": scores["dev"]["average_precision"],
                "average_precision": scores["test"]["average_precision"],
                "f1": best_f1(test["label"], predictions)[0],
                "predictions": str(stage.relative_to(work) / "predictions.parquet"),
                "labels": str((run / "stages" / "read" / "test.parquet").relative_to(work)),
                "ndcg_at_10": scifact(stage, data, work) if with_scifact(model, seed, options) else None,
            }


def gold_file(data: Path, work: Path, rows: int | None) -> Path:
    """Medical question entailment, train; the first rows of it where so many are asked for."""
    whole = data / "medical_rqe" / "train.tsv"
    if rows is None:
        return whole
    part = work / f"gold_{rows}.tsv"
    part.write_text("\n".join(whole.read_text(encoding="utf-8").splitlines()[: rows + 1]) + "\n", encoding="utf-8")
    return part


def with_scifact(model: str, seed: int, options: argparse.Namespace) -> bool:
    """Whether a model is measured on SciFact: those that saw text alone, with the seeds asked for."""
    return seed in options.scifact_seeds and "gold" not in model


def scifact(stage: Path, data: Path, work: Path) -> float:
    """nDCG@10 on SciFact's test queries; kept by the hash of the model."""
    kept = work / "scifact" / f"{sha256_of_folder(stage / 'model')[:16]}.json"
    if not kept.exists():
        kept.parent.mkdir(exist_ok=True)
        device = choose_device("auto").name
        model = SentenceTransformer(str(stage / "model"), device=device)
        found = read_retrieval_set(data / "scifact")
        with autocast(device, choose_precision(device).name):
            scores = evaluate_retrieval(model, found.corpus, found.queries, found.qrels)
        write_json(kept, {"ndcg_at_10": float(np.mean(scores.per_query["ndcg_at_10"]))})
    return float(read_json(kept)["ndcg_at_10"])


def table(runs: list[dict[str, Any]], work: Path) -> Iterator[dict[str, Any]]:
    """One row a base and model: means over seeds, and the difference to what it has to beat."""
    grouped: dict[tuple[str, str], dict[int, dict[str, Any]]] = {}
    for run in runs:
        grouped.setdefault((run["base"], run["model"]), {})[run["seed"]] = run
    for (base, model), of_seed in grouped.items():
        against = "gold" if "gold" in model and model != "gold" else "zero_shot"
        beaten = grouped.get((base, against), {})
        seeds = sorted(of_seed.keys() & beaten.keys())
        interval = None if model == against or len(seeds) < 2 else difference(of_seed, beaten, seeds, work)
        scored = [run["ndcg_at_10"] for run in of_seed.values() if run["ndcg_at_10"] is not None]
        yield {
            "base": base,
            "model": model,
            "seeds": len(of_seed),
            "average_precision": float(np.mean([run["average_precision"] for run in of_seed.values()])),
            "f1": float(np.mean([run["f1"] for run in of_seed.values()])),
            "against": "" if model == against else against,
            "difference": interval[0] if interval else None,
            "low": interval[1] if interval else None,
            "high": interval[2] if interval else None,
            "ndcg_at_10": float(np.mean(scored)) if scored else None,
        }


def difference(
    first: Mapping[int, dict[str, Any]], second: Mapping[int, dict[str, Any]], seeds: list[int], work: Path
) -> tuple[float, float, float]:
    """Mean over seeds of the difference in average precision, and its interval over test pairs and seeds.

    As ``evaluation.paired_bootstrap_over_seeds`` does it for correlations: pairs are drawn alike for all models, seeds
    alike for both ways.
    """
    drawn, values = [], []
    for seed in seeds:
        a, b = first[seed], second[seed]
        resampled = [resampled_precision(run, work) for run in (a, b)]
        drawn.append(resampled[0] - resampled[1])
        values.append(a["average_precision"] - b["average_precision"])
    chosen = np.random.default_rng(len(seeds)).integers(0, len(seeds), size=(len(seeds), RESAMPLES))
    means = np.take_along_axis(np.array(drawn), chosen, axis=0).mean(axis=0)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(np.mean(values)), float(low), float(high)


def resampled_precision(run: Mapping[str, Any], work: Path) -> np.ndarray:
    """Average precision of one model's predictions on resamples of the test pairs, the same for every model."""
    kept = pd.read_parquet(work / run["predictions"])
    predictions = kept.loc[kept["split"] == "test", "prediction"].to_numpy()
    labels = pd.read_parquet(work / run["labels"])["label"].to_numpy() == 1
    return np.asarray(resampled_average_precision(labels, predictions, samples=RESAMPLES, seed=0))


if __name__ == "__main__":
    main()
