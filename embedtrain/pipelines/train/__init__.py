"""Training a bi-encoder on tables of any kind, each with its loss."""
