"""What a figure was measured on: processor, GPU, versions, command."""

import importlib.metadata
import os
import platform
import sys
from pathlib import Path
from typing import Any

import torch


def describe(script: str) -> dict[str, Any]:
    """Machine, versions and command, to stand beside the figures of ``benchmarks/<script>``."""
    return {
        "machine": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "versions": versions(),
        "command": " ".join(["python", f"benchmarks/{script}", *sys.argv[1:]]),
    }


def processor() -> str:
    """The processor's name as the system gives it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Versions of what the figures depend on."""
    names = ("embedtrain", "torch", "sentence-transformers", "transformers", "accelerate", "mteb", "numpy")
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in names}}
