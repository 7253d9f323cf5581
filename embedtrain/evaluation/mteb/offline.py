"""No fetching and no chatter while mteb's own code runs."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any, NoReturn

_CHATTY = ("mteb", "datasets", "sentence_transformers", "huggingface_hub")


class FetchRefused(RuntimeError):
    """Something tried to fetch data or a model while evaluating from local files: a bug, never the user's mistake."""


@contextlib.contextmanager
def no_fetching() -> Iterator[None]:
    """Close the ways by which mteb, datasets and the hub's client would fetch anything, while the context lasts."""
    import datasets
    import huggingface_hub
    import mteb.abstasks.abstask
    import mteb.abstasks.retrieval_dataset_loaders

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise FetchRefused("a task tried to fetch data while it is evaluated from local files")

    places: list[tuple[Any, str, Any]] = [
        (huggingface_hub.constants, "HF_HUB_OFFLINE", True),
        (datasets.config, "HF_HUB_OFFLINE", True),
        (datasets, "load_dataset", refuse),
        (mteb.abstasks.abstask, "load_dataset", refuse),
        (mteb.abstasks.retrieval_dataset_loaders, "load_dataset", refuse),
    ]
    before = [(place, name, getattr(place, name)) for place, name, _ in places]
    try:
        for place, name, value in places:
            setattr(place, name, value)
        yield
    finally:
        for place, name, value in before:
            setattr(place, name, value)


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Without the progress bars, log lines and deprecation warnings of the libraries beneath."""
    from datasets import utils

    were_shown = not utils.are_progress_bars_disabled()
    levels = {name: logging.getLogger(name).level for name in _CHATTY}
    utils.disable_progress_bars()
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        if were_shown:
            utils.enable_progress_bars()
