"""A trainer's companion: it draws the progress bar, keeps the best weights, stops early, and completes checkpoints."""

import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from sentence_transformers.base.evaluation import BaseEvaluator
from sentence_transformers.base.model import BaseModel
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from embedtrain.progress import Progress
from embedtrain.training import checkpoints
from embedtrain.training.history import DevMetric, DevResult, History

# What the trainer adds to the metrics of an evaluation.
NOT_METRICS = ("runtime", "samples_per_second", "steps_per_second", "loss")


class DevEvaluator(BaseEvaluator):
    """A dev metric in the form that sentence-transformers' trainers call, on one process of a distributed training."""

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


class Keeper(TrainerCallback):
    """Records the history, keeps the best weights in memory and in checkpoints, and says when to stop.

    Args:
        history: Filled while training.
        evaluator: Holds the predictions behind the latest metrics.
        untrained: What is known of the model before the first step.
        metric: The dev metric that decides; higher is better.
        patience: Evaluations without a better one after which training stops; 0 never stops.
        until_step: Leave off after this step, with a checkpoint from which to go on.
        description: Name on the progress bar.
    """

    def __init__(
        self,
        history: History,
        *,
        evaluator: DevEvaluator,
        untrained: DevResult | None,
        metric: str,
        patience: int,
        until_step: int | None,
        description: str,
    ) -> None:
        self.history = history
        self.evaluator = evaluator
        self.untrained = untrained
        self.metric = metric
        self.patience = patience
        self.until_step = until_step
        self.description = description
        self.best_score = -float("inf")
        self.best_weights: dict[str, torch.Tensor] = {}
        self.evaluations_without_gain = 0
        self.ended = False
        self.progress: Progress | None = None
        self._step_began: float | None = None
        self._train_began = 0.0

    def resume(self, checkpoint: Path, *, device: torch.device) -> None:
        """Take up what a checkpoint knows."""
        progress, self.best_weights, predictions = checkpoints.read(checkpoint, device=device)
        self.best_score = progress["best_score"]
        self.evaluations_without_gain = progress["evaluations_without_gain"]
        self.ended = progress["ended"]
        for name, value in progress["history"].items():
            setattr(self.history, name, value)
        self.history.best_predictions = predictions
        self.untrained = None

    def count(self, *, rows: int, texts: int, tokens: int, computed: int) -> None:
        """Note what one batch held."""
        self.history.rows_seen += rows
        self.history.texts_seen += texts
        self.history.tokens_seen += tokens
        self.history.tokens_computed += computed

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module | None = None,
        **_: Any,
    ) -> None:
        """Begin to tell how far it is, and note what is known of the untrained model."""
        if self.untrained is not None and model is not None:
            self._note(dict(self.untrained.scores), self.untrained, step=0, model=model)
        self._train_began = time.perf_counter()
        self.progress = Progress(
            state.max_steps,
            what=self.description,
            unit="step",
            done=state.global_step,
            delay=0,
            stays=False,
            is_shown=state.is_world_process_zero,
        )

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Start the clock; the batch of this step is already there, its making is counted to the step before."""
        if self._step_began is None:
            self._step_began = time.perf_counter()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Tell how far it is; leave off where that is asked for."""
        now = time.perf_counter()
        if self._step_began is not None:
            self.history.step_seconds += now - self._step_began
        self._step_began = now
        if self.progress is not None:
            if self.history.step_seconds:
                rates = (
                    f"{self.history.sentences_per_second:.0f} texts/s, {self.history.tokens_per_second:.0f} tokens/s"
                )
                self.progress.say(f"{rates}, {100 * self.history.padding_share:.0f} % padding{self._best()}")
            self.progress.update()
        if state.global_step == self.until_step:
            control.should_evaluate = control.should_save = control.should_training_stop = True

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
        metrics: dict[str, float] | None = None,
        model: nn.Module | None = None,
        **_: Any,
    ) -> None:
        """Note the dev metrics, keep the best weights so far, and stop after too many evaluations without gain."""
        # Only the first process holds the predictions; the metrics are sent to all, so that all stop together.
        named = {
            name.removeprefix("eval_"): value for name, value in (metrics or {}).items() if name.startswith("eval_")
        }
        scores = {name: value for name, value in named.items() if name not in NOT_METRICS}
        if model is None or self.metric not in scores:
            raise RuntimeError(f"the dev metric {self.metric} is missing from {sorted(scores)}")
        ends = state.global_step in (state.max_steps, self.until_step)
        better = self._note(scores, self.evaluator.latest, step=state.global_step, model=model, ends=ends)
        if not better:
            self.evaluations_without_gain += 1
            if self.patience and self.evaluations_without_gain >= self.patience and state.global_step < state.max_steps:
                self.history.stopped_early = self.ended = True
                control.should_training_stop = True
        self._step_began = time.perf_counter()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Make the checkpoint that was just written whole."""
        if dist.is_available() and dist.is_initialized():
            dist.barrier()  # every process has written its part
        if state.is_world_process_zero:
            self.ended = self.ended or state.global_step >= state.max_steps
            seconds = self.history.seconds + time.perf_counter() - self._train_began
            progress = {
                "history": {**self.history.progress(), "seconds": seconds},
                "best_score": self.best_score,
                "evaluations_without_gain": self.evaluations_without_gain,
                "ended": self.ended,
            }
            checkpoints.complete(
                Path(args.output_dir or "") / f"checkpoint-{state.global_step}",
                progress,
                weights=self.best_weights,
                predictions=self.history.best_predictions,
            )
        self._step_began = time.perf_counter()

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Take the progress bar away."""
        if self.progress is not None:
            self.progress.close()

    def _note(
        self, scores: dict[str, float], result: DevResult | None, *, step: int, model: nn.Module, ends: bool = False
    ) -> bool:
        """Record an evaluation, the last where training ``ends`` with it; whether it is the best so far."""
        self.history.evaluations.append({"step": step, **scores})
        if scores[self.metric] <= self.best_score:
            return False
        self.best_score = scores[self.metric]
        self.history.best_step = step
        self.history.best_predictions = result.predictions if result is not None else None
        self._keep(model, ends=ends)
        self.evaluations_without_gain = 0
        return True

    def _keep(self, model: nn.Module, *, ends: bool) -> None:
        weights = {name: value.detach() for name, value in model.state_dict().items()}
        if ends:
            self.best_weights = weights  # nothing changes them any more
        elif self.best_weights:
            # In the memory of the last ones: taking as much anew costs several times the copy itself.
            for name, value in weights.items():
                self.best_weights[name].copy_(value)
        else:
            self.best_weights = {name: value.clone() for name, value in weights.items()}

    def _best(self) -> str:
        return f", best dev {100 * self.best_score:.2f}" if self.history.evaluations else ""
