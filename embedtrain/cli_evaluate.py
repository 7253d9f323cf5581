"""The commands that measure: ``embedtrain evaluate`` with its sub-commands, and ``embedtrain compare``."""

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from embedtrain.arguments import parse
from embedtrain.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from embedtrain.pipelines.evaluate.workspace import Evaluation

SUBCOMMANDS = {
    "sts": "scored pairs: how well similarities follow people's scores, with smaller embeddings beside full ones",
    "pairs": "labelled pairs: how well cosines tell pairs that match from pairs that do not",
    "retrieval": "corpus, queries and judgements: embeddings, BM25 and both, with a cross-encoder behind if asked for",
    "mteb": "MTEB's tasks, or your own data as tasks, from local files; nothing is fetched",
    "glue": "how good the encoder under a model is: fine-tuned for GLUE's nine tasks, from local files",
}
# Options that may be given several times.
LISTED = ("model", "data", "train-data")
LISTED_OF_MTEB = ("model", "tasks", "custom", "train-data")
LISTED_OF_GLUE = ("model", "tasks")


def evaluate(arguments: Sequence[str]) -> str:
    """``embedtrain evaluate``: run one of its sub-commands.

    Args:
        arguments: As after ``evaluate`` on the command line.

    Returns:
        What to show; nothing where the help of a sub-command was asked for.

    Raises:
        UserError: For every mistake, the sub-command's name among them.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        return _usage()
    name, *rest = arguments
    if name not in _RUNNERS:
        hint = did_you_mean(name, SUBCOMMANDS)
        raise UserError(f"unknown evaluation '{name}'{hint}; expected: {', '.join(SUBCOMMANDS)}")
    run = _RUNNERS[name]
    # Fine-tuning is no encoding that could be shared out: all processes train.
    return run(rest) if name == "glue" else _helped(lambda: run(rest))


def evaluate_sts(arguments: Sequence[str]) -> str:
    """``embedtrain evaluate sts``."""
    # Options are parsed before the pipeline is imported, so that a misspelt one is answered at once.
    from embedtrain.pipelines.evaluate.options import STSOptions

    options = parse(STSOptions, gathered(arguments, LISTED), command="evaluate sts", summary=SUBCOMMANDS["sts"])
    if options is None:
        return ""
    from embedtrain.pipelines.evaluate.sts import evaluate_sts, sts_table

    result = evaluate_sts(options)
    return _told(sts_table(result.metrics), result)


def evaluate_pairs(arguments: Sequence[str]) -> str:
    """``embedtrain evaluate pairs``."""
    from embedtrain.pipelines.evaluate.options import PairsOptions

    options = parse(PairsOptions, gathered(arguments, LISTED), command="evaluate pairs", summary=SUBCOMMANDS["pairs"])
    if options is None:
        return ""
    from embedtrain.pipelines.evaluate.pairs import evaluate_pairs, pairs_table

    result = evaluate_pairs(options)
    return _told(pairs_table(result.metrics), result)


def evaluate_retrieval(arguments: Sequence[str]) -> str:
    """``embedtrain evaluate retrieval``."""
    from embedtrain.pipelines.evaluate.options import RetrievalOptions

    words = gathered(arguments, ("model", "train-data"))
    options = parse(RetrievalOptions, words, command="evaluate retrieval", summary=SUBCOMMANDS["retrieval"])
    if options is None:
        return ""
    from embedtrain.pipelines.evaluate.retrieval import evaluate_retrieval, retrieval_table

    result = evaluate_retrieval(options)
    return _told(retrieval_table(result.metrics), result)


def compare(arguments: Sequence[str], *, summary: str) -> str:
    """``embedtrain compare``: models and runs beside each other.

    Args:
        arguments: As after ``compare`` on the command line; the models come first, without a flag.
        summary: What the command does, for the help.
    """
    return _helped(lambda: _compare(arguments, summary=summary))


def _compare(arguments: Sequence[str], *, summary: str) -> str:
    from embedtrain.pipelines.compare.options import CompareOptions

    given = list(arguments)
    if given and not given[0].startswith("-"):
        given.insert(0, "--model")
    options = parse(CompareOptions, gathered(given, LISTED), command="compare", summary=summary)
    if options is None:
        return ""
    from embedtrain.pipelines.compare.pipeline import compare, comparison_table

    result = compare(options)
    return _told(comparison_table(result.metrics), result)


def evaluate_mteb(arguments: Sequence[str]) -> str:
    """``embedtrain evaluate mteb``."""
    from embedtrain.pipelines.evaluate.mteb_options import MTEBOptions

    given = gathered(arguments, LISTED_OF_MTEB)
    options = parse(MTEBOptions, given, command="evaluate mteb", summary=SUBCOMMANDS["mteb"])
    if options is None:
        return ""
    from embedtrain.pipelines.evaluate.mteb import evaluate_mteb
    from embedtrain.pipelines.evaluate.mteb_scores import mteb_table

    result = evaluate_mteb(options)
    return _told(mteb_table(result.metrics), result)


def evaluate_glue(arguments: Sequence[str]) -> str:
    """``embedtrain evaluate glue``."""
    from embedtrain.pipelines.evaluate.glue_options import GLUEOptions

    given = gathered(arguments, LISTED_OF_GLUE)
    options = parse(GLUEOptions, given, command="evaluate glue", summary=SUBCOMMANDS["glue"])
    if options is None:
        return ""
    from embedtrain.pipelines.evaluate.glue import evaluate_glue
    from embedtrain.pipelines.evaluate.glue_scores import glue_table

    result = evaluate_glue(options)
    return _told(glue_table(result.metrics), result)


def mteb_files(arguments: Sequence[str], *, summary: str) -> str:
    """``embedtrain mteb export``: write a mirror where there is a network.

    Args:
        arguments: As after ``mteb`` on the command line.
        summary: What the command does, for the help.

    Returns:
        What to show; nothing where the help was asked for.

    Raises:
        UserError: For every mistake.
    """
    from embedtrain.pipelines.evaluate.mteb_options import ExportOptions

    if not arguments or arguments[0] in ("-h", "--help"):
        return f"usage: embedtrain mteb export --tasks TASK [TASK ...] --to FOLDER\n\n{summary}"
    if arguments[0] != "export":
        raise UserError(
            f"unknown command 'mteb {arguments[0]}'{did_you_mean(arguments[0], ['export'])}; expected: export"
        )
    options = parse(ExportOptions, gathered(arguments[1:], ("tasks",)), command="mteb export", summary=summary)
    if options is None:
        return ""
    from embedtrain.pipelines.evaluate.mteb_export import export

    done = export(options)
    counts = f"{len(done.written)} written, {len(done.kept)} there already, {len(done.failed)} failed"
    return "\n".join([f"{counts}: {done.folder}", *(f"  - {reason}" for reason in done.failed)])


def _helped(run: Callable[[], str]) -> str:
    """Run a command; of several processes that were started together the others encode for the first."""
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return run()
    from embedtrain.models.sharing import with_helpers

    return with_helpers(run) or ""


def gathered(arguments: Sequence[str], options: Sequence[str]) -> list[str]:
    """The words of a command line in which options that take a list may be given several times.

    ``--model a --data x --model b`` becomes ``--model a b --data x``.
    """
    first: dict[str, list[str]] = {}
    groups: list[list[str]] = []
    for word in arguments:
        name, equals, value = word.removeprefix("--").partition("=")
        name = name.replace("_", "-")
        if not word.startswith("--"):
            if not groups:
                groups.append([])
            groups[-1].append(word)
            continue
        if name not in options:
            groups.append([word])
            continue
        earlier = first.get(name)
        if earlier is None:
            first[name] = earlier = [f"--{name}"]
        else:
            groups.remove(earlier)
        if equals:
            earlier.append(value)
        groups.append(earlier)
    return [word for group in groups for word in group]


def _told(table: str, result: "Evaluation") -> str:
    parts = ["", table]
    parts += [f"\nWarning: {warning}" for warning in result.metrics["warnings"]]
    if result.metrics["verdict"]:
        parts.append(f"\n{result.metrics['verdict']}")
    if result.folder is not None:
        parts.append(f"\nfigures  {result.folder}")
    return "\n".join(parts)


def _usage() -> str:
    commands = "\n".join(f"  {name:<12}{summary}" for name, summary in SUBCOMMANDS.items())
    return (
        "usage: embedtrain evaluate KIND --model MODEL [--model MODEL ...] [OPTIONS]\n\n"
        f"kinds:\n{commands}\n\n"
        "embedtrain evaluate KIND --help shows its options."
    )


_RUNNERS: dict[str, Callable[[Sequence[str]], str]] = {
    "sts": evaluate_sts,
    "pairs": evaluate_pairs,
    "retrieval": evaluate_retrieval,
    "mteb": evaluate_mteb,
    "glue": evaluate_glue,
}
