"""The commands that take a configuration file: the options of each, and what checks them without loading a model."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from embedtrain.errors import UserError, did_you_mean


@dataclass(frozen=True)
class ConfiguredCommand:
    """A command that takes ``--config``.

    Attributes:
        name: As it is typed after ``embedtrain``.
        options_at: Module and class of its options.
        collect_at: Module and function that reads what the options name and raises every problem at once.
    """

    name: str
    options_at: tuple[str, str]
    collect_at: tuple[str, str]

    @property
    def options(self) -> type:
        """The dataclass of its options."""
        kind: type = _import(self.options_at)
        return kind

    @property
    def collect(self) -> Callable[[Any], Any]:
        """Takes the options; raises ``UserError`` with every problem of every option, file and model."""
        function: Callable[[Any], Any] = _import(self.collect_at)
        return function


def configured(name: str) -> ConfiguredCommand:
    """A command by its name.

    Raises:
        UserError: There is none, or none that takes a configuration file.
    """
    words = " ".join(name.split())
    if words not in COMMANDS:
        raise UserError(f"unknown command '{name}'{did_you_mean(words, COMMANDS)}; expected: {', '.join(COMMANDS)}")
    return COMMANDS[words]


def _command(name: str, module: str, options: str, collect: str, *, options_in: str = "options") -> ConfiguredCommand:
    package, _, function_in = module.partition(".")
    place = f"embedtrain.pipelines.{package}"
    return ConfiguredCommand(name, (f"{place}.{options_in}", options), (f"{place}.{function_in}", collect))


def _import(at: tuple[str, str]) -> Any:
    # Only the command that is asked about is imported: each brings its own libraries.
    return getattr(importlib.import_module(at[0]), at[1])


COMMANDS = {
    command.name: command
    for command in (
        _command("augsbert", "augsbert.inputs", "AugSBERTOptions", "collect_inputs"),
        _command("train", "train.inputs", "TrainOptions", "collect_train_inputs"),
        _command("tsdae", "adapt.inputs", "TSDAEOptions", "collect_adapt_inputs"),
        _command("adapt", "adapt.inputs", "AdaptOptions", "collect_adapt_inputs"),
        _command("mine", "mine.inputs", "MineOptions", "collect_mine_inputs"),
        _command("label", "label.inputs", "LabelOptions", "collect_label_inputs"),
        _command("evaluate sts", "evaluate.inputs", "STSOptions", "read_pair_tables"),
        _command("evaluate pairs", "evaluate.inputs", "PairsOptions", "read_pair_tables"),
        _command("evaluate retrieval", "evaluate.searching", "RetrievalOptions", "collect_retrieval_inputs"),
        _command(
            "evaluate mteb", "evaluate.mteb_inputs", "MTEBOptions", "collect_mteb_inputs", options_in="mteb_options"
        ),
        _command("evaluate glue", "evaluate.glue_inputs", "GLUEOptions", "read_glue", options_in="glue_options"),
        _command("compare", "compare.pipeline", "CompareOptions", "check_comparison"),
    )
}
