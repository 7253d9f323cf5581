"""sentence-transformers' trainers with our batches, clipping inside the optimiser, and losses that are looked at."""

import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from sentence_transformers.base.trainer import BaseTrainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from embedtrain.errors import UserError
from embedtrain.losses import GradCache
from embedtrain.models.packing import is_packed
from embedtrain.training.steps import Rows, Schedule, Share
from embedtrain.training.token_rows import TokenRowAdamW

logger = logging.getLogger(__name__)

WEIGHTS = "weights.pt"
TEXTS_SHOWN = 3
# From the texts and the step to words for people; set by whoever holds the texts.
Describe = Callable[[Share], list[str]]
Count = Callable[..., None]


class Engine(BaseTrainer):
    """What the trainer of every kind of model does differently; mixed into one of sentence-transformers' trainers.

    Attributes:
        adapters: The loss of each task, called with tokenised columns and the target.
        rows: The tasks' tokens.
        schedule: Which rows come when.
        describe: The texts of a batch, for the message about a loss that is not finite.
        count: Told what each batch held.
        sparse_tables: How many embedding tables have sparse gradients.
        stepped: Told that the optimiser has written to the weights.
    """

    adapters: list[nn.Module]
    rows: Rows
    schedule: Schedule
    describe: Describe
    count: Count
    sparse_tables: int = 0
    stepped: Callable[[], None] | None = None
    _unchecked: "tuple[Tensor, Share] | None" = None

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Add nothing: the model card's callback samples the data and may ask the hub."""

    def create_accelerator_and_postprocess(self) -> None:
        """Without the full garbage collection before the first step: a training leaves no garbage to the next one.

        It takes a quarter of a second, as long as two steps of a small encoder.
        """
        super().create_accelerator_and_postprocess()
        if self.args.device.type == "cpu":
            self.accelerator.free_memory = _nothing_to_free

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The schedule's batches; each process makes its own shares, so accelerate has nothing to split."""
        on_gpu = self.args.device.type == "cuda"
        return DataLoader(
            self.rows,
            batch_sampler=self.schedule,  # type: ignore[arg-type]  # a share in place of a list of row numbers
            collate_fn=_as_it_is,
            # A generator of its own: the loader draws a number when it starts, and a resumed run starts it again.
            generator=torch.Generator(),
            pin_memory=on_gpu,
            num_workers=1 if on_gpu else 0,
        )

    # A method, as sentence-transformers' trainers have it; transformers' own is static.
    def get_optimizer_cls_and_kwargs(self, args: Any, model: Any = None) -> tuple[Any, Any]:  # type: ignore[override]
        """AdamW of torch, in the form that takes sparse gradients where the engine has asked for them."""
        optimizer, options = super().get_optimizer_cls_and_kwargs(args, model)
        return (TokenRowAdamW if self.sparse_tables else optimizer), options

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """The optimiser, which says when it has written to the weights."""
        optimizer = super().create_optimizer(model)
        stepped = self.stepped
        if stepped is not None:
            optimizer.register_step_post_hook(lambda *_: stepped())
        return optimizer

    def training_step(self, model: nn.Module, inputs: Mapping[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """One batch forward and backward, in smaller chunks if the GPU's memory does not hold it."""
        self._check_last_loss()
        share = inputs["share"]
        while True:
            try:
                loss = super().training_step(model, dict(inputs), num_items_in_batch)
                break
            except torch.OutOfMemoryError:
                if not self._halve_chunk(share.task):
                    raise
                model.zero_grad()
                torch.cuda.empty_cache()
        # The number itself is read at the next step, when a GPU has it ready; on a CPU there is nothing to wait for.
        self._unchecked = (loss.detach(), share)
        if loss.device.type == "cpu":
            self._check_last_loss()
        return loss

    def compute_loss(
        self, model: nn.Module, inputs: Mapping[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The task's loss of one share, weighed so that the mean over the processes is that of the whole batch."""
        share: Share = inputs["share"]
        adapter: Any = self.adapters[share.task]
        if adapter.model is not model:
            adapter.model = model  # wrapped for distribution
        self._count(inputs["columns"], share, tokens=inputs["tokens"])
        loss = adapter(inputs["columns"], inputs["target"])
        if self.schedule.world_size > 1 and not _gathers(adapter):
            table = self.rows.tables[share.task]
            part, whole = (table.weight(rows, share.epoch) for rows in (share.rows, share.batch))
            loss = loss * (part * self.schedule.world_size / whole)
        return (loss, {}) if return_outputs else loss

    def _clip_grad_norm(self, model: nn.Module) -> Tensor:
        """The norm of all gradients; the fused optimiser divides by its excess while it reads them anyway."""
        if self.schedule.world_size > 1:
            self._average_own_gradients()
        optimizer: Any = getattr(self.optimizer, "optimizer", self.optimizer)
        if not optimizer.defaults.get("fused") or self.accelerator.scaler is not None:
            return super()._clip_grad_norm(model)
        trained = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        for parameter in trained:
            if parameter.grad.is_sparse:
                parameter.grad = parameter.grad.coalesce()  # a token that comes twice has one gradient
        norm = torch.nn.utils.get_total_norm([p.grad.values() if p.grad.is_sparse else p.grad for p in trained])
        optimizer.grad_scale = (norm / self.args.max_grad_norm).clamp(min=1.0)
        return norm

    def own_parameters(self) -> list[nn.Parameter]:
        """What the losses learn themselves, such as a classifier or a decoder."""
        of_model = {id(parameter) for parameter in self.model.parameters()}
        return [p for p in nn.ModuleList(self.adapters).parameters() if id(p) not in of_model and p.requires_grad]

    def _average_own_gradients(self) -> None:
        """As distribution does it with the model's, which alone is wrapped for it."""
        for parameter in self.own_parameters():
            if parameter.grad is None:  # a task that no process had in this step
                parameter.grad = torch.zeros_like(parameter)
            dist.all_reduce(parameter.grad)
            parameter.grad /= self.schedule.world_size

    def _maybe_log_save_evaluate(self, *args: Any, **named: Any) -> None:
        self._check_last_loss()
        super()._maybe_log_save_evaluate(*args, **named)

    def save_weights(self, folder: Path) -> None:
        """The model and what the losses learn, as they are, in one file."""
        losses = [
            {name: p for name, p in a.state_dict().items() if not name.startswith("model.")} for a in self.adapters
        ]
        torch.save({"model": self.model.state_dict(), "losses": losses}, folder / WEIGHTS)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        folder = Path(output_dir or self.args.output_dir or "")
        os.makedirs(folder, exist_ok=True)
        self.save_weights(folder)

    def _load_from_checkpoint(self, checkpoint_path: str, model: nn.Module | None = None) -> None:
        saved = torch.load(Path(checkpoint_path) / WEIGHTS, map_location="cpu", weights_only=True)
        self.model.load_state_dict(saved["model"])
        for adapter, state in zip(self.adapters, saved["losses"], strict=True):
            adapter.load_state_dict(state, strict=False)

    def _check_last_loss(self) -> None:
        if self._unchecked is None:
            return
        (loss, share), self._unchecked = self._unchecked, None
        if not math.isfinite(loss.item()):
            texts = "".join(f"\n      {text}" for text in self.describe(share)[:TEXTS_SHOWN])
            step = self.state.global_step + (loss.device.type == "cpu")
            raise UserError(
                f"the loss is {loss.item()} at step {step}, so training stopped; the last checkpoint is as it was. "
                f"Its batch has {len(share.rows)} rows, such as:{texts}\n"
                "    expected finite numbers: a lower learning rate, --precision fp32, or other data"
            )

    def _halve_chunk(self, task: int) -> bool:
        """Let a task's GradCache take half as many texts at once; whether that is possible."""
        cached = getattr(self.adapters[task], "loss", None)
        if not isinstance(cached, GradCache) or cached.chunk_size == 1 or self.schedule.world_size > 1:
            return False
        cached.chunk_size = max(1, cached.chunk_size // 2)
        logger.warning("out of GPU memory: going on with chunks of %d texts", cached.chunk_size)
        return True

    def _count(self, columns: list[Mapping[str, Tensor]], share: Share, *, tokens: int) -> None:
        padded = sum(column["input_ids"].numel() for column in columns if "input_ids" in column)
        self.count(
            rows=len(share.rows),
            texts=len(share.rows) * len(self.rows.tables[share.task].columns),
            tokens=tokens,
            computed=tokens if is_packed(self.model) else padded,
        )


def _nothing_to_free(*objects: Any) -> list[Any]:
    return list(objects)


def _as_it_is(batch: Any) -> Any:
    return batch


def _gathers(adapter: nn.Module) -> bool:
    return any(getattr(module, "gather", False) for module in adapter.modules())


def gather_across_ranks(loss: nn.Module) -> None:
    """Let a loss that compares rows with each other see those of all processes."""
    for module in loss.modules():
        if hasattr(module, "gather"):
            module.gather = True  # type: ignore[assignment]


@contextmanager
def within_one_rank(loss: nn.Module) -> Iterator[None]:
    """A loss that does not wait for the other processes: what one of them alone computes."""
    gathering = [module for module in loss.modules() if getattr(module, "gather", False)]
    for module in gathering:
        module.gather = False  # type: ignore[assignment]
    try:
        yield
    finally:
        for module in gathering:
            module.gather = True  # type: ignore[assignment]
