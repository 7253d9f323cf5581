"""Augmented SBERT (Thakur et al. 2021): gold trains a teacher, it labels new pairs, both train the student.

The stages, in order: read and audit; zero-shot; teacher; sample; label; silver; two students; predict; judge; report.
Each is kept in the run folder and done again only when something it depends on has changed.
"""

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sentence_transformers import CrossEncoder, SentenceTransformer

from embedtrain.data import audit_pairs, audit_sentences
from embedtrain.data.findings import AuditReport
from embedtrain.evaluation.statistics import spearman
from embedtrain.evaluation.sts import cosine_of_pairs
from embedtrain.files import (
    read_json,
    sha256_of_file,
    sha256_of_folder,
    write_json,
    write_parquet,
)
from embedtrain.mining.labeling import hard_labels, label_pairs, score_pairs
from embedtrain.mining.sampling import sample_pairs
from embedtrain.models import ModelSource, autocast, choose_attention, load_biencoder, load_crossencoder
from embedtrain.pipelines.augsbert.inputs import Inputs, check_positives, collect_inputs
from embedtrain.pipelines.augsbert.judging import judge, teacher_warning
from embedtrain.pipelines.augsbert.options import AugSBERTOptions
from embedtrain.pipelines.checks import check_tables, content_hash
from embedtrain.pipelines.run import Run
from embedtrain.report import write_report
from embedtrain.training.biencoder import scored, train_biencoder
from embedtrain.training.cpu import memory_kept_mapped
from embedtrain.training.crossencoder import train_crossencoder
from embedtrain.training.history import History

logger = logging.getLogger(__name__)

PAIR = ["sentence1", "sentence2"]
AUDIT_EXAMPLES = 25


@dataclass(frozen=True)
class AugSBERTResult:
    """What a run made: ``metrics`` is the content of ``metrics.json``."""

    metrics: dict[str, Any]
    model: Path
    report: Path


def augsbert(options: AugSBERTOptions) -> AugSBERTResult:
    """Run the whole pipeline, or what is left of it, in ``options.output``.

    Raises:
        UserError: With every mistake in options, files and model names, before any model is loaded.
    """
    inputs = collect_inputs(options)
    on_cpu = inputs.device.name == "cpu"
    with Run(options.output, config=options.as_dict()) as run, memory_kept_mapped() if on_cpu else nullcontext():
        return _augsbert(options, inputs, run)


def _augsbert(options: AugSBERTOptions, inputs: Inputs, run: Run) -> AugSBERTResult:
    run.note(seed=options.seed, models={"base": asdict(inputs.base), "teacher_base": asdict(inputs.teacher_base)})
    run.note_choices(device=inputs.device, precision=inputs.precision, attention=choose_attention(inputs.device.name))
    pipeline = Pipeline(options, inputs, run)
    pipeline.read()
    pipeline.zero_shot()
    pipeline.train_teacher()
    pipeline.warn_about_teacher()
    pipeline.sample()
    pipeline.label()
    pipeline.make_silver()
    pipeline.train_student("gold_only")
    pipeline.train_student("augmented")
    pipeline.predict()
    metrics = pipeline.judge()
    pipeline.keep_winner(metrics["winner"])
    report = write_report(run.folder) if run.leads else run.folder / "report.html"
    return AugSBERTResult(metrics, run.folder / "model", report)


class Pipeline:
    """The stages of one run; each method is one stage."""

    def __init__(self, options: AugSBERTOptions, inputs: Inputs, run: Run) -> None:
        self.options = options
        self.inputs = inputs
        self.run = run
        self.device = inputs.device.name
        self.precision = inputs.precision.name
        self.computing = {"device": self.device, "precision": self.precision}

    def read(self) -> None:
        """Audit the tables, drop what has to go, draw the gold subset, and keep the result as Parquet."""
        tables, options = self.inputs, self.options

        def work(folder: Path) -> None:
            gold, dev, test, report = audit_pairs(tables.gold, tables.dev, tables.test, max_examples=AUDIT_EXAMPLES)
            if options.gold_limit is not None and options.gold_limit < len(gold):
                drawn = np.random.default_rng(options.seed).permutation(len(gold))[: options.gold_limit]
                gold = gold.iloc[np.sort(drawn)]
                logger.info("gold: %d of the pairs drawn with seed %d", len(gold), options.seed)
            check_tables({"gold": gold, "dev": dev, "test": test}, stage="after the audit")
            check_positives(gold, options, name="gold after the audit")
            reports = [report]
            texts = [*gold["sentence1"], *gold["sentence2"]]
            if len(tables.sentences):
                audited = audit_sentences(tables.sentences, test=test, names={"sentences": "unlabeled"})
                reports.append(audited.report)
                texts = [*audited.sentences["text"], *texts]
            for name, frame in (("gold", gold), ("dev", dev), ("test", test)):
                write_parquet(folder / f"{name}.parquet", frame[[*PAIR, "score"]].rename_axis("row").reset_index())
            write_parquet(folder / "sentences.parquet", pd.DataFrame({"text": list(dict.fromkeys(texts))}))
            write_json(folder / "audit.json", _joined(reports))

        frames = {name: content_hash(getattr(tables, name)) for name in ("gold", "dev", "test", "sentences")}
        limit = {"gold_limit": options.gold_limit, "seed": options.seed} if options.gold_limit else {}
        folder = self.run.stage("read", inputs={**frames, **limit}, work=work)
        for finding in read_json(folder / "audit.json")["findings"]:
            logger.info("audit: %s", finding["message"])

    def zero_shot(self) -> None:
        """Score the base bi-encoder before anything is trained."""

        def work(folder: Path) -> None:
            model = self._load(self.inputs.base)
            parts = [self._cosines(model, split) for split in ("dev", "test")]
            write_parquet(folder / "predictions.parquet", pd.concat(parts, ignore_index=True))

        used = {"base": self.inputs.base.fingerprint, **self._hashes("dev", "test"), **self.computing}
        self.run.stage("zero_shot", inputs=used, work=work)

    def train_teacher(self) -> None:
        """Train the cross-encoder on gold, both orders of each pair, the best weights by dev."""
        options = self.options

        def work(folder: Path) -> None:
            model = load_crossencoder(self.inputs.teacher_base, device=self.device, seed=options.seed)
            history = train_crossencoder(
                model,
                self._table("gold"),
                dev=self._table("dev"),
                settings=options.teacher,
                seed=options.seed,
                precision=self.precision,
                description="teacher",
            )
            self._keep(model, history, folder)

        used = {
            "teacher_base": self.inputs.teacher_base.fingerprint,
            **self._hashes("gold", "dev"),
            "teacher": asdict(options.teacher),
            "seed": options.seed,
            **self.computing,
        }
        self.run.stage("teacher", inputs=used, work=work, shared=True)

    def warn_about_teacher(self) -> None:
        """Say before labelling when the teacher is no better than the student it shall teach."""
        zero_shot = self._zero_shot_dev()
        warning = teacher_warning(self._teacher_dev(), spearman(zero_shot["prediction"], zero_shot["score"]))
        if warning:
            logger.warning("%s", warning)

    def sample(self) -> None:
        """Pair up the unlabelled sentences and gold's own by semantic search and BM25."""
        options = self.options
        at_most = options.silver_pairs_at_most(len(self._table("gold")))

        def work(folder: Path) -> None:
            sentences = pd.read_parquet(self.run.path("read", "sentences.parquet"))["text"].tolist()
            known = pd.concat([self._table(name) for name in ("gold", "dev", "test")])
            embeddings = None
            if "semantic" in options.strategies:
                model = self._load(self.inputs.base)
                with autocast(self.device, self.precision):
                    embeddings = model.encode(sentences, batch_size=64, convert_to_tensor=True, show_progress_bar=False)
                embeddings = embeddings.float()
            candidates = sample_pairs(
                sentences,
                embeddings,
                strategies=options.strategies,
                top_k=options.top_k,
                known_pairs=list(zip(known["sentence1"], known["sentence2"], strict=True)),
            )
            found = len(candidates)
            if at_most is not None and found > at_most:
                candidates = candidates.sample(at_most, random_state=options.seed).sort_index()
            logger.info("sample: %d of %d new pairs kept, from %d sentences", len(candidates), found, len(sentences))
            write_parquet(folder / "candidates.parquet", candidates)

        used = {
            "base": self.inputs.base.fingerprint,
            **self._hashes("sentences", "gold", "dev", "test"),
            "strategies": options.strategies,
            "top_k": options.top_k,
            "at_most": at_most,
            "seed": options.seed,
            **self.computing,
        }
        self.run.stage("sample", inputs=used, work=work)

    def label(self) -> None:
        """Let the teacher score the new pairs, mean of both orders."""

        def work(folder: Path) -> None:
            candidates = pd.read_parquet(self.run.path("sample", "candidates.parquet"))
            scored = label_pairs(candidates, self._load_teacher(), dtype=self._dtype())
            write_parquet(folder / "scored.parquet", scored)

        used = {
            "teacher": sha256_of_folder(self.run.path("teacher", "model")),
            "candidates": sha256_of_file(self.run.path("sample", "candidates.parquet")),
            **self.computing,
        }
        self.run.stage("label", inputs=used, work=work)

    def make_silver(self) -> None:
        """Turn scores into silver labels: soft as they are, or 1 and 0 by two thresholds."""
        high, low = self.options.positive_threshold, self.options.negative_threshold

        def work(folder: Path) -> None:
            silver = pd.read_parquet(self.run.path("label", "scored.parquet"))
            if high is not None and low is not None:
                silver = hard_labels(silver, positive_threshold=high, negative_threshold=low)
                silver = silver.rename(columns={"score": "teacher_score", "label": "score"})
            write_parquet(folder / "silver.parquet", silver)

        used = {
            "scored": sha256_of_file(self.run.path("label", "scored.parquet")),
            # The ranking loss has one threshold and applies it when training.
            "positive_threshold": None if low is None else high,
            "negative_threshold": low,
        }
        self.run.stage("silver", inputs=used, work=work)

    def train_student(self, name: str) -> None:
        """Train the bi-encoder on ``gold_only`` or ``augmented`` data: the same base, the same maximum of steps."""
        options = self.options
        gold = self._for_loss(self._table("gold"), "gold")
        silver = self._for_loss(pd.read_parquet(self.run.path("silver", "silver.parquet")), "silver")
        pairs = gold if name == "gold_only" else pd.concat([gold, silver[gold.columns]], ignore_index=True)
        max_steps = options.student.steps_for(len(gold) + len(silver))

        def work(folder: Path) -> None:
            model = self._load(self.inputs.base)
            history = train_biencoder(
                model,
                pairs,
                dev=self._table("dev"),
                loss=options.loss,
                settings=options.student,
                max_steps=max_steps,
                seed=options.seed,
                precision=self.precision,
                description=name.replace("_", " "),
                untrained=scored(self._zero_shot_dev()["prediction"].to_numpy(), self._table("dev")),
            )
            self._keep(model, history, folder)

        used = {
            "base": self.inputs.base.fingerprint,
            "pairs": content_hash(pairs),
            **self._hashes("dev"),
            "loss": options.loss,
            "student": asdict(options.student),
            "max_steps": max_steps,
            "seed": options.seed,
            **self.computing,
        }
        self.run.stage(name, inputs=used, work=work, shared=True)

    def predict(self) -> None:
        """Let all four models score test; what they predicted for dev is kept from their training."""
        students = ("gold_only", "augmented")

        def work(folder: Path) -> None:
            parts = [pd.read_parquet(self.run.path("zero_shot", "predictions.parquet")).assign(model="zero_shot")]
            parts.append(self._kept_dev("teacher").assign(model="cross_encoder"))
            parts.append(self._teacher_scores().assign(model="cross_encoder"))
            for name in students:
                model = self._load(ModelSource(name, str(self.run.path(name, "model")), "folder"))
                parts.append(self._kept_dev(name).assign(model=name))
                parts.append(self._cosines(model, "test").assign(model=name))
            write_parquet(folder / "predictions.parquet", pd.concat(parts, ignore_index=True))

        used = {
            "zero_shot": sha256_of_file(self.run.path("zero_shot", "predictions.parquet")),
            **{name: sha256_of_folder(self.run.path(name, "model")) for name in ("teacher", *students)},
            **self._hashes("dev", "test"),
            **self.computing,
        }
        self.run.stage("predict", inputs=used, work=work)

    def judge(self) -> dict[str, Any]:
        """Put intervals on the scores of all four models, and words; write ``metrics.json``."""
        options = self.options
        predictions = self.run.path("predict", "predictions.parquet")

        def work(folder: Path) -> None:
            table = pd.read_parquet(predictions)
            judged = judge(table, bootstrap_samples=options.bootstrap_samples, seed=options.seed)
            write_json(folder / "judged.json", judged)

        used = {
            "predictions": sha256_of_file(predictions),
            "bootstrap_samples": options.bootstrap_samples,
            "seed": options.seed,
        }
        folder = self.run.stage("judge", inputs=used, work=work)
        metrics = {**read_json(folder / "judged.json"), "seconds": self.run.seconds}
        if self.run.leads:
            write_json(self.run.folder / "metrics.json", metrics)
        return metrics

    def keep_winner(self, winner: str) -> None:
        """Put the better student on dev into ``model/``."""
        self.run.keep(self.run.path(winner, "model"), "model")

    def _table(self, name: str) -> pd.DataFrame:
        return pd.read_parquet(self.run.path("read", f"{name}.parquet"), columns=[*PAIR, "score"])

    def _hashes(self, *names: str) -> dict[str, str]:
        return {name: sha256_of_file(self.run.path("read", f"{name}.parquet")) for name in names}

    def _load(self, source: ModelSource) -> SentenceTransformer:
        return load_biencoder(source, device=self.device)

    def _load_teacher(self) -> Any:
        folder = self.run.path("teacher", "model")
        return load_crossencoder(ModelSource("teacher", str(folder), "folder"), device=self.device)

    def _dtype(self) -> torch.dtype | None:
        return torch.bfloat16 if self.precision == "bf16" else None

    def _keep(self, model: SentenceTransformer | CrossEncoder, history: History, folder: Path) -> None:
        """Save a trained model, what happened, and the predictions for dev that its weights were chosen by."""
        model.save_pretrained(str(folder / "model"), create_model_card=False)
        write_json(folder / "history.json", history.as_dict())
        dev = self._table("dev")[["score"]].assign(split="dev", prediction=np.float64(history.best_predictions))
        write_parquet(folder / "dev.parquet", dev)

    def _kept_dev(self, stage: str) -> pd.DataFrame:
        return pd.read_parquet(self.run.path(stage, "dev.parquet"))

    def _cosines(self, model: SentenceTransformer, split: str) -> pd.DataFrame:
        table = self._table(split)
        # Test in fp32, because that is what a user of the saved model gets; dev as it is computed while training.
        with autocast(self.device, "fp32" if split == "test" else self.precision):
            cosines = cosine_of_pairs(model, table["sentence1"].tolist(), table["sentence2"].tolist())
        return table[["score"]].assign(split=split, prediction=cosines)

    def _teacher_scores(self) -> pd.DataFrame:
        # In the precision in which it labelled, because that is the teacher the silver came from.
        test = self._table("test")
        texts = test["sentence1"].tolist(), test["sentence2"].tolist()
        scores = score_pairs(self._load_teacher(), *texts, dtype=self._dtype())
        return test[["score"]].assign(split="test", prediction=scores.astype("float64"))

    def _teacher_dev(self) -> float:
        history = read_json(self.run.path("teacher", "history.json"))
        return max(evaluation["spearman"] for evaluation in history["evaluations"])

    def _zero_shot_dev(self) -> pd.DataFrame:
        predictions = pd.read_parquet(self.run.path("zero_shot", "predictions.parquet"))
        return predictions[predictions["split"] == "dev"]

    def _for_loss(self, pairs: pd.DataFrame, name: str) -> pd.DataFrame:
        if self.options.loss == "cosine":
            return pairs
        positives = pairs[pairs["score"] >= self.options.positive_threshold]
        logger.info("%s: %d of %d pairs are positives for the ranking loss", name, len(positives), len(pairs))
        return positives


def _joined(reports: list[AuditReport]) -> Mapping[str, Any]:
    parts = [report.to_json() for report in reports]
    return {
        "findings": [finding for part in parts for finding in part["findings"]],
        "tables": {name: table for part in parts for name, table in part["tables"].items()},
    }
