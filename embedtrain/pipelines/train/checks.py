"""What is wrong with the options of ``embedtrain train``, and which of them have no effect."""

import importlib.util
import logging
import os
import re
import shutil
from collections.abc import Iterable, Sequence

from embedtrain.errors import Problems, UserError, did_you_mean
from embedtrain.models.prompts import DOCUMENT, QUERY, ROLES
from embedtrain.pipelines.checks import check_roles
from embedtrain.pipelines.train.options import TrainOptions
from embedtrain.pipelines.train.searching import has_dev_search
from embedtrain.training.loss_choice import LOSSES, find_loss
from embedtrain.training.settings import TrainingSettings

logger = logging.getLogger(__name__)

# The package that each integration of the trainer needs.
TRACKERS = ("tensorboard", "wandb", "mlflow")


def check_options(options: TrainOptions, problems: Problems) -> None:
    """Note every value that is out of range and every pair of options that contradict each other."""
    _check_values(options, problems)
    _check_files(options, problems)
    _check_names(options, problems)
    options.training.check("training", problems)
    if options.seeds > 1 and options.dev is None:
        problems.add(
            f"--seeds {options.seeds} without --dev: the best seed is chosen by dev; give scored pairs with --dev"
        )
    if options.seeds == 1 and options.keep_best_after is not None:
        problems.add(
            f"--keep-best-after {options.keep_best_after} without --seeds: with one seed there is none to choose"
        )
    rows, tokens, steps = options.effective_batch, options.batch_tokens, options.gradient_accumulation
    if rows is not None and steps > 1:
        problems.add(
            f"--effective-batch {rows} with --gradient-accumulation {steps}: both enlarge the batch; give one of them"
        )
    if rows is not None and tokens is not None:
        problems.add(
            f"--effective-batch {rows} with --batch-tokens {tokens}: a batch has so many rows or so many tokens; "
            "give one of them"
        )


def check_losses(options: TrainOptions, losses: Iterable[str], problems: Problems) -> None:
    """Note the options that the losses, asked for or chosen, cannot be combined with."""
    names = list(dict.fromkeys(losses))
    listed = ", ".join(names)
    if not names:
        return
    if options.guide is None and any(LOSSES[name].needs_guide for name in names):
        problems.add("--loss gist needs a second model that judges negatives: give --guide MODEL")
    if options.effective_batch is not None and not any(LOSSES[name].compares_rows for name in names):
        problems.add(
            f"--effective-batch {options.effective_batch} with the loss {listed}: it looks at each row alone, so a "
            "large batch is the same as --gradient-accumulation, which is cheaper"
        )
    if options.batch_tokens is not None and not any(LOSSES[name].batches == "like_length" for name in names):
        problems.add(
            f"--batch-tokens {options.batch_tokens} with the loss {listed}: how many rows are compared is part of the "
            "loss and cannot follow the length of the texts; give --training.batch-size or --effective-batch"
        )
    if options.matryoshka and "softmax" in names:
        problems.add("--matryoshka with the loss softmax: its classifier reads embeddings of one length only")


def warn_without_effect(options: TrainOptions, losses: Sequence[str], read: Sequence[Sequence[str]]) -> None:
    """Say which options have no effect, given the loss of each table and the columns of each that is read."""
    warn = logger.warning
    rows, tokens = options.effective_batch, options.batch_tokens
    if rows is None and options.chunk_size != TrainOptions.chunk_size:
        warn("--chunk-size has no effect without --effective-batch")
    if rows is not None and rows <= options.chunk_size:
        warn("--effective-batch %d is no more than --chunk-size %d: nothing is cached", rows, options.chunk_size)
    if options.training.batch_size != TrainingSettings.batch_size:
        if rows is not None:
            warn("--training.batch-size has no effect with --effective-batch")
        elif tokens is not None and all(LOSSES[name].batches == "like_length" for name in losses):
            warn("--training.batch-size has no effect with --batch-tokens")
    if not has_dev_search(options):
        if options.dev_split is not None:
            warn("--dev-split has no effect: --dev is no folder of corpus, queries and qrels")
        if options.dev_documents != TrainOptions.dev_documents:
            warn("--dev-documents has no effect: --dev is no folder of corpus, queries and qrels")
    of_roles = [role for role in (QUERY, DOCUMENT) if role in options.prompts]
    if of_roles and not has_dev_search(options) and not any("anchor" in columns for columns in read):
        warn("--prompts %s has no effect in training: no table has anchors", " and ".join(of_roles))
    if options.mix != TrainOptions.mix and len(options.data) == 1:
        warn("--mix %s has no effect with a single table", options.mix)
    if options.guide is not None and not any(LOSSES[name].needs_guide for name in losses):
        warn("--guide has no effect: of the losses only gist asks a second model")
    if options.lora_alpha is not None and options.lora_rank is None:
        warn("--lora-alpha has no effect without --lora-rank")
    if options.freeze is not None and options.lora_rank is not None:
        warn("--freeze has no effect with --lora-rank: all of the model's own weights keep their values")


def _check_values(options: TrainOptions, problems: Problems) -> None:
    alpha, share = options.lora_alpha, options.keep_best_after
    bounds: list[tuple[str, bool, str]] = [
        *((name, _is_at_least(getattr(options, name), least), f"at least {least}") for name, least in _LEAST.items()),
        ("keep_best_after", share is None or 0 < share < 1, "a share of the steps above 0 and below 1"),
        ("lora_alpha", alpha is None or alpha > 0, "above 0"),
    ]
    for name, holds, expected in bounds:
        if not holds:
            problems.add(f"--{name.replace('_', '-')} is {getattr(options, name)}, expected {expected}")
    check_roles(options.prompts, ROLES, problems)
    dims = options.matryoshka
    if any(dim < 1 for dim in dims) or len(set(dims)) < len(dims):
        problems.add(f"--matryoshka is {dims}, expected different whole numbers of at least 1")
    if options.freeze is not None:
        try:
            re.compile(options.freeze)
        except re.error as error:
            problems.add(f"--freeze '{options.freeze}': not a regular expression: {error}")


_LEAST = {
    "dev_documents": 1,
    "batch_tokens": 1,
    "effective_batch": 2,
    "chunk_size": 1,
    "seeds": 1,
    "lora_rank": 1,
    "gradient_accumulation": 1,
    "save_every": 1,
    "seed": 0,
    "bootstrap_samples": 100,
}


def _is_at_least(value: int | None, least: int) -> bool:
    return value is None or value >= least


def _check_files(options: TrainOptions, problems: Problems) -> None:
    if not options.data:
        problems.add("--data names no table, expected at least one")
    for twice in sorted({source for source in options.data if options.data.count(source) > 1}):
        problems.add(f"--data {twice} is given twice")
    measured = [("dev", options.dev), ("test", options.test)]
    for source in options.data:
        if source.lower().endswith(".txt"):
            problems.add(
                f"--data {source}: these losses learn nothing from sentences alone; "
                "`embedtrain augsbert --unlabeled` makes pairs of them"
            )
        for option, other in measured:
            if other == source:
                problems.add(f"--{option} {source}: the same table is trained on with --data")
    if options.dev is not None and options.dev == options.test:
        problems.add(f"--test {options.test}: the same pairs choose the weights with --dev, so they cannot judge them")
    # os.path answers False where a path may not be looked at; the writing check says so then.
    if os.path.isfile(options.output):
        problems.add(f"--output {options.output}: this is a file, expected a folder")
    for option, other in [*(("data", source) for source in options.data), *measured]:
        if other and os.path.isdir(other) and os.path.abspath(other) == os.path.abspath(options.output):
            problems.add(f"--output {options.output}: this is the input of --{option}, expected a folder of its own")


def _check_names(options: TrainOptions, problems: Problems) -> None:
    for name in dict.fromkeys(options.loss):
        try:
            find_loss(name)
        except UserError as error:
            problems.extend(error)
    if len(options.loss) > 1 and len(options.loss) != len(options.data):
        problems.add(
            f"--loss names {len(options.loss)} losses, and --data {len(options.data)} "
            f"table{'' if len(options.data) == 1 else 's'}; expected one for each, or one for all"
        )
    if options.lora_rank is not None and importlib.util.find_spec("peft") is None:
        problems.add("--lora-rank needs peft, which is not installed: pip install 'embedtrain[lora]'")
    if options.compile and shutil.which(os.environ.get("CXX", "g++")) is None:
        problems.add(
            "--compile: torch.compile writes C++ and finds no compiler for it; install g++, name another one in the "
            "environment variable CXX, or leave --compile out"
        )
    for name in options.report_to:
        if name not in TRACKERS:
            hint = did_you_mean(name, TRACKERS)
            problems.add(f"--report-to {name}: unknown{hint}; expected one of {', '.join(TRACKERS)}")
        elif importlib.util.find_spec(name) is None:
            problems.add(f"--report-to {name}: it is not installed: pip install {name}")
