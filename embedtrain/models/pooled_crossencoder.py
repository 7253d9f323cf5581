"""A cross-encoder whose score is read from pooled tokens, as a sentence encoder's embedding is."""

from typing import TYPE_CHECKING, Any, Literal

from embedtrain.models.loading import ModelSource, load_biencoder

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

Pooled = Literal["mean", "cls"]


def make_pooled_crossencoder(source: ModelSource, *, pooling: Pooled, device: str, seed: int = 0) -> "CrossEncoder":
    """Make a cross-encoder with one output of a sentence encoder: its transformer, a pooling, and a new linear layer.

    The head that transformers puts on an encoder reads the first token alone, through a layer that most sentence
    encoders have never trained. An encoder that was trained to say everything in the mean of its tokens can start from
    that mean.

    Scores are between 0 and 1 (a sigmoid over the logit). Both texts together are cut to the length to which the
    encoder cuts one. What is saved loads with ``CrossEncoder(folder)`` and with ``load_crossencoder``.

    Args:
        source: The encoder.
        pooling: The mean over the tokens of both texts, or the first token (``cls``).
        device: Where the model goes.
        seed: Of the new layer.

    Raises:
        UserError: When the files are there but no model can be made of them.
    """
    import torch
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Dense
    from sentence_transformers.sentence_transformer.modules import Pooling

    transformer: Any = load_biencoder(source, device=device)[0]
    dim = transformer.get_embedding_dimension()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        score = Dense(dim, 1, activation_function=None, module_output_name="scores")
        # Logits near 0 at first, as a new head of transformers gives them.
        torch.nn.init.normal_(score.linear.weight, std=0.02)
        torch.nn.init.zeros_(score.linear.bias)
    modules = [transformer, Pooling(dim, pooling), score]
    return CrossEncoder(modules=modules, device=device, activation_fn=torch.nn.Sigmoid())
