"""Shards worked on by a Ray cluster: the same files as on one machine, only sooner."""

import copy
import shutil
import time
import uuid
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from embedtrain.errors import UserError
from embedtrain.mining.kernel_caches import bound_kernel_caches
from embedtrain.mining.label_store import LabelStore
from embedtrain.mining.pair_files import PairFiles
from embedtrain.mining.ray_cluster import ANY_WORKERS, RayWorkers, check_ray, cluster, share_out
from embedtrain.mining.shards import label_shard
from embedtrain.mining.teachers import Scorer

__all__ = ["ANY_WORKERS", "ATTEMPTS", "RayWorkers", "check_ray", "fill_with_ray", "label_with_ray"]

# A worker may be lost for reasons of its own, such as a machine that is taken away; a shard that three workers in a row
# did not survive is the reason itself.
ATTEMPTS = 3
ARRIVAL_SECONDS = 20.0

# Makes one shard and puts it into the store.
ShardWork = Callable[[int], pd.DataFrame]
OnShard = Callable[[int, pd.DataFrame], None]


def label_with_ray(
    store: LabelStore,
    pairs: PairFiles,
    load_scorer: Callable[[], Scorer],
    *,
    workers: RayWorkers = ANY_WORKERS,
    on_shard: OnShard | None = None,
) -> None:
    """Score every pair whose shard is missing, as :func:`embedtrain.mining.shards.label_missing` does.

    Args:
        store: Where the labelled shards go.
        pairs: What is labelled.
        load_scorer: Called once in each worker; it and what it holds have to be picklable.
        workers: What works.
        on_shard: Called here with the number and the rows of each shard once it is written.

    Raises:
        UserError: See :func:`fill_with_ray`.
    """
    # A worker has a working directory of its own.
    there = copy.copy(store)
    there.folder = store.folder.resolve()
    paths = [path.resolve() for path in pairs.paths]
    work = partial(_labelling, there, paths, pairs.columns, load_scorer)
    fill_with_ray(store, work, workers=workers, on_shard=on_shard)


def _labelling(
    store: LabelStore, paths: list[Path], columns: list[dict[str, str]], load_scorer: Callable[[], Scorer]
) -> ShardWork:
    # Opened anew, so that a machine on which a file is missing says so.
    return partial(label_shard, store, PairFiles(paths, columns), load_scorer())


def fill_with_ray(
    store: LabelStore,
    load_work: Callable[[], ShardWork],
    *,
    workers: RayWorkers = ANY_WORKERS,
    on_shard: OnShard | None = None,
) -> None:
    """Let the workers of a Ray cluster make every shard that a store misses.

    A Ray Data stage over the numbers of the shards: each worker is an actor that loads its model once, takes one number
    at a time, reads these rows from Parquet, and writes the shard as a process without Ray would. Only the number goes
    through Ray's memory. Reading the rows in a stage before would put every text there once more, and its blocks would
    not end where shards do, on which the bits of a score depend.

    Ray starts a worker that was lost again, and its shard is begun anew; the shards that are done stay, here and when
    the command is given again. Runs on the cluster of ``RAY_ADDRESS``, or on one that runs on this machine, or starts
    one here for as long as it takes. Files and models have to be at the same paths on every machine.

    Args:
        store: Whose shards are made.
        load_work: Called once in each worker; makes what makes a shard. It has to be picklable, and to name files by
            absolute paths, as a worker has a working directory of its own.
        workers: What works.
        on_shard: Called here with the number and the rows of each shard that is done.

    Raises:
        UserError: Ray is missing, has no room for a worker, a worker met a mistake of the user's, three workers in a
            row died of a shard, or what they write does not arrive here.
    """
    check_ray()
    store.clear_leftovers()
    if missing := store.missing():
        _fill(store, missing, load_work, workers, on_shard)


def _fill(
    store: LabelStore,
    missing: list[int],
    load_work: Callable[[], ShardWork],
    workers: RayWorkers,
    on_shard: OnShard | None,
) -> None:
    import ray

    attempts = store.folder.resolve() / f".attempts-{uuid.uuid4().hex[:8]}"
    attempts.mkdir()
    try:
        with cluster():
            share = share_out(workers)
            count = min(share.count, len(missing))
            numbers = ray.data.from_items([{"shard": number} for number in missing], override_num_blocks=len(missing))
            done = numbers.map_batches(
                _Worker,
                fn_constructor_args=(load_work, share.threads, attempts),
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(size=count, max_tasks_in_flight_per_actor=1),
                num_cpus=share.threads,
                num_gpus=share.gpus,
            )
            for batch in done.iter_batches(batch_size=None, prefetch_batches=0):
                for number, problem in zip(batch["shard"].tolist(), batch["problem"].tolist(), strict=True):
                    if problem:
                        raise UserError(*problem.splitlines())
                    _check_arrived(store, number)
                    if on_shard is not None:
                        on_shard(number, store.read(number))
    finally:
        # Of workers that were lost while they wrote.
        store.clear_leftovers()
        shutil.rmtree(attempts, ignore_errors=True)


def _check_arrived(store: LabelStore, shard: int) -> None:
    # A network file system may take a moment to show here what another machine has written.
    last = time.monotonic() + ARRIVAL_SECONDS
    while not store.path(shard).is_file():
        if time.monotonic() > last:
            raise UserError(
                f"--output {store.folder}: a worker has written {store.path(shard).name}, and it is not there; with "
                "several machines it has to be a folder that all of them share, at the same path"
            )
        time.sleep(0.2)


class _Worker:
    """What runs in each actor: makes the shards whose numbers it is given."""

    def __init__(self, load_work: Callable[[], ShardWork], threads: int, attempts: Path) -> None:
        self.load_work = load_work
        self.attempts = attempts
        torch.set_num_threads(threads)
        bound_kernel_caches()

    @cached_property
    def work(self) -> ShardWork:
        # Not when the actor is made: Ray would start an actor again and again whose making fails.
        return self.load_work()

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        problem = ""
        try:
            self._make(int(batch["shard"][0]))
        except UserError as error:
            # As a value: what an exception holds does not survive the way through Ray.
            problem = "\n".join(error.problems)
        return {"shard": batch["shard"], "problem": np.array([problem])}

    def _make(self, shard: int) -> None:
        # Ray hands on what a lost worker had in hand, and would do so for ever.
        if len(list(self.attempts.glob(f"{shard}-*"))) >= ATTEMPTS:
            raise UserError(
                f"--engine ray: {ATTEMPTS} workers in a row were lost while they made shard {shard}, as they are when "
                "memory runs out; what is done is kept, and the same command goes on"
            )
        (self.attempts / f"{shard}-{uuid.uuid4().hex}").touch()
        self.work(shard)
