"""New sentence pairs and their labels: exact search, sampling strategies, labelling with a cross-encoder."""
