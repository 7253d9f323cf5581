"""Silver labels: each member of the teacher scores the new pairs, and their scores become labels."""

import logging
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from embedtrain.errors import UserError
from embedtrain.files import read_json, sha256_of_file, write_json, write_parquet
from embedtrain.mining.calibration import score_distance
from embedtrain.mining.combining import disagreement, most_agreed
from embedtrain.mining.labeling import hard_labels
from embedtrain.mining.shards import LabelStore, PairFiles, label_missing
from embedtrain.pipelines.augsbert.choosing import Teacher
from embedtrain.pipelines.augsbert.members import Member, learns_batches
from embedtrain.pipelines.augsbert.sampling import CANDIDATES
from embedtrain.pipelines.augsbert.taught import SHARDS, cosines_of_candidates, embed, embedding_hash
from embedtrain.pipelines.augsbert.teaching import member_fingerprint, scorer_of
from embedtrain.pipelines.augsbert.workspace import Workspace

logger = logging.getLogger(__name__)

# A quarter of a minute's work for a small teacher on two cores: what a kill may cost.
SHARD_ROWS = 2048


def label(work: Workspace, teacher: Teacher) -> None:
    """Let every member score the new pairs, and make one score of theirs."""
    batches = learns_batches(work.options, teacher.members)
    if batches:
        embed(work, teacher)
    for member in teacher.members:
        if batches:
            _score_by_embeddings(work, member)
        else:
            _score_by(work, member)
    if work.run.leads:
        # Also what another teacher left there, whose run was cut off.
        for unfinished in ("labels", SHARDS):
            shutil.rmtree(work.run.folder / unfinished, ignore_errors=True)
    scored = {member: work.run.path(_stage(member), "scores.parquet") for member in teacher.members}

    def fill(folder: Path) -> None:
        candidates = pd.read_parquet(work.run.path("sample", CANDIDATES))
        given = [pd.read_parquet(path)["score"].to_numpy() for path in scored.values()]
        table = candidates.assign(score=teacher.combination.apply(given))
        if len(scored) > 1:
            mapped = teacher.combination.mapped(given)
            table = table.assign(disagreement=disagreement(mapped))
            for member, values in zip(scored, mapped, strict=True):
                table[f"score_{member.slug}"] = values
        write_parquet(folder / "scored.parquet", table)

    used = {
        **{member.name: sha256_of_file(path) for member, path in scored.items()},
        "candidates": sha256_of_file(work.run.path("sample", CANDIDATES)),
        "combination": teacher.combination.as_dict(),
    }
    work.run.stage("label", inputs=used, work=fill)


def make_silver(work: Workspace) -> None:
    """Turn scores into silver labels: of the pairs that the teachers agree on, as they are or 1 and 0 by thresholds.

    Raises:
        UserError: No pair is left.
    """
    options = work.options
    high, low = options.positive_threshold, options.negative_threshold
    thresholds = options.labels_by_thresholds

    def fill(folder: Path) -> None:
        scored = pd.read_parquet(work.run.path("label", "scored.parquet"))
        gold = work.table("gold")["score"]
        silver = _confident(scored, options.silver_confidence)
        facts: dict[str, Any] = {
            "labelled": len(scored),
            "confident": len(silver),
            "mean_score": float(silver["score"].mean()),
            "mean_gold": float(gold.mean()),
            "wasserstein": score_distance(silver["score"], gold),
        }
        if thresholds and high is not None and low is not None:
            silver = hard_labels(silver, positive_threshold=high, negative_threshold=low)
            silver = silver.rename(columns={"score": "teacher_score", "label": "score"})
            facts["dropped_share"] = 1 - len(silver) / facts["confident"]
            if not len(silver):
                raise UserError(
                    f"no silver pair is left: all of {facts['confident']} are scored between --negative-threshold "
                    f"{low} and --positive-threshold {high}; their mean is {facts['mean_score']:.2f}"
                )
        write_parquet(folder / "silver.parquet", silver)
        write_json(folder / "silver.json", {**facts, "pairs": len(silver)})

    used = {
        "scored": sha256_of_file(work.run.path("label", "scored.parquet")),
        **work.hashes("gold"),
        "silver_confidence": options.silver_confidence,
        # The ranking loss applies its thresholds when training.
        "positive_threshold": high if thresholds else None,
        "negative_threshold": low if thresholds else None,
    }
    work.run.stage("silver", inputs=used, work=fill)


def silver_facts(work: Workspace) -> dict[str, Any]:
    """What ``metrics.json`` tells of the silver pairs."""
    facts: dict[str, Any] = read_json(work.run.path("silver", "silver.json"))
    return facts


def _stage(member: Member) -> str:
    return f"label_{member.slug}"


def _score_by_embeddings(work: Workspace, member: Member) -> None:
    """One member's scores of the new pairs, from the embeddings that are there."""

    def fill(folder: Path) -> None:
        write_parquet(folder / "scores.parquet", pd.DataFrame({"score": cosines_of_candidates(work, member)}))

    work.run.stage(_stage(member), inputs=embedding_hash(work, member), work=fill)


def _score_by(work: Workspace, member: Member) -> None:
    """One member's scores of the new pairs, shard by shard: what a killed process has done of them is kept."""
    candidates = work.run.path("sample", CANDIDATES)
    used = {"teacher": member_fingerprint(work, member), "candidates": sha256_of_file(candidates)}
    shards = work.run.folder / "labels" / member.slug

    def fill(folder: Path) -> None:
        pairs = PairFiles([candidates])
        store = LabelStore(
            shards,
            rows=pairs.rows,
            inputs=used,
            shard_rows=SHARD_ROWS,
            on_change="restart",
            leads=work.run.leads,
        )
        rank, world = (int(os.environ.get(name, default)) for name, default in (("RANK", "0"), ("WORLD_SIZE", "1")))
        label_missing(store, pairs, scorer_of(work, member), rank=rank, world=world)
        if work.run.leads:
            store.await_whole()
            parts = [frame for _, frame in store.frames(["score"])]
            write_parquet(folder / "scores.parquet", pd.concat(parts, ignore_index=True))

    work.run.stage(_stage(member), inputs=used, work=fill, shared=True)


def _confident(scored: pd.DataFrame, share: float) -> pd.DataFrame:
    if share == 1:
        return scored
    if "disagreement" not in scored:
        logger.warning("--silver-confidence has no effect: a single teacher labels, which agrees with itself")
        return scored
    kept: NDArray[np.bool_] = most_agreed(scored["score"], scored["disagreement"], share=share)
    logger.info("silver: %d of %d pairs kept, those on which the teachers agree most", kept.sum(), len(scored))
    return scored[kept].reset_index(drop=True)
