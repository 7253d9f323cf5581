"""A retrieval set that chooses the weights: which split of it and how much of its corpus, and how a run keeps it."""

import logging
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from embedtrain.data.retrieval import RetrievalSet, read_retrieval_set
from embedtrain.data.retrieval_parts import is_retrieval_folder, judged_part, splits_of
from embedtrain.errors import UserError, did_you_mean
from embedtrain.files import sha256_of_value, write_parquet
from embedtrain.pipelines.checks import MIN_PAIRS, content_hash
from embedtrain.pipelines.train.options import TrainOptions

logger = logging.getLogger(__name__)

# The tables that a run keeps of it; the first holds the judgements.
TABLES = ("dev", "dev_queries", "dev_corpus")
DEV_SPLITS = ("dev", "validation")


@dataclass(frozen=True)
class DevSearch:
    """A retrieval set as it chooses the weights.

    Attributes:
        found: The judged queries and the documents that they are searched in.
        split: Whose judgements these are.
        documents: How many documents the folder holds.
    """

    found: RetrievalSet
    split: str
    documents: int

    @property
    def fingerprint(self) -> str:
        """A hash of its content."""
        return sha256_of_value([self.found.corpus, self.found.queries, content_hash(self.found.qrels)])

    def __str__(self) -> str:
        return f"{len(self.found.queries):,} queries over {len(self.found.corpus):,} documents"

    def write(self, folder: Path) -> None:
        """Keep it in the folder of a stage."""
        found = self.found
        parts = (
            found.qrels.reset_index(drop=True),
            pd.DataFrame({"id": list(found.queries), "text": list(found.queries.values())}),
            pd.DataFrame({"id": list(found.corpus), "text": list(found.corpus.values())}),
        )
        for name, table in zip(TABLES, parts, strict=True):
            write_parquet(folder / f"{name}.parquet", table.rename_axis("row").reset_index())


def kept_search(folder: Path) -> RetrievalSet:
    """What ``DevSearch.write`` kept."""
    qrels, queries, corpus = (pd.read_parquet(folder / f"{name}.parquet").set_index("row") for name in TABLES)
    return RetrievalSet(
        dict(zip(corpus["id"], corpus["text"], strict=True)),
        dict(zip(queries["id"], queries["text"], strict=True)),
        qrels,
    )


def has_dev_search(options: TrainOptions) -> bool:
    """Whether a retrieval set chooses the weights."""
    return options.dev is not None and is_retrieval_folder(options.dev)


def read_dev_search(options: TrainOptions) -> DevSearch:
    """Read the retrieval set that ``--dev`` names.

    Raises:
        UserError: All that is wrong with its files; too few queries; several splits to choose from.
    """
    folder = Path(str(options.dev)).expanduser()
    split = _split(folder, options.dev_split)
    whole = read_retrieval_set(folder, split=split)
    found = judged_part(whole, most_documents=options.dev_documents, seed=options.seed)
    if len(found.queries) < MIN_PAIRS:
        raise UserError(f"--dev {options.dev}: {len(found.queries)} judged queries, expected at least {MIN_PAIRS}")
    return DevSearch(found, split, len(whole.corpus))


def tell_costs(search: DevSearch, options: TrainOptions) -> None:
    """Say what is measured, what of the corpus is left out, and what measuring it costs."""
    found, times = search.found, options.training.evaluations
    texts = len(found.corpus) + len(found.queries)
    logger.info(
        "--dev %s: %s, judgements of the split %s; each dev evaluation encodes these %s texts, %d evaluations %s",
        options.dev, search, search.split, f"{texts:,}", times, f"{texts * times:,}",
    )  # fmt: skip
    if search.split not in DEV_SPLITS and options.dev_split is None:
        logger.warning(
            "--dev %s: %s is its only split, so its judgements choose the weights: scores on it flatter afterwards",
            options.dev,
            search.split,
        )
    if len(found.corpus) == search.documents:
        return
    relevant = found.qrels.loc[found.qrels["score"] > 0, "corpus-id"].nunique()
    logger.warning(
        "--dev %s: %s of its %s documents are searched, the %s relevant ones among them, so nDCG@10 is higher than on "
        "all; --dev-documents %d takes all, which makes each dev evaluation %.0f times as long",
        options.dev,
        f"{len(found.corpus):,}",
        f"{search.documents:,}",
        f"{relevant:,}",
        search.documents,
        (search.documents + len(found.queries)) / texts,
    )


def _split(folder: Path, asked: str | None) -> str:
    there = splits_of(folder)
    listed = ", ".join(there)
    if asked is not None:
        if there and asked not in there:
            raise UserError(f"--dev-split {asked}: {folder} has judgements of {listed}{did_you_mean(asked, there)}")
        return asked
    usual = [split for split in DEV_SPLITS if split in there]
    if not usual and len(there) > 1:
        raise UserError(
            f"{folder}: judgements of {listed}, none of them called dev; say with --dev-split which choose the weights"
        )
    return [*usual, *there, "dev"][0]
