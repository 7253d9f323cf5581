"""What the stages of one mining share: options, inputs, the run folder, texts and their embeddings."""

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from embedtrain.files import read_json, sha256_of_file, sha256_of_value, write_json, write_parquet
from embedtrain.mining.combining import Combination, fit_combination
from embedtrain.models.prompts import Prompts, prompt_before, set_prompts
from embedtrain.pipelines.checks import content_hash
from embedtrain.pipelines.label.teachers import Scoring, uncalibrated
from embedtrain.pipelines.mine.encoding import encode_texts
from embedtrain.pipelines.mine.inputs import MineInputs
from embedtrain.pipelines.mine.options import MineOptions
from embedtrain.pipelines.mine.scoring import KeptScores
from embedtrain.pipelines.run import Run

logger = logging.getLogger(__name__)

# The tables of what is embedded. Anchors have one of their own where another prompt stands before them.
TEXTS, ANCHORS = "texts", "anchors"
EMBEDDINGS = "embeddings.npy"


class Workspace:
    """The run of one mining, and the stages that every mode may need.

    Args:
        options: The options.
        inputs: Tables, models and choices.
        run: The run folder.
    """

    def __init__(self, options: MineOptions, inputs: MineInputs, run: Run) -> None:
        self.options = options
        self.inputs = inputs
        self.run = run
        self.device = inputs.device.name
        self.precision = inputs.precision.name
        self.computing = {"device": self.device, "precision": self.precision}
        # What is kept of a stage that is not done, so that a kill does not cost all of it.
        self.unfinished = run.folder / "unfinished"
        self.prompts = self._prompts()

    def read(self) -> None:
        """Keep the tables, and the texts of which pairs or embeddings are made, each once."""
        inputs = self.inputs
        embedded: dict[str, list[str]] = {name: [] for name in self.prompts}
        embedded[TEXTS] += [*inputs.sentences, *inputs.gold["sentence1"], *inputs.gold["sentence2"]]
        embedded[self.anchors_table] += inputs.positives["anchor"].tolist()
        embedded[TEXTS] += inputs.positives["positive"].tolist()

        def work(folder: Path) -> None:
            for name, texts in embedded.items():
                distinct = [*dict.fromkeys(text for text in texts if text.strip())]
                write_parquet(folder / f"{name}.parquet", pd.DataFrame({"text": pd.Series(distinct, dtype="str")}))
            for name, table in self._tables().items():
                write_parquet(folder / f"{name}.parquet", table)
            write_json(folder / "audit.json", {"findings": inputs.findings})

        used = {
            "sentences": sha256_of_value(inputs.sentences),
            **{name: content_hash(table) for name, table in self._tables().items()},
            "embedded": [*self.prompts],
        }
        self.run.stage("read", inputs=used, work=work)

    def encode(self) -> None:
        """Make the embeddings of all texts, where something searches among them."""
        model = self.inputs.model
        if model is None:
            return

        if any(self.prompts.values()):
            queries, documents = (self.prompts[name] or "" for name in (self.anchors_table, TEXTS))
            logger.info("prompts before the texts: anchors %r, all others %r", queries, documents)
        for name, prompt in self.prompts.items():
            stage = _encoding(name)

            def work(folder: Path, name: str = name, stage: str = stage, prompt: str | None = prompt) -> None:
                embeddings = encode_texts(
                    self.texts(name),
                    model,
                    device=self.device,
                    precision=self.precision,
                    engine=self.options.engine,
                    folder=self.unfinished / stage,
                    prompt=prompt,
                )
                np.save(folder / EMBEDDINGS, embeddings)

            used = {"texts": self.tables_hash(name), "model": model.fingerprint, "prompt": prompt, **self.computing}
            self.run.stage(stage, inputs=used, work=work)

    def scores(self) -> KeptScores | None:
        """What asks the teachers, None without any; where it is asked for, calibrated on gold first."""
        teachers = self.inputs.teachers
        if not teachers:
            return None
        scoring = Scoring(self.device, self.precision, one_order=False, sigmoid=self.options.sigmoid)
        calibrates = self.options.calibrate and self.options.mode == "pairs"
        combination = self._calibration(scoring) if calibrates else uncalibrated(teachers)
        return KeptScores(teachers, scoring, combination, folder=self.unfinished / "scores", engine=self.options.engine)

    @property
    def anchors_table(self) -> str:
        """Which of the tables holds the anchors of positive pairs."""
        return ANCHORS if ANCHORS in self.prompts else TEXTS

    def texts(self, name: str = TEXTS) -> list[str]:
        """Every text of one of the tables, each once."""
        texts: list[str] = pd.read_parquet(self.run.path("read", f"{name}.parquet"))["text"].tolist()
        return texts

    def embeddings(self, name: str = TEXTS) -> torch.Tensor | None:
        """The embeddings of the texts of one of the tables, (n, dim), or None where none were made."""
        if self.inputs.model is None:
            return None
        return torch.from_numpy(np.load(self.run.path(_encoding(name), EMBEDDINGS))).to(self.device)

    def search_depends_on(self) -> dict[str, Any]:
        """What the result of a stage depends on that searches among texts and their embeddings."""
        used: dict[str, Any] = {"tables": self.tables_hash(*self.prompts, *self._tables())}
        if self.inputs.model is not None:
            embedded_by = {"model": self.inputs.model.fingerprint, "prompts": self.prompts, **self.computing}
            used |= {"search": self.options.search, **embedded_by}
        return used

    def tables_hash(self, *names: str) -> dict[str, str]:
        """The hash of each of the tables read."""
        return {name: sha256_of_file(self.run.path("read", f"{name}.parquet")) for name in names}

    def clear_unfinished(self) -> None:
        """Delete what was kept of stages that are done by now."""
        if self.run.leads:
            shutil.rmtree(self.unfinished, ignore_errors=True)

    def _prompts(self) -> dict[str, str | None]:
        """The tables of what is embedded, with what stands before their texts where it is not the model's default."""
        model = self.inputs.model
        if model is None or self.options.mode != "hard-negatives":
            return {TEXTS: None}
        prompts = Prompts(model)
        set_prompts(prompts, self.options.prompts)
        query, document = (prompt_before(prompts, column) for column in ("anchor", "positive"))
        anchors: dict[str, str | None] = {} if query == document else {ANCHORS: query}
        return {TEXTS: document} | anchors

    def _tables(self) -> dict[str, pd.DataFrame]:
        inputs = self.inputs
        tables = {"gold": inputs.gold, "known": inputs.known, "ready": inputs.ready, "positives": inputs.positives}
        return {name: table for name, table in tables.items() if table is not None and len(table)}

    def _calibration(self, scoring: Scoring) -> Combination:
        """The maps that bring each teacher's scores onto the scale of gold's."""
        teachers, gold = self.inputs.teachers, self.inputs.gold

        def work(folder: Path) -> None:
            texts = gold["sentence1"].tolist(), gold["sentence2"].tolist()
            given = [scoring.load(teacher).score(*texts) for teacher in teachers]
            write_json(folder / "combination.json", fit_combination(given, gold["score"].to_numpy()).as_dict())

        used = {
            "teachers": [scoring.fingerprint(teacher) for teacher in teachers],
            "gold": self.tables_hash("gold"),
        }
        folder = self.run.stage("calibrate", inputs=used, work=work)
        return Combination.from_dict(read_json(folder / "combination.json"))


def _encoding(name: str) -> str:
    """The stage that embeds one of the tables."""
    return "encode" if name == TEXTS else f"encode_{name}"
