"""What of a model is trained: parameters frozen by name, low-rank adapters, activations that are computed again."""

import logging
import re
from collections.abc import Collection
from typing import NamedTuple

import torch
from torch import nn

from embedtrain.errors import Problems, UserError, did_you_mean
from embedtrain.models.packing import backbone_of, transformer_of

logger = logging.getLogger(__name__)


class ParameterCounts(NamedTuple):
    """How many numbers of a model stay as they are, and how many are trained."""

    frozen: int
    trainable: int


def count_parameters(model: nn.Module) -> ParameterCounts:
    """The numbers in a model's parameters, a shared one counted once."""
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return ParameterCounts(sum(p.numel() for p in model.parameters()) - trainable, trainable)


def freeze(model: nn.Module, pattern: str) -> ParameterCounts:
    r"""Keep parameters from being trained.

    Args:
        model: The model; frozen in place.
        pattern: Regular expression that is searched in the parameters' names, such as ``embeddings|layer\.[0-3]\.``.

    Returns:
        What is frozen and what is trained from now on.

    Raises:
        UserError: When the pattern is no regular expression, is found in no name, or leaves nothing to train.
    """
    parameters = dict(model.named_parameters())
    frozen = _matching(pattern, list(parameters), option="--freeze", kind="parameter")
    # Sentence embeddings are made of the tokens' outputs: the transformer's own pooler stands aside and learns nothing.
    if not any(
        parameter.requires_grad
        for name, parameter in parameters.items()
        if name not in frozen and ".pooler." not in name
    ):
        raise UserError(
            f"--freeze '{pattern}': {len(frozen)} of {len(parameters)} parameters have such a name, and nothing would "
            f"be left to train; there are {_some_of(parameters)}"
        )
    for name in frozen:
        parameters[name].requires_grad_(False)
    counts = count_parameters(model)
    logger.info(
        "frozen by '%s': %d of %d parameters, %s; %s numbers are frozen and %s trained",
        pattern,
        len(frozen),
        len(parameters),
        _some_of(frozen),
        f"{counts.frozen:,}",
        f"{counts.trainable:,}",
    )
    return counts


def add_lora(
    model: nn.Module, *, rank: int, alpha: float, dropout: float, target: str | None = None, seed: int = 0
) -> ParameterCounts:
    """Train low-rank updates of a transformer's linear layers instead of its weights.

    The model computes what it did until the adapters are trained. A cross-encoder's head is trained whole. Modules
    beside the transformer, such as a dense layer after pooling, stay as they are. Saved now, the model is an adapter
    that needs its base model when it is loaded; after ``merge_lora`` it is a plain model.

    Hu et al., 2021, "LoRA: Low-Rank Adaptation of Large Language Models", equation 3.

    Args:
        model: A SentenceTransformer or CrossEncoder; changed in place.
        rank: Of the updates.
        alpha: The updates are scaled by ``alpha / rank``.
        dropout: Probability of dropping an input of an adapter.
        target: Regular expression that is searched in the names of the transformer's linear layers; by default all of
            them are adapted.
        seed: The adapters are drawn from it; the caller's random numbers are left alone.

    Returns:
        What is frozen and what is trained from now on.

    Raises:
        UserError: When peft is missing, an option is out of its range, no linear layer has such a name, or there is an
            adapter already.
    """
    try:
        from peft import LoraConfig
    except ImportError:
        raise UserError("LoRA needs the package peft: pip install 'embedtrain[lora]'") from None
    problems = Problems()
    if rank < 1:
        problems.add(f"LoRA rank {rank}: expected 1 or more")
    if alpha <= 0:
        problems.add(f"LoRA alpha {alpha:g}: expected more than 0")
    if not 0 <= dropout < 1:
        problems.add(f"LoRA dropout {dropout:g}: expected 0 or more, and less than 1")
    transformer, backbone = transformer_of(model), backbone_of(model)
    if transformer is None:
        raise UserError(*problems.messages, "LoRA: the model is no transformer")
    if transformer._hf_peft_config_loaded:
        problems.add("LoRA: the model has an adapter already; merge that one first")
    problems.raise_if_any()
    heads = [
        name
        for name, child in transformer.named_children()
        if transformer is not backbone and child is not backbone and next(child.parameters(), None) is not None
    ]
    # Without a head, nobody reads what the pooler makes.
    left_out = {"pooler"} if transformer is backbone else set(heads)
    linear = [
        name
        for name, module in transformer.named_modules()
        if isinstance(module, nn.Linear) and left_out.isdisjoint(name.split("."))
    ]
    chosen = linear if target is None else _matching(target, linear, option="LoRA target", kind="linear layer")
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type] # annotated as an integer; only alpha / r is used
        lora_dropout=dropout,
        target_modules=chosen,
        modules_to_save=heads or None,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        transformer.add_adapter(config)
    counts = count_parameters(model)
    logger.info(
        "LoRA of rank %d on %d linear layers, %s; %s numbers are frozen and %s trained",
        rank,
        len(chosen),
        _some_of(chosen),
        f"{counts.frozen:,}",
        f"{counts.trainable:,}",
    )
    return counts


def merge_lora(model: nn.Module) -> None:
    """Add the low-rank updates to the weights that they belong to, and let all of the transformer be trained again.

    The model computes the same as before and is saved as a plain one.

    Raises:
        ValueError: If the model has no adapter, or its updates are not finite.
    """
    transformer = transformer_of(model)
    if transformer is None or not transformer._hf_peft_config_loaded:
        raise ValueError("the model has no adapter to merge")
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils import ModulesToSaveWrapper

    for name, module in list(transformer.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge(safe_merge=True)
            transformer.set_submodule(name, module.get_base_layer())
        elif isinstance(module, ModulesToSaveWrapper):
            transformer.set_submodule(name, module.modules_to_save[module.active_adapters[0]])
    transformer.delete_adapter(list(transformer.peft_config))
    transformer.requires_grad_(True)


def enable_gradient_checkpointing(model: nn.Module) -> None:
    """Compute activations again in the backward pass instead of keeping them: less memory, about a third more time.

    Raises:
        UserError: When the model's architecture has no such thing.
    """
    transformer = transformer_of(model)
    if transformer is None or not transformer.supports_gradient_checkpointing:
        name = "a model that is no transformer" if transformer is None else type(transformer).__name__
        raise UserError(f"--gradient-checkpointing: {name} does not support it")
    # Newer versions of transformers 5 call it by another name and warn about the old one.
    enable = getattr(transformer, "activation_checkpointing_enable", None) or transformer.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def _matching(pattern: str, names: list[str], *, option: str, kind: str) -> list[str]:
    """The names in which a regular expression is found; a ``UserError`` when there is none."""
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UserError(f"{option} '{pattern}': not a regular expression ({error})") from None
    found = [name for name in names if expression.search(name)]
    if not found:
        raise UserError(
            f"{option} '{pattern}': no {kind} has such a name; there are {_some_of(names)}{_hint(pattern, names)}"
        )
    return found


def _hint(pattern: str, names: Collection[str]) -> str:
    """The nearest right spelling of a pattern's first word that is in no name."""
    parts = {part for name in names for part in name.split(".")}
    words = re.findall(r"[^\W\d]\w+", re.sub(r"\\.", " ", pattern))
    unknown = [word for word in words if not any(word in name for name in names)]
    return next(filter(None, (did_you_mean(word, parts) for word in unknown)), "")


def _some_of(names: Collection[str]) -> str:
    """The first, the middle and the last of some names, as an enumeration."""
    ordered = list(names)
    shown = list(dict.fromkeys([ordered[0], ordered[len(ordered) // 2], ordered[-1]]))
    quoted = [f"'{name}'" for name in shown]
    dots = " ..." if len(ordered) > len(shown) else ""
    return ", ".join(quoted) + dots
