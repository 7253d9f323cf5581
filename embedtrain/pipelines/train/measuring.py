"""What a training is measured by: dev and test as the stage ``read`` keeps them, and what a model predicts for them."""

import logging
import time
from pathlib import Path

import pandas as pd
from sentence_transformers import SentenceTransformer

from embedtrain.data.retrieval import QRELS
from embedtrain.data.schema import KINDS
from embedtrain.evaluation.holdout import DEV_SETS, DevSet, ScoredPairsDev
from embedtrain.evaluation.search_dev import SearchDev
from embedtrain.files import read_json, sha256_of_file
from embedtrain.models import autocast
from embedtrain.pipelines.train.searching import TABLES, kept_search

logger = logging.getLogger(__name__)

# Seconds from which a dev evaluation is worth a word before many of them begin.
SLOW_DEV = 5.0


def read_table(folder: Path, name: str) -> pd.DataFrame:
    """A table that the stage keeps, its rows under the numbers that they had in their file."""
    return pd.read_parquet(folder / f"{name}.parquet").set_index("row")


def read_hashes(folder: Path, *names: str) -> dict[str, str]:
    """A hash of each table, and of those that belong to it."""
    files = [file for name in names for file in (TABLES if name == TABLES[0] else (name,))]
    there = {name: folder / f"{name}.parquet" for name in files}
    return {name: sha256_of_file(path) for name, path in there.items() if name in names or path.is_file()}


def read_measures(folder: Path) -> dict[str, DevSet]:
    """What ``dev`` is measured by, and ``test`` where there is one."""
    kind = read_json(folder / "kinds.json")["dev"]
    measures: dict[str, DevSet] = {
        "dev": SearchDev(kept_search(folder))
        if kind == QRELS.name
        else DEV_SETS[KINDS[kind]](read_table(folder, "dev"))
    }
    if (folder / "test.parquet").is_file():
        measures["test"] = ScoredPairsDev(read_table(folder, "test"))
    return measures


def predict_split(
    model: SentenceTransformer, split: str, measure: DevSet, *, device: str, precision: str, evaluations: int
) -> pd.DataFrame:
    """What a model predicts for dev or test: ``split`` and ``prediction``.

    Args:
        model: The model.
        split: ``dev`` or ``test``.
        measure: Of that split.
        device: Where it computes.
        precision: That of the training.
        evaluations: How often dev is measured while training, which is told where it takes long.
    """
    began = time.perf_counter()
    # Test in fp32, because that is what a user of the saved model gets; dev as it is computed while training.
    with autocast(device, "fp32" if split == "test" else precision):
        predictions = measure.predict(model)
    seconds = time.perf_counter() - began
    if split == "dev" and seconds >= SLOW_DEV:
        logger.info("a dev evaluation takes %.0f s; training makes up to %d of them", seconds, evaluations)
    return pd.DataFrame({"split": split, "prediction": predictions})
