"""Fitting one model, with a dev metric that decides which weights are kept."""
