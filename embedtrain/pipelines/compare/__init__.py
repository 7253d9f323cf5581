"""Models and runs beside each other: ``embedtrain compare``."""
