"""The first stages: text and pairs audited and kept, held-out rows drawn, and what the tokenizer makes of the text."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from embedtrain.data import LABELLED_PAIRS, SCORED_PAIRS, audit_pairs, audit_sentences
from embedtrain.errors import UserError
from embedtrain.evaluation.splitting import dev_rows, hold_out
from embedtrain.files import read_json, write_json, write_parquet
from embedtrain.models.tokenizing import tokenize
from embedtrain.pipelines.adapt.inputs import MIN_SENTENCES, AdaptInputs, Pairs
from embedtrain.pipelines.adapt.workspace import AdaptWorkspace
from embedtrain.pipelines.checks import check_tables, content_hash

logger = logging.getLogger(__name__)

AUDIT_EXAMPLES = 25
SENTENCES_TRIED = 2_000
# Above it a model hardly reads the text at all.
UNKNOWN_SHARE = 0.05


def read(work: AdaptWorkspace) -> None:
    """Audit text and pairs, hold sentences out for the reconstruction loss, and dev out of gold where none is given."""
    inputs, options = work.inputs, work.options

    def fill(folder: Path) -> None:
        pairs, findings, tables = _audited_pairs(inputs, options.gold or "", seed=options.seed)
        test = pairs.get("test")
        audited = audit_sentences(
            inputs.sentences,
            test=None if test is None else _two_texts(test.table),
            names={"sentences": options.sentences},
            max_examples=AUDIT_EXAMPLES,
        )
        report = audited.report.to_json()
        sentences = audited.sentences
        if len(sentences) < MIN_SENTENCES:
            raise UserError(
                f"{options.sentences}: {len(sentences)} different sentences are left of {len(inputs.sentences)}, "
                f"expected at least {MIN_SENTENCES}: {'; '.join(f['message'] for f in report['findings'])}"
            )
        random = np.random.default_rng(options.seed)
        held = np.zeros(len(sentences), dtype=bool)
        held[random.permutation(len(sentences))[: min(dev_rows(len(sentences)), len(sentences) // 4)]] = True
        for name, frame in (("sentences", sentences[~held]), ("held_out", sentences[held])):
            write_parquet(folder / f"{name}.parquet", frame.rename_axis("row").reset_index())
        for name, given in pairs.items():
            write_parquet(folder / f"{name}.parquet", given.table.rename_axis("row").reset_index())
        write_json(folder / "kinds.json", {name: given.kind.name for name, given in pairs.items()})
        audit = {"findings": [*report["findings"], *findings], "tables": {**report["tables"], **tables}}
        write_json(folder / "audit.json", audit)

    given = {"gold": inputs.gold, "dev": inputs.dev, "test": inputs.test}
    used = {
        "sentences": content_hash(inputs.sentences),
        **{name: content_hash(pairs.table) for name, pairs in given.items() if pairs is not None},
        "names": [options.sentences, options.gold],
        "seed": options.seed,
    }
    folder = work.run.stage("read", inputs=used, work=fill)
    for finding in read_json(folder / "audit.json")["findings"]:
        logger.info("audit: %s", finding["message"])
    counts = {name: len(work.table(name)) for name in ("sentences", "held_out", *work.kinds())}
    logger.info("%s", ", ".join(f"{name.replace('_', '-')}: {count:,} rows" for name, count in counts.items()))


def what_the_tokenizer_sees(tokenizer: Any, texts: list[str], *, max_length: int) -> dict[str, float]:
    """Shares of the tokens that are unknown and of the texts that are cut, in a sample of texts, and its mean length.

    Args:
        tokenizer: The encoder's.
        texts: The sample.
        max_length: Tokens read of a text.
    """
    seen = tokenize(tokenizer, texts)
    return {
        "unknown_share": seen.unknown_share,
        "cut_share": float((seen.lengths > max_length).mean()),
        "mean_tokens": float(seen.lengths.mean()),
    }


def warn_about_text(seen: Mapping[str, float], *, base: str, max_length: int) -> list[str]:
    """What to say of text that this base model cannot read well."""
    found = []
    if seen["unknown_share"] > UNKNOWN_SHARE:
        found.append(
            f"{100 * seen['unknown_share']:.0f} % of the text's tokens are unknown to {base}: it cannot tell these "
            "words apart, whatever it is trained on. Take a base model made for this language or script."
        )
    if seen["cut_share"] > 0:
        found.append(
            f"{100 * seen['cut_share']:.1f} % of the sentences are longer than {max_length} tokens and are cut there."
        )
    return found


def _audited_pairs(
    inputs: AdaptInputs, name: str, *, seed: int
) -> tuple[dict[str, Pairs], list[dict[str, Any]], dict[str, Any]]:
    """Cleaned pairs by name, findings and tables of the audit in plain values."""
    given = {"gold": inputs.gold, "dev": inputs.dev, "test": inputs.test}
    pairs = {role: table for role, table in given.items() if table is not None}
    if not pairs:
        return {}, [], {}
    # The audit compares the pairs to train on with those that measure; without gold, dev takes its place.
    first, *others = pairs
    roles = {first: "gold", **{other: other for other in others}}
    audited = audit_pairs(
        pairs[first].table,
        **{other: pairs[other].table for other in others},
        names={roles[role]: role for role in pairs},
        max_examples=AUDIT_EXAMPLES,
    )
    if first == "test":
        cleaned = {"test": pairs["test"]}
    else:
        cleaned = {role: Pairs(getattr(audited, roles[role]), pairs[role].kind) for role in pairs}
    scored = {role: table.table for role, table in cleaned.items() if table.kind is SCORED_PAIRS}
    check_tables({f"--{role}": table for role, table in scored.items()}, stage="after the audit")
    for role in ("dev", "test"):
        if role in cleaned and cleaned[role].kind is LABELLED_PAIRS and cleaned[role].table["label"].nunique() == 1:
            raise UserError(f"--{role}: every label is {cleaned[role].table['label'].iloc[0]}: nothing to measure")
    if "gold" in cleaned and "dev" not in cleaned:
        rows, dev = hold_out(cleaned["gold"].table, kind=cleaned["gold"].kind, name=name, seed=seed)
        cleaned |= {"gold": Pairs(rows, cleaned["gold"].kind), "dev": Pairs(dev, cleaned["gold"].kind)}
    report = audited.report.to_json()
    return cleaned, report["findings"], report["tables"]


def _two_texts(pairs: pd.DataFrame) -> pd.DataFrame:
    return pairs if "sentence1" in pairs else pairs.set_axis(["sentence1", "sentence2"], axis="columns")
