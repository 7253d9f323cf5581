"""Finding and loading models, and choosing what they run on."""

from embedtrain.models.decoders import decoder_for, small_decoder, tied_decoder
from embedtrain.models.hardware import Choice, autocast, choose_attention, choose_device, choose_precision
from embedtrain.models.loading import DEFAULT_MODEL, ModelSource, load_biencoder, load_crossencoder, resolve_model

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
