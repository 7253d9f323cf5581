"""What the evaluations share: a folder for what is measured, models loaded one at a time, files for what was found."""

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from sentence_transformers import SentenceTransformer

from embedtrain.evaluation.comparing import Difference
from embedtrain.evaluation.kept_items import KeptScore, keep_scores
from embedtrain.files import sha256_of_value, whole_file, write_json
from embedtrain.models import ModelSource, autocast, load_biencoder
from embedtrain.models.hardware import tf32_products
from embedtrain.models.sharing import share_model
from embedtrain.pipelines.evaluate.inputs import Evaluated
from embedtrain.pipelines.evaluate.judging import short_names
from embedtrain.pipelines.evaluate.options import EvaluateOptions
from embedtrain.pipelines.results import main_scores_frame
from embedtrain.pipelines.run import Run
from embedtrain.report import write_evaluate_report


@dataclass(frozen=True)
class Evaluation:
    """What was found: ``metrics`` is the content of ``metrics.json``, ``folder`` is None where nothing is kept."""

    metrics: dict[str, Any]
    folder: Path | None

    def to_frame(self) -> pd.DataFrame:
        """Each model's main score on each set as a fraction, with its 95 % interval: see ``results.score_frame``.

        Every other score is in ``metrics``, and in ``scores.csv`` of the folder.
        """
        return main_scores_frame(self.metrics)


class EvaluateWorkspace:
    """One evaluation at work.

    Args:
        run: Where stages are kept.
        evaluated: The models, and where they compute.
        batch_size: Texts encoded at a time.
        keeps: Whether the run's folder outlives the evaluation.
    """

    def __init__(self, run: Run, evaluated: Evaluated, *, batch_size: int, keeps: bool) -> None:
        self.run = run
        self.keeps = keeps
        self.models = evaluated.models
        self.device = evaluated.device.name
        self.precision = evaluated.precision.name
        self.batch_size = batch_size
        self._loaded: tuple[str, SentenceTransformer] | None = None

    @property
    def computing(self) -> dict[str, Any]:
        """What every figure depends on."""
        return {"device": self.device, "precision": self.precision}

    @contextmanager
    def loaded(self, source: ModelSource) -> Iterator[SentenceTransformer]:
        """A model at work in the chosen precision; of all models one is held at a time."""
        if self._loaded is None or self._loaded[0] != source.location:
            self._loaded = None
            model = share_model(partial(load_biencoder, source, device=self.device), device=self.device)
            self._loaded = (source.location, model)
        with self.in_precision():
            yield self._loaded[1]

    @contextmanager
    def in_precision(self) -> Iterator[None]:
        """Products in the chosen precision while the context lasts."""
        with autocast(self.device, self.precision), tf32_products(self.precision):
            yield

    def stage(
        self, name: Sequence[str], *, inputs: Mapping[str, Any], work: Callable[[Path], None], shared: bool = False
    ) -> Path:
        """A stage whose folder bears names that a person gave, and the same one whatever else is measured.

        Args:
            name: Names of models, files and tasks, by which people are told of it.
            inputs: Everything that the result depends on, beside where it is computed.
            work: As for ``Run.stage``.
            shared: As for ``Run.stage``.
        """
        readable = "-".join(re.sub(r"[^\w.]+", "_", Path(part).name or part)[:40] for part in name)
        folder = f"{readable}-{sha256_of_value(list(name))[:8]}"
        called = short_names(source.name for source in self.models)
        title = ", ".join(called.get(part, part) for part in name)
        used = {**inputs, **self.computing}
        return self.run.stage(folder, inputs=used, work=work, shared=shared, title=title)

    def finish(
        self, metrics: dict[str, Any], scores: Sequence[Mapping[str, Any]], kept: Sequence[KeptScore] | None = None
    ) -> Evaluation:
        """Write ``metrics.json``, ``scores.csv``, ``differences.csv``, ``report.html`` and the items of main scores.

        Args:
            metrics: What was found, plain values for JSON.
            scores: Each score in a row.
            kept: The main scores with their items, for ``embedtrain compare``; None keeps nothing for it.
        """
        if not self.keeps:
            return Evaluation(metrics, None)
        if not self.run.leads:
            return Evaluation(metrics, self.run.folder)
        if kept is not None:
            keep_scores(self.run.folder, kept)
        write_figures(self.run.folder, metrics, scores)
        write_evaluate_report(self.run.folder)
        return Evaluation(metrics, self.run.folder)


@contextmanager
def open_workspace(options: EvaluateOptions, evaluated: Evaluated) -> Iterator[EvaluateWorkspace]:
    """A workspace in the output folder, or in one that is thrown away afterwards."""
    with (
        tempfile.TemporaryDirectory(prefix="embedtrain-") as scratch,
        Run(options.output or scratch, config=options.as_dict()) as run,
    ):
        models = {f"model_{number}": asdict(source) for number, source in enumerate(evaluated.models, start=1)}
        run.note(models=models, seed=options.seed)
        run.note_choices(device=evaluated.device, precision=evaluated.precision)
        yield EvaluateWorkspace(run, evaluated, batch_size=options.batch_size, keeps=options.output is not None)


def write_figures(folder: Path, metrics: dict[str, Any], scores: Sequence[Mapping[str, Any]]) -> None:
    """Write ``metrics.json``, ``scores.csv`` and ``differences.csv``; see ``EvaluateWorkspace.finish``."""
    write_json(folder / "metrics.json", metrics)
    _write_csv(folder / "scores.csv", pd.DataFrame(scores))
    names = [name for name in Difference.__annotations__ if name != "ci95"]
    rows = [[*(entry[name] for name in names), *entry["ci95"]] for entry in metrics["differences"]]
    _write_csv(folder / "differences.csv", pd.DataFrame(rows, columns=[*names, "low", "high"]))


def _write_csv(path: Path, frame: pd.DataFrame) -> None:
    with whole_file(path) as beside:
        frame.to_csv(beside, index=False)
