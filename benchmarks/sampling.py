"""Where augmentation pays: sampling strategies, teachers and amounts of gold on real data, over several seeds.

    python benchmarks/sampling.py --work runs                                  # the whole table: a day on two cores
    python benchmarks/sampling.py --work runs --data zh --gold 500             # one part of it
    python benchmarks/sampling.py --work runs --data en --gold 500 --teacher-base FOLDER --strategies semantic kde
    python benchmarks/sampling.py --work runs --data en --gold 500 --student-layers 1 3 5 --strategies semantic \
        --teacher-base all-MiniLM-L6-v2 --no-own                               # a student of three of its six layers
    python benchmarks/sampling.py --quick                                      # minutes, only to see that it runs

A setting is a data set, a number of gold pairs, the student, and what the teacher is made of. In each setting and with
each seed, the student is trained on gold alone, the teacher is trained, and then each strategy finds its pairs, which
that teacher labels and a student is trained on beside gold; everything else is at the pipeline's defaults, unless
``--with`` says otherwise. The seed draws the gold pairs too. What is told of a strategy is the mean over seeds of the
test Spearman correlation of gold + silver less that of gold alone, with a 95 % interval over test pairs and seeds (with
a single seed: over test pairs alone).

Data: ``en`` and ``zh``, STS benchmark, new pairs made from the sentences of train; ``rqe``, medical questions entailing
frequent ones (labels 0 and 1), new pairs made from gold's questions and those of MedQuAD, dev held out of gold. They
lie in the folder in EMBEDTRAIN_DATA, or ../shared/data beside the project. Everything measured is added to one JSON
file, and a CSV file beside it holds the table; what stands in ``--work`` already is not computed again. The last line
is JSON.
"""

import argparse
import itertools
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
import pandas as pd
import torch
from augsbert import further_options, smaller
from machine import describe
from training_data import ROOT, data_folder

from embedtrain.evaluation import paired_bootstrap_over_seeds
from embedtrain.files import read_json, whole_folder, write_json
from embedtrain.models import DEFAULT_MODEL, load_biencoder, resolve_model
from embedtrain.pipelines.augsbert.options import AugSBERTOptions
from embedtrain.pipelines.augsbert.pipeline import augsbert

STRATEGIES = ["random", "kde", "bm25", "semantic", "bm25+semantic"]
MODELS = ("zero_shot", "teacher", "gold_only", "augmented")


@dataclass(frozen=True)
class Setting:
    """What the strategies are compared in.

    Attributes:
        data: ``en``, ``zh`` or ``rqe``.
        gold: Number of gold pairs, or ``all``.
        teacher: Name of the teacher's base; ``own`` is the student's.
        more: Options of the pipeline that differ from its defaults.
        student_layers: Layers of the bundled model that the student keeps, from 0; none keeps all.
    """

    data: str
    gold: str
    teacher: str
    more: tuple[str, ...] = ()
    student_layers: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """Of a folder."""
        layers = [f"layers {self.student_layers}"] if self.student_layers else []
        return "-".join([self.data, self.gold, self.teacher, *layers, *self.more]).replace("/", "_").replace(" ", "")


def main() -> None:
    """Run what is asked for and not yet there, and print the table."""
    options = parse_options()
    data = data_folder()
    work = Path(options.work or tempfile.mkdtemp(prefix="embedtrain-benchmark-"))
    work.mkdir(parents=True, exist_ok=True)
    record = read_json(options.output) if options.output.exists() else {"runs": [], "table": []}
    bases = {"own": None, **{Path(folder).name: folder for folder in options.teacher_base}}
    student = with_layers(options.student_layers, work) if options.student_layers else DEFAULT_MODEL
    for setting, seed in itertools.product(settings(options, list(bases)), options.seeds):
        given = inputs(data, setting.data, work, quick=options.quick)
        for strategy in options.strategies:
            models = {"base": student, "teacher_base": bases[setting.teacher]}
            run = one_run(setting, strategy, seed, {**given, **models}, work / "runs")
            run |= describe("sampling.py")
            record["runs"] = [old for old in record["runs"] if key(old) != key(run)] + [run]
            record["table"] = list(table(record["runs"], work / "predictions", before=record["table"]))
            write_json(options.output, record)
            pd.DataFrame(record["table"]).to_csv(options.output.with_suffix(".csv"), index=False, lineterminator="\n")
    print("\n".join(markdown(record["table"])))
    print(json.dumps({"paid": [row["setting"] for row in record["table"] if (row["low"] or 0) > 0], **summary(record)}))


def parse_options() -> argparse.Namespace:
    """Command-line options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=["en", "zh", "rqe"], default=["en", "zh"])
    parser.add_argument("--gold", nargs="+", default=["500", "all"], help="numbers of gold pairs, or all")
    parser.add_argument("--strategies", nargs="+", default=STRATEGIES)
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44])
    parser.add_argument("--teacher-base", nargs="*", default=[], help="folders of larger models, beside the student's")
    parser.add_argument("--student-layers", nargs="+", type=int, default=[], help="layers that the student keeps")
    parser.add_argument("--no-own", action="store_true", help="only with teachers made of --teacher-base")
    parser.add_argument("--with", dest="more", nargs="+", default=[], metavar="OPTION=VALUE", help="further options")
    parser.add_argument("--work", help="folder for runs and predictions, kept and continued; default: a temporary one")
    parser.add_argument("--quick", action="store_true", help="a little data, two seeds; its figures mean nothing")
    parser.add_argument("--output", type=Path, help="JSON file; with --quick by default a temporary one")
    options = parser.parse_args()
    if options.no_own and not options.teacher_base:
        parser.error("--no-own leaves no teacher: give --teacher-base")
    if options.quick:
        options.data, options.gold, options.seeds = options.data[:1], ["200"], options.seeds[:2]
        options.more += ["student.min_steps=10", "teacher_training.min_steps=10", "bi_encoder_training.min_steps=10"]
        options.more += ["student.epochs=0.1", "silver_limit=300"]
    if options.output is None:
        folder = Path(tempfile.mkdtemp()) if options.quick else ROOT / "benchmarks" / "results"
        options.output = folder / "sampling.json"
    return options


def settings(options: argparse.Namespace, teachers: list[str]) -> Iterator[Setting]:
    """Every setting that is asked for."""
    asked = teachers[1:] if options.no_own else teachers
    for data, gold, teacher in itertools.product(options.data, options.gold, asked):
        yield Setting(data, gold, teacher, tuple(options.more), tuple(options.student_layers))


def with_layers(layers: list[int], work: Path) -> str:
    """The bundled model with some of its layers, from 0; a folder."""
    folder = work / "students" / "-".join(map(str, layers))
    if not folder.exists():
        model = load_biencoder(resolve_model(DEFAULT_MODEL), device="cpu")
        encoder: Any = model[0].auto_model
        encoder.encoder.layer = torch.nn.ModuleList([encoder.encoder.layer[layer] for layer in layers])
        encoder.config.num_hidden_layers = len(layers)
        with whole_folder(folder) as beside:
            model.save_pretrained(str(beside), create_model_card=False)
    return str(folder)


def inputs(data: Path, name: str, work: Path, *, quick: bool) -> dict[str, Any]:
    """The pipeline's options that name files of a data set."""
    if name == "rqe":
        folder = data / "medical_rqe"
        given: dict[str, Any] = {
            "gold": str(folder / "train.tsv"),
            "test": str(folder / "test.tsv"),
            "unlabeled": str(data / "medquad" / "medquad_questions.tsv"),
            "columns": {"sentence1": "question1", "sentence2": "question2", "score": "label"},
        }
        return given
    files = {split: data / "stsb" / f"{name}_{split}.tsv" for split in ("train", "dev", "test")}
    if quick:
        files = {split: smaller(file, 400, work) for split, file in files.items()}
    sentences = work / f"{name}_sentences.txt"
    rows = [line.split("\t") for line in files["train"].read_text(encoding="utf-8").splitlines()[1:]]
    sentences.write_text("\n".join(row[side] for side in (0, 1) for row in rows) + "\n", encoding="utf-8")
    return {
        "gold": str(files["train"]),
        "dev": str(files["dev"]),
        "test": str(files["test"]),
        "unlabeled": str(sentences),
        "score_range": (0.0, 5.0),
    }


def one_run(setting: Setting, strategy: str, seed: int, given: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """One strategy in one setting with one seed.

    The strategies of a setting and seed share a run folder, in which the pipeline trains student and teacher once.
    """
    result = augsbert(
        AugSBERTOptions(
            **given,
            output=str(folder / f"{setting.name}-{seed}"),
            gold_limit=None if setting.gold == "all" else int(setting.gold),
            strategies=strategy.split(),
            seed=seed,
            **further_options(list(setting.more)),
        )
    )
    metrics = result.metrics
    predictions = pd.read_parquet(result.report.parent / "stages" / "predict" / "predictions.parquet")
    kept = folder.parent / "predictions" / f"{setting.name}-{strategy}-{seed}.parquet"
    kept.parent.mkdir(parents=True, exist_ok=True)
    predictions[predictions["split"] == "test"].to_parquet(kept)
    return {
        **asdict(setting),
        "strategy": strategy,
        "seed": seed,
        "predictions": kept.name,
        "spearman": {
            model: {split: scores[split]["spearman"] for split in ("dev", "test")}
            for model, scores in metrics["models"].items()
        },
        "difference": metrics["paired_difference"],
        "winner": metrics["winner"],
        "teacher_used": metrics["teacher"]["name"],
        "candidates": metrics["teacher"]["candidates"],
        "silver": metrics["silver"],
        "seconds": metrics["seconds"],
    }


def key(run: Mapping[str, Any]) -> tuple[Any, ...]:
    """What tells one run from another."""
    layers = run.get("student_layers", [])
    return (*(run[name] for name in ("data", "gold", "teacher", "strategy", "seed")), *layers, *run["more"])


def table(runs: list[dict[str, Any]], predictions: Path, *, before: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """One row a setting and strategy: means over seeds, and the interval of the difference.

    Args:
        runs: All of them.
        predictions: The folder of what the models said.
        before: Rows of an earlier table, whose intervals stay where the predictions lie no more.
    """
    known = {(row["setting"], row["seeds"]): row for row in before}
    grouped: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for run in sorted(runs, key=lambda run: run["seed"]):
        layers = " ".join(map(str, run.get("student_layers", [])))
        names = (run["data"], run["gold"], layers, run["teacher"], " ".join(run["more"]), run["strategy"])
        grouped.setdefault(names, []).append(run)
    for (data, gold, layers, teacher, more, strategy), group in grouped.items():
        student = f" student of layers {layers}" if layers else ""
        setting = f"{data} {gold} {teacher} {strategy}{student}" + (f" ({more})" if more else "")
        parts = [
            pd.read_parquet(predictions / run["predictions"])
            for run in group
            if (predictions / run["predictions"]).exists()
        ]
        low, high = group[0]["difference"]["ci95"] if len(group) == 1 else (None, None)
        if len(parts) == len(group) > 1:
            said = {
                model: np.stack([part.loc[part["model"] == model, "prediction"] for part in parts])
                for model in ("augmented", "gold_only")
            }
            wanted = parts[0].loc[parts[0]["model"] == "gold_only", "score"]
            interval = paired_bootstrap_over_seeds(said["augmented"], said["gold_only"], wanted)
            low, high = interval.low, interval.high
        elif len(group) > 1 and (setting, len(group)) in known:
            low, high = (known[setting, len(group)][end] / 100 for end in ("low", "high"))
        yield {
            "setting": setting,
            "data": data,
            "gold": gold,
            "student_layers": layers,
            "teacher_base": teacher,
            "with": more,
            "strategy": strategy,
            "seeds": len(group),
            "teachers": "; ".join(dict.fromkeys(run["teacher_used"] for run in group)),
            **{model: 100 * np.mean([run["spearman"][model]["test"] for run in group]) for model in MODELS},
            "difference": 100 * np.mean([run["difference"]["difference"] for run in group]),
            "low": None if low is None else 100 * low,
            "high": None if high is None else 100 * high,
            "kept_augmented": sum(run["winner"] == "augmented" for run in group),
            # What the pipeline leaves in model/: the better student on dev.
            "kept": 100 * np.mean([run["spearman"][run["winner"]]["test"] for run in group]),
        }


def markdown(rows: list[dict[str, Any]]) -> Iterator[str]:
    """The table for a page."""
    columns = ["data", "gold", "layers", "teacher of", "strategy", "seeds", "teacher", "gold only", "gold + silver"]
    columns += ["difference", "95 % interval", "kept"]
    yield f"| {' | '.join(columns)} |"
    yield f"| {' | '.join('---' for _ in columns)} |"
    for row in rows:
        cells = [
            row["data"],
            row["gold"],
            row["student_layers"] or "all",
            row["teacher_base"],
            f"{row['strategy']} {row['with']}".strip(),
        ]
        cells += [str(row["seeds"]), *(f"{row[model]:.2f}" for model in MODELS[1:]), f"{row['difference']:+.2f}"]
        cells += ["" if row["low"] is None else f"{row['low']:+.2f} to {row['high']:+.2f}"]
        cells += [f"{row['kept']:.2f} ({row['kept_augmented']} of {row['seeds']})"]
        yield f"| {' | '.join(cells)} |"


def summary(record: Mapping[str, Any]) -> dict[str, float | None]:
    """How much of the way from 500 gold pairs to all of them silver goes, at best."""
    rows = record["table"]
    recovered: dict[str, float | None] = {}
    for data in ("en", "zh"):
        few = [row for row in rows if row["data"] == data and row["gold"] == "500"]
        for layers in dict.fromkeys(row["student_layers"] for row in few):
            name = f"recovered_{data}" + (f"_layers_{layers.replace(' ', '_')}" if layers else "")
            same = [row for row in rows if row["data"] == data and row["student_layers"] == layers]
            everything = [row["gold_only"] for row in same if row["gold"] == "all"]
            best = max((row for row in same if row["gold"] == "500"), key=lambda row: row["difference"])
            recovered[name] = None
            if everything:
                recovered[name] = round(best["difference"] / (np.mean(everything) - best["gold_only"]), 2)
    return recovered


if __name__ == "__main__":
    main()
