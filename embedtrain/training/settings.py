"""The options of one training, with their units and checks."""

from dataclasses import dataclass, field
from typing import Literal

from embedtrain.errors import Problems

Mix = Literal["proportional", "round_robin"]


@dataclass(frozen=True)
class TrainingSettings:
    """How one model is fitted.

    Args:
        epochs: Passes over the training rows; may be a fraction. Time grows with it.
        min_steps: Optimiser steps at least, so that a few hundred rows are passed over several times.
        batch_size: Rows in a batch. Memory grows with it; a loss that compares rows learns more from a larger one.
        learning_rate: Step size of AdamW at its peak, between a linear rise and a linear fall.
        warmup_share: Share of all steps over which the learning rate rises from 0.
        weight_decay: Decoupled weight decay of AdamW, a factor on the learning rate; biases and norms are spared.
        max_gradient_norm: Gradients are scaled down to this norm when they exceed it.
        evaluations: Dev evaluations, spread evenly over the steps; the best one's weights are kept. Each takes the time
            of encoding dev once.
        patience: Training stops after this many dev evaluations without a better one; 0 never stops early.
    """

    epochs: float = 1.0
    min_steps: int = 200
    batch_size: int = 64
    learning_rate: float = 7e-5
    warmup_share: float = 0.1
    weight_decay: float = 0.01
    max_gradient_norm: float = 1.0
    evaluations: int = 8
    patience: int = 3

    def check(self, where: str, problems: Problems) -> None:
        """Note every value out of range, each with its option's name under ``where``, if that is not empty."""
        prefix = f"{where}." if where else ""
        bounds: list[tuple[str, bool, str]] = [
            ("epochs", self.epochs > 0, "above 0"),
            ("min_steps", self.min_steps >= 1, "at least 1"),
            ("batch_size", self.batch_size >= 1, "at least 1"),
            ("learning_rate", 0 < self.learning_rate < 1, "between 0 and 1"),
            ("warmup_share", 0 <= self.warmup_share < 1, "at least 0 and below 1"),
            ("weight_decay", self.weight_decay >= 0, "at least 0"),
            ("max_gradient_norm", self.max_gradient_norm > 0, "above 0"),
            ("evaluations", self.evaluations >= 1, "at least 1"),
            ("patience", self.patience >= 0, "at least 0 (0: never stop early)"),
        ]
        for name, holds, expected in bounds:
            if not holds:
                problems.add(f"--{prefix}{name.replace('_', '-')} is {getattr(self, name)}, expected {expected}")

    def steps_for(self, pairs: int) -> int:
        """Optimiser steps for ``epochs`` passes over ``pairs`` training pairs, or ``min_steps`` if that is more."""
        return self.steps_for_batches(-(-pairs // self.batch_size))

    def steps_for_batches(self, batches: float) -> int:
        """Optimiser steps for ``epochs`` passes over so many batches, or ``min_steps`` if that is more."""
        return max(self.min_steps, round(self.epochs * batches))


@dataclass(frozen=True)
class EngineSettings:
    """How a training is computed, beside what is learnt.

    Args:
        batch_tokens: Tokens in a batch, padding counted, in place of a number of rows; for losses that look at each row
            alone.
        mix: Several tables: ``proportional`` draws from each as often as it has batches, ``round_robin`` from each in
            turn until the shortest is used up.
        gradient_accumulation: Batches whose gradients make one step.
        gradient_checkpointing: Compute activations a second time instead of keeping them: less memory, slower.
        compile: Pass the model through ``torch.compile``.
        pack: Let texts lie end to end without padding, where the architecture allows it.
        save_every: Steps between two checkpoints; by default one at each evaluation; 0 writes none.
        report_to: Trackers to log to, such as ``tensorboard``, ``wandb`` or ``mlflow``.
        log_folder: Where the files of TensorBoard and MLflow go, unless the environment says so.
    """

    batch_tokens: int | None = None
    mix: Mix = "proportional"
    gradient_accumulation: int = 1
    gradient_checkpointing: bool = False
    compile: bool = False
    pack: bool = True
    save_every: int | None = None
    report_to: list[str] = field(default_factory=list)
    log_folder: str | None = None
