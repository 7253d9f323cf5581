"""The command line: options from flags and YAML, one line a command, mistakes without a traceback."""

import sys
from collections.abc import Callable, Sequence
from functools import partial

import embedtrain
from embedtrain.console import VERBOSITY_HELP, configure_logging, say, take_verbosity
from embedtrain.errors import UserError

COMMANDS = {
    "augsbert": "gold pairs and raw sentences to a measured bi-encoder (Augmented SBERT)",
    "train": "tables of pairs, triplets or labelled sentences to a measured bi-encoder",
    "tsdae": "raw sentences of a domain to an encoder that knows it (TSDAE)",
    "adapt": "raw sentences, and gold if there is any: MLM, TSDAE and SimCSE beside each other, then the labels",
    "mine": "sentences to new pairs worth labelling; hard negatives and tuples for ranking losses",
    "label": "pairs of any number to scores from trained models, with a page on what they are worth",
    "evaluate": "models measured on your own data: sts, pairs, retrieval; on MTEB: mteb; on GLUE: glue",
    "mteb": "export: MTEB's data to a folder, once, where there is a network",
    "compare": "models and runs beside each other on the same rows: is a difference real?",
    "report": "the page of one run written again, or one page over many runs",
    "export": "a model as ONNX, also with 8-bit weights, with what it loses and gains measured",
    "doctor": "what this machine and installation offer, and what to do about each problem",
    "init": "a commented configuration file with every option of a command",
    "check": "all problems of a configuration file at once, before anything runs",
    "audit": "what is in a file of texts or pairs: repeats, conflicts, leakage, lengths, unknown tokens",
    "completion": "what makes the Tab key complete commands and options: bash, zsh or fish",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: As after ``embedtrain`` on the command line; by default the process's own.

    Returns:
        The exit code: 0, 2 for a mistake that the user can mend, 130 when interrupted.
    """
    try:
        verbosity, given = take_verbosity(sys.argv[1:] if arguments is None else arguments)
    except UserError as error:
        say(f"embedtrain: {error}", error=True)
        return 2
    if not given or given[0] in ("-h", "--help"):
        say(_usage(), error=not given)
        return 0 if given else 2
    if given[0] == "--version":
        say(f"embedtrain {embedtrain.__version__}")
        return 0
    configure_logging(verbosity)
    try:
        return _run(given[0], given[1:])
    except UserError as error:
        count = len(error.problems)
        say(f"embedtrain {given[0]}: {'error' if count == 1 else f'{count} errors'}", error=True)
        for problem in error.problems:
            say(f"  - {problem}", error=True)
        return 2
    except KeyboardInterrupt:
        say("\ninterrupted; the same command continues from what is whole of it", error=True)
        return 130


def run_making(command: str, arguments: Sequence[str]) -> int:
    """What makes models and labels: ``augsbert``, ``train``, ``tsdae``, ``adapt``, ``mine`` and ``label``."""
    from embedtrain.cli_making import MAKERS

    shown = MAKERS[command](arguments, summary=COMMANDS[command])
    if shown:
        say(shown)
    return 0


def run_evaluate(arguments: Sequence[str]) -> int:
    """``embedtrain evaluate``: measure models, show the figures."""
    from embedtrain.cli_evaluate import evaluate

    shown = evaluate(arguments)
    if shown:
        say(shown)
    return 0


def run_compare(arguments: Sequence[str]) -> int:
    """``embedtrain compare``: models and runs on the same rows, with tested differences."""
    from embedtrain.cli_evaluate import compare

    shown = compare(arguments, summary=COMMANDS["compare"])
    if shown:
        say(shown)
    return 0


def run_mteb(arguments: Sequence[str]) -> int:
    """``embedtrain mteb``: write MTEB's data to a folder."""
    from embedtrain.cli_evaluate import mteb_files

    shown = mteb_files(arguments, summary=COMMANDS["mteb"])
    if shown:
        say(shown)
    return 0


def run_of_results(command: str, arguments: Sequence[str]) -> int:
    """What comes after a run: ``report`` and ``export``."""
    from embedtrain import cli_results

    shown = {"report": cli_results.report, "export": cli_results.export}[command](arguments, summary=COMMANDS[command])
    if shown:
        say(shown)
    return 0


def run_starting(command: str, arguments: Sequence[str]) -> int:
    """The commands around a first run: ``doctor``, ``init``, ``check`` and ``audit``."""
    from embedtrain.cli_start import start

    shown, code = start(command, arguments, summaries=COMMANDS)
    if shown:
        say(shown)
    return code


def run_completion(arguments: Sequence[str]) -> int:
    """``embedtrain completion``: show what a shell needs to complete commands and options."""
    from embedtrain.cli_completion import completion

    say(completion(arguments, summaries=COMMANDS))
    return 0


def _run(command: str, arguments: Sequence[str]) -> int:
    from embedtrain.errors import did_you_mean

    if command in RUNNERS:
        return RUNNERS[command](arguments)
    raise UserError(f"unknown command '{command}'{did_you_mean(command, COMMANDS)}; expected: {', '.join(COMMANDS)}")


RUNNERS: dict[str, Callable[[Sequence[str]], int]] = {
    **{name: partial(run_making, name) for name in ("augsbert", "train", "tsdae", "adapt", "mine", "label")},
    "evaluate": run_evaluate,
    "mteb": run_mteb,
    "compare": run_compare,
    "completion": run_completion,
    **{name: partial(run_of_results, name) for name in ("report", "export")},
    **{name: partial(run_starting, name) for name in ("doctor", "init", "check", "audit")},
}


def _usage() -> str:
    commands = "\n".join(f"  {name:<12}{summary}" for name, summary in COMMANDS.items())
    return (
        "usage: embedtrain COMMAND [OPTIONS]\n\n"
        "Make a sentence embedding model better on your own data, with the proof beside it.\n\n"
        f"commands:\n{commands}\n\n"
        f"{VERBOSITY_HELP}\n\n"
        "embedtrain COMMAND --help shows a command's options; embedtrain --version the version."
    )


if __name__ == "__main__":
    sys.exit(main())
