"""Where trackers keep what they are told, unless the environment says otherwise."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def logs_in(folder: str | None) -> Iterator[None]:
    """Let TensorBoard and MLflow write into a folder while the context lasts.

    Left to themselves, TensorBoard writes beside checkpoints, which do not stay, and MLflow into the working directory,
    where its newer versions refuse to.

    Args:
        folder: Made where it is not there; None changes nothing.
    """
    if folder is None:
        yield
        return
    Path(folder).mkdir(parents=True, exist_ok=True)
    places = {
        "TENSORBOARD_LOGGING_DIR": folder,
        "MLFLOW_TRACKING_URI": f"sqlite:///{Path(folder).resolve().as_posix()}/mlflow.db",
    }
    added = [name for name in places if name not in os.environ]
    os.environ.update({name: places[name] for name in added})
    try:
        yield
    finally:
        # The next training in this process has a folder of its own.
        for name in added:
            os.environ.pop(name, None)
