"""Puts a fused encoder in the place of a BERT-like model's own, on a CPU in bf16, where it gives the same."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions as EncoderOutput

from embedtrain.mining.fused_layer import FusedLayer, LayerParts, enlarged, steady_rows

logger = logging.getLogger(__name__)

# How far the fused outputs may lie from those of the model in fp32, both as root mean squares. Rounding to bf16 takes
# 1 % for small encoders and up to 5 % for deep ones (autocast up to 17 %); a step done otherwise takes far more.
TRIAL_TOLERANCE = 0.1
TRIAL_LENGTHS = (7, 20, 1, 12)

Output = Literal["scores", "sentence_embedding"]


class FusedEncoder(nn.Module):
    """Stands in for the encoder of a transformers model.

    All products with weights are made for the same few numbers of rows, whatever the batch: oneDNN makes a kernel for
    each shape, and PyTorch keeps it together with as much memory as its result takes.

    Args:
        encoder: With a list ``layer``.
        first_only: Whether only the first token of each text is wanted: the last layer is then computed for it alone.
        token_budget: Tokens of a full batch.
    """

    def __init__(self, encoder: Any, *, first_only: bool, token_budget: int) -> None:
        super().__init__()
        parts = [LayerParts.of(layer) for layer in encoder.layer]
        last = len(parts) - 1
        self.layers = [FusedLayer(part, first_only=first_only and number == last) for number, part in enumerate(parts)]
        self.first_only = first_only
        self.token_budget = token_budget
        # As the encoder's own, and not as a part of this module.
        self.position_bias: list[Callable[[Tensor], Tensor]] = (
            [encoder.compute_position_bias] if hasattr(encoder, "compute_position_bias") else []
        )

    def forward(self, hidden_states: Tensor, attention_mask: Tensor | None = None, **_: Any) -> EncoderOutput:
        """As the encoder's own; ``attention_mask`` is what transformers made of the batch's."""
        batch, longest = hidden_states.shape[:2]
        rows = steady_rows(batch * longest, full=self.token_budget)
        hidden = enlarged(hidden_states.flatten(0, 1).to(torch.bfloat16), rows)
        added = _added(attention_mask)
        for position_bias in self.position_bias:
            bias = position_bias(hidden_states[:1]).float()
            added = bias if added is None else added + bias
        for layer in self.layers:
            hidden = layer(hidden, added, batch=batch, longest=longest)
        kept = 1 if self.first_only else longest
        output = hidden[: batch * kept].unflatten(0, (batch, kept))
        return EncoderOutput(last_hidden_state=output.to(hidden_states.dtype))


def _added(mask: Tensor | None) -> Tensor | None:
    """What is added to logits so that padding is not seen, fp32 (batch, 1, 1, longest); None where there is none."""
    if mask is None:
        return None
    # Each query sees the same keys.
    keys = mask[:, :, :1]
    if keys.dtype == torch.bool:
        keys = torch.zeros(keys.shape).masked_fill(~keys, torch.finfo(torch.float32).min)
    return keys.float() if bool(keys.any()) else None


@contextmanager
def fused(model: nn.Module, *, token_budget: int, output: Output = "scores") -> Iterator[bool]:
    """Let a model's encoder run fused while the context lasts, where its architecture allows it.

    For a CPU with bf16 instructions, inside ``torch.inference_mode`` and bf16 autocast. The architecture has to be
    built like BERT; whether the outputs are then those of the model itself is tried on a few texts first. The weights
    are copied: what is changed in the model meanwhile has no effect.

    Args:
        model: A CrossEncoder, a SentenceTransformer or whatever else maps token features to ``output``, in evaluation
            mode.
        token_budget: Tokens of a full batch.
        output: What is wanted of the model's outputs.

    Yields:
        Whether the encoder is fused.
    """
    transformer = next((module for module in model.modules() if isinstance(module, PreTrainedModel)), None)
    backbone = None if transformer is None else transformer.base_model
    stand_in = None if backbone is None else _stand_in(model, backbone, token_budget, output)
    if backbone is None or stand_in is None:
        yield False
        return
    with _in_place(backbone, stand_in):
        yield True


@contextmanager
def _in_place(backbone: Any, encoder: nn.Module) -> Iterator[None]:
    own = backbone.encoder
    backbone.encoder = encoder
    try:
        yield
    finally:
        backbone.encoder = own


def _stand_in(model: nn.Module, backbone: Any, token_budget: int, output: Output) -> FusedEncoder | None:
    """A fused encoder that gives what the model's own gives, for the first token alone where no other is looked at."""
    expected: list[Tensor] | None = None
    # Embeddings may be wanted of every token, too.
    for first_only in (True, False) if output == "scores" else (False,):
        try:
            made = FusedEncoder(backbone.encoder, first_only=first_only, token_budget=token_budget)
            if expected is None:
                with torch.autocast("cpu", enabled=False):
                    expected = _trial(model, backbone, output)
            with _in_place(backbone, made):
                found = _trial(model, backbone, output)
        except Exception as error:  # An architecture that was never tried may fail in any way.
            reason = (str(error).splitlines() or [""])[0]
            logger.debug("the encoder cannot be fused: %s: %s", type(error).__name__, reason)
            return None
        if all(_alike(*both) for both in zip(found, expected, strict=True)):
            return made
    logger.debug("the encoder is not fused: it would give other numbers")
    return None


def _trial(model: nn.Module, backbone: Any, output: Output) -> list[Tensor]:
    """Outputs for a few texts of various lengths, and what the backbone makes of their first tokens."""
    config = backbone.config
    padding = config.pad_token_id or 0
    ids = torch.randint(config.vocab_size - 1, (len(TRIAL_LENGTHS), max(TRIAL_LENGTHS)), generator=_generator())
    ids += ids >= padding
    mask = torch.arange(max(TRIAL_LENGTHS)) < torch.tensor(TRIAL_LENGTHS)[:, None]
    features = {"input_ids": ids.masked_fill(~mask, padding), "attention_mask": mask.long()}
    first = backbone(**features).last_hidden_state[:, 0]
    return [model(dict(features))[output].float(), first.float()]


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _alike(found: Tensor, expected: Tensor) -> bool:
    return found.shape == expected.shape and bool((found - expected).norm() <= TRIAL_TOLERANCE * expected.norm())
