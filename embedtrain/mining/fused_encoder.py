"""A BERT-like encoder on a CPU with bf16 instructions: weights packed once, steps between products fused into them."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers.activations import GELUActivation
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions as EncoderOutput

logger = logging.getLogger(__name__)

# How far the fused outputs may lie from those of the model in fp32, both as root mean squares. Rounding to bf16 takes
# 1 % for small encoders and up to 5 % for deep ones (autocast up to 17 %); a step done otherwise takes far more.
TRIAL_TOLERANCE = 0.1
TRIAL_LENGTHS = (7, 20, 1, 12)


class PackedLinear:
    """Linear layers side by side as one, its weight as oneDNN reads it fastest: bf16 in and out, fp32 sums.

    Args:
        layers: With as many inputs each.
        scale: Factor on the weights and biases of the first one.
    """

    def __init__(self, *layers: nn.Linear, scale: float = 1.0) -> None:
        scales = [scale] + [1.0] * (len(layers) - 1)
        weight = torch.cat([layer.weight * factor for layer, factor in zip(layers, scales, strict=True)])
        bias = torch.cat([layer.bias * factor for layer, factor in zip(layers, scales, strict=True)])
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.to(torch.bfloat16))
        self.bias = bias.to(torch.bfloat16)

    def __call__(self, x: Tensor) -> Tensor:
        """``x @ weight.T + bias``, (..., in) to (..., out)."""
        return torch.ops.mkldnn._linear_pointwise.default(x, self.weight, self.bias, "none", [], "")

    def gelu(self, x: Tensor) -> Tensor:
        """The exact GELU of the same."""
        return torch.ops.mkldnn._linear_pointwise.default(x, self.weight, self.bias, "gelu", [], "none")

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        """The same and ``other``, (..., out), added before rounding."""
        return torch.ops.mkldnn._linear_pointwise.binary(x, other, self.weight, self.bias, "add")


@dataclass(frozen=True)
class LayerParts:
    """The trained parts of one layer, whatever its architecture calls them."""

    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    attention_output: nn.Linear
    attention_norm: nn.LayerNorm
    up: nn.Linear
    down: nn.Linear
    norm: nn.LayerNorm
    heads: int

    @classmethod
    def of(cls, layer: Any) -> "LayerParts":
        """The parts of a layer of BERT, RoBERTa, XLM-R, ELECTRA or MPNet.

        Raises:
            AttributeError: It is another architecture's.
        """
        attention, feed_forward = layer.attention, layer.intermediate
        if type(feed_forward.intermediate_act_fn) is not GELUActivation:
            raise AttributeError("another activation than GELU")
        rest = {"up": feed_forward.dense, "down": layer.output.dense, "norm": layer.output.LayerNorm}
        if hasattr(attention, "attn"):
            own = attention.attn
            return cls(own.q, own.k, own.v, own.o, attention.LayerNorm, heads=own.num_attention_heads, **rest)
        own, output = attention.self, attention.output
        return cls(own.query, own.key, own.value, output.dense, output.LayerNorm, heads=own.num_attention_heads, **rest)


class FusedLayer:
    """One layer: its products, each with what follows it.

    Args:
        parts: The layer's weights.
        first_only: Whether only the first token of each text is wanted.
    """

    def __init__(self, parts: LayerParts, *, first_only: bool) -> None:
        self.heads, self.first_only = parts.heads, first_only
        # The logits' scale is part of the query's weights.
        scale = (parts.query.out_features // parts.heads) ** -0.5
        if first_only:
            self.query = PackedLinear(parts.query, scale=scale)
            self.key_value = PackedLinear(parts.key, parts.value)
        else:
            self.query_key_value = PackedLinear(parts.query, parts.key, parts.value, scale=scale)
        self.attention_output = PackedLinear(parts.attention_output)
        self.up, self.down = PackedLinear(parts.up), PackedLinear(parts.down)
        self.attention_norm, self.norm = _norm(parts.attention_norm), _norm(parts.norm)

    def __call__(self, hidden: Tensor, added: Tensor | None, *, batch: int, longest: int) -> Tensor:
        """Hidden states of the next layer, bf16 (rows, dim); with ``first_only`` a row for each text alone.

        Args:
            hidden: bf16 (rows, dim): the tokens of all texts, ``longest`` of each, and rows that nobody looks at.
            added: What is added to the attention's logits, broadcast to (batch, heads, longest, longest); or None.
            batch: Number of texts.
            longest: Tokens of each, padding counted.
        """
        tokens = batch * longest
        if self.first_only:
            hidden, whole = _enlarged(hidden[:tokens:longest], _steady_rows(batch)), hidden
            query = self._by_head(self.query(hidden)[:batch, None])[0]
            key, value = self._by_head(self.key_value(whole)[:tokens].unflatten(0, (batch, longest)))
            added = None if added is None else added[:, :, :1]
        else:
            query, key, value = self._by_head(self.query_key_value(hidden)[:tokens].unflatten(0, (batch, longest)))
        logits = torch.matmul(query, key.transpose(2, 3)).float()
        if added is not None:
            logits += added
        # In fp32, which is not only more exact: PyTorch's softmax of short bf16 rows takes several times as long.
        attended = torch.matmul(logits.softmax(dim=3).to(torch.bfloat16), value).transpose(1, 2)
        attended = _enlarged(attended.reshape(-1, hidden.shape[1]), len(hidden))
        hidden = self.attention_norm(self.attention_output.plus(attended, hidden))
        return self.norm(self.down.plus(self.up.gelu(hidden), hidden))

    def _by_head(self, projected: Tensor) -> tuple[Tensor, ...]:
        """(batch, longest, n * dim) to n of (batch, heads, longest, head dim)."""
        head_dim = self.attention_output.bias.shape[0] // self.heads
        parts = projected.unflatten(2, (-1, self.heads, head_dim))
        return parts.permute(2, 0, 3, 1, 4).unbind()


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
        rows = _steady_rows(batch * longest, full=self.token_budget)
        hidden = _enlarged(hidden_states.flatten(0, 1).to(torch.bfloat16), rows)
        added = _added(attention_mask)
        for position_bias in self.position_bias:
            bias = position_bias(hidden_states[:1]).float()
            added = bias if added is None else added + bias
        for layer in self.layers:
            hidden = layer(hidden, added, batch=batch, longest=longest)
        kept = 1 if self.first_only else longest
        output = hidden[: batch * kept].unflatten(0, (batch, kept))
        return EncoderOutput(last_hidden_state=output.to(hidden_states.dtype))


def _steady_rows(rows: int, *, full: int = 1) -> int:
    """One of few numbers from ``rows`` on: the full one halved as often as it fits, or doubled until it does."""
    while full < rows:
        full *= 2
    while full % 2 == 0 and full // 2 >= rows:
        full //= 2
    return full


def _enlarged(hidden: Tensor, rows: int) -> Tensor:
    """The same rows and zeros behind them, contiguous."""
    return F.pad(hidden, (0, 0, 0, rows - len(hidden))) if rows > len(hidden) else hidden.contiguous()


def _norm(norm: nn.LayerNorm) -> Callable[[Tensor], Tensor]:
    weight, bias = norm.weight.to(torch.bfloat16), norm.bias.to(torch.bfloat16)
    return lambda x: F.layer_norm(x, norm.normalized_shape, weight, bias, norm.eps)


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
def fused(model: nn.Module, *, token_budget: int) -> Iterator[bool]:
    """Let a cross-encoder's encoder run fused while the context lasts, where its architecture allows it.

    For a CPU with bf16 instructions, inside ``torch.inference_mode`` and bf16 autocast. The architecture has to be
    built like BERT; whether the outputs are then those of the model itself is tried on a few texts first. The weights
    are copied: what is changed in the model meanwhile has no effect.

    Args:
        model: A CrossEncoder, or whatever else maps token features to ``scores``, in evaluation mode.
        token_budget: Tokens of a full batch.

    Yields:
        Whether the encoder is fused.
    """
    transformer = next((module for module in model.modules() if isinstance(module, PreTrainedModel)), None)
    backbone = None if transformer is None else transformer.base_model
    stand_in = None if backbone is None else _stand_in(model, backbone, token_budget)
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


def _stand_in(model: nn.Module, backbone: Any, token_budget: int) -> FusedEncoder | None:
    """A fused encoder that gives what the model's own gives, for the first token alone where no other is looked at."""
    expected: list[Tensor] | None = None
    for first_only in (True, False):
        try:
            made = FusedEncoder(backbone.encoder, first_only=first_only, token_budget=token_budget)
            if expected is None:
                with torch.autocast("cpu", enabled=False):
                    expected = _trial(model, backbone)
            with _in_place(backbone, made):
                found = _trial(model, backbone)
        except Exception as error:  # An architecture that was never tried may fail in any way.
            reason = (str(error).splitlines() or [""])[0]
            logger.debug("the encoder cannot be fused: %s: %s", type(error).__name__, reason)
            return None
        if all(_alike(*both) for both in zip(found, expected, strict=True)):
            return made
    logger.debug("the encoder is not fused: it would give other numbers")
    return None


def _trial(model: nn.Module, backbone: Any) -> list[Tensor]:
    """Scores of a few texts of various lengths, and what the backbone makes of their first tokens."""
    config = backbone.config
    padding = config.pad_token_id or 0
    ids = torch.randint(config.vocab_size - 1, (len(TRIAL_LENGTHS), max(TRIAL_LENGTHS)), generator=_generator())
    ids += ids >= padding
    mask = torch.arange(max(TRIAL_LENGTHS)) < torch.tensor(TRIAL_LENGTHS)[:, None]
    features = {"input_ids": ids.masked_fill(~mask, padding), "attention_mask": mask.long()}
    first = backbone(**features).last_hidden_state[:, 0]
    return [model(dict(features))["scores"].float(), first.float()]


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _alike(found: Tensor, expected: Tensor) -> bool:
    return found.shape == expected.shape and bool((found - expected).norm() <= TRIAL_TOLERANCE * expected.norm())
