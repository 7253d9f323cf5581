"""Searches on a retrieval set: embeddings of each model, BM25, both fused, and a cross-encoder behind the best."""

from typing import Any

import pandas as pd

from embedtrain.evaluation.comparing import Difference, Estimate, compare_models, mean_estimate
from embedtrain.evaluation.items import Items
from embedtrain.evaluation.kept_items import KeptScore, PartItems
from embedtrain.evaluation.ranking import MAIN_METRIC, RankingScores, score_rankings
from embedtrain.evaluation.retrieval import RetrievalTask
from embedtrain.files import write_parquet
from embedtrain.pipelines.evaluate.judging import differences_table, interval_words, main_scores, short_names
from embedtrain.pipelines.evaluate.options import RetrievalOptions
from embedtrain.pipelines.evaluate.searching import Searching, collect_retrieval_inputs
from embedtrain.pipelines.evaluate.workspace import Evaluation, open_workspace
from embedtrain.pipelines.wording import aligned, points

LABEL = "nDCG@10"
METRICS = {MAIN_METRIC: LABEL, "map_at_100": "MAP@100", "mrr_at_10": "MRR@10"}


def evaluate_retrieval(options: RetrievalOptions) -> Evaluation:
    """Measure searches on a retrieval set.

    Returns:
        ``metrics`` holds, for each search, every metric of ``evaluation.ranking`` with its 95 % interval over queries;
        the paired differences in nDCG@10 between models, between words and embeddings, of each fused search to the
        two that it is made of, and of each reranked one to the one before it; the warnings and a verdict.

    Raises:
        UserError: With every mistake in options, files and model names, before any model is loaded.
    """
    inputs = collect_retrieval_inputs(options)
    task = RetrievalTask.of(
        inputs.found.corpus, inputs.found.queries, inputs.found.qrels, skip_own_id=options.skip_own_id
    )
    with open_workspace(options, inputs.evaluated) as work:
        searching = Searching(options, inputs, task, work)
        scores = {
            name: score_rankings(ranked, task.judgements, recall_depths=options.recall)
            for name, ranked in searching.rankings()
        }
        drawing = {"samples": options.bootstrap_samples, "seed": options.seed}
        estimates: dict[str, dict[str, Estimate]] = {
            name: {options.data: mean_estimate(one.per_query[MAIN_METRIC], **drawing)} for name, one in scores.items()
        }
        differences = compare_models(estimates, searching.comparisons)
        judgements = task.judgements
        metrics: dict[str, Any] = {
            "task": "retrieval",
            "metric": {"name": MAIN_METRIC, "label": LABEL},
            "data": {
                options.data: {
                    "split": options.split,
                    "documents": len(task.documents),
                    "queries": len(task.queries),
                    "without_answer": judgements.unanswered,
                }
            },
            "models": {name: {options.data: one.summary(**drawing)} for name, one in scores.items()},
            "main": main_scores(estimates),
            "differences": [one.as_dict() for one in differences],
            "verdict": _verdict(estimates, differences),
            "leakage": [one.as_dict() for one in inputs.leaks],
            "warnings": [*map(str, inputs.leaks), *_warnings(options, task)],
        }
        if work.keeps:
            write_parquet(work.run.folder / "queries.parquet", _by_query(scores))
        kept = []
        for name, one in scores.items():
            items = Items("mean", "queries", {"value": one.per_query[MAIN_METRIC]})
            part = PartItems(items.score, searching.data, items)
            kept.append(KeptScore(name, options.data, "Retrieval", MAIN_METRIC, {(options.split, "default"): part}))
        return work.finish(metrics, _score_rows(metrics), kept)


def retrieval_table(metrics: dict[str, Any]) -> str:
    """The results as a table for a terminal, scores x 100 with 95 % intervals."""
    ((name, facts),) = metrics["data"].items()
    called = short_names(metrics["models"])
    recalls = _recalls(metrics)
    header = ["x 100", LABEL, "95 % interval", *list(METRICS.values())[1:]]
    rows = [[*header, *(f"recall@{metric.removeprefix('recall_at_')}" for metric in recalls)]]
    for search, by_set in metrics["models"].items():
        scores = by_set[name]
        row = [called[search], points(scores[MAIN_METRIC]), interval_words(scores["ci95"])]
        rows.append([*row, *(points(scores[metric]) for metric in [*list(METRICS)[1:], *recalls])])
    title = f"{name}, {facts['split']}: {facts['documents']:,} documents, {facts['queries']:,} queries"
    compared = differences_table(metrics)
    return "\n\n".join(["\n".join([title, *aligned(rows)]), *([compared] if compared else [])])


def _verdict(estimates: dict[str, dict[str, Estimate]], differences: list[Difference]) -> str:
    """The best search, and which of the comparisons with it show that it is."""
    best = max(estimates, key=lambda name: next(iter(estimates[name].values())).value)
    called = short_names(estimates)
    interval = next(iter(estimates[best].values())).interval()
    said = (
        f"{called[best]} has the highest {LABEL}, {points(interval.value)}, 95 % interval {points(interval.low)} to "
        f"{points(interval.high)}"
    )
    beaten = [
        other
        for one in differences
        for winner, other, gain in ((one.first, one.second, one.difference), (one.second, one.first, -one.difference))
        if winner == best and gain > 0 and one.is_significant
    ]
    if not differences:
        return f"{said}."
    if not beaten:
        return f"{said}. None of the comparisons can tell that from chance."
    return f"{said}. It is better than {', '.join(called[other] for other in beaten)} by more than chance."


def _warnings(options: RetrievalOptions, task: RetrievalTask) -> list[str]:
    found = []
    if task.judgements.unanswered:
        found.append(
            f"{task.judgements.unanswered} of {len(task.queries)} judged queries have no relevant document and score "
            "0, as trec_eval has it."
        )
    if (
        options.reranker is None
        and "fused" not in options.searches
        and options.candidates != RetrievalOptions.candidates
    ):
        found.append("--candidates has no effect without the search fused or --reranker.")
    if "fused" not in options.searches and options.fusion_offset != RetrievalOptions.fusion_offset:
        found.append("--fusion-offset has no effect without the search fused.")
    return found


def _recalls(metrics: dict[str, Any]) -> list[str]:
    by_set = next(iter(metrics["models"].values()))
    return [name for name in next(iter(by_set.values())) if name.startswith("recall") and not name.endswith("ci95")]


def _by_query(scores: dict[str, RankingScores]) -> pd.DataFrame:
    parts = [pd.DataFrame({"search": name, "query-id": one.query_ids, **one.per_query}) for name, one in scores.items()]
    return pd.concat(parts, ignore_index=True)


def _score_rows(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for search, by_set in metrics["models"].items():
        for name, scores in by_set.items():
            for metric in [*METRICS, *_recalls(metrics)]:
                low, high = scores["ci95" if metric == MAIN_METRIC else f"{metric}_ci95"]
                found = {"model": search, "data": name, "metric": metric}
                rows.append({**found, "score": scores[metric], "low": low, "high": high})
    return rows
