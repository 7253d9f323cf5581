"""The denoising loss: a decoder that sees one vector of a text has to write that text again."""

from typing import Any, Protocol, cast

from torch import Tensor, nn

from embedtrain.losses.checks import check_embeddings, finite, zero_loss
from embedtrain.losses.module import Loss
from embedtrain.losses.output_layer import linear_cross_entropy


class Decoder(Protocol):
    """What a denoising loss asks of a decoder."""

    output_weight: Tensor
    output_bias: Tensor | None

    def __call__(self, embedding: Tensor, input_ids: Tensor, mask: Tensor) -> Tensor:
        """What each token and those before it say about the next.

        Args:
            embedding: One vector of each text, (batch, dim).
            input_ids: The text's tokens without the last, (batch, length).
            mask: True on real tokens, which come first, (batch, length).

        Returns:
            The output layer's input, (batch, length, width), anything where the mask is False.
        """


class DenoisingLoss(Loss):
    """Cross-entropy of each token of a text given its embedding and the tokens before it (TSDAE).

    ``loss = -mean_t log p(target_t | target_<t, embedding)``, over all tokens t of the batch but each text's first

    The embedding is that of a damaged copy of the text. It is all that the decoder learns of the text beside the tokens
    already written, so it has to hold what the text says (Wang, Reimers and Gurevych 2021, equation 1).

    Args:
        decoder: Maps (embedding, tokens, mask) to the input of its output layer, ``output_weight`` (vocabulary, width)
            and ``output_bias`` (vocabulary,) or None; see :class:`Decoder`.
        check_finite: Look for NaN and infinity, and name the row.
    """

    embeddings = ("embedding",)

    def __init__(self, decoder: nn.Module, *, check_finite: bool = True) -> None:
        super().__init__()
        self.decoder = decoder
        self.check_finite = check_finite

    def forward(self, embedding: Tensor, target_ids: Tensor, target_mask: Tensor) -> Tensor:
        """The mean over the batch's tokens.

        Args:
            embedding: One vector of each damaged text, (batch, dim).
            target_ids: Tokens of the texts as they were, (batch, length), those of special tokens included.
            target_mask: 1 or True on real tokens, which come first, (batch, length).

        Returns:
            A scalar in fp32; a zero attached to the graph where no text has two tokens.

        Raises:
            ValueError: If the shapes do not belong together, or (with ``check_finite``) an embedding is not finite.
        """
        check_embeddings("embedding", embedding)
        if target_ids.dim() != 2 or target_ids.shape != target_mask.shape or len(target_ids) != len(embedding):
            raise ValueError(
                f"target_ids and target_mask must both have shape (batch, length) with a batch of {len(embedding)}, "
                f"found {tuple(target_ids.shape)} and {tuple(target_mask.shape)}"
            )
        decoder = cast(Any, self.decoder)
        real = target_mask.bool()
        mask = real[:, 1:] & real[:, :-1]
        places = mask.flatten().nonzero().squeeze(1)
        if len(places) == 0:
            return zero_loss(embedding)
        hidden = decoder(embedding, target_ids[:, :-1], mask)
        loss = linear_cross_entropy(
            hidden.flatten(0, 1).index_select(0, places),
            decoder.output_weight,
            target_ids[:, 1:].flatten().index_select(0, places),
            bias=decoder.output_bias,
        )
        return finite(loss, self.check_finite, embedding=embedding)
