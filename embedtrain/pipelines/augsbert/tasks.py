"""What the students are trained on: gold, silver or both, in the form that their loss takes."""

import logging
from collections.abc import Mapping

import pandas as pd
from torch import nn

from embedtrain.data import fold_text
from embedtrain.errors import UserError
from embedtrain.losses import (
    CoSENTLoss,
    CosineSimilarityLoss,
    MultipleNegativesRankingLoss,
    SimilarityDistillationLoss,
    WeightedSum,
)
from embedtrain.mining.tuples import ranking_tuples
from embedtrain.pipelines.augsbert.options import AugSBERTOptions
from embedtrain.pipelines.augsbert.workspace import PAIR
from embedtrain.training.tasks import LABEL, Task
from embedtrain.training.taught import TaughtTexts

logger = logging.getLogger(__name__)


def student_tasks(
    tables: Mapping[str, pd.DataFrame], options: AugSBERTOptions, *, taught: TaughtTexts | None = None
) -> list[Task]:
    """The tasks of one training.

    Where silver counts as much as gold, the two are one table and mixed within batches; with a weight of its own, and
    where it is learnt from embeddings, each makes its own batches.

    Args:
        tables: Scored pairs by name: ``gold``, ``silver`` or both.
        options: Loss, thresholds and the weight of silver.
        taught: A teacher's embeddings of the texts of silver, to learn all similarities of a batch from.

    Raises:
        UserError: No pair is a positive one for the ranking loss.
    """
    if taught is not None:
        tasks = [
            task for name in tables if name != "silver" for task in _tasks(name, tables[name], options, weight=1.0)
        ]
        if "silver" in tables:
            weight = options.silver_weight if tasks else 1.0
            loss = _weighted(SimilarityDistillationLoss(), weight)
            tasks.append(Task("silver", tables["silver"][PAIR], loss, "unique", taught=taught))
    elif options.silver_weight == 1 or len(tables) == 1:
        together = pd.concat([table[[*PAIR, "score"]] for table in tables.values()], ignore_index=True)
        tasks = _tasks(" and ".join(tables), together, options, weight=1.0)
    else:
        weights = {"silver": options.silver_weight}
        tasks = [
            task
            for name, table in tables.items()
            for task in _tasks(name, table, options, weight=weights.get(name, 1.0))
        ]
    if not tasks:
        highest = max(table["score"].max() for table in tables.values())
        raise UserError(
            f"--positive-threshold {options.positive_threshold}: no {' or '.join(tables)} pair scores that high, and "
            f"--loss mnrl trains on those (the highest is {highest:.2f})"
        )
    return tasks


def _tasks(name: str, pairs: pd.DataFrame, options: AugSBERTOptions, *, weight: float) -> list[Task]:
    if options.loss != "mnrl":
        table = pairs[PAIR].assign(**{LABEL: pairs["score"].astype("float32")})
        loss = CosineSimilarityLoss() if options.loss == "cosine" else CoSENTLoss()
        return [Task(name, table, _weighted(loss, weight))]
    positives = pairs[pairs["score"] >= options.positive_threshold]
    logger.info("%s: %d of %d pairs are positives for the ranking loss", name, len(positives), len(pairs))
    tasks = []
    if options.negative_threshold is not None and options.positive_threshold is not None:
        tuples = ranking_tuples(
            pairs,
            positive_threshold=options.positive_threshold,
            negative_threshold=options.negative_threshold,
            num_negatives=options.negatives,
        )
        positives = positives[~_keys(positives, *PAIR).isin(set(_keys(tuples, "anchor", "positive")))]
        tasks.append(
            Task(f"{name}, with hard negatives", tuples, _weighted(MultipleNegativesRankingLoss(), weight), "unique")
        )
    # Pairs without a hard negative have those of their batch.
    tasks.append(Task(name, positives[PAIR], _weighted(MultipleNegativesRankingLoss(), weight), "unique"))
    return [task for task in tasks if len(task.table)]


def _weighted(loss: nn.Module, weight: float) -> nn.Module:
    return loss if weight == 1 else WeightedSum([(loss, weight)])


def _keys(pairs: pd.DataFrame, first: str, second: str) -> pd.Series:
    """The two texts of each pair in either order, folded."""
    both = zip(pairs[first].map(fold_text), pairs[second].map(fold_text), strict=True)
    return pd.Series([frozenset(texts) for texts in both], index=pairs.index, dtype=object)
