"""A cross-encoder whose scores are read from pooled tokens, as a sentence encoder's embedding is."""

from typing import TYPE_CHECKING, Any

from embedtrain.errors import UserError
from embedtrain.models.loading import ModelSource, load_biencoder
from embedtrain.models.names import Pooled

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder


def make_pooled_crossencoder(
    source: ModelSource, *, pooling: Pooled, device: str, seed: int = 0, outputs: int = 1
) -> "CrossEncoder":
    """Make a cross-encoder of a sentence encoder: its transformer, a pooling, and a new linear layer.

    The head that transformers puts on an encoder reads the first token alone, through a layer that most sentence
    encoders have never trained. An encoder that was trained to say everything in the mean of its tokens can start from
    that mean.

    A single score is between 0 and 1 (a sigmoid over the logit); several outputs are logits. Both texts together are
    cut to the length to which the encoder cuts one. What is saved loads with ``CrossEncoder(folder)`` and, where it has
    one output, with ``load_crossencoder``.

    Args:
        source: The encoder.
        pooling: The mean over the tokens of both texts, the first token (``cls``), or what the encoder's embeddings are
            made by (``own``).
        device: Where the model goes.
        seed: Of the new layer.
        outputs: One for a score, or as many as there are classes.

    Raises:
        UserError: When the files are there but no model can be made of them, or it is no transformer.
    """
    import torch
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Dense
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    encoder = load_biencoder(source, device=device)
    transformer: Any = encoder[0]
    if not isinstance(transformer, Transformer):
        raise UserError(f"model {source.name}: its first part is {type(transformer).__name__}, expected a transformer")
    dim = transformer.get_embedding_dimension()
    own = next((module for module in encoder if isinstance(module, Pooling)), None)
    pooled = own if own is not None and pooling == "own" else Pooling(dim, "cls" if pooling == "cls" else "mean")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        score = Dense(pooled.get_embedding_dimension(), outputs, activation_function=None, module_output_name="scores")
        # Logits near 0 at first, as a new head of transformers gives them.
        torch.nn.init.normal_(score.linear.weight, std=0.02)
        torch.nn.init.zeros_(score.linear.bias)
    activation = torch.nn.Sigmoid() if outputs == 1 else torch.nn.Identity()
    return CrossEncoder(modules=[transformer, pooled, score], device=device, activation_fn=activation)
