"""The stage that finds new pairs."""

from functools import partial
from pathlib import Path

import pandas as pd

from embedtrain.errors import UserError
from embedtrain.files import write_parquet
from embedtrain.mining.sampling import sample_pairs
from embedtrain.mining.sharded import bm25_candidates
from embedtrain.mining.shares import read_strategies
from embedtrain.pipelines.mine.inputs import PAIR, rows_of
from embedtrain.pipelines.mine.workspace import Workspace

PAIRS_FILE = "pairs.parquet"
DEPENDS_ON = ("top_k", "limit", "labelled_pairs", "seed")


def sample(work: Workspace) -> Path:
    """Find new pairs; the file that holds them.

    Raises:
        UserError: There is none.
    """
    options, inputs = work.options, work.inputs
    strategies = read_strategies(options.strategy)
    scores = work.scores()

    def fill(folder: Path) -> None:
        gold = inputs.gold
        texts = work.texts()
        known = pd.concat([gold[PAIR], inputs.known])
        pairs = sample_pairs(
            texts,
            work.embeddings(),
            strategies=strategies,
            top_k=options.top_k,
            known_pairs=rows_of(known),
            limit=options.limit,
            seed=options.seed,
            score=None if scores is None else scores.score,
            gold_scores=gold["score"].to_numpy() if len(gold) else None,
            unlabeled_pairs=None if inputs.ready is None else rows_of(inputs.ready),
            source_sentences={text for name in PAIR for text in gold[name]} if len(gold) else None,
            labelled_pairs=options.labelled_pairs,
            search=options.search,
            lexical=partial(bm25_candidates, folder=work.unfinished / "bm25", engine=options.engine),
        )
        if not len(pairs):
            raise UserError(
                f"--strategy {' '.join(options.strategy)}: no new pair is left among {len(texts)} sentences and "
                f"{len(known)} known pairs; give more sentences with --unlabeled"
            )
        write_parquet(folder / PAIRS_FILE, pairs)

    used = {
        **work.search_depends_on(),
        **{name: getattr(options, name) for name in DEPENDS_ON},
        # In their order, in which shares are filled.
        "strategies": [list(item) for item in strategies.items()] if isinstance(strategies, dict) else strategies,
        "teacher": None if scores is None else scores.fingerprint,
    }
    return work.run.stage("sample", inputs=used, work=fill) / PAIRS_FILE
