"""Checkpoints that are whole or not there, with everything a training needs to end as if it had never stopped."""

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from embedtrain.files import read_json, write_json

logger = logging.getLogger(__name__)

# Written last: a checkpoint without it was cut off.
MARKER = "whole.json"
BEST_WEIGHTS = "best.pt"
BEST_PREDICTIONS = "best_predictions.npy"


def last_whole(folder: Path) -> Path | None:
    """The latest checkpoint in a folder that was written to its end; what was cut off is removed."""
    checkpoints = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    for cut_off in (path for path in checkpoints if not (path / MARKER).is_file()):
        shutil.rmtree(cut_off, ignore_errors=True)  # another process may be at it, too
    whole = [path for path in checkpoints if (path / MARKER).is_file()]
    return whole[-1] if whole else None


def complete(
    checkpoint: Path, progress: dict[str, Any], *, weights: dict[str, Tensor], predictions: np.ndarray | None
) -> None:
    """Add the best weights so far and the history to a checkpoint, mark it as whole, and remove the older ones."""
    torch.save(weights, checkpoint / BEST_WEIGHTS)
    if predictions is not None:
        np.save(checkpoint / BEST_PREDICTIONS, predictions)
    write_json(checkpoint / MARKER, progress)
    for older in checkpoint.parent.glob("checkpoint-*"):
        if older != checkpoint:
            shutil.rmtree(older)


def read(checkpoint: Path, *, device: torch.device) -> tuple[dict[str, Any], dict[str, Tensor], np.ndarray | None]:
    """What ``complete`` wrote: progress, the best weights, and their predictions on dev."""
    weights = torch.load(checkpoint / BEST_WEIGHTS, map_location=device.type, weights_only=True)
    predictions = checkpoint / BEST_PREDICTIONS
    return read_json(checkpoint / MARKER), weights, np.load(predictions) if predictions.is_file() else None
