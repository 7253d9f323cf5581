"""New pairs out of the unlabelled sentences and gold's own."""

import logging
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from embedtrain.errors import UserError
from embedtrain.files import write_parquet
from embedtrain.mining.sampling import sample_pairs
from embedtrain.mining.shares import read_strategies, strategy_names
from embedtrain.mining.strategies import NEED_TEACHER, need_embeddings
from embedtrain.mining.teachers import Scorer
from embedtrain.models import autocast
from embedtrain.pipelines.augsbert.choosing import Teacher
from embedtrain.pipelines.augsbert.members import STUDENT_STAGE
from embedtrain.pipelines.augsbert.teaching import scorer_of
from embedtrain.pipelines.augsbert.workspace import PAIR, Workspace

logger = logging.getLogger(__name__)

CANDIDATES = "candidates.parquet"


def sample(work: Workspace, teacher: Teacher) -> None:
    """Find the pairs that shall be labelled.

    Raises:
        UserError: There is no new pair among the sentences.
    """
    options = work.options
    at_most = options.silver_pairs_at_most(len(work.table("gold")))
    strategies = read_strategies(options.strategies, option="--strategies")
    names = strategy_names(strategies)
    asks_teacher = bool(NEED_TEACHER.intersection(names))
    ready = work.ready_pairs() if "cross-domain" in names else None
    searches = bool(need_embeddings(names, ready_pairs=ready is not None))

    def fill(folder: Path) -> None:
        sentences = work.sentences()
        gold = work.table("gold")
        known = pd.concat([gold, work.table("dev"), work.table("test")])
        candidates = sample_pairs(
            sentences,
            _embeddings(work, sentences) if searches else None,
            strategies=strategies,
            top_k=options.top_k,
            known_pairs=list(zip(known["sentence1"], known["sentence2"], strict=True)),
            limit=at_most,
            seed=options.seed,
            score=_scorer(work, teacher).score if asks_teacher else None,
            gold_scores=gold["score"].to_numpy(dtype="float64") if asks_teacher else None,
            unlabeled_pairs=None if ready is None else list(zip(ready["sentence1"], ready["sentence2"], strict=True)),
            source_sentences=set(gold[PAIR].to_numpy(dtype=object).ravel()),
        )
        if not len(candidates):
            raise UserError(
                f"--strategies {' '.join(options.strategies)}: no new pair is left among {len(sentences)} sentences; "
                "give more of them with --unlabeled"
            )
        logger.info("sample: %d new pairs to label, from %d sentences", len(candidates), len(sentences))
        write_parquet(folder / CANDIDATES, candidates)

    used: dict[str, Any] = {
        **work.hashes("sentences", "gold", "dev", "test", *([] if ready is None else ["pairs"])),
        "strategies": strategies,
        "top_k": options.top_k,
        "at_most": at_most,
        "seed": options.seed,
        **work.computing,
    }
    if searches:
        from_base = options.search_model == "base"
        used["search_model"] = work.inputs.base.fingerprint if from_base else work.weights(STUDENT_STAGE)
    if asks_teacher:
        used["teacher"] = teacher.fingerprint
    work.run.stage("sample", inputs=used, work=fill)


def _embeddings(work: Workspace, sentences: list[str]) -> torch.Tensor:
    source = work.inputs.base if work.options.search_model == "base" else work.trained(STUDENT_STAGE)
    model = work.load(source)
    with autocast(work.device, work.precision):
        embeddings = model.encode(sentences, batch_size=64, convert_to_tensor=True, show_progress_bar=False)
    return embeddings.float()


def _scorer(work: Workspace, teacher: Teacher) -> Scorer:
    return teacher.combination.scorer([scorer_of(work, member) for member in teacher.members])
