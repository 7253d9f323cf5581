"""What evaluations found, in words and tables."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from embedtrain.evaluation.comparing import Difference, Estimate
from embedtrain.pipelines.wording import aligned, points

_LEVEL = 0.05


def short_names(names: Iterable[str]) -> dict[str, str]:
    """What tables call models and files: the last part of a path where that tells them apart, else all of it.

    Of a path that ends in ``model``, as those in run folders do, the folder before it says more and is kept.
    """
    given = list(names)
    last = {name: "/".join(Path(name).parts[-2 if Path(name).name == "model" else -1 :]) or name for name in given}
    return {name: last[name] if list(last.values()).count(last[name]) == 1 else name for name in given}


def main_scores(estimates: Mapping[str, Mapping[str, Estimate]]) -> dict[str, dict[str, Any]]:
    """The score that decides, with its interval, by model and set of items: ``{"score": ..., "ci95": [...]}``."""
    found: dict[str, dict[str, Any]] = {}
    for model, by_set in estimates.items():
        found[model] = {}
        for name, estimate in by_set.items():
            interval = estimate.interval()
            found[model][name] = {"score": interval.value, "ci95": [interval.low, interval.high]}
    return found


def interval_words(ci95: Sequence[float]) -> str:
    """An interval of a score x 100."""
    return f"{points(ci95[0])} ... {points(ci95[1])}"


def differences_table(metrics: Mapping[str, Any]) -> str | None:
    """Each comparison in a line, x 100; None where there is none."""
    if not metrics["differences"]:
        return None
    model, data = short_names(metrics["models"]), short_names(metrics["data"])
    rows = [[f"difference of {metrics['metric']['label']}", "on", "x 100", "95 % interval", "p, corrected", ""]]
    for entry in metrics["differences"]:
        low, high = entry["ci95"]
        rows.append(
            [
                f"{model[entry['first']]} - {model[entry['second']]}",
                data[entry["data"]],
                f"{100 * entry['difference']:+.2f}",
                f"{100 * low:+.2f} ... {100 * high:+.2f}",
                f"{entry['p_adjusted']:.3f}",
                _says(entry),
            ]
        )
    return "\n".join(aligned(rows))


def comparison_verdict(differences: Sequence[Difference], *, label: str) -> str:
    """One sentence a pair of models: which of them is better, and on how many sets of items that can be shown."""
    told = []
    called = short_names(dict.fromkeys(name for one in differences for name in (one.first, one.second)))
    for first, second in dict.fromkeys((one.first, one.second) for one in differences):
        rows = [one for one in differences if (one.first, one.second) == (first, second)]
        shown = [one for one in rows if one.is_significant]
        better = [one for one in shown if one.difference > 0]
        if len(rows) == 1:
            told.append(_of_one_set(rows[0], called[first], called[second], label=label))
        elif not shown:
            told.append(f"Between {called[first]} and {called[second]} none of {len(rows)} sets shows a difference.")
        else:
            others = "; on the others no difference can be shown" if len(shown) < len(rows) else ""
            told.append(
                f"{called[first]} is better than {called[second]} on {len(better)} and worse on "
                f"{len(shown) - len(better)} of {len(rows)} sets{others}."
            )
    return " ".join(told)


def resampling_warnings(differences: Sequence[Difference], *, samples: int) -> list[str]:
    """A word where the correction asks for smaller p-values than so many resamples can give."""
    sets = len({one.data for one in differences})
    if not differences or 2 / (samples + 1) * sets <= _LEVEL:
        return []
    needed = int(2 * sets / _LEVEL)
    return [
        f"{sets} sets are compared, and {samples} resamples cannot show a difference on any of them once p-values are "
        f"corrected for that: give --bootstrap-samples {needed} or more."
    ]


def _of_one_set(one: Difference, first: str, second: str, *, label: str) -> str:
    low, high = one.ci95
    figures = (
        f"{100 * one.difference:+.2f} points of {label}, 95 % interval {100 * low:+.2f} to {100 * high:+.2f}, "
        f"p {one.p_adjusted:.3f}"
    )
    if not one.is_significant:
        return f"Between {first} and {second} no difference can be shown: {figures}."
    return f"{first} is {'better' if one.difference > 0 else 'worse'} than {second}: {figures}."


def _says(entry: Mapping[str, Any]) -> str:
    if entry["p_adjusted"] > _LEVEL:
        return "open"
    return "better" if entry["difference"] > 0 else "worse"
