"""Encoders without padding: the texts of a batch lie end to end, and attention stays inside each of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from embedtrain.models.hardware import Choice
from embedtrain.models.packed_attention import ATTENTION_NAME, Packing

# How far packed outputs may lie from padded ones in the trial, relative to the largest number.
TRIAL_TOLERANCE = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}


@contextmanager
def packed(model: nn.Module, *, keep_attention_dropout: bool = False) -> Iterator[Choice]:
    """Let a model's transformer run without padding while the context lasts, where its architecture allows it.

    Callers go on giving padded batches and get padded token embeddings back, with zeros for padding: tokens are packed
    when they enter the transformer and spread out again when they leave it. They keep the positions that they have in
    the padded batch, so that padding on either side gives what it gives in the padded model. Whether that holds for
    this architecture is tried on two texts first, without drawing random numbers. Do not copy the model meanwhile: the
    copy's transformer would compute with the weights of the first.

    Args:
        model: A SentenceTransformer, a CrossEncoder or whatever else holds one transformers model.
        keep_attention_dropout: Rather stay padded than train without the attention dropout that the model's
            configuration asks for, which the kernel on a GPU does not have.

    Yields:
        ``packed`` with what is left out, or ``padded`` with what stands in the way.
    """
    backbone = backbone_of(model)
    if backbone is None:
        yield Choice("padded", "the model is no transformer")
        return
    dropout = _attention_dropout(backbone) if backbone.device.type == "cuda" else 0.0
    if dropout and keep_attention_dropout:
        yield Choice("padded", f"attention dropout {dropout:g} is kept, which the kernel for packed texts has not")
        return
    left_out = f"; attention dropout {dropout:g} is left out" if dropout else ""
    choice = Choice("packed", f"texts lie end to end without padding{left_out}")
    if backbone.config._attn_implementation == ATTENTION_NAME:
        yield choice
        return
    obstacle = _obstacle(backbone)
    if obstacle is not None:
        yield Choice("padded", obstacle)
        return
    with _packing_forward(backbone):
        yield choice


def is_packed(model: nn.Module) -> bool:
    """Whether a model runs without padding now."""
    backbone = backbone_of(model)
    return backbone is not None and backbone.config._attn_implementation == ATTENTION_NAME


def transformer_of(model: nn.Module) -> PreTrainedModel | None:
    """The transformers model inside a SentenceTransformer or CrossEncoder, with its head if it has one."""
    return next((module for module in model.modules() if isinstance(module, PreTrainedModel)), None)


def backbone_of(model: nn.Module) -> PreTrainedModel | None:
    """The transformer that turns tokens into hidden states, without a head."""
    transformer = transformer_of(model)
    return None if transformer is None else cast(PreTrainedModel, transformer.base_model)


@contextmanager
def _packing_forward(backbone: PreTrainedModel) -> Iterator[None]:
    padded_forward, attention = backbone.forward, backbone.config._attn_implementation
    counted_from = _padding_of_positions(backbone)

    @wraps(padded_forward)
    def forward(input_ids: Tensor, attention_mask: Tensor | None = None, **named: Any) -> Any:
        packing = Packing.of_mask(torch.ones_like(input_ids) if attention_mask is None else attention_mask)
        if named.get("position_ids") is None:
            named["position_ids"] = _positions(input_ids, counted_from)
        for name in ("position_ids", "token_type_ids"):
            if named.get(name) is not None:
                named[name] = packing.pack(named[name].expand_as(input_ids))
        output = padded_forward(input_ids=packing.pack(input_ids), packing=packing, **named)
        output.last_hidden_state = packing.unpack(output.last_hidden_state)
        if getattr(output, "pooler_output", None) is not None:
            output.pooler_output = backbone.get_submodule("pooler")(output.last_hidden_state)
        if getattr(output, "hidden_states", None) is not None:
            output.hidden_states = tuple(packing.unpack(hidden) for hidden in output.hidden_states)
        return output

    # On the instance and not as hooks: sentence-transformers calls the method, which leaves hooks out.
    own = vars(backbone)
    before = own.get("forward")
    own["forward"] = forward
    try:
        backbone.set_attn_implementation(ATTENTION_NAME)
        yield
    finally:
        if before is None:
            del own["forward"]
        else:
            own["forward"] = before
        backbone.set_attn_implementation(attention)


def _positions(input_ids: Tensor, counted_from: int | None) -> Tensor:
    """The positions that the padded model gives to its tokens, (1 or batch, longest)."""
    if counted_from is None:
        return torch.arange(input_ids.shape[1], device=input_ids.device)[None]
    real = input_ids.ne(counted_from)
    return real.cumsum(dim=1) * real + counted_from


def _padding_of_positions(backbone: nn.Module) -> int | None:
    """The padding token's number where positions are counted from it on, as RoBERTa and its family do."""
    for name, module in backbone.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            return module.padding_idx
    return None


def _attention_dropout(backbone: PreTrainedModel) -> float:
    names = ("attention_probs_dropout_prob", "attention_dropout")
    return max(float(getattr(backbone.config, name, None) or 0.0) for name in names)


def _obstacle(backbone: PreTrainedModel) -> str | None:
    """Why an architecture cannot be packed, or None when two texts come out of it as they do with padding."""
    if not getattr(backbone, "_supports_attention_backend", False):
        return "this architecture does not let its attention be replaced"
    own = backbone.dtype
    # In full precision, and as the kernel on a GPU computes.
    precisions = [own, torch.bfloat16] if backbone.device.type == "cuda" and own == torch.float32 else [own]
    for precision in precisions:
        autocast = torch.autocast(
            backbone.device.type, dtype=torch.bfloat16, enabled=precision != own, cache_enabled=False
        )
        try:
            with _evaluated(backbone), torch.no_grad(), autocast:
                expected = _trial(backbone)
                with _packing_forward(backbone):
                    found = _trial(backbone)
        except Exception as error:  # An architecture that was never tried may fail in any way.
            return f"this architecture cannot take packed texts ({type(error).__name__})"
        if not _alike(found, expected, tolerance=TRIAL_TOLERANCE[precision]):
            return "this architecture gives other numbers without padding"
    return None


@contextmanager
def _evaluated(module: nn.Module) -> Iterator[None]:
    were_training = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, was_training in were_training:
            part.training = was_training


def _trial(backbone: PreTrainedModel) -> list[Tensor]:
    """Hidden states of the real tokens of two texts, the longer one past a sliding window, and pooled ones if any."""
    config = backbone.config
    padding = config.pad_token_id or 0
    longest = 5 + (getattr(config, "sliding_window", None) or 0)
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None:
        counted_from = _padding_of_positions(backbone)
        longest = min(longest, positions if counted_from is None else positions - counted_from - 1)
    ids = torch.randint(config.vocab_size - 1, (2, longest), generator=torch.Generator().manual_seed(0))
    ids += ids >= padding
    mask = torch.ones_like(ids)
    mask[0, 3:] = 0
    ids[0, 3:] = padding
    output = backbone(input_ids=ids.to(backbone.device), attention_mask=mask.to(backbone.device))
    pooled = getattr(output, "pooler_output", None)
    return [output.last_hidden_state[mask.bool().to(backbone.device)], *([] if pooled is None else [pooled])]


def _alike(found: list[Tensor], expected: list[Tensor], *, tolerance: float) -> bool:
    return all(
        one.shape == other.shape and bool((one - other).abs().max() <= tolerance * other.abs().max())
        for one, other in zip(found, expected, strict=True)
    )
