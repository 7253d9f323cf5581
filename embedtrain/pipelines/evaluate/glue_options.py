"""The options of ``embedtrain evaluate glue``, with their checks."""

from dataclasses import dataclass, field
from typing import Literal

from embedtrain.data.glue.tasks import MIN_ROWS
from embedtrain.errors import Problems
from embedtrain.models.names import Pooled, PrecisionName
from embedtrain.pipelines.evaluate.options import EvaluateOptions, check_given, check_numbers
from embedtrain.training.settings import EngineSettings, TrainingSettings


@dataclass(frozen=True, kw_only=True)
class GLUEOptions(EvaluateOptions):
    """How good the encoder under an embedding model is: fine-tuned for each of GLUE's tasks, measured on its dev rows.

    Args:
        data_root: A folder with one folder a task (CoLA, SST-2, MRPC, STS-B, QQP, MNLI, QNLI, RTE, WNLI), as GLUE's own
            download or its copy on the hub has them; or that copy's name, such as nyu-mll/glue.
        tasks: Which of the tasks; by default every one that the folder holds.
        output: A folder that keeps figures and predictions; a task that is done there is not done again unless data,
            model or options changed, and one that was cut off goes on.
        batch_size: Rows in a training batch, of each process where torchrun started several.
        batch_tokens: Tokens in a training batch, padding counted, in place of a number of rows.
        epochs: Passes over a task's training rows; may be a fraction.
        learning_rate: Peak of the linear warm-up and decay.
        warmup_share: Share of all steps over which the learning rate rises from 0.
        evaluations: How often the weights are tried while training; the best ones are kept.
        patience: Training stops after this many of them without a better one; 0 never stops early.
        choose_on: What the weights are chosen by: training rows held out for it (5 %, at most 1,000), or the very dev
            rows that are measured, as many published scores were, which flatters.
        pooling: What the new layer reads: what the model's embeddings are made by (own), the mean of all tokens, or the
            first token (cls).
        max_length: Tokens that a row is cut to, a pair's both texts together.
        max_train_rows: Train on so many rows at most, drawn with the seed; for a look on a laptop.
        max_dev_rows: Measure on so many rows at most, drawn with the seed.
        seed: Of the training (new layer, order, dropout), of the rows that are drawn, and of the bootstrap.
        seeds: Train each task with so many seeds, from --seed on; the score is their mean.
        precision: Of matrix products: bf16 where the hardware has instructions for it, or fp32.
    """

    data_root: str
    tasks: list[str] = field(default_factory=list)
    output: str | None = "runs/glue"
    batch_size: int = 32
    batch_tokens: int | None = None
    epochs: float = 3.0
    learning_rate: float = 5e-5
    warmup_share: float = 0.1
    evaluations: int = 9
    patience: int = 0
    choose_on: Literal["held-out", "dev"] = "held-out"
    pooling: Pooled = "own"
    max_length: int = 128
    max_train_rows: int | None = None
    max_dev_rows: int | None = None
    seeds: int = 1
    precision: PrecisionName = "auto"

    @property
    def training(self) -> TrainingSettings:
        """How each task is fitted."""
        return TrainingSettings(
            epochs=self.epochs,
            min_steps=1,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            warmup_share=self.warmup_share,
            evaluations=self.evaluations,
            patience=self.patience,
        )

    @property
    def engine(self) -> EngineSettings:
        """How it is computed."""
        return EngineSettings(batch_tokens=self.batch_tokens)

    def check(self, problems: Problems) -> None:
        """As for every evaluation, with the training."""
        super().check(problems)
        self.training.check("", problems)
        if self.tasks:
            check_given("tasks", self.tasks, problems)
        least = {
            "batch_tokens": 1,
            "max_length": 4,
            "max_train_rows": 2 * MIN_ROWS,
            "max_dev_rows": MIN_ROWS,
            "seeds": 1,
        }
        check_numbers(self, least, problems)

    def check_processes(self, problems: Problems) -> None:
        """As for a training, all take part; what one of them has done the others read in the folder."""
        from embedtrain.models.sharing import processes

        if processes() > 1 and self.output is None:
            problems.add("started with several processes: give --output, a folder that all of them see")

    def inputs(self) -> list[tuple[str, str]]:
        """Models and data."""
        return [*super().inputs(), ("data-root", self.data_root)]
