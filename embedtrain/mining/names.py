"""What people choose mining by, with its defaults; options are read before torch is imported."""

from typing import Literal

SearchName = Literal["auto", "exact", "faiss"]
Engine = Literal["local", "ray"]
# Some minutes of a CPU's work with a small model: what a kill may cost.
SHARD_ROWS = 10_000
LOG_SECONDS = 30.0
