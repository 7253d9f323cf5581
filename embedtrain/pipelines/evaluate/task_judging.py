"""Scores of models on tasks: their intervals, paired differences, and means over what all of them were measured on."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from embedtrain.evaluation.classification import mean_of_estimates
from embedtrain.evaluation.comparing import Difference, Estimate, compare_models, p_value
from embedtrain.evaluation.kept_items import KeptScore, Part
from embedtrain.pipelines.evaluate.judging import (
    comparison_verdict,
    differences_table,
    interval_words,
    resampling_warnings,
    short_names,
)
from embedtrain.pipelines.wording import aligned, points

_SHOWN = 8


@dataclass(frozen=True)
class Judged:
    """Scores with their estimates.

    Attributes:
        scores: By model, then by task.
        parts: The estimate of each split and subset that has items, by model and task.
        estimates: The same of the means over a task's splits and subsets, where all of them have items.
        shared: Tasks that all models were measured on, on the same items.
    """

    scores: Mapping[str, Mapping[str, KeptScore]]
    parts: Mapping[str, Mapping[str, Mapping[Part, Estimate]]]
    estimates: Mapping[str, Mapping[str, Estimate]]
    shared: tuple[str, ...]

    @classmethod
    def of(cls, scores: Iterable[KeptScore], *, samples: int, seed: int) -> "Judged":
        """Resample every score that has items.

        Args:
            scores: At most one of each model on each task.
            samples: Number of resamples.
            seed: Seed of the resampling.
        """
        by_model: dict[str, dict[str, KeptScore]] = {}
        for score in scores:
            by_model.setdefault(score.model, {})[score.data] = score
        parts = {
            model: {task: score.part_estimates(samples=samples, seed=seed) for task, score in by_task.items()}
            for model, by_task in by_model.items()
        }
        estimates = {
            model: {
                task: mean_of_estimates(list(drawn.values()))
                for task, drawn in by_task.items()
                if len(drawn) == len(by_model[model][task].parts)
            }
            for model, by_task in parts.items()
        }
        return cls(by_model, parts, estimates, _shared(by_model))

    @property
    def tasks(self) -> list[str]:
        """Every task, in the order in which they came."""
        return list(dict.fromkeys(task for by_task in self.scores.values() for task in by_task))

    def metrics(self, *, samples: int) -> dict[str, Any]:
        """Plain values for JSON: what a page and a table show.

        Args:
            samples: Number of resamples, for a word where they are too few.
        """
        differences = self.differences()
        labels = {score.metric for by_task in self.scores.values() for score in by_task.values()}
        label = labels.pop() if len(labels) == 1 else "main score"
        return {
            "metric": {"name": "main", "label": label},
            "data": {task: self._facts(task) for task in self.tasks},
            "main": {
                model: {task: self._main(model, task) for task in by_task} for model, by_task in self.scores.items()
            },
            "differences": [one.as_dict() for one in differences],
            "overall": self._overall(self.shared),
            "types": self._types(),
            "left_out": self.left_out(),
            "verdict": comparison_verdict(differences, label=label),
            "warnings": resampling_warnings(differences, samples=samples),
        }

    def differences(self) -> list[Difference]:
        """Paired differences on every task that two models were measured on, on the same items."""
        # Under its content a task is only compared with itself.
        keyed = {
            model: {f"{self.scores[model][task].content} {task}": one for task, one in by_task.items()}
            for model, by_task in self.estimates.items()
        }
        return [replace(one, data=one.data.partition(" ")[2]) for one in compare_models(keyed)]

    def left_out(self) -> list[str]:
        """In words, which tasks stand in no mean, and which are not compared."""
        said = []
        if len(self.scores) > 1:
            for task in self.tasks:
                having = [model for model in self.scores if task in self.scores[model]]
                if len(having) < len(self.scores):
                    called = short_names(self.scores)
                    said.append(f"{task}: only {' and '.join(called[model] for model in having)} measured on it")
                elif task not in self.shared:
                    said.append(f"{task}: not the same data, or not the same score, for all")
        for task in self.tasks:
            reasons = {self.scores[model][task].reason for model in self.scores if task in self.scores[model]}
            said += [f"{task}: no interval, {reason}" for reason in sorted(reasons - {""})]
        return said

    def _facts(self, task: str) -> dict[str, Any]:
        of_models = [by_task[task] for by_task in self.scores.values() if task in by_task]
        items = dict.fromkeys(score.over for score in of_models if score.over)
        return {"type": of_models[0].type, "items": " or ".join(items), "metric": of_models[0].metric}

    def _main(self, model: str, task: str) -> dict[str, Any]:
        score = self.scores[model][task]
        return {"score": score.score, "ci95": _bounds(self.estimates[model].get(task)), "reason": score.reason}

    def _overall(self, tasks: Sequence[str]) -> dict[str, Any]:
        """The mean over tasks of each model, and the differences of these means."""
        found: dict[str, Any] = {"tasks": list(tasks), "models": {}, "differences": []}
        if not tasks:
            return found
        means: dict[str, Estimate] = {}
        for model, by_task in self.scores.items():
            drawn = [self.estimates[model][task] for task in tasks if task in self.estimates[model]]
            if len(drawn) == len(tasks):
                means[model] = mean_of_estimates(drawn)
            score = sum(by_task[task].score for task in tasks) / len(tasks)
            found["models"][model] = {"score": score, "ci95": _bounds(means.get(model))}
        for first, second in combinations(means, 2):
            apart = means[first].minus(means[second])
            entry = {"difference": apart.value, "ci95": _bounds(apart), "p_value": p_value(apart)}
            found["differences"].append({"first": first, "second": second, **entry})
        return found

    def _types(self) -> dict[str, Any]:
        """The mean of each model over the shared tasks of each type."""
        by_type: dict[str, list[str]] = {}
        for task in self.shared:
            by_type.setdefault(str(self._facts(task)["type"]), []).append(task)
        return {
            type_: {
                "tasks": tasks,
                "models": {
                    model: sum(by_task[task].score for task in tasks) / len(tasks)
                    for model, by_task in self.scores.items()
                },
            }
            for type_, tasks in by_type.items()
        }


def tasks_table(metrics: Mapping[str, Any]) -> str:
    """Tasks and scores x 100 with their intervals, differences, means and what was left out, for a terminal."""
    called = short_names(metrics["main"])
    header = ["x 100", "metric", "items"]
    for model in metrics["main"]:
        header += [called[model], "95 % interval"]
    rows = [header]
    for task, facts in metrics["data"].items():
        row = [task, facts["metric"], facts["items"]]
        for by_task in metrics["main"].values():
            row += score_cells(by_task.get(task))
        rows.append(row)
    overall = metrics["overall"]
    if len(overall["tasks"]) > 1:
        row = [f"mean of {len(overall['tasks'])} shared", "", ""]
        for model in metrics["main"]:
            row += score_cells(overall["models"][model])
        rows.append(row)
    parts = ["\n".join(aligned(rows))]
    # Its names of models are those of the scores.
    compared = differences_table({**metrics, "models": metrics["main"]})
    parts += [compared] if compared else []
    parts += ["\n".join(overall_words(metrics))] if overall["differences"] and len(overall["tasks"]) > 1 else []
    parts += [left_out_words(metrics)] if metrics["left_out"] else []
    return "\n\n".join(parts)


def score_cells(entry: Mapping[str, Any] | None) -> list[str]:
    """A score and its interval for a table, empty where there is none."""
    if entry is None:
        return ["", ""]
    return [points(entry["score"]), interval_words(entry["ci95"]) if entry["ci95"] else ""]


def overall_words(metrics: Mapping[str, Any]) -> list[str]:
    """Each difference of two means in a sentence."""
    called, overall = short_names(metrics["main"]), metrics["overall"]
    return [
        f"Over the {len(overall['tasks'])} shared tasks {called[one['first']]} minus {called[one['second']]} is "
        f"{100 * one['difference']:+.2f} on average, 95 % interval {100 * one['ci95'][0]:+.2f} ... "
        f"{100 * one['ci95'][1]:+.2f}."
        for one in overall["differences"]
    ]


def left_out_words(metrics: Mapping[str, Any]) -> str:
    """What was left out, each in a line, the first few."""
    said = metrics["left_out"]
    more = [f"and {len(said) - _SHOWN} more, all in metrics.json"] if len(said) > _SHOWN else []
    return "\n".join([*said[:_SHOWN], *more])


def _shared(scores: Mapping[str, Mapping[str, KeptScore]]) -> tuple[str, ...]:
    first, *others = scores.values()
    return tuple(
        task
        for task, score in first.items()
        if all(task in other and other[task].content == score.content for other in others)
    )


def _bounds(estimate: Estimate | None) -> list[float] | None:
    if estimate is None:
        return None
    interval = estimate.interval()
    return [interval.low, interval.high]
