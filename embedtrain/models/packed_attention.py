"""Attention over texts that lie end to end, and where their tokens lie in the padded batch."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface

from embedtrain.models.grid_attention import grid_attention
from embedtrain.models.packed_grids import Grids

ATTENTION_NAME = "embedtrain_packed"
MAX_KERNEL_HEAD_DIM = 256


@dataclass(frozen=True)
class Packing:
    """Where the tokens of a padded batch, (batch, longest), lie in the packed one, (1, tokens).

    Args:
        mask: True on the tokens that are packed, (batch, longest).
        index: Place of each packed token in the flattened padded batch, (tokens,).
        starts: First token of each text and, at the end, the number of all tokens, int32, (batch + 1,).
    """

    mask: Tensor
    index: Tensor
    starts: Tensor

    @cached_property
    def grids(self) -> Grids:
        """The same texts in groups of like length."""
        return Grids(self.starts)

    @classmethod
    def of_mask(cls, attention_mask: Tensor) -> "Packing":
        """The packing of a padded batch's real tokens.

        A text without any token keeps its first place, since not every architecture takes an empty batch.

        Args:
            attention_mask: 1 on real tokens and 0 on padding, which may lie on either side, (batch, longest).
        """
        mask = attention_mask.bool()
        empty = ~mask.any(dim=1, keepdim=True)
        mask = torch.cat([mask[:, :1] | empty, mask[:, 1:]], dim=1)
        # The number of tokens is the one thing for which the processor has to wait for the GPU.
        index = mask.flatten().nonzero().squeeze(1)
        return cls(mask, index, F.pad(mask.sum(dim=1).cumsum(0), (1, 0)).to(torch.int32))

    @property
    def longest(self) -> int:
        """Places of a padded text: no text has more tokens."""
        return self.mask.shape[1]

    def pack(self, padded: Tensor) -> Tensor:
        """(batch, longest, ...) to (1, tokens, ...)."""
        return padded.flatten(0, 1).index_select(0, self.index)[None]

    def unpack(self, packed: Tensor) -> Tensor:
        """(1, tokens, ...) to (batch, longest, ...), with zeros for padding."""
        padded = packed.new_zeros(self.mask.numel(), *packed.shape[2:])
        return padded.index_copy(0, self.index, packed[0]).unflatten(0, self.mask.shape)

    def visible(self, reach: int | None) -> Tensor:
        """Which keys a padded query sees: real tokens at most ``reach`` places away.

        Args:
            reach: None for any distance.

        Returns:
            (batch, 1, longest, longest), or (batch, 1, 1, longest) where all queries see the same.
        """
        keys = self.mask[:, None, None]
        if reach is None:
            return keys
        place = torch.arange(self.longest, device=keys.device)
        distance = (place[:, None] - place).abs()
        # Padding sees itself: some kernels' softmax over nothing is NaN, and then so is the gradient of real tokens.
        return keys & (distance <= reach) | (distance == 0)


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    packing: Packing,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention of packed texts, in the form that transformers calls.

    On a GPU in half precision this is PyTorch's kernel for sequences of different lengths, which has no dropout.
    Elsewhere the texts are padded for the attention alone, on a CPU in groups of like length.

    Args:
        module: The attention layer.
        query: (1, heads, tokens, head dim).
        key: (1, heads, tokens, head dim).
        value: (1, heads, tokens, head dim).
        attention_mask: Unused; the packing says it all.
        packing: Where each text begins.
        dropout: Probability of dropping an attention weight.
        scaling: Factor on the products; 1 / sqrt(head dim) by default.
        sliding_window: A token sees those fewer than this many places away.

    Returns:
        (1, tokens, heads, head dim) and no weights.
    """
    reach = None if sliding_window is None else sliding_window - 1
    if _kernel_takes(query, key, value):
        window = (-1, -1) if reach is None else (reach, reach)
        q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
        starts, longest = packing.starts, packing.longest
        attended = varlen_attn(q, k, v, starts, starts, longest, longest, scale=scaling, window_size=window)
        return cast(Tensor, attended)[None], None
    if query.device.type == "cpu":
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        return grid_attention(query, key, value, packing.grids, scaling=scale, dropout=dropout, reach=reach), None
    q, k, v = (packing.unpack(x.transpose(1, 2)).transpose(1, 2) for x in (query, key, value))
    attended = F.scaled_dot_product_attention(
        q, k, v, attn_mask=packing.visible(reach), dropout_p=dropout, scale=scaling
    )
    return packing.pack(attended.transpose(1, 2)), None


def causal_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    packing: Packing,
    *,
    dropout: float = 0.0,
    added: Tensor | None = None,
) -> Tensor:
    """Attention of packed texts in which a token sees itself and those before it.

    Args:
        query: (tokens, heads, head dim).
        key: (tokens, heads, head dim).
        value: (tokens, heads, head dim).
        packing: Where each text begins; its tokens come before its padding.
        dropout: Probability of dropping an attention weight; PyTorch's kernel on a GPU has none.
        added: Added to the scaled products of queries and keys, (heads, longest, longest); None for nothing.

    Returns:
        (tokens, heads, head dim).
    """
    if added is None and _kernel_takes(query, key, value):
        starts, longest = packing.starts, packing.longest
        attended = varlen_attn(query, key, value, starts, starts, longest, longest, window_size=(-1, 0))
        return cast(Tensor, attended)
    if query.device.type == "cpu":
        q, k, v = (x.transpose(0, 1)[None] for x in (query, key, value))
        scale = query.shape[-1] ** -0.5
        return grid_attention(q, k, v, packing.grids, scaling=scale, dropout=dropout, causal=True, added=added)[0]
    q, k, v = (packing.unpack(x[None]).transpose(1, 2) for x in (query, key, value))
    mask = None
    if added is not None:
        later = torch.ones(added.shape[1:], dtype=torch.bool, device=added.device).triu(1)
        mask = added.masked_fill(later, float("-inf")).to(q.dtype)
    attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=mask is None)
    return packing.pack(attended.transpose(1, 2))[0]


# Under a name that transformers knows no mask for, it makes none.
AttentionInterface.register(ATTENTION_NAME, packed_attention)


def _kernel_takes(query: Tensor, key: Tensor, value: Tensor) -> bool:
    """Whether this is something that PyTorch's kernel for sequences of different lengths computes."""
    head_dim = query.shape[-1]
    return (
        query.is_cuda
        and query.dtype in (torch.float16, torch.bfloat16)
        and query.dtype == key.dtype == value.dtype
        and head_dim % 8 == 0
        and head_dim <= MAX_KERNEL_HEAD_DIM
        and torch.cuda.get_device_capability(query.device) >= (8, 0)
    )
