"""Columns of data sets without a table behind every single value."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

_HELD = "_held_values"


@contextmanager
def quick_columns() -> Iterator[None]:
    """Let columns of numbers be read as lists while the context lasts, and every column by NumPy in one step.

    A column asks its table for one row after the other. NumPy reads columns in that way, and scikit-learn does so anew
    in each of its checks: with the labels of 3,080 texts and ten classifiers these were 1.2 million rows, which took as
    long as encoding the texts. So did drawing what the classifiers learn from, a label at a time.
    """
    from datasets import ClassLabel, Value
    from datasets.arrow_dataset import Column

    one_by_one = Column.__getitem__

    def get(column: Any, key: Any) -> Any:
        # Texts are not held: a corpus may be large.
        is_number = isinstance(column.features, ClassLabel | Value) and column.features.dtype != "string"
        if not isinstance(key, int) or not is_number:
            return one_by_one(column, key)
        held = vars(column).get(_HELD)
        if held is None:
            held = one_by_one(column, slice(None))
            setattr(column, _HELD, held)
        return held[key]

    def as_array(column: Any, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(one_by_one(column, slice(None)), dtype=dtype)

    Column.__getitem__, Column.__array__ = get, as_array
    try:
        yield
    finally:
        Column.__getitem__ = one_by_one
        del Column.__array__
