"""The layers of a decoder: an encoder's own weights under one name for each, or new ones."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from embedtrain.models.dropout import dropped


@dataclass(frozen=True)
class LayerParts:
    """The trained parts of one layer that adds first and normalises after, whatever its architecture calls them."""

    query: nn.Module
    key: nn.Module
    value: nn.Module
    attention_output: nn.Module
    attention_norm: nn.Module
    up: nn.Module
    activation: Callable[[Tensor], Tensor]
    down: nn.Module
    norm: nn.Module


def _bert(layer: Any) -> LayerParts:
    own, output = layer.attention.self, layer.attention.output
    return LayerParts(
        own.query,
        own.key,
        own.value,
        output.dense,
        output.LayerNorm,
        layer.intermediate.dense,
        layer.intermediate.intermediate_act_fn,
        layer.output.dense,
        layer.output.LayerNorm,
    )


def _mpnet(layer: Any) -> LayerParts:
    own = layer.attention.attn
    return LayerParts(
        own.q,
        own.k,
        own.v,
        own.o,
        layer.attention.LayerNorm,
        layer.intermediate.dense,
        layer.intermediate.intermediate_act_fn,
        layer.output.dense,
        layer.output.LayerNorm,
    )


def _distilbert(layer: Any) -> LayerParts:
    own, feed_forward = layer.attention, layer.ffn
    return LayerParts(
        own.q_lin,
        own.k_lin,
        own.v_lin,
        own.out_lin,
        layer.sa_layer_norm,
        feed_forward.lin1,
        feed_forward.activation,
        feed_forward.lin2,
        layer.output_layer_norm,
    )


def _albert(layer: Any) -> LayerParts:
    own = layer.attention
    return LayerParts(
        own.query,
        own.key,
        own.value,
        own.dense,
        own.LayerNorm,
        layer.ffn,
        layer.activation,
        layer.ffn_output,
        layer.full_layer_layer_norm,
    )


def _albert_layers(backbone: Any) -> list[Any]:
    """The layers in the order in which they run: few, each of them many times."""
    encoder, config = backbone.encoder, backbone.config
    runs_of_group = config.num_hidden_layers / config.num_hidden_groups
    groups = [encoder.albert_layer_groups[int(run / runs_of_group)] for run in range(config.num_hidden_layers)]
    return [layer for group in groups for layer in group.albert_layers]


def _encoder_layers(backbone: Any) -> list[Any]:
    return list(backbone.encoder.layer)


# By ``config.model_type``: where the layers are, and their parts.
_FAMILIES: dict[str, tuple[Callable[[Any], list[Any]], Callable[[Any], LayerParts]]] = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "camembert", "electra"), (_encoder_layers, _bert)),
    "mpnet": (_encoder_layers, _mpnet),
    "distilbert": (lambda backbone: list(backbone.transformer.layer), _distilbert),
    "albert": (_albert_layers, _albert),
}
_OBSTACLES = {
    **dict.fromkeys(
        ("deberta", "deberta-v2"), "its self-attention is made of contents and relative positions, seen both ways"
    ),
    "modernbert": "its layers rotate positions into queries and keys, and most of them see a window around a token",
}


def obstacle_to_tying(model_type: str) -> str | None:
    """Why an encoder's layers cannot serve as a decoder's; None where they can.

    Args:
        model_type: As in the configuration of a transformers model.
    """
    if model_type in _FAMILIES:
        return None
    return _OBSTACLES.get(model_type, "its layers are not known here")


def shared_layers(backbone: Any) -> list[LayerParts]:
    """An encoder's layers in the order in which they run; the modules themselves, not copies.

    Raises:
        KeyError: :func:`obstacle_to_tying` says why.
    """
    layers_of, parts_of = _FAMILIES[backbone.config.model_type]
    return [parts_of(layer) for layer in layers_of(backbone)]


class OwnLayer(nn.Module):
    """The weights of a new layer.

    Args:
        dim: Of the hidden states.
        inner_dim: Of the feed-forward part.
    """

    def __init__(self, dim: int, inner_dim: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))
        self.attention_output = nn.Linear(dim, dim)
        self.attention_norm = nn.LayerNorm(dim)
        self.up, self.down = nn.Linear(dim, inner_dim), nn.Linear(inner_dim, dim)
        self.norm = nn.LayerNorm(dim)

    @property
    def parts(self) -> LayerParts:
        """The weights under the names of a shared layer's."""
        return LayerParts(
            self.query,
            self.key,
            self.value,
            self.attention_output,
            self.attention_norm,
            self.up,
            F.gelu,
            self.down,
            self.norm,
        )


def run_layer(
    parts: LayerParts,
    hidden: Tensor,
    *,
    attend: Callable[[Tensor, Tensor, Tensor], Tensor],
    crossed: Tensor,
    cross_norm: nn.Module,
    dropout: float,
) -> Tensor:
    """Self-attention, what the embedding says, and the feed-forward part, each added and normalised.

    Args:
        parts: The layer's weights.
        hidden: (tokens, dim).
        attend: From queries, keys and values, each (tokens, dim), to as much.
        crossed: The cross-attention's output, (tokens, dim).
        cross_norm: Its normalisation.
        dropout: Probability of dropping an element of what is added.
    """
    attended = attend(parts.query(hidden), parts.key(hidden), parts.value(hidden))
    hidden = parts.attention_norm(_dropped(parts.attention_output(attended), dropout) + hidden)
    hidden = cross_norm(_dropped(crossed, dropout) + hidden)
    inner = parts.activation(parts.up(hidden))
    return parts.norm(_dropped(parts.down(inner), dropout) + hidden)


def _dropped(x: Tensor, p: float) -> Tensor:
    return dropped(x, p) if x.device.type == "cpu" else F.dropout(x, p)
