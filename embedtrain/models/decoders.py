"""Decoders for denoising: from a text's embedding and its tokens so far to the next token, out of a loaded encoder."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from embedtrain.models.decoder_inputs import OwnInput, SharedInput
from embedtrain.models.decoder_layers import LayerParts, OwnLayer, obstacle_to_tying, run_layer, shared_layers
from embedtrain.models.hardware import Choice, own_random_numbers
from embedtrain.models.packed_attention import Packing, causal_attention
from embedtrain.models.token_gradients import as_output_weight

SMALL_DECODER_LAYERS = 1


def decoder_for(
    backbone: PreTrainedModel, *, layers: int | None = None, embedding_dim: int | None = None, seed: int = 0
) -> tuple["Decoder", Choice]:
    """The decoder that fits an encoder: a tied one where the architecture allows, and else a small one.

    Args:
        backbone: The encoder without a head, as :func:`embedtrain.models.packing.backbone_of` finds it.
        layers: Of a small decoder that is wanted in any case; None for the tied one.
        embedding_dim: Length of the sentence embeddings; by default the encoder's hidden size.
        seed: Of the new weights.

    Returns:
        The decoder, and ``tied`` or ``small`` with the reason.
    """
    options: dict[str, Any] = {"embedding_dim": embedding_dim, "seed": seed}
    if layers is not None:
        return small_decoder(backbone, layers, **options), Choice("small", f"{_layers(layers)} of its own, asked for")
    obstacle = obstacle_to_tying(backbone.config.model_type)
    if obstacle is None:
        reason = "shares the encoder's embeddings, self-attention and feed-forward weights"
        return tied_decoder(backbone, **options), Choice("tied", reason)
    reason = f"{_layers(SMALL_DECODER_LAYERS)} of its own: {backbone.config.model_type} cannot be tied, {obstacle}"
    return small_decoder(backbone, SMALL_DECODER_LAYERS, **options), Choice("small", reason)


def tied_decoder(backbone: PreTrainedModel, *, embedding_dim: int | None = None, seed: int = 0) -> "Decoder":
    """A decoder out of the encoder's own embeddings and layers (TSDAE's, Wang, Reimers and Gurevych 2021).

    What is new: each layer's cross-attention, the transformation before the output layer, and that layer's bias. The
    shared parts are the encoder's modules themselves. They are neither among the decoder's ``parameters()`` nor in its
    ``state_dict()``, so that an optimiser that is given both meets each weight once; they follow the encoder to its
    device and into its training mode.

    Args:
        backbone: The encoder without a head, of a family that :func:`decoder_for` ties.
        embedding_dim: Length of the sentence embeddings; by default the encoder's hidden size.
        seed: Of the new weights.

    Raises:
        ValueError: If this architecture's layers cannot be shared, with the reason.
    """
    obstacle = obstacle_to_tying(backbone.config.model_type)
    if obstacle is not None:
        raise ValueError(f"{backbone.config.model_type} cannot be tied: {obstacle}; expected: a small decoder")
    with own_random_numbers(seed, backbone.device):
        return Decoder(backbone, shared_layers(backbone), SharedInput(backbone), embedding_dim=embedding_dim)


def small_decoder(
    backbone: PreTrainedModel, layers: int = SMALL_DECODER_LAYERS, *, embedding_dim: int | None = None, seed: int = 0
) -> "Decoder":
    """A transformer decoder of its own, with the encoder's token embeddings for its input and its output layer.

    Args:
        backbone: An encoder without a head, of any architecture with token embeddings.
        layers: How many, at least 1.
        embedding_dim: Length of the sentence embeddings; by default the encoder's hidden size.
        seed: Of the new weights.

    Raises:
        ValueError: For fewer layers than 1.
    """
    if layers < 1:
        raise ValueError(f"layers must be at least 1, found {layers}")
    config = backbone.config
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    with own_random_numbers(seed, backbone.device):
        given, own = OwnInput(backbone), [OwnLayer(config.hidden_size, inner) for _ in range(layers)]
        parts = [layer.parts for layer in own]
        return Decoder(backbone, parts, given, own=nn.ModuleList([given, *own]), embedding_dim=embedding_dim)


class Decoder(nn.Module):
    """Layers that see the tokens so far and one vector of the whole text; made by the functions above.

    Attention over a single key gives that key's value whatever the query is. A layer's cross-attention is therefore
    ``W_o (W_v z + b_v) + b_o``, computed once for each text: no queries, no keys, no softmax. Its attention weight, 1,
    is not dropped out.

    Texts are packed end to end, so that nothing is computed for padding.

    Args:
        backbone: The encoder, for its configuration and its token embeddings.
        layers: In the order in which they run.
        given: From token numbers and places in the text to the first layer's input.
        own: Those of the layers and what gives their input, where they are not the encoder's.
        embedding_dim: Length of the sentence embeddings; by default the hidden size.
    """

    def __init__(
        self,
        backbone: PreTrainedModel,
        layers: Sequence[LayerParts],
        given: Callable[[Tensor, Tensor], Tensor],
        *,
        own: nn.Module | None = None,
        embedding_dim: int | None = None,
    ) -> None:
        super().__init__()
        config: Any = backbone.config
        self.heads = config.num_attention_heads
        self.dropout = _first(config, "hidden_dropout_prob", "dropout", "mlp_dropout")
        self.attention_dropout = _first(config, "attention_probs_dropout_prob", "attention_dropout")
        self.std = _first(config, "initializer_range") or 0.02
        # In a tuple, where a module does not look for parts of its own.
        self._shared = (backbone, given, list(layers))
        self.own = own
        table = cast(nn.Embedding, backbone.get_input_embeddings())
        count, dim, width = len(layers), config.hidden_size, table.embedding_dim
        eps = cast(nn.LayerNorm, layers[-1].norm).eps
        self.cross_value = nn.Linear(embedding_dim or dim, count * dim)
        self.cross_output = nn.Parameter(torch.empty(count, dim, dim))
        self.cross_output_bias = nn.Parameter(torch.empty(count, 1, dim))
        self.cross_norms = nn.ModuleList(nn.LayerNorm(dim, eps=eps) for _ in range(count))
        self.head = nn.Linear(dim, width)
        self.head_norm = nn.LayerNorm(width, eps=eps)
        self.output_bias = nn.Parameter(torch.empty(table.num_embeddings))
        self._draw_weights()
        self.to(device=backbone.device, dtype=backbone.dtype)

    @property
    def output_weight(self) -> Tensor:
        """The encoder's token embeddings, (vocabulary, width)."""
        return as_output_weight(self.table)

    @property
    def table(self) -> nn.Embedding:
        """The encoder's token embeddings as a module."""
        return cast(nn.Embedding, self._shared[0].get_input_embeddings())

    def _draw_weights(self) -> None:
        """As transformers draws an encoder's."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=self.std)
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.cross_output, std=self.std)
        nn.init.zeros_(self.cross_output_bias)
        nn.init.zeros_(self.output_bias)

    def forward(self, embedding: Tensor, input_ids: Tensor, mask: Tensor) -> Tensor:
        """The input of the output layer.

        Args:
            embedding: One vector of each text, (batch, embedding dim).
            input_ids: (batch, length).
            mask: True or 1 on real tokens, which come first in each text, (batch, length).

        Returns:
            (batch, length, width of the token embeddings), zeros for padding.
        """
        _, given, layers = self._shared
        packing = Packing.of_mask(mask)
        text, place = packing.index // packing.longest, packing.index % packing.longest
        hidden = given(packing.pack(input_ids), place[None])[0]
        if torch.is_autocast_enabled(hidden.device.type):
            # In half precision from here on, so that no product has to convert it.
            hidden = hidden.to(torch.get_autocast_dtype(hidden.device.type))
        dropout = self.dropout if self.training else 0.0
        attend = partial(self._attend, packing=packing, added=self._position_bias(packing.longest, hidden.device))
        for parts, crossed, norm in zip(layers, self._crossed(embedding), self.cross_norms, strict=True):
            each = crossed.index_select(0, text)
            hidden = run_layer(parts, hidden, attend=attend, crossed=each, cross_norm=norm, dropout=dropout)
        output = self.head_norm(layers[-1].activation(self.head(hidden)))
        return packing.unpack(output[None])

    def _crossed(self, embedding: Tensor) -> tuple[Tensor, ...]:
        """Each layer's cross-attention of each text, (batch, dim)."""
        count = len(self.cross_norms)
        value = self.cross_value(embedding).unflatten(1, (count, -1)).transpose(0, 1)
        return torch.baddbmm(self.cross_output_bias.to(value.dtype), value, self.cross_output).unbind()

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, *, packing: Packing, added: Tensor | None) -> Tensor:
        q, k, v = (x.unflatten(1, (self.heads, -1)) for x in (query, key, value))
        dropout = self.attention_dropout if self.training else 0.0
        return causal_attention(q, k, v, packing, dropout=dropout, added=added).flatten(1)

    def _position_bias(self, longest: int, device: torch.device) -> Tensor | None:
        """What the encoder's layers add for relative positions, (heads, longest, longest), if tied to MPNet."""
        backbone, given, _ = self._shared
        encoder: Any = getattr(backbone, "encoder", None)
        if not isinstance(given, SharedInput) or not hasattr(encoder, "compute_position_bias"):
            return None
        return encoder.compute_position_bias(torch.empty(1, longest, device=device))[0]


def _first(config: Any, *names: str) -> float:
    """The first of some options that a configuration has, or 0."""
    return float(next((value for name in names if (value := getattr(config, name, None)) is not None), 0.0))


def _layers(count: int) -> str:
    return f"{count} layer{'s' * (count != 1)}"
