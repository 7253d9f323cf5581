"""The first stages: tables audited and kept, and what the base model scores before anything is trained."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from embedtrain.data import SCORED_PAIRS, AuditReport, audit_pairs, audit_sentences
from embedtrain.evaluation.splitting import hold_out, hold_out_test
from embedtrain.files import read_json, write_json, write_parquet
from embedtrain.pipelines.augsbert.checks import check_positives
from embedtrain.pipelines.augsbert.workspace import PAIR, Workspace
from embedtrain.pipelines.checks import check_tables, content_hash

logger = logging.getLogger(__name__)

AUDIT_EXAMPLES = 25


def read(work: Workspace) -> None:
    """Audit the tables, drop what has to go, draw the gold subset, hold out what is not given; keep as Parquet.

    A test set that is held out comes out of all gold pairs, before a subset is drawn. A dev set that is held out comes
    out of the gold subset: of 500 pairs that are all there is, some have to choose.
    """
    tables, options = work.inputs, work.options

    def fill(folder: Path) -> None:
        gold, test = tables.gold, tables.test
        if test is None:
            gold, test = hold_out_test(gold, name=options.gold, seed=options.seed)
            logger.info("test: %d pairs held out of gold, %d are left to train on", len(test), len(gold))
        gold, dev, test, report = audit_pairs(gold, tables.dev, test, max_examples=AUDIT_EXAMPLES)
        if options.gold_limit is not None and options.gold_limit < len(gold):
            drawn = np.random.default_rng(options.seed).permutation(len(gold))[: options.gold_limit]
            gold = gold.iloc[np.sort(drawn)]
            logger.info("gold: %d of the pairs drawn with seed %d", len(gold), options.seed)
        if tables.dev is None:
            gold, dev = hold_out(gold, kind=SCORED_PAIRS, name=options.gold, seed=options.seed)
            logger.info("dev: %d pairs held out of gold, %d are left to train on", len(dev), len(gold))
        check_tables({"gold": gold, "dev": dev, "test": test}, stage="after the audit")
        check_positives(gold, options, name="gold after the audit")
        reports = [report]
        texts = [*gold["sentence1"], *gold["sentence2"]]
        if len(tables.sentences):
            audited = audit_sentences(tables.sentences, test=test, names={"sentences": "unlabeled"})
            reports.append(audited.report)
            texts = [*audited.sentences["text"], *texts]
        for name, frame in (("gold", gold), ("dev", dev), ("test", test)):
            write_parquet(folder / f"{name}.parquet", frame[[*PAIR, "score"]].rename_axis("row").reset_index())
        if tables.ready is not None:
            write_parquet(folder / "pairs.parquet", tables.ready[PAIR])
        write_parquet(folder / "sentences.parquet", pd.DataFrame({"text": list(dict.fromkeys(texts))}))
        write_json(folder / "audit.json", _joined(reports))

    given = {
        "gold": tables.gold,
        "dev": tables.dev,
        "test": tables.test,
        "sentences": tables.sentences,
        "pairs": tables.ready,
    }
    draws = options.gold_limit is not None or tables.dev is None or tables.test is None
    used: dict[str, Any] = {
        **{name: content_hash(frame) for name, frame in given.items() if frame is not None},
        **({"gold_limit": options.gold_limit} if options.gold_limit is not None else {}),
        **({"seed": options.seed} if draws else {}),
    }
    folder = work.run.stage("read", inputs=used, work=fill)
    for finding in read_json(folder / "audit.json")["findings"]:
        logger.info("audit: %s", finding["message"])


def zero_shot(work: Workspace) -> None:
    """Score the base bi-encoder before anything is trained."""

    def fill(folder: Path) -> None:
        model = work.load(work.inputs.base)
        parts = [work.cosines(model, split) for split in ("dev", "test")]
        write_parquet(folder / "predictions.parquet", pd.concat(parts, ignore_index=True))

    used = {"base": work.inputs.base.fingerprint, **work.hashes("dev", "test"), **work.computing}
    work.run.stage("zero_shot", inputs=used, work=fill)


def _joined(reports: list[AuditReport]) -> Mapping[str, Any]:
    parts = [report.to_json() for report in reports]
    return {
        "findings": [finding for part in parts for finding in part["findings"]],
        "tables": {name: table for part in parts for name, table in part["tables"].items()},
    }
