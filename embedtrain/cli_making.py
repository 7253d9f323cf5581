"""The commands that make models and labels: ``augsbert``, ``train``, ``tsdae``, ``adapt``, ``mine`` and ``label``.

Each takes the words after it on the command line, and ``summary``, what it does, for the help. It gives what to show,
nothing where the help was asked for, and raises ``UserError`` with every mistake. Options are parsed before a pipeline
is imported, so that a misspelt one is answered at once.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from embedtrain.arguments import parse

if TYPE_CHECKING:
    from embedtrain.pipelines.adapt.options import AdaptOptions


def augsbert(arguments: Sequence[str], *, summary: str) -> str:
    """``embedtrain augsbert``: gold pairs to a measured bi-encoder."""
    from embedtrain.pipelines.augsbert.options import AugSBERTOptions

    options = parse(AugSBERTOptions, arguments, command="augsbert", summary=summary)
    if options is None:
        return ""
    from embedtrain.pipelines.augsbert.judging import results_table
    from embedtrain.pipelines.augsbert.pipeline import augsbert

    result = augsbert(options)
    made = [f"model   {result.model}", f"report  {result.report}"]
    return _told(results_table(result.metrics), result.metrics, made)


def train(arguments: Sequence[str], *, summary: str) -> str:
    """``embedtrain train``: tables of any kind to a measured bi-encoder."""
    from embedtrain.pipelines.train.options import TrainOptions

    options = parse(TrainOptions, arguments, command="train", summary=summary)
    if options is None:
        return ""
    from embedtrain.pipelines.train.judging import training_table
    from embedtrain.pipelines.train.pipeline import train

    result = train(options)
    adapter = [] if result.adapter is None else [f"adapter  {result.adapter}"]
    made = [f"model    {result.model}", *adapter, f"report   {result.report}"]
    return _told(training_table(result.metrics), result.metrics, made)


def tsdae(arguments: Sequence[str], *, summary: str) -> str:
    """``embedtrain tsdae``: as ``adapt``, with the one arm."""
    from embedtrain.pipelines.adapt.options import TSDAEOptions

    return _adapted(TSDAEOptions, arguments, command="tsdae", summary=summary)


def adapt(arguments: Sequence[str], *, summary: str) -> str:
    """``embedtrain adapt``: an encoder that knows a domain."""
    from embedtrain.pipelines.adapt.options import AdaptOptions

    return _adapted(AdaptOptions, arguments, command="adapt", summary=summary)


def mine(arguments: Sequence[str], *, summary: str) -> str:
    """``embedtrain mine``: pairs or tuples, and where they are."""
    from embedtrain.pipelines.mine.options import MineOptions

    options = parse(MineOptions, arguments, command="mine", summary=summary)
    if options is None:
        return ""
    from embedtrain.pipelines.mine.pipeline import mine

    result = mine(options)
    counts = [f"{count:>9,}  {name}" for name, count in result.sampled_by.items()]
    what = "tuples" if options.mode != "pairs" else "pairs"
    return "\n".join([*counts, f"{result.rows:>9,}  {what} in {result.table}"])


def label(arguments: Sequence[str], *, summary: str) -> str:
    """``embedtrain label``: scores of pairs, and what they are worth."""
    from embedtrain.pipelines.label.options import LabelOptions

    options = parse(LabelOptions, arguments, command="label", summary=summary)
    if options is None:
        return ""
    from embedtrain.pipelines.label.judging import label_table
    from embedtrain.pipelines.label.pipeline import label

    result = label(options)
    made = [f"labels   {result.merged or result.shards}", f"report   {result.report}"]
    return _told(label_table(result.metrics), result.metrics, made)


def _adapted(kind: "type[AdaptOptions]", arguments: Sequence[str], *, command: str, summary: str) -> str:
    given = list(arguments)
    if given and not given[0].startswith("-"):
        given.insert(0, "--sentences")  # the text itself comes first, without a flag
    options = parse(kind, given, command=command, summary=summary)
    if options is None:
        return ""
    from embedtrain.pipelines.adapt.judging import adaptation_table
    from embedtrain.pipelines.adapt.pipeline import adapt

    result = adapt(options)
    made = [f"model   {result.model}", f"report  {result.report}"]
    return _told(adaptation_table(result.metrics), result.metrics, made)


def _told(table: str | None, metrics: Mapping[str, Any], made: Sequence[str]) -> str:
    """The table, if anything was measured, warnings and the verdict, and where things are."""
    parts = [] if table is None else [f"\n{table}"]
    parts += [f"\nWarning: {warning}" for warning in metrics["warnings"]]
    parts += [f"\n{metrics['verdict']}", "\n" + "\n".join(made)]
    return "\n".join(parts)


MAKERS: Mapping[str, Callable[..., str]] = {
    "augsbert": augsbert,
    "train": train,
    "tsdae": tsdae,
    "adapt": adapt,
    "mine": mine,
    "label": label,
}
