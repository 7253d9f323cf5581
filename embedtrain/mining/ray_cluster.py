"""The Ray cluster that work is done on: the one there is, or one of its own, and what its workers get."""

import importlib.util
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from embedtrain.errors import UserError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RayWorkers:
    """How many processes work on shards, and what each of them has to itself.

    Args:
        count: How many; by default as many as the cluster's machines have room for.
        threads: CPU threads of each; by default as many as this process computes with. On a CPU, the number decides
            what is computed together, so scores are equal to the bit to those of a run without Ray with as many.
        gpus: GPUs of each; by default one where the cluster has any.
    """

    count: int | None = None
    threads: int | None = None
    gpus: float | None = None


ANY_WORKERS = RayWorkers()


def check_ray() -> None:
    """Refuse to go on without Ray.

    Raises:
        UserError: With what to install.
    """
    if any(importlib.util.find_spec(package) is None for package in ("ray", "pyarrow")):
        raise UserError("--engine ray needs the package ray: pip install 'embedtrain[ray]'")


@dataclass(frozen=True)
class Share:
    """How many workers there are, and what each of them has to itself, every default filled in."""

    count: int
    threads: int
    gpus: float


def share_out(workers: RayWorkers) -> Share:
    """What is asked of the cluster that this process is connected to.

    Raises:
        UserError: No machine has room for one worker.
    """
    import ray

    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    threads = torch.get_num_threads() if workers.threads is None else workers.threads
    gpus = float(any(machine.get("GPU", 0) >= 1 for machine in machines)) if workers.gpus is None else workers.gpus
    # Machine by machine: a worker does not stretch over two.
    room = sum(_room(machine, threads, gpus) for machine in machines)
    if room == 0:
        largest = max((int(machine.get("CPU", 0)) for machine in machines), default=0)
        asked = f"{threads} CPU threads" + (f" and {gpus:g} GPU" if gpus else "")
        raise UserError(
            f"--engine ray: no machine of the cluster has room for a worker of {asked}; the largest has {largest} "
            "CPUs: set OMP_NUM_THREADS to at most that many"
        )
    count = room if workers.count is None else min(workers.count, room)
    logger.info("ray: %d workers of %d CPU threads and %g GPUs on %d machines", count, threads, gpus, len(machines))
    return Share(count, threads, gpus)


def _room(machine: dict[str, float], threads: int, gpus: float) -> int:
    by_cpu = int(machine.get("CPU", 0) // threads)
    return min(by_cpu, int(machine.get("GPU", 0) // gpus)) if gpus else by_cpu


@contextmanager
def cluster() -> Iterator[None]:
    """The cluster that this process is connected to, or can connect to, or one of its own."""
    import ray
    import ray.data

    context, log = ray.data.DataContext.get_current(), logging.getLogger("ray.data")
    bars, level = context.enable_progress_bars, log.level
    context.enable_progress_bars = False
    log.setLevel(logging.ERROR)
    ours = not ray.is_initialized()
    if ours:
        # Ray tells its makers how it is used unless it is asked not to, and its C++ side warns of what cannot happen
        # here: that the arguments of an actor, which this process holds, are lost before the actor is started again.
        for variable, value in (("RAY_USAGE_STATS_ENABLED", "0"), ("RAY_BACKEND_LOG_LEVEL", "fatal")):
            os.environ.setdefault(variable, value)
        ray.init(logging_level=logging.ERROR, log_to_driver=False)
    try:
        yield
    finally:
        context.enable_progress_bars = bars
        log.setLevel(level)
        if ours:
            ray.shutdown()
