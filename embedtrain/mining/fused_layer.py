"""A layer of a BERT-like encoder in bf16 on a CPU: weights packed once, steps between products fused into them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.activations import GELUActivation

# Logits of attention at a time, 4 MB in fp32: larger blocks of memory are fetched anew from the system for each layer,
# which took four times as long as attention itself for four texts of 256 tokens.
LOGITS_TOGETHER = 2**20


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
            hidden, whole = enlarged(hidden[:tokens:longest], steady_rows(batch)), hidden
            query = self._by_head(self.query(hidden)[:batch, None])[0]
            key, value = self._by_head(self.key_value(whole)[:tokens].unflatten(0, (batch, longest)))
            added = None if added is None else added[:, :, :1]
        else:
            query, key, value = self._by_head(self.query_key_value(hidden)[:tokens].unflatten(0, (batch, longest)))
        attended = attention(query, key, value, added)
        attended = enlarged(attended.flatten(2).flatten(0, 1), len(hidden))
        hidden = self.attention_norm(self.attention_output.plus(attended, hidden))
        return self.norm(self.down.plus(self.up.gelu(hidden), hidden))

    def _by_head(self, projected: Tensor) -> tuple[Tensor, ...]:
        """(batch, longest, n * dim) to n of (batch, heads, longest, head dim)."""
        head_dim = self.attention_output.bias.shape[0] // self.heads
        parts = projected.unflatten(2, (-1, self.heads, head_dim))
        return parts.permute(2, 0, 3, 1, 4).unbind()


def attention(query: Tensor, key: Tensor, value: Tensor, added: Tensor | None) -> Tensor:
    """Attention of some texts, a part of them and of their heads at a time; bf16 (batch, queries, heads, head dim).

    Args:
        query: bf16 (batch, heads, queries, head dim), scaled.
        key: bf16 (batch, heads, longest, head dim).
        value: bf16 (batch, heads, longest, head dim).
        added: What is added to the logits, broadcast to (batch, heads, queries, longest); or None.
    """
    batch, heads, queries, head_dim = query.shape
    together = max(1, LOGITS_TOGETHER // (queries * key.shape[2]))
    some_heads, some_texts = min(heads, together), max(1, together // heads)
    if added is not None:
        added = added.expand(batch, heads, -1, -1)
    attended = query.new_empty(batch, queries, heads, head_dim)
    for first in range(0, batch, some_texts):
        for head in range(0, heads, some_heads):
            part = slice(first, first + some_texts), slice(head, head + some_heads)
            logits = torch.matmul(query[part], key[part].transpose(2, 3)).float()
            if added is not None:
                logits += added[part]
            # In fp32, which is not only more exact: PyTorch's softmax of short bf16 rows takes several times as long.
            weights = logits.softmax(dim=3).to(torch.bfloat16)
            attended[part[0], :, part[1]] = torch.matmul(weights, value[part]).transpose(1, 2)
    return attended


def steady_rows(rows: int, *, full: int = 1) -> int:
    """One of few numbers from ``rows`` on: the full one halved as often as it fits, or doubled until it does."""
    while full < rows:
        full *= 2
    while full % 2 == 0 and full // 2 >= rows:
        full //= 2
    return full


def enlarged(hidden: Tensor, rows: int) -> Tensor:
    """The same rows and zeros behind them, contiguous."""
    return F.pad(hidden, (0, 0, 0, rows - len(hidden))) if rows > len(hidden) else hidden.contiguous()


def _norm(norm: nn.LayerNorm) -> Callable[[Tensor], Tensor]:
    weight, bias = norm.weight.to(torch.bfloat16), norm.bias.to(torch.bfloat16)
    return lambda x: F.layer_norm(x, norm.normalized_shape, weight, bias, norm.eps)
