"""Whole methods as named stages in a run folder."""
