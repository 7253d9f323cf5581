"""What the command line says and where: results on stdout, the rest on stderr, more or less of it as asked for."""

import logging
import os
import sys
from collections.abc import Sequence
from typing import Literal

from embedtrain.errors import UserError

Verbosity = Literal["quiet", "normal", "verbose"]

VERBOSITY_HELP = (
    "On every command: --quiet tells results, warnings and mistakes only; --verbose adds times, details, and what the "
    "libraries beneath say."
)
_WORDS: dict[str, Verbosity] = {"--quiet": "quiet", "-q": "quiet", "--verbose": "verbose", "-v": "verbose"}
_LEVELS = {"quiet": logging.WARNING, "normal": logging.INFO, "verbose": logging.DEBUG}


class AboveBars(logging.StreamHandler):
    """Writes lines above a progress bar that stands at the bottom of the screen, instead of into it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Take the bars away, write the line, and draw them again."""
        if "tqdm" not in sys.modules:
            super().emit(record)
            return
        from tqdm import tqdm

        with tqdm.external_write_mode(file=self.stream):
            super().emit(record)


def take_verbosity(words: Sequence[str]) -> tuple[Verbosity, list[str]]:
    """How much to say, and the command line without the words for it, which may stand anywhere in it.

    Raises:
        UserError: Both are asked for.
    """
    asked = {_WORDS[word] for word in words if word in _WORDS}
    if len(asked) > 1:
        raise UserError("--quiet and --verbose contradict each other, expected one of them")
    return next(iter(asked), "normal"), [word for word in words if word not in _WORDS]


def configure_logging(verbosity: Verbosity = "normal") -> None:
    """Send the package's own messages to stderr.

    Args:
        verbosity: ``quiet`` drops all but warnings and draws no bars, ``verbose`` adds times and details. Of several
            processes that torchrun started together, the first one talks.
    """
    handler = AboveBars()
    form = "%(asctime)s  %(message)s" if verbosity == "verbose" else "%(message)s"
    handler.setFormatter(logging.Formatter(form, datefmt="%H:%M:%S"))
    package = logging.getLogger("embedtrain")
    package.handlers[:] = [handler]
    package.setLevel(_LEVELS[verbosity] if speaks() else logging.ERROR)
    package.propagate = False


def speaks() -> bool:
    """Whether this process is the first of those that torchrun started together, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def say(text: str, *, error: bool = False) -> None:
    """Write a line to stdout, or to stderr."""
    if not speaks():
        return
    stream = sys.stderr if error else sys.stdout
    try:
        stream.write(text + "\n")
        stream.flush()
    except BrokenPipeError:
        # Whoever read the output has read enough, such as `head`; nothing may be written at exit, either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
