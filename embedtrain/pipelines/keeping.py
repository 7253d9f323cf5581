"""The end of a run that makes a model: the model in its place, with a card of what it was made of."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from embedtrain.data.scripts import NONE, script_shares
from embedtrain.files import sha256_of_file, sha256_of_folder
from embedtrain.pipelines.run import Run
from embedtrain.report.card import model_card

CARD = "README.md"
# The options that name what is read, in the order of the card.
ROLES = ("data", "sentences", "gold", "unlabeled", "pairs", "dev", "test")
# What the model learned from, among the tables that a run read.
_TRAINED_ON = re.compile(r"(data_\d+|gold|sentences)\.parquet")
TEXTS_LOOKED_AT = 20_000
SMALLEST_SHARE = 0.005


def keep_model(run: Run, source: Path) -> None:
    """Put a model into ``model/``, as the last act of a run, with its card.

    Args:
        run: Whose ``metrics.json`` is written.
        source: The model's folder in one of the run's stages.
    """
    if not run.leads:
        return
    run.note(files=list(given_files(run.config)), scripts=scripts_of(run.folder))
    run.keep(source, "model", texts={CARD: model_card(run.folder, source)})


def given_files(config: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """What each option reads: ``role``, ``name`` without its folder, and ``sha256`` where it lies on this machine."""
    for role in ROLES:
        values = config.get(role)
        for value in values if isinstance(values, list) else [values]:
            if not isinstance(value, str):
                continue
            path = Path(value).expanduser()
            found = sha256_of_file(path) if path.is_file() else sha256_of_folder(path) if path.is_dir() else ""
            yield {"role": role, "name": path.name if found else value, "sha256": found}


def scripts_of(folder: Path) -> dict[str, float]:
    """Shares of the scripts among the texts that a run trained on, some of them where there are many."""
    texts: list[str] = []
    for path in sorted((folder / "stages" / "read").glob("*.parquet")):
        if _TRAINED_ON.fullmatch(path.name):
            table = pd.read_parquet(path).select_dtypes(include=["object", "string"])
            every = max(1, len(table) // TEXTS_LOOKED_AT)
            texts += [str(text) for column in table for text in table[column].iloc[::every]]
    shares = script_shares(texts).texts
    return {name: round(share, 4) for name, share in shares.items() if share >= SMALLEST_SHARE and name != NONE}
