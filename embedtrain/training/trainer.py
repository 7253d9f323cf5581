"""One engine for every model: sentence-transformers' trainers, our batches, bf16, and the best weights kept."""

import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import numpy as np
import torch
from datasets import Dataset
from sentence_transformers.base.evaluation import BaseEvaluator
from sentence_transformers.base.model import BaseModel
from sentence_transformers.base.sampler import DefaultBatchSampler
from sentence_transformers.base.trainer import BaseTrainer
from torch import nn
from tqdm.auto import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from embedtrain.training.cpu import fast_dropout, memory_kept_mapped
from embedtrain.training.settings import TrainingSettings

logger = logging.getLogger(__name__)

BatchesOfEpoch = Callable[[int], list[list[int]]]
LOSSES_LOGGED = 200


@dataclass(frozen=True)
class DevResult:
    """What a model scored on dev: correlations or other metrics by name, and its predictions, (rows,)."""

    scores: Mapping[str, float]
    predictions: np.ndarray


DevMetric = Callable[[Any], DevResult]


@dataclass
class History:
    """What happened in one training; ``as_dict`` is what a run keeps of it.

    ``steps`` holds ``step``, ``loss`` (mean since the last entry) and ``learning_rate``; ``evaluations`` holds ``step``
    and the dev metrics, step 0 being the model before training. ``best_predictions`` are those of the best step on dev.
    """

    train_pairs: int
    max_steps: int
    steps: list[dict[str, float]] = field(default_factory=list)
    evaluations: list[dict[str, float]] = field(default_factory=list)
    best_step: int = 0
    stopped_early: bool = False
    seconds: float = 0.0
    pairs_per_second: float = 0.0
    best_predictions: np.ndarray | None = field(default=None, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the predictions."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "best_predictions"}


class EpochSampler(DefaultBatchSampler):
    """Batches that a function makes for each epoch, as the batch sampler that sentence-transformers' trainers take."""

    def __init__(self, rows: int, *, batch_size: int, batches_of_epoch: BatchesOfEpoch) -> None:
        super().__init__(range(rows), batch_size=batch_size, drop_last=False)
        self.batches_of_epoch = batches_of_epoch
        self._made: tuple[int, list[list[int]]] | None = None

    def __iter__(self) -> Iterator[list[int]]:
        yield from self._batches()

    def __len__(self) -> int:
        """How many batches this epoch has, exactly."""
        return len(self._batches())

    def _batches(self) -> list[list[int]]:
        if self._made is None or self._made[0] != self.epoch:
            self._made = (self.epoch, self.batches_of_epoch(self.epoch))
        return self._made[1]


class DevEvaluator(BaseEvaluator):
    """A dev metric in the form that sentence-transformers' trainers call."""

    def __init__(self, dev_metric: DevMetric) -> None:
        super().__init__()
        self.dev_metric = dev_metric
        self.latest: DevResult | None = None

    def __call__(
        self, model: BaseModel, output_path: str | None = None, epoch: int = -1, steps: int = -1
    ) -> dict[str, float]:
        """The metrics of the model as it is now; nothing is written to ``output_path``."""
        self.latest = self.dev_metric(model)
        return dict(self.latest.scores)


class KeepBest(TrainerCallback):
    """Records the history, keeps the best weights in memory, and stops when dev has not improved for a while."""

    def __init__(
        self,
        history: History,
        *,
        evaluator: DevEvaluator,
        untrained: DevResult | None,
        metric: str,
        patience: int,
        description: str,
    ) -> None:
        self.history = history
        self.evaluator = evaluator
        self.untrained = untrained
        self.metric = metric
        self.patience = patience
        self.description = description
        self.best_score = -float("inf")
        self.best_weights: dict[str, torch.Tensor] = {}
        self.evaluations_without_gain = 0
        self.bar: tqdm | None = None

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module | None = None,
        **_: Any,
    ) -> None:
        """Open the progress bar, and note what is known of the untrained model."""
        if self.untrained is not None and model is not None:
            self._note(self.untrained, step=0, model=model)
        self.bar = tqdm(total=state.max_steps, desc=self.description, unit="step", leave=False, disable=None)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Advance the progress bar."""
        if self.bar is not None:
            self.bar.update(1)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Note the training loss."""
        if logs and "loss" in logs:
            self.history.steps.append(
                {"step": state.global_step, "loss": logs["loss"], "learning_rate": logs["learning_rate"]}
            )

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module | None = None,
        **_: Any,
    ) -> None:
        """Note the dev metrics, keep the best weights so far, and stop after too many evaluations without gain."""
        if model is None or self.evaluator.latest is None:
            raise RuntimeError("the trainer evaluated without the dev metric")
        if self._note(self.evaluator.latest, step=state.global_step, model=model):
            return
        self.evaluations_without_gain += 1
        if self.patience and self.evaluations_without_gain >= self.patience and state.global_step < state.max_steps:
            self.history.stopped_early = True
            control.should_training_stop = True

    def _note(self, result: DevResult, *, step: int, model: nn.Module) -> bool:
        """Record an evaluation; whether it is the best so far."""
        self.history.evaluations.append({"step": step, **result.scores})
        if self.bar is not None:
            self.bar.set_postfix({name: f"{100 * value:.2f}" for name, value in result.scores.items()})
        if result.scores[self.metric] <= self.best_score:
            return False
        self.best_score = result.scores[self.metric]
        self.history.best_step = step
        self.history.best_predictions = result.predictions
        self.best_weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
        self.evaluations_without_gain = 0
        return True

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Close the progress bar."""
        if self.bar is not None:
            self.bar.close()


def fit(
    trainer_class: type[BaseTrainer],
    model: BaseModel,
    *,
    pairs: Dataset,
    batches_of_epoch: BatchesOfEpoch,
    loss: nn.Module,
    dev_metric: DevMetric,
    metric: str,
    untrained: DevResult | Literal["score", "skip"],
    settings: TrainingSettings,
    max_steps: int,
    seed: int,
    precision: str,
    description: str,
) -> History:
    """Train a model in place and leave it with the weights of its best dev evaluation.

    Args:
        trainer_class: sentence-transformers' trainer for this kind of model.
        model: The model, on the device to train on.
        pairs: Training rows: text columns and a ``label`` column where the loss takes one.
        batches_of_epoch: From an epoch's number to its batches of row numbers.
        loss: The loss in the form that the trainer calls.
        dev_metric: Scores the model on dev; called ``settings.evaluations`` times.
        metric: The key of ``dev_metric``'s scores that decides; higher is better.
        untrained: What the model scores before the first step, so that training cannot end with a worse one: the result
            where it is known, ``score`` to find out, or ``skip`` for a new head that says nothing yet.
        settings: Batch size, learning rate, evaluations and patience; ``max_steps`` replaces its epochs.
        max_steps: Optimiser steps at most.
        seed: Of the order of batches and of dropout.
        precision: ``bf16`` for autocast, or ``fp32``.
        description: Name on the progress bar.

    Returns:
        What happened, with the time it took in seconds.
    """
    on_cpu = model.device.type == "cpu"
    history = History(train_pairs=len(pairs), max_steps=max_steps)
    evaluator = DevEvaluator(dev_metric)
    keeper = KeepBest(
        history,
        evaluator=evaluator,
        untrained=untrained if isinstance(untrained, DevResult) else None,
        metric=metric,
        patience=settings.patience,
        description=description,
    )
    with ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="embedtrain-"))
        if on_cpu:
            stack.enter_context(memory_kept_mapped())
            stack.enter_context(fast_dropout(model))
        arguments = trainer_class.training_args_class(
            output_dir=scratch,
            max_steps=max_steps,
            per_device_train_batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            warmup_steps=round(settings.warmup_share * max_steps),
            weight_decay=settings.weight_decay,
            max_grad_norm=settings.max_gradient_norm,
            optim="adamw_torch_fused",
            bf16=precision == "bf16",
            use_cpu=on_cpu,
            seed=seed,
            batch_sampler=_sampler_of(batches_of_epoch),
            eval_strategy="steps",
            eval_steps=max(1, -(-max_steps // settings.evaluations)),
            eval_on_start=untrained == "score",
            save_strategy="no",
            logging_steps=max(1, max_steps // LOSSES_LOGGED),
            dataloader_pin_memory=not on_cpu,
            report_to="none",
            disable_tqdm=True,
        )
        # One process uses one device: several would be wrapped in DataParallel, which drops autocast and changes the
        # batch. More of them are what torchrun is for.
        arguments._n_gpu = min(arguments.n_gpu, 1)
        trainer = _without_model_card(trainer_class)(
            model=model,
            args=arguments,
            train_dataset=pairs,
            loss=loss,
            evaluator=evaluator,
            callbacks=[keeper],
        )
        for callback in ("PrinterCallback", "ProgressCallback"):
            _remove_callback(trainer, callback)
        started = time.perf_counter()
        trainer.train()
        history.seconds = time.perf_counter() - started
        history.pairs_per_second = trainer.state.global_step * settings.batch_size / history.seconds
        # The trainer leaves its autocast wrapped around the model's forward, which would outlive the training.
        trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
        model.load_state_dict(keeper.best_weights)
    logger.info("%s", _summary(description, history, metric))
    return history


def _sampler_of(batches_of_epoch: BatchesOfEpoch) -> Callable[..., DefaultBatchSampler]:
    def make(dataset: Dataset, *, batch_size: int, **_: Any) -> DefaultBatchSampler:
        return EpochSampler(len(dataset), batch_size=batch_size, batches_of_epoch=batches_of_epoch)

    return make


def _without_model_card(trainer_class: type[BaseTrainer]) -> type[BaseTrainer]:
    class Trainer(trainer_class):  # type: ignore[misc, valid-type]
        """The trainer without its model card callback, which samples the data set and may ask the hub."""

        def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
            """Add nothing."""

    return Trainer


def _remove_callback(trainer: BaseTrainer, name: str) -> None:
    for callback in [c for c in trainer.callback_handler.callbacks if type(c).__name__ == name]:
        trainer.remove_callback(callback)


def _summary(description: str, history: History, metric: str) -> str:
    scores = {evaluation["step"]: evaluation[metric] for evaluation in history.evaluations}
    last = max(scores)
    ended = f"stopped early at step {last} of {history.max_steps}" if history.stopped_early else f"{last} steps"
    return (
        f"{description}: {ended} over {history.train_pairs} pairs in {history.seconds:.0f} s "
        f"({history.pairs_per_second:.0f} pairs/s); best dev {metric} {100 * scores[history.best_step]:.2f} "
        f"at step {history.best_step}"
    )
