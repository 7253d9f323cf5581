"""The order in which training rows are seen: every step of every epoch, on every rank, from the seed alone."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from torch.utils.data import Dataset, Sampler

from embedtrain.data import (
    grouped_batches,
    like_length_batches,
    mixed_batches,
    rows_without_partner,
    split_for_ranks,
    token_budget_batches,
    unique_batches,
)
from embedtrain.errors import UserError
from embedtrain.training.settings import EngineSettings
from embedtrain.training.tasks import Task
from embedtrain.training.tokens import TextTable, TokenTable

logger = logging.getLogger(__name__)

Batches = list[list[int]]


@dataclass(frozen=True)
class Share:
    """One rank's part of a batch.

    Args:
        task: Number of the task whose rows these are.
        rows: Row numbers of this rank.
        batch: Those of all ranks together.
        epoch: Number of the pass over the rows, from 0.
    """

    task: int
    rows: list[int]
    batch: list[int]
    epoch: int = 0


class Schedule(Sampler[Share]):
    """The batches of all epochs one after the other, as this rank sees them, from ``first`` to ``last``.

    The trainer takes them for one long epoch. So a run that is resumed starts at its own batch and reads nothing before
    it, and where one epoch ends inside an accumulated step nothing is lost.

    Args:
        epoch_batches: From an epoch's number to its batches: (task, rows of all ranks).
        first: Batches that were trained on already.
        last: Batches in the whole training.
        rank: This process among all.
        world_size: How many processes share each batch.
    """

    def __init__(
        self,
        epoch_batches: Callable[[int], list[tuple[int, list[int]]]],
        *,
        first: int,
        last: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.epoch_batches = epoch_batches
        self.first = first
        self.last = last
        self.rank = rank
        self.world_size = world_size

    def __len__(self) -> int:
        return self.last

    def __iter__(self) -> Iterator[Share]:
        number, epoch = 0, 0
        while number < self.last:
            batches = self.epoch_batches(epoch)
            if number + len(batches) > self.first:
                for task, rows in batches[max(0, self.first - number) : self.last - number]:
                    share = split_for_ranks(rows, self.world_size)[self.rank]
                    yield Share(task, share, rows, epoch)
            number, epoch = number + len(batches), epoch + 1


class Rows(Dataset[Any]):
    """Batches by their share: padded token tensors of every column, labels, and the share itself."""

    def __init__(self, tables: Sequence[TokenTable | TextTable]) -> None:
        self.tables = tables

    def __len__(self) -> int:
        return sum(len(table) for table in self.tables)

    def __getitems__(self, share: Share) -> dict[str, Any]:
        table = self.tables[share.task]
        columns = table.batch(share.rows, share.epoch)
        masks = [column["attention_mask"] for column in columns if "attention_mask" in column]
        # Counted here, where the masks are in the processor's memory.
        tokens = int(sum(mask.sum() for mask in masks))
        return {"columns": columns, "target": table.label(share.rows), "share": share, "tokens": tokens}


def epoch_batches(
    tasks: Sequence[Task],
    tables: Sequence[TokenTable | TextTable],
    *,
    batch_size: int,
    engine: EngineSettings,
    world_size: int,
    seed: int,
) -> Callable[[int], list[tuple[int, list[int]]]]:
    """The function from an epoch's number to its batches over all ranks, each with its task.

    Args:
        tasks: What is trained on.
        tables: Their tokens.
        batch_size: Rows in a batch of one rank.
        engine: How tasks are mixed, and the tokens in a batch if that is limited.
        world_size: Ranks.
        seed: Of every order.
    """
    makers = [
        _maker(
            task, table, batch_size=batch_size * world_size, engine=engine, world_size=world_size, seed=seed + number
        )
        for number, (task, table) in enumerate(zip(tasks, tables, strict=True))
    ]

    def of_epoch(epoch: int) -> list[tuple[int, list[int]]]:
        plans = [_shareable(make(epoch), world_size) for make in makers]
        return mixed_batches(plans, mix=engine.mix, seed=seed, epoch=epoch)

    return of_epoch


def _maker(
    task: Task, table: TokenTable | TextTable, *, batch_size: int, engine: EngineSettings, world_size: int, seed: int
) -> Callable[[int], Batches]:
    if task.batches == "unique":
        # Numbers in place of texts: they are compared as exactly, and take no memory to speak of.
        columns = task.table[task.text_columns]
        codes = pd.factorize(columns.to_numpy(dtype=object).ravel())[0].reshape(len(columns), -1)
        texts = [column.tolist() for column in codes.T]
        return lambda epoch: unique_batches(texts, batch_size=batch_size, seed=seed, epoch=epoch)
    if task.batches == "grouped":
        labels = np.asarray(table.labels)
        alone = rows_without_partner(labels)
        if alone:
            logger.warning("%s: %d rows are left out, the only ones of their class", task.name, len(alone))
        return lambda epoch: grouped_batches(labels, batch_size=batch_size, seed=seed, epoch=epoch)
    if engine.batch_tokens is not None:
        # All columns of a row run together, each as long as the longest.
        budget = max(1, engine.batch_tokens * world_size // len(table.columns))
        return lambda epoch: token_budget_batches(
            table.longest, budget=budget, ranks=world_size, seed=seed, epoch=epoch
        )
    return lambda epoch: like_length_batches(table.longest, batch_size=batch_size, seed=seed, epoch=epoch)


def _shareable(batches: Batches, world_size: int) -> Batches:
    """The batches of which every rank gets a row; the few rows of smaller ones wait for another epoch's order."""
    whole = [batch for batch in batches if len(batch) >= world_size]
    if not whole:
        raise UserError(f"no batch has a row for each of {world_size} processes: expected more rows or fewer processes")
    return whole
