"""One engine for every model: sentence-transformers' trainers, our batches, bf16, and the best weights kept."""

import logging
import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import torch.distributed as dist
from sentence_transformers.base.model import BaseModel
from sentence_transformers.base.trainer import BaseTrainer
from torch import nn
from transformers.trainer_utils import SaveStrategy

from embedtrain.mining.kernel_caches import bound_kernel_caches
from embedtrain.models.adapting import enable_gradient_checkpointing
from embedtrain.models.dropout import fast_dropout
from embedtrain.models.hardware import tf32_products
from embedtrain.models.packing import packed
from embedtrain.models.token_gradients import token_gradients_in_place
from embedtrain.training import checkpoints as stored
from embedtrain.training.bf16_weights import bf16_weights
from embedtrain.training.cpu import memory_kept_mapped
from embedtrain.training.engine import Engine, gather_across_ranks
from embedtrain.training.history import DevMetric, DevResult, History
from embedtrain.training.keeper import DevEvaluator, Keeper
from embedtrain.training.settings import EngineSettings, TrainingSettings
from embedtrain.training.steps import Rows, Schedule, Share, epoch_batches
from embedtrain.training.tasks import Task
from embedtrain.training.token_rows import sparse_token_gradients
from embedtrain.training.tokens import TextTable, TokenTable
from embedtrain.training.tracking import logs_in

logger = logging.getLogger(__name__)

LOSSES_LOGGED = 200


def fit(
    trainer_class: type[BaseTrainer],
    model: BaseModel,
    *,
    tasks: Sequence[Task],
    tables: Sequence[TokenTable | TextTable],
    adapters: Sequence[nn.Module],
    dev_metric: DevMetric,
    metric: str,
    untrained: DevResult | Literal["score", "skip"],
    settings: TrainingSettings,
    engine: EngineSettings,
    max_steps: int | None = None,
    until_share: float | None = None,
    seed: int,
    precision: str,
    description: str,
    checkpoints: Path | None = None,
) -> History:
    """Train a model in place and leave it with the weights of its best dev evaluation.

    Args:
        trainer_class: sentence-transformers' trainer for this kind of model.
        model: The model, on the device to train on.
        tasks: What it is trained on.
        tables: The tasks' tokens.
        adapters: The tasks' losses, called with tokenised columns and the target; one that multiplies by the token
            embeddings, which then have a gradient in every row, has them as ``token_table``.
        dev_metric: Scores the model on dev; called ``settings.evaluations`` times.
        metric: The key of ``dev_metric``'s scores that decides; higher is better.
        untrained: What the model scores before the first step, so that training cannot end with a worse one: the result
            where it is known, ``score`` to find out, or ``skip`` for a new head that says nothing yet.
        settings: Batch size, learning rate, evaluations and patience.
        engine: How it is computed.
        max_steps: Optimiser steps at most; by default ``settings.epochs`` passes over the rows.
        until_share: Leave off at the first evaluation after this share of the steps, with a checkpoint from which a
            later call goes on; the schedule of the learning rate is that of the whole training.
        seed: Of the order of batches and of dropout.
        precision: ``bf16`` for autocast, ``tf32`` or ``fp32``.
        description: Name on the progress bar.
        checkpoints: A folder to keep checkpoints in, and to go on from when there are some.

    Returns:
        What happened, with the time it took in seconds.

    Raises:
        UserError: When the loss is not finite, with the step and the texts.
    """
    on_cpu = model.device.type == "cpu"
    # A loss may bring layers of its own, such as a decoder; the model itself is among its modules.
    everything = nn.ModuleList([model, *adapters])
    with ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="embedtrain-"))
        stack.enter_context(tf32_products(precision))
        if on_cpu:
            bound_kernel_caches()
            stack.enter_context(memory_kept_mapped())
            stack.enter_context(fast_dropout(everything))
        if engine.pack and (on_cpu or precision == "bf16"):
            logger.info("%s: %s", description, stack.enter_context(packed(model)))
        if engine.compile and on_cpu:
            logger.warning("%s: on a CPU, compiled steps took twice as long as plain ones", description)
        if engine.gradient_checkpointing:
            enable_gradient_checkpointing(model)
        stack.enter_context(logs_in(engine.log_folder))
        arguments = trainer_class.training_args_class(
            output_dir=str(checkpoints or scratch),
            per_device_train_batch_size=settings.batch_size,
            gradient_accumulation_steps=engine.gradient_accumulation,
            torch_compile=engine.compile,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            max_grad_norm=settings.max_gradient_norm,
            optim="adamw_torch_fused",
            bf16=precision == "bf16",
            use_cpu=on_cpu,
            seed=seed,
            eval_strategy="steps",
            eval_on_start=untrained == "score",
            logging_nan_inf_filter=False,
            ignore_data_skip=True,
            # Processes may run a batch in different numbers of passes; no buffer of an encoder changes in training.
            ddp_broadcast_buffers=False,
            ddp_backend="gloo" if on_cpu and "RANK" in os.environ else None,
            dataloader_pin_memory=not on_cpu,
            report_to=engine.report_to or "none",
            disable_tqdm=True,
        )
        # One process uses one device: several would be wrapped in DataParallel, which drops autocast and changes the
        # batch. More of them are what torchrun is for.
        arguments._n_gpu = min(arguments.n_gpu, 1)
        world_size = arguments.world_size
        of_epoch = epoch_batches(
            tasks, tables, batch_size=settings.batch_size, engine=engine, world_size=world_size, seed=seed
        )
        if max_steps is None:
            max_steps = settings.steps_for_batches(len(of_epoch(0)) / engine.gradient_accumulation)
        interval = _time_events(
            arguments, settings, engine, max_steps=max_steps, keeps_checkpoints=checkpoints is not None
        )
        until_step = None
        if until_share is not None:
            evaluations = -(-round(until_share * max_steps) // interval)
            until_step = min(max_steps, max(1, evaluations) * interval)
        history = History(train_pairs=sum(len(table) for table in tables), max_steps=max_steps)
        evaluator = DevEvaluator(dev_metric)
        keeper = Keeper(
            history,
            evaluator=evaluator,
            untrained=untrained if isinstance(untrained, DevResult) else None,
            metric=metric,
            patience=settings.patience,
            until_step=until_step,
            description=description,
        )
        found = stored.last_whole(checkpoints) if checkpoints is not None else None
        steps_done = 0
        if found is not None:
            keeper.resume(found, device=model.device)
            steps_done = int(found.name.rpartition("-")[2])
            arguments.eval_on_start = False
            logger.info("%s: going on from step %d of %d", description, steps_done, max_steps)
        if world_size > 1:
            for adapter in adapters:
                gather_across_ranks(adapter)
        trainer = _trainer(trainer_class, model, arguments, adapters, evaluator, keeper)
        trainer.rows = Rows(tables)
        trainer.schedule = Schedule(
            of_epoch,
            first=steps_done * engine.gradient_accumulation,
            last=max_steps * engine.gradient_accumulation,
            rank=arguments.process_index,
            world_size=world_size,
        )
        if on_cpu and world_size == 1 and not engine.compile:
            whole = [table for table in (getattr(a, "token_table", None) for a in adapters) if table is not None]
            for table in whole:
                stack.enter_context(token_gradients_in_place(table))
            if not whole:
                trainer.sparse_tables = stack.enter_context(sparse_token_gradients(model))
            if precision == "bf16":
                trainer.stepped = stack.enter_context(bf16_weights(everything))
        if world_size > 1:
            for parameter in trainer.own_parameters():
                dist.broadcast(parameter.data, src=0)
        trainer.describe = lambda share: _texts(tasks[share.task], share)
        trainer.count = keeper.count
        if not keeper.ended and (until_step is None or steps_done < until_step):
            started = time.perf_counter()
            trainer.train(resume_from_checkpoint=str(found) if found is not None else None)
            history.seconds += time.perf_counter() - started
            # The trainer leaves its autocast wrapped around the model's forward, which would outlive the training.
            trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
            for adapter in adapters:
                adapter.model = model
        if keeper.best_weights and history.best_step != trainer.state.global_step:
            model.load_state_dict(keeper.best_weights)
    logger.info("%s", history.summary(description, metric))
    return history


def _time_events(
    arguments: Any, settings: TrainingSettings, engine: EngineSettings, *, max_steps: int, keeps_checkpoints: bool
) -> int:
    """Set when there is what; the steps between two evaluations."""
    arguments.max_steps = max_steps
    arguments.warmup_steps = round(settings.warmup_share * max_steps)
    arguments.eval_steps = max(1, -(-max_steps // settings.evaluations))
    arguments.logging_steps = max(1, max_steps // LOSSES_LOGGED)
    every = arguments.eval_steps if engine.save_every is None else engine.save_every
    arguments.save_strategy = SaveStrategy.STEPS if keeps_checkpoints and every else SaveStrategy.NO
    arguments.save_steps = max(1, every)
    return int(arguments.eval_steps)


def _trainer(
    trainer_class: type[BaseTrainer],
    model: BaseModel,
    arguments: Any,
    adapters: Sequence[nn.Module],
    evaluator: DevEvaluator,
    keeper: Keeper,
) -> Any:
    made: Any = type("EngineTrainer", (Engine, trainer_class), {})
    # The losses go to the trainer for what they learn themselves; the engine calls them on its own.
    losses: Any = adapters[0] if len(adapters) == 1 else {str(place): a for place, a in enumerate(adapters)}
    trainer = made(model=model, args=arguments, loss=losses, evaluator=evaluator, callbacks=[keeper])
    trainer.adapters = list(adapters)
    for callback in [
        c for c in trainer.callback_handler.callbacks if type(c).__name__ in ("PrinterCallback", "ProgressCallback")
    ]:
        trainer.remove_callback(callback)
    return trainer


def _texts(task: Task, share: Share) -> list[str]:
    rows = task.table.iloc[share.rows]
    return [
        f"{task.name}, row {row}: " + " | ".join(repr(text) for text in texts)
        for row, texts in zip(rows.index, rows[task.text_columns].itertuples(index=False), strict=True)
    ]
