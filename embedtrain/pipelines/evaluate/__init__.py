"""Measuring models: ``embedtrain evaluate``."""
