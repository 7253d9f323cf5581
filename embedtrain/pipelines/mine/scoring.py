"""Scores of mined pairs by teachers, kept on disk: what a killed process has scored is not scored again."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from embedtrain.files import sha256_of_value, write_parquet
from embedtrain.mining.combining import Combination
from embedtrain.mining.names import Engine
from embedtrain.mining.ray_engine import label_with_ray
from embedtrain.mining.shards import LabelStore, PairFiles, label_missing
from embedtrain.pipelines.label.teachers import LazyScorer, Scoring, Teacher, load_together

# A quarter of a minute's work for a small teacher on two cores: what a kill may cost.
SHARD_ROWS = 4096


class KeptScores:
    """Teachers' mean scores, in a folder that keeps them shard by shard.

    Each call scores its pairs in a folder of its own, numbered from 0: asked the same questions in the same order, as
    after a kill, it finds the answers there.

    Args:
        teachers: What scores.
        scoring: How.
        combination: How their scores become one.
        folder: Keeps pairs and scores.
        engine: What labels the shards.
    """

    def __init__(
        self,
        teachers: Sequence[Teacher],
        scoring: Scoring,
        combination: Combination,
        *,
        folder: Path,
        engine: Engine = "local",
    ) -> None:
        self.folder = folder
        self.engine = engine
        self.calls = 0
        self.load = partial(load_together, list(teachers), scoring, combination)
        self.fingerprint = sha256_of_value(
            {"teachers": [scoring.fingerprint(teacher) for teacher in teachers], "combination": combination.as_dict()}
        )
        self.scorer = LazyScorer(self.load, fingerprint=self.fingerprint)

    def score(self, sentence1: Sequence[str], sentence2: Sequence[str]) -> NDArray[np.float32]:
        """The mean score of each pair, float32 (n,)."""
        if not len(sentence1):
            return np.empty(0, dtype=np.float32)
        folder = self.folder / f"{self.calls:04d}"
        self.calls += 1
        texts = {"sentence1": pd.Series(sentence1, dtype="str"), "sentence2": pd.Series(sentence2, dtype="str")}
        write_parquet(folder / "pairs.parquet", pd.DataFrame(texts))
        pairs = PairFiles([folder / "pairs.parquet"])
        inputs = {"pairs": pairs.fingerprint, "teacher": self.fingerprint}
        store = LabelStore(folder, rows=pairs.rows, inputs=inputs, shard_rows=SHARD_ROWS, on_change="restart")
        if self.engine == "ray":
            label_with_ray(store, pairs, self.load)
        else:
            label_missing(store, pairs, self.scorer)
        return np.concatenate([frame["score"].to_numpy(dtype=np.float32) for _, frame in store.frames(["score"])])
