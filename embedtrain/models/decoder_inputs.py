"""What a decoder's first layer is given: an encoder's embeddings, or its tokens' at positions of its own."""

import math
from typing import Any

import torch
from torch import Tensor, nn


class SharedInput:
    """Token numbers and positions through the encoder's own embeddings: tokens, positions, types and their norm."""

    def __init__(self, backbone: Any) -> None:
        self.backbone = backbone
        counted_from = backbone.embeddings.position_embeddings.padding_idx
        self.first_position = 0 if counted_from is None else counted_from + 1

    def __call__(self, ids: Tensor, places: Tensor) -> Tensor:
        """(1, tokens) of numbers and of places in the text to (1, tokens, dim)."""
        backbone = self.backbone
        given = backbone.embeddings(
            input_ids=None,
            inputs_embeds=backbone.get_input_embeddings()(ids),
            position_ids=places + self.first_position,
        )
        if backbone.config.model_type == "albert":
            return backbone.encoder.embedding_hidden_mapping_in(given)
        return backbone.embeddings_project(given) if hasattr(backbone, "embeddings_project") else given


class OwnInput(nn.Module):
    """The encoder's token embeddings with sinusoidal positions (Vaswani et al. 2017, section 3.5), normalised."""

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        self._backbone = (backbone,)
        width, dim = backbone.get_input_embeddings().embedding_dim, backbone.config.hidden_size
        self.projection = nn.Linear(width, dim) if width != dim else nn.Identity()
        self.norm = nn.LayerNorm(dim)
        self.dim = dim

    def forward(self, ids: Tensor, places: Tensor) -> Tensor:
        """(1, tokens) of numbers and of places in the text to (1, tokens, dim)."""
        embedded = self.projection(self._backbone[0].get_input_embeddings()(ids))
        rates = torch.exp(torch.arange(0, self.dim, 2, device=ids.device) * (-math.log(10_000.0) / self.dim))
        angles = places[..., None] * rates
        positions = torch.cat([angles.sin(), angles.cos()], dim=-1)[..., : self.dim]
        # Token embeddings are small numbers: unscaled, positions would drown them.
        return self.norm(embedded * (self.dim**0.5) + positions)
