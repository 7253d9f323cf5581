"""Finding and loading models, and choosing what they run on."""

from typing import TYPE_CHECKING

from embedtrain.lazy import offered

if TYPE_CHECKING:
    from embedtrain.models.decoders import decoder_for, small_decoder, tied_decoder
    from embedtrain.models.hardware import Choice, autocast, choose_attention, choose_device, choose_precision
    from embedtrain.models.loading import ModelSource, load_biencoder, load_crossencoder, resolve_model
    from embedtrain.models.names import DEFAULT_MODEL

__all__ = [
    "DEFAULT_MODEL",
    "Choice",
    "ModelSource",
    "autocast",
    "choose_attention",
    "choose_device",
    "choose_precision",
    "decoder_for",
    "load_biencoder",
    "load_crossencoder",
    "resolve_model",
    "small_decoder",
    "tied_decoder",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = offered(__name__, __all__, modules=("names", "hardware", "loading", "decoders"))
