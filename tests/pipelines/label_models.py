"""Tiny teachers for the tests of labelling."""

import torch
from sentence_transformers import CrossEncoder

SEED = 5
TEXTS = [
    ("how do i reset it", "where is the reset button"),
    ("it leaks", "the valve drips"),
    ("a man is playing a guitar", "someone plays an instrument"),
    ("the radiator is cold", "what is the phone number of the shop"),
]


def save_cross_encoder(base, folder, *, outputs=1, activation=None, spread=1.0, seed=SEED):
    """A random cross-encoder whose scores differ from pair to pair."""
    torch.manual_seed(seed)
    model = CrossEncoder(str(base), num_labels=outputs, device="cpu", max_length=64, activation_fn=activation)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(0, 0.2)
        model.model.classifier.weight.normal_(0, spread)
        if outputs == 1:
            # Some scores on either side of the middle.
            logits = model.predict(TEXTS, activation_fn=torch.nn.Identity(), show_progress_bar=False)
            model.model.classifier.bias.sub_(float(logits.mean()))
    model.save_pretrained(str(folder), create_model_card=False)
    return str(folder)
