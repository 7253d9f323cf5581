"""The libraries beneath at work without bars, notes and warnings of their own among ours."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# Their warnings are about what their next version will do, or about what was chosen here on purpose.
_WARNING = r"(accelerate|datasets|huggingface_hub|mteb|peft|sentence_transformers|sklearn|torch|transformers)(\.|$)"
_LOGGERS = ("accelerate", "peft", "sentence_transformers")


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """While the context lasts, transformers draws no bars, and what the libraries say is dropped below an error.

    Where the package's own logger is set to DEBUG, as by ``--verbose``, their notes and warnings come through; their
    bars, one for every model that is loaded or saved, never do.
    """
    from transformers.utils import logging as transformers_logging

    drew_bars = transformers_logging.is_progress_bar_enabled()
    verbosity = transformers_logging.get_verbosity()
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    hears_all = logging.getLogger("embedtrain").level == logging.DEBUG
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            if not hears_all:
                warnings.filterwarnings("ignore", module=_WARNING)
                transformers_logging.set_verbosity_error()
                for name in _LOGGERS:
                    logging.getLogger(name).setLevel(logging.ERROR)
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        transformers_logging.set_verbosity(verbosity)
        if drew_bars:
            transformers_logging.enable_progress_bar()
