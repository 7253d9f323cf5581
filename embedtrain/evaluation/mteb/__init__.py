"""MTEB's tasks from local files: reading, checking against the official data, and running without a network."""
