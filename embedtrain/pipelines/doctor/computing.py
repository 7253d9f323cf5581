"""Device, precision and attention with their reasons, bf16 tried out, threads and memory."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import torch

from embedtrain.errors import UserError
from embedtrain.models.hardware import choose_attention, choose_device, choose_precision
from embedtrain.pipelines.doctor.finding import GIB, Fact

# The bundled model and a batch of it fit, little else does.
LITTLE_MEMORY = 3 * GIB
LITTLE_DISK = 2 * GIB
_TRIED_SIZE = 512
_TRIES = 5
# Of a product of such matrices in bf16, relative to the largest number: eight bits of mantissa.
_BF16_ERROR = 0.02
_CGROUP = Path("/sys/fs/cgroup")


def compute_facts() -> list[Fact]:
    """What commands compute on when nothing else is asked for."""
    try:
        device = choose_device()
    except (RuntimeError, UserError) as error:
        return [Fact("device", "the GPU cannot be used", "problem", f"{_line(error)}; --device cpu works without it")]
    precision = choose_precision(device.name)
    facts = [Fact("device", str(device)), *_gpu_facts(device.name)]
    facts.append(Fact("precision", f"{precision}; weights and losses stay in fp32"))
    facts.append(_tried_product(device.name, precision.name))
    facts.append(Fact("attention", str(choose_attention(device.name))))
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1:
        facts.append(Fact("processes", f"{world}, of which this is number {os.environ.get('RANK', '0')}"))
    return facts


def machine_facts() -> list[Fact]:
    """Threads, memory and disk."""
    return [_threads(), _memory(), *_disks()]


def _gpu_facts(device: str) -> list[Fact]:
    if device == "cuda":
        free, total = torch.cuda.mem_get_info()
        count = torch.cuda.device_count()
        facts = [Fact("GPU memory", f"{free / GIB:.1f} GiB free of {total / GIB:.1f}")]
        if count > 1:
            how = f"torchrun --nproc-per-node {count} -m embedtrain COMMAND ... uses them all"
            facts.append(Fact("GPUs", str(count), "note", f"a plain command uses one; {how}"))
        return facts
    driver = _nvidia_driver()
    if driver is None:
        return []
    if torch.version.cuda is None:
        remedy = "this PyTorch is built for CPUs: install one built for CUDA, see pytorch.org/get-started"
    elif os.environ.get("CUDA_VISIBLE_DEVICES", "-") in ("", "-1"):
        remedy = "CUDA_VISIBLE_DEVICES hides it: unset the variable"
    else:
        remedy = f"PyTorch is built for CUDA {torch.version.cuda}: a newer driver may be needed, or an older PyTorch"
    return [Fact("NVIDIA GPU", f"there is one (driver {driver}), but PyTorch cannot use it", "note", remedy)]


def _nvidia_driver() -> str | None:
    """The driver's version, or None without an NVIDIA GPU."""
    if shutil.which("nvidia-smi") is None:
        return None
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return next(iter(done.stdout.split()), None)


def _tried_product(device: str, precision: str) -> Fact:
    """A small matrix product in fp32 and in bf16: whether it is right, and which is faster."""
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(_TRIED_SIZE, _TRIED_SIZE, generator=generator).to(device)
    try:
        exact, fp32_seconds = _timed_product(matrix)
        rounded, bf16_seconds = _timed_product(matrix.bfloat16())
    except RuntimeError as error:
        return Fact("bf16", "a small product fails", "problem", f"{_line(error)}; give --precision fp32")
    error_share = float((rounded.float() - exact).abs().max() / exact.abs().max())
    factor = fp32_seconds / bf16_seconds
    speed = f"{factor:.1f} x the speed of fp32" if factor >= 1 else f"{1 / factor:.1f} x as slow as fp32"
    found = f"a product of {_TRIED_SIZE} x {_TRIED_SIZE} is right to {100 * error_share:.1f} %, {speed}"
    if not error_share < _BF16_ERROR:
        return Fact("bf16", found.replace("right to", "wrong by"), "problem", "give --precision fp32")
    if precision == "bf16" and factor < 1:
        remedy = "bf16 gains nothing at this size; compare a short run with --precision fp32"
        return Fact("bf16", found, "note", remedy)
    return Fact("bf16", found)


def _timed_product(matrix: torch.Tensor) -> tuple[torch.Tensor, float]:
    """The product and the seconds of the fastest of a few tries."""
    product = matrix @ matrix
    best = float("inf")
    for _ in range(_TRIES):
        _wait(matrix.device.type)
        started = time.perf_counter()
        product = matrix @ matrix
        _wait(matrix.device.type)
        best = min(best, time.perf_counter() - started)
    return product, best


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _threads() -> Fact:
    threads, cores = torch.get_num_threads(), available_cores()
    found = f"PyTorch uses {threads}, {cores:g} cores are available"
    if threads * 2 <= cores:
        limit = f"OMP_NUM_THREADS is {os.environ['OMP_NUM_THREADS']}" if "OMP_NUM_THREADS" in os.environ else "few"
        return Fact("threads", found, "note", f"{limit}: OMP_NUM_THREADS={int(cores)} lets PyTorch use every core")
    if threads > cores + 1:
        remedy = f"more threads than cores slow each other down: set OMP_NUM_THREADS={max(1, int(cores))}"
        return Fact("threads", found, "note", remedy)
    return Fact("threads", found)


def available_cores() -> float:
    """Cores that this process may use; a container's share may be a fraction."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = float(len(affinity(0)) if affinity else os.cpu_count() or 1)
    quota, _, period = _first_line(_CGROUP / "cpu.max").partition(" ")
    return min(cores, int(quota) / int(period)) if quota.isdecimal() and period.isdecimal() else cores


def _memory() -> Fact:
    import psutil

    memory = psutil.virtual_memory()
    total, free = memory.total, memory.available
    limit, used = _first_line(_CGROUP / "memory.max"), _first_line(_CGROUP / "memory.current")
    if limit.isdecimal() and int(limit) < total:
        total = int(limit)
        free = min(free, total - int(used)) if used.isdecimal() else min(free, total)
    found = f"{free / GIB:.1f} GiB free of {total / GIB:.1f}"
    if free < LITTLE_MEMORY:
        remedy = "small batches need less: --training.batch-size 16, or --gradient-checkpointing with embedtrain train"
        return Fact("memory", found, "note", remedy)
    return Fact("memory", found)


def _disks() -> list[Fact]:
    from huggingface_hub import constants

    facts = []
    for name, folder in (("disk, here", Path.cwd()), ("disk, hub cache", Path(constants.HF_HUB_CACHE))):
        there = next(parent for parent in (folder, *folder.parents) if parent.exists())
        free = shutil.disk_usage(there).free
        found = f"{free / GIB:.1f} GiB free in {folder}"
        if free < LITTLE_DISK:
            facts.append(Fact(name, found, "note", "a run keeps its models and checkpoints: make room"))
        elif not os.access(there, os.W_OK):
            facts.append(Fact(name, f"{found}, not writable", "note", "give --output, or set HF_HOME, elsewhere"))
        else:
            facts.append(Fact(name, found))
    return facts


def _first_line(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
