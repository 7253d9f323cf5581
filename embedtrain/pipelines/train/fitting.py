"""Fitting a bi-encoder as the options say: which parts are trained, on what tasks, from which of several seeds."""

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from embedtrain.evaluation.holdout import DevSet
from embedtrain.files import read_json, write_json
from embedtrain.models import autocast, load_biencoder
from embedtrain.models.adapting import add_lora, freeze, merge_lora
from embedtrain.models.prompts import set_prompts
from embedtrain.pipelines.train.inputs import TrainInputs
from embedtrain.pipelines.train.making import make_tasks
from embedtrain.pipelines.train.options import TrainOptions
from embedtrain.training.biencoder import train_tasks
from embedtrain.training.history import DevResult, History
from embedtrain.training.settings import EngineSettings

logger = logging.getLogger(__name__)

DEPENDS_ON = (
    "mix",
    "batch_tokens",
    "effective_batch",
    "chunk_size",
    "seeds",
    "freeze",
    "lora_rank",
    "gradient_checkpointing",
    "gradient_accumulation",
    "matryoshka",
    "compile",
    "pack",
    "prompts",
)


@dataclass(frozen=True)
class Fitted:
    """A trained model and what is known of its training.

    Attributes:
        model: The model with the weights of its best dev score.
        history: What happened.
        dev_predictions: What it predicted on dev, (rows,).
        seeds: For each of several seeds its dev score when the best one was chosen.
        has_adapter: Whether the model is a base model with low-rank adapters beside its weights.
    """

    model: SentenceTransformer
    history: History
    dev_predictions: NDArray[np.float64]
    seeds: list[dict[str, Any]]
    has_adapter: bool

    def save(self, folder: Path) -> None:
        """Write ``model/``, ``history.json`` and ``seeds.json``; with an adapter ``adapter/``, merged in ``model/``."""
        if self.has_adapter:
            self.model.save_pretrained(str(folder / "adapter"), create_model_card=False)
            merge_lora(self.model)
        self.model.save_pretrained(str(folder / "model"), create_model_card=False)
        write_json(folder / "history.json", self.history.as_dict())
        write_json(folder / "seeds.json", {"seeds": self.seeds} if self.seeds else {})


class Fitting:
    """One training, over one seed or several.

    Args:
        options: The options.
        inputs: Models and choices; the tables there say kinds, classes and losses.
        tables: The audited rows of each table.
        dev: What chooses the weights.
        before: What the untrained model predicted on dev, (rows,).
        checkpoints: Folder for checkpoints; what is found there is gone on from.
        leads: Whether this is the first, or only, process of the training.
    """

    def __init__(
        self,
        options: TrainOptions,
        inputs: TrainInputs,
        *,
        tables: list[pd.DataFrame],
        dev: DevSet,
        before: NDArray[np.float64],
        checkpoints: Path,
        leads: bool = True,
    ) -> None:
        self.options = options
        self.inputs = inputs
        self.tables = tables
        self.dev = dev
        self.before = before
        self.checkpoints = checkpoints
        self.leads = leads
        rows = options.effective_batch
        self.settings = options.training if rows is None else replace(options.training, batch_size=rows)
        self.engine = EngineSettings(
            batch_tokens=options.batch_tokens,
            mix="round_robin" if options.mix == "round-robin" else "proportional",
            gradient_accumulation=options.gradient_accumulation,
            gradient_checkpointing=options.gradient_checkpointing,
            compile=options.compile,
            pack=options.pack,
            save_every=options.save_every,
            report_to=list(options.report_to),
            log_folder=str(Path(options.output) / "logs") if options.report_to else None,
        )

    @staticmethod
    def depends_on(options: TrainOptions) -> Mapping[str, Any]:
        """The options beside settings, seed and data that the trained weights depend on."""
        more: dict[str, Any] = {}
        if options.seeds > 1:
            more["keep_best_after"] = options.seeds_part
        if options.lora_rank is not None:
            more["lora_alpha"] = options.adapter_alpha
        return {**{name: getattr(options, name) for name in DEPENDS_ON}, **more}

    def fit(self) -> Fitted:
        """Train the one seed, or the best of several."""
        seeds = self._dev_of_seeds() if self.options.seeds > 1 else []
        seed = max(seeds, key=lambda note: note[self.dev.metric])["seed"] if seeds else self.options.seed
        if seeds:
            for note in seeds:
                if note["seed"] != seed and self.leads:
                    shutil.rmtree(self._folder(note["seed"]), ignore_errors=True)
            listed = ", ".join(f"{note['seed']}: {100 * note[self.dev.metric]:.2f}" for note in seeds)
            logger.info("seed %d goes on; dev %s x 100 by seed: %s", seed, self.dev.label, listed)
        model, history = self._train(seed)
        predictions = history.best_predictions
        if predictions is None:
            predictions = self._measure(model).predictions
        return Fitted(
            model, history, np.asarray(predictions, dtype=np.float64), seeds, self.options.lora_rank is not None
        )

    def _dev_of_seeds(self) -> list[dict[str, Any]]:
        """The dev score of each seed after its part of the training; those that are known from before are kept.

        The best of several seeds early on tends to be the best at the end: Thakur et al. 2021 (arXiv:2010.08240), seed
        optimization, after Dodge et al. 2020 (arXiv:2002.06305).
        """
        options = self.options
        notes = []
        for seed in range(options.seed, options.seed + options.seeds):
            file = self.checkpoints / f"seed_{seed}.json"
            if file.is_file():
                notes.append(read_json(file))
                continue
            _, history = self._train(seed, until_share=options.seeds_part)
            # The untrained model's score is the same for all.
            trained = [entry for entry in history.evaluations if entry["step"] > 0]
            best = max(entry[self.dev.metric] for entry in trained)
            notes.append({"seed": seed, "step": trained[-1]["step"], self.dev.metric: best})
            if self.leads:
                write_json(file, notes[-1])
        return notes

    def _train(self, seed: int, *, until_share: float | None = None) -> tuple[SentenceTransformer, History]:
        options = self.options
        model = load_biencoder(self.inputs.base, device=self.inputs.device.name)
        set_prompts(model, options.prompts)
        if options.lora_rank is not None:
            add_lora(model, rank=options.lora_rank, alpha=options.adapter_alpha, dropout=0.0, seed=seed)
        elif options.freeze is not None:
            freeze(model, options.freeze)
        history = train_tasks(
            model,
            make_tasks(model, self.inputs, self.tables, options),
            dev_metric=self._measure,
            metric=self.dev.metric,
            untrained=DevResult(self.dev.scores(self.before), self.before),
            settings=self.settings,
            engine=self.engine,
            until_share=until_share,
            seed=seed,
            precision=self.inputs.precision.name,
            description=f"seed {seed}" if options.seeds > 1 else "training",
            checkpoints=self._folder(seed),
        )
        return model, history

    def _measure(self, model: SentenceTransformer) -> DevResult:
        with autocast(model.device.type, self.inputs.precision.name):
            measured = self.dev.measure(model)
        return DevResult(measured.scores, measured.predictions)

    def _folder(self, seed: int) -> Path:
        return self.checkpoints / f"seed_{seed}"
