"""embedtrain: from a few labelled sentence pairs, or none, to a better embedding model with the proof beside it."""

__version__ = "0.1.0"
