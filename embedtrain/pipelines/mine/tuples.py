"""The stages that make tuples for a ranking loss: of positive pairs by search, of scored pairs by two thresholds."""

from dataclasses import asdict
from pathlib import Path

import torch

from embedtrain.errors import UserError
from embedtrain.files import write_parquet
from embedtrain.mining.hard_negatives import mine_hard_negatives
from embedtrain.mining.tuples import ranking_tuples
from embedtrain.pipelines.checks import content_hash
from embedtrain.pipelines.mine.inputs import rows_of
from embedtrain.pipelines.mine.workspace import TEXTS, Workspace

TUPLES_FILE = "tuples.parquet"


def search_negatives(work: Workspace) -> Path:
    """Find hard negatives for positive pairs; the file of tuples.

    Raises:
        UserError: No pair has enough of them.
    """
    options, inputs = work.options, work.inputs
    scores = work.scores()

    def fill(folder: Path) -> None:
        anchors, positives = (inputs.positives[name].tolist() for name in ("anchor", "positive"))
        embedded = _Embedded(work)
        tuples = mine_hard_negatives(
            anchors,
            positives,
            inputs.sentences,
            anchor_embeddings=embedded.of(anchors, work.anchors_table),
            positive_embeddings=embedded.of(positives, TEXTS),
            corpus_embeddings=embedded.of(inputs.sentences, TEXTS),
            rules=options.rules,
            known_pairs=rows_of(inputs.known),
            score=None if scores is None else scores.score,
            output_scores=options.output_scores,
            search=options.search,
        )
        if not len(tuples):
            raise UserError(
                f"--positives {options.positives}: no pair has {options.negatives} negatives within the limits; give "
                "more texts with --unlabeled, a higher --range-max, or a lower --relative-margin"
            )
        write_parquet(folder / TUPLES_FILE, tuples)

    used = {
        **work.search_depends_on(),
        "rules": asdict(options.rules),
        "output_scores": options.output_scores,
        "teacher": None if scores is None else scores.fingerprint,
    }
    return work.run.stage("hard_negatives", inputs=used, work=fill) / TUPLES_FILE


class _Embedded:
    """The embeddings of texts that stand in the tables of a mining."""

    def __init__(self, work: Workspace) -> None:
        self.rows = {name: {text: row for row, text in enumerate(work.texts(name))} for name in work.prompts}
        self.embeddings = {name: work.embeddings(name) for name in work.prompts}

    def of(self, texts: list[str], table: str) -> torch.Tensor:
        """Shape (texts, dim)."""
        embeddings, rows = self.embeddings[table], self.rows[table]
        assert embeddings is not None
        return embeddings[[rows[text] for text in texts]]


def split_scored(work: Workspace) -> Path:
    """Make tuples out of scored pairs; the file of them.

    Raises:
        UserError: There is none.
    """
    options, scored = work.options, work.inputs.scored
    high, low, count = options.positive_threshold, options.negative_threshold, options.negatives
    assert high is not None  # the options are checked
    assert low is not None

    def fill(folder: Path) -> None:
        tuples = ranking_tuples(
            scored,
            positive_threshold=high,
            negative_threshold=low,
            num_negatives=count,
            both_orders=options.both_orders,
            sampling_strategy=options.sampling_strategy,
            seed=options.seed,
        )
        if not len(tuples):
            positive, negative = int((scored["score"] >= high).sum()), int((scored["score"] <= low).sum())
            raise UserError(
                f"--scored {options.scored}: no pair makes a tuple: {positive} of {len(scored)} score from "
                f"--positive-threshold {high} on, {negative} up to --negative-threshold {low}, and of a positive pair "
                f"one sentence has to be in {count} negative ones"
            )
        write_parquet(folder / TUPLES_FILE, tuples)

    used = {
        "scored": content_hash(scored),
        "positive_threshold": high,
        "negative_threshold": low,
        "num_negatives": count,
        "both_orders": options.both_orders,
        "sampling_strategy": options.sampling_strategy,
        "seed": options.seed,
    }
    return work.run.stage("tuples", inputs=used, work=fill) / TUPLES_FILE
