"""What is wrong with the options of an adaptation, and which of them have no effect."""

import importlib.util
import logging
import os

from embedtrain.data.noise_kinds import parse_noise
from embedtrain.errors import Problems, UserError
from embedtrain.pipelines.adapt.options import ARMS, AdaptOptions
from embedtrain.training.loss_choice import find_loss

logger = logging.getLogger(__name__)


def check_options(options: AdaptOptions, problems: Problems) -> None:
    """Note every value that is out of range and every pair of options that contradict each other."""
    _check_values(options, problems)
    _check_files(options, problems)
    for group in ("adaptation", "supervised"):
        getattr(options, group).check(group, problems)
    try:
        parse_noise(options.noise)
    except UserError as error:
        problems.extend(error)
    if not options.arms or len(set(options.arms)) < len(options.arms):
        problems.add(f"--arms is '{' '.join(options.arms)}', expected one or more of {', '.join(ARMS)}, each once")
    if options.loss is not None:
        try:
            find_loss(options.loss)
        except UserError as error:
            problems.extend(error)
    if options.order == "supervised-first" and options.gold is None:
        problems.add("--order supervised-first without --gold: there is nothing to train on first")
    if options.choose_by == "dev" and options.dev is None and options.gold is None:
        problems.add("--choose-by dev without --dev: there are no pairs to choose by")
    if options.words == "jieba" and importlib.util.find_spec("jieba") is None:
        problems.add("--words jieba needs jieba, which is not installed: pip install 'embedtrain[zh]'")


def warn_without_effect(options: AdaptOptions) -> None:
    """Say which options have no effect, and which are known to do harm."""
    default, warn = AdaptOptions, logger.warning
    kinds = {word.partition("=")[0] for word in options.noise}
    unused: list[tuple[str, bool, str]] = [
        ("delete_ratio", "delete" not in kinds, "the noise delete"),
        ("change_ratio", not kinds & {"mask", "replace", "insert"}, "the noise mask, replace or insert"),
        ("words", "tsdae" not in options.arms, "the arm tsdae"),
        ("decoder_layers", "tsdae" not in options.arms, "the arm tsdae"),
        ("mask_share", "mlm" not in options.arms, "the arm mlm"),
        ("temperature", "simcse" not in options.arms, "the arm simcse"),
        ("loss", options.gold is None, "--gold"),
    ]
    for name, is_unused, needs in unused:
        if is_unused and getattr(options, name) != getattr(default, name):
            warn("--%s has no effect without %s", name.replace("_", "-"), needs)
    if "tsdae" not in options.arms and options.noise != ["delete"]:
        warn("--noise has no effect without the arm tsdae")
    if options.order == "supervised-first":
        warn(
            "--order supervised-first: adapting after the training on gold is known to undo much of it "
            "(Wang et al. 2021); target-first is the order that works"
        )


def _check_values(options: AdaptOptions, problems: Problems) -> None:
    layers, length = options.decoder_layers, options.max_length
    bounds: list[tuple[str, bool, str]] = [
        ("delete_ratio", 0 < options.delete_ratio < 1, "a share above 0 and below 1"),
        ("change_ratio", 0 < options.change_ratio < 1, "a share above 0 and below 1"),
        ("mask_share", 0 < options.mask_share < 1, "a share above 0 and below 1"),
        ("temperature", options.temperature > 0, "above 0"),
        ("decoder_layers", layers is None or layers >= 1, "at least 1"),
        ("max_length", length is None or length >= 8, "at least 8 tokens"),
        ("seed", options.seed >= 0, "at least 0"),
        ("bootstrap_samples", options.bootstrap_samples >= 100, "at least 100"),
    ]
    for name, holds, expected in bounds:
        if not holds:
            problems.add(f"--{name.replace('_', '-')} is {getattr(options, name)}, expected {expected}")


def _check_files(options: AdaptOptions, problems: Problems) -> None:
    # os.path answers False where a path may not be looked at; the writing check says so then.
    if os.path.isfile(options.output):
        problems.add(f"--output {options.output}: this is a file, expected a folder")
    named = {name: getattr(options, name) for name in ("sentences", "gold", "dev", "test")}
    for name, given in named.items():
        if given and os.path.isdir(given) and os.path.abspath(given) == os.path.abspath(options.output):
            problems.add(f"--output {options.output}: this is the input of --{name}, expected a folder of its own")
    reasons = {
        ("gold", "dev"): "the same pairs are trained on with --gold",
        ("gold", "test"): "the same pairs are trained on with --gold, so they cannot judge",
        ("dev", "test"): "the same pairs choose the weights with --dev, so they cannot judge them",
    }
    for (first, second), reason in reasons.items():
        if named[second] is not None and named[first] == named[second]:
            problems.add(f"--{second} {named[second]}: {reason}")
