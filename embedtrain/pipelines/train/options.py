"""The options of ``embedtrain train``."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from embedtrain.models.names import DEFAULT_MODEL, DeviceName, PrecisionName
from embedtrain.training.settings import TrainingSettings

Mix = Literal["proportional", "round-robin"]
KEEP_BEST_AFTER = 0.3


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Every option of one training of a bi-encoder.

    Args:
        data: Training tables: CSV, TSV, JSON, JSONL or Parquet files, saved datasets folders or hub names. Their
            columns tell what they hold. Without dev, some rows of the first one are held out to choose the weights by.
        output: The run's folder; the same command continues a run that was cut off.
        loss: The loss by its short name, one for each table or one for all; by default what suits each table.
        dev: What chooses the weights: scored pairs by Spearman, labelled ones by average precision, positive ones by
            the rank at which anchors find their positives (MRR); or a folder of corpus, queries and qrels by nDCG@10.
        dev_split: Whose judgements choose, where dev is such a folder; by default dev or validation, or its only split.
        dev_documents: Documents of that folder that are searched at most, the relevant ones always among them; each dev
            evaluation encodes all of them, so time grows with it.
        test: Scored pairs that judge; nothing is ever chosen by them.
        columns: Names in your files for ours, such as anchor=question; numbers from 0 for a file without header.
        score_range: Lowest and highest score in your files, such as 0 5; scaled to 0 ... 1 once, when reading.
        base: What is trained: a folder, or a model's name.
        prompts: Words put before texts, kept in the model, for bases that were trained with them, such as
            query="query: " document="passage: "; query stands before anchors, document before positives and negatives,
            default before everything else. A base that has prompts of its own gets those unless told otherwise.
        mix: How batches of several tables follow each other: in proportion to their sizes, or in turns.
        batch_tokens: Fill batches up to this many tokens, padding counted, instead of training.batch_size rows; memory
            then hardly depends on how long the texts are.
        effective_batch: Rows in a batch of a loss that compares rows, of which the model sees chunk_size at once
            (GradCache); takes the place of training.batch_size. Memory is that of one chunk; texts are encoded twice.
        chunk_size: Rows that the model sees at once with effective_batch; memory grows with it.
        seeds: Train this many seeds, from seed on, up to keep_best_after, and finish the best of them by dev. Each
            further one takes that share of the time again.
        keep_best_after: Share of the steps after which the best of several seeds is chosen; 0.3 by default.
        freeze: Pattern of the parameters that keep their values, such as "embeddings|layer.[0-3]."; less memory, and
            faster where whole lower layers are frozen.
        lora_rank: Train low-rank adapters of this rank in place of the model's own weights; they take a learning rate
            some ten times as high. Less memory, since most weights need no optimiser state.
        lora_alpha: Scale of the adapters; by default twice the rank.
        gradient_checkpointing: Compute activations twice instead of keeping them: less memory, slower.
        gradient_accumulation: Batches whose gradients are averaged for one step: as a larger batch, without its memory.
        matryoshka: Shorter lengths that embeddings shall work at too, such as 128 64.
        compile: Compile the model with torch.compile, for a GPU: a minute or more at the start. On a CPU steps took
            twice the time.
        pack: Run texts end to end without padding where the model allows it, which is faster; a GPU then has no
            attention dropout.
        save_every: Steps between checkpoints; by default at each dev evaluation. A checkpoint takes three times the
            model's size on disk.
        report_to: Where to log to: tensorboard, wandb, mlflow.
        guide: A second model that judges negatives, for the loss gist: a folder, or a model's name.
        training: How long, how fast and in what batches the model is trained.
        seed: Of every random choice: dev rows, batches, dropout, bootstrap.
        device: Where to compute; auto takes the GPU where there is one, which is much faster.
        precision: Of matrix products; auto takes bf16 where the hardware has instructions for it, which is faster and
            takes less memory; weights stay in fp32.
        bootstrap_samples: Resamples behind each 95 % interval, at least 100; the time at the end grows with them.
    """

    data: list[str]
    output: str
    loss: list[str] = field(default_factory=list)
    dev: str | None = None
    dev_split: str | None = None
    dev_documents: int = 10_000
    test: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    score_range: tuple[float, float] = (0.0, 1.0)
    base: str = DEFAULT_MODEL
    prompts: dict[str, str] = field(default_factory=dict)
    mix: Mix = "proportional"
    batch_tokens: int | None = None
    effective_batch: int | None = None
    chunk_size: int = 32
    seeds: int = 1
    keep_best_after: float | None = None
    freeze: str | None = None
    lora_rank: int | None = None
    lora_alpha: float | None = None
    gradient_checkpointing: bool = False
    gradient_accumulation: int = 1
    matryoshka: list[int] = field(default_factory=list)
    compile: bool = False
    pack: bool = True
    save_every: int | None = None
    report_to: list[str] = field(default_factory=list)
    guide: str | None = None
    training: TrainingSettings = field(default_factory=TrainingSettings)
    seed: int = 42
    device: DeviceName = "auto"
    precision: PrecisionName = "auto"
    bootstrap_samples: int = 1000

    def as_dict(self) -> dict[str, Any]:
        """Plain values for YAML and JSON."""
        return {**asdict(self), "score_range": list(self.score_range)}

    @property
    def seeds_part(self) -> float:
        """Share of the steps that every seed is trained for."""
        return KEEP_BEST_AFTER if self.keep_best_after is None else self.keep_best_after

    @property
    def adapter_alpha(self) -> float:
        """The scale of low-rank adapters."""
        return 2.0 * (self.lora_rank or 0) if self.lora_alpha is None else self.lora_alpha

    def asked_losses(self) -> list[str | None]:
        """For each table the loss that was asked for, None where that is left open."""
        if len(self.loss) == 1:
            return [self.loss[0]] * len(self.data)
        asked = [*self.loss, *[None] * len(self.data)]
        return asked[: len(self.data)]
