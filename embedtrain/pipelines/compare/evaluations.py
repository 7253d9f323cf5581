"""Evaluations beside each other, by what their folders keep: no model is loaded, no data is read."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from embedtrain.errors import Problems
from embedtrain.evaluation.kept_items import INDEX, KeptScore, read_index
from embedtrain.files import read_json
from embedtrain.pipelines.checks import noting
from embedtrain.pipelines.compare.options import CompareOptions
from embedtrain.pipelines.evaluate.inputs import is_run
from embedtrain.pipelines.evaluate.task_judging import Judged
from embedtrain.pipelines.evaluate.workspace import Evaluation, write_figures
from embedtrain.pipelines.run import Run
from embedtrain.report import write_tasks_report

_KINDS = ("sts", "pairs", "retrieval", "mteb", "glue")


def are_evaluations(options: CompareOptions) -> bool:
    """Whether folders of evaluations are compared, as far as one of the names is such a folder."""
    return any(is_evaluation(Path(name).expanduser()) for name in options.model)


def is_evaluation(folder: Path) -> bool:
    """Whether a folder is that of an evaluation whose scores can be compared."""
    if not is_run(folder) or (folder / "model").is_dir():
        return False
    try:
        return (folder / INDEX).is_file() or read_json(folder / "metrics.json").get("task") in _KINDS
    except (OSError, ValueError, AttributeError):
        return False


def compare_evaluations(options: CompareOptions) -> Evaluation:
    """Test the differences between the models of evaluations, task by task.

    Returns:
        ``metrics`` holds what ``evaluate.task_judging.Judged`` says of them.

    Raises:
        UserError: With every mistake in options and folders.
    """
    judged = Judged.of(read_evaluations(options), samples=options.bootstrap_samples, seed=options.seed)
    metrics = {"task": "compare", **judged.metrics(samples=options.bootstrap_samples)}
    metrics["verdict"] = metrics["verdict"] or "The models have no task in common on which they can be compared."
    if options.output is None:
        return Evaluation(metrics, None)
    with Run(options.output, config=options.as_dict()) as run:
        run.note(seed=options.seed)
        write_figures(run.folder, metrics, _score_rows(metrics))
        write_tasks_report(run.folder)
    return Evaluation(metrics, run.folder)


def read_evaluations(options: CompareOptions) -> list[KeptScore]:
    """What the folders keep.

    Raises:
        UserError: With every problem of every option and folder.
    """
    problems = Problems()
    options.check(problems, are_evaluations=True)
    found: dict[str, list[KeptScore]] = {}
    for name in dict.fromkeys(options.model):
        folder = Path(name).expanduser()
        if is_evaluation(folder):
            found[name] = noting(problems, read_index, folder) or []
        else:
            problems.add(
                f"{name}: no folder of an evaluation, but others are; expected folders of evaluate sts, pairs, "
                "retrieval, mteb or glue alone, or models and runs alone"
            )
    scores = _named(found)
    if len(found) == len(options.model) and len({score.model for score in scores}) == 1:
        problems.add(f"{scores[0].model} is the only model in {', '.join(found)}, expected at least two to compare")
    problems.raise_if_any()
    return scores


def _named(found: Mapping[str, Sequence[KeptScore]]) -> list[KeptScore]:
    """The scores of all folders; models that stand in several are called by the folder, too."""
    models = {folder: list(dict.fromkeys(score.model for score in scores)) for folder, scores in found.items()}
    times = Counter(model for names in models.values() for model in names)
    named = []
    # The same table may have been given by another path.
    data: dict[str, str] = {}
    for folder, scores in found.items():
        for score in scores:
            name = score.model
            if times[name] > 1:
                name = folder if len(models[folder]) == 1 else f"{folder}: {name}"
            named.append(replace(score, model=name, data=data.setdefault(score.content, score.data)))
    return named


def _score_rows(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for model, by_task in metrics["main"].items():
        for task, entry in by_task.items():
            low, high = entry["ci95"] or (None, None)
            facts = metrics["data"][task]
            found = {"model": model, "data": task, "type": facts["type"], "metric": facts["metric"]}
            rows.append({**found, "score": entry["score"], "low": low, "high": high})
    return rows
