"""Parts of a retrieval test: the splits that a folder judges, and a smaller corpus for what is measured often."""

from pathlib import Path

import numpy as np
import pandas as pd

from embedtrain.data.retrieval import ENDINGS, RetrievalSet


def is_retrieval_folder(path: str | Path) -> bool:
    """Whether a folder holds a table of documents or queries, or judgements, as ``read_retrieval_set`` reads them."""
    folder = Path(path).expanduser()
    if not folder.is_dir():
        return False
    tables = any((folder / f"{stem}{ending}").is_file() for stem in ("corpus", "queries") for ending in ENDINGS)
    return tables or bool(splits_of(folder))


def splits_of(folder: str | Path) -> list[str]:
    """The splits whose judgements a folder holds, in alphabetical order."""
    folder = Path(folder).expanduser()
    names = {path.stem for path in folder.glob("qrels/*") if path.suffix in ENDINGS}
    names |= {path.stem.removeprefix("qrels_") for path in folder.glob("qrels_*") if path.suffix in ENDINGS}
    return sorted(names)


def judged_part(found: RetrievalSet, *, most_documents: int, seed: int) -> RetrievalSet:
    """The judged queries, and as much of the corpus as is wanted.

    Every relevant document stays, however many there are; then come those that were judged not to be relevant, which
    are the likeliest to be mistaken, then the others, both in an order drawn with the seed.

    Args:
        found: The whole set.
        most_documents: Documents wanted at most, unless more are relevant.
        seed: Of the order in which documents are taken.

    Returns:
        The part; judgements of documents that are not in it are left out with them.
    """
    judged, relevant = (set(rows["corpus-id"]) for rows in (found.qrels, found.qrels[found.qrels["score"] > 0]))
    wanted = set(found.qrels["query-id"])
    queries = {query: text for query, text in found.queries.items() if query in wanted}
    if len(found.corpus) <= most_documents:
        return RetrievalSet(found.corpus, queries, found.qrels)
    # Not the order of the file, which decides nothing elsewhere either.
    names = np.array(sorted(found.corpus), dtype=object)
    drawn = names[np.random.default_rng(seed).permutation(len(names))]
    ranks = [0 if name in relevant else 1 if name in judged else 2 for name in drawn]
    order = np.argsort(ranks, kind="stable")[: max(most_documents, len(relevant))]
    kept = set(drawn[order])
    corpus = {name: text for name, text in found.corpus.items() if name in kept}
    return RetrievalSet(corpus, queries, found.qrels[found.qrels["corpus-id"].isin(list(kept))].reset_index(drop=True))


def judged_pairs(found: RetrievalSet) -> pd.DataFrame:
    """Each query with each of its relevant documents, once: ``anchor`` and ``positive``, neither of them empty."""
    rows = found.qrels[found.qrels["score"] > 0]
    pairs = pd.DataFrame(
        {"anchor": rows["query-id"].map(found.queries), "positive": rows["corpus-id"].map(found.corpus)}
    )
    whole = pairs["anchor"].str.strip().ne("") & pairs["positive"].str.strip().ne("")
    return pairs[whole].drop_duplicates().reset_index(drop=True)
