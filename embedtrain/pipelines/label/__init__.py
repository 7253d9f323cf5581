"""Labelling pairs of any number with trained teachers, in shards that survive anything."""
