"""What people choose models and machines by; options are read before torch is imported."""

from typing import Literal

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
DeviceName = Literal["auto", "cpu", "cuda"]
PrecisionName = Literal["auto", "bf16", "tf32", "fp32"]
PoolingName = Literal["base", "cls", "mean", "max"]
# What the head of a cross-encoder reads; "own" is the model's own way.
Pooled = Literal["own", "mean", "cls"]
