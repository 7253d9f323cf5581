"""How an encoder makes one embedding of its tokens."""

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling

from embedtrain.errors import UserError
from embedtrain.models.names import PoolingName


def set_pooling(model: SentenceTransformer, pooling: PoolingName) -> None:
    """Let a model pool its tokens in another way from now on, also when it is saved and loaded.

    Args:
        model: The encoder, changed in place.
        pooling: ``cls`` for the first token, ``mean``, ``max``; ``base`` leaves it as it is.

    Raises:
        UserError: The model has no pooling of that kind to change.
    """
    if pooling == "base":
        return
    for name, module in model.named_children():
        if isinstance(module, Pooling):
            setattr(
                model,
                name,
                Pooling(module.embedding_dimension, pooling_mode=pooling, include_prompt=module.include_prompt),
            )
            return
    raise UserError(f"--pooling {pooling}: this model has no pooling layer that could be exchanged")
