"""What labels are worth: teachers and student on dev, calibration, a verdict in words, and a table for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedtrain.evaluation.sts import score_predictions
from embedtrain.mining.calibration import calibration_error, reliability
from embedtrain.mining.combining import cross_fitted_combination, fit_combination
from embedtrain.pipelines.label.teachers import Teacher, calibration_method, uncalibrated
from embedtrain.pipelines.wording import aligned, points

Floats = NDArray[np.float64]


def judge_on_dev(
    teachers: Sequence[Teacher],
    given: Sequence[Floats],
    gold: Floats,
    *,
    student: tuple[str, Floats] | None,
    calibrated: bool,
    bootstrap_samples: int,
    seed: int,
) -> dict[str, Any]:
    """Dev scores with intervals of every teacher, of their labels and of the student, and the calibration.

    Args:
        teachers: The teachers.
        given: Each teacher's scores of the dev pairs, (teachers, pairs).
        gold: People's scores of those pairs, (pairs,).
        student: Name of the model that shall learn from the labels and its scores, (pairs,); or None.
        calibrated: Whether the labels will be calibrated.
        bootstrap_samples: Resamples behind each interval.
        seed: Of the resampling, and of the folds of the calibration.

    Returns:
        ``teachers``, ``student``, ``labels`` (the dev score of the mean of all teachers, through logistic curves where
        labels are calibrated: two numbers fitted on these very pairs flatter nobody, and maps of each fold's own would
        blur the ranking) and ``calibration`` (the error after it on other folds than those it was fitted on).
    """

    def scored(values: ArrayLike) -> dict[str, Any]:
        return score_predictions(values, gold, samples=bootstrap_samples, seed=seed)

    before = uncalibrated(teachers).apply(given)
    after = cross_fitted_combination(given, gold, method=calibration_method(len(gold)), seed=seed)
    ranked = fit_combination(given, gold, method="logistic").apply(given) if calibrated else before
    return {
        "teachers": [
            {"name": teacher.name, "kind": teacher.kind, "dev": scored(values)}
            for teacher, values in zip(teachers, given, strict=True)
        ],
        "student": None if student is None else {"name": student[0], "dev": scored(student[1])},
        "labels": {"dev": scored(ranked)},
        "calibration": {
            "applied": calibrated,
            "pairs": len(gold),
            "error_before": calibration_error(before, gold),
            "error_after": calibration_error(after, gold),
            "reliability_before": reliability(before, gold),
            "reliability_after": reliability(after, gold),
        },
    }


def not_judged(teachers: Sequence[Teacher]) -> dict[str, Any]:
    """The same without dev: who labels, and nothing of how well."""
    return {
        "teachers": [{"name": teacher.name, "kind": teacher.kind, "dev": None} for teacher in teachers],
        "student": None,
        "labels": {"dev": None},
        "calibration": None,
    }


def blank_warnings(pairs: int, blanks: tuple[int, Sequence[int]]) -> list[str]:
    """What to tell of pairs of which a text has nothing in it; ``blanks`` as in ``PairFiles``."""
    count, rows = blanks
    if not count:
        return []
    return [
        f"{count:,} of {pairs:,} pairs have a text with nothing in it (row {', '.join(map(str, rows))}"
        f"{' ...' if count > len(rows) else ''}): a teacher's score of them says nothing. They are labelled like all "
        "others; leave them out of what is trained on the labels."
    ]


def teacher_warnings(judged: Mapping[str, Any]) -> list[str]:
    """What to tell before labelling: a teacher that was not measured, or that is no better than its student."""
    teacher, student = _dev(judged["labels"]), _dev(judged["student"])
    if teacher is None:
        return [
            "Nothing is known of how good the teacher is on these pairs: give scored pairs with --dev, and the student "
            "that shall learn from the labels with --student."
        ]
    if student is None or teacher > student:
        return []
    return [
        f"The teacher is no better than the student it shall teach: dev Spearman {points(teacher)} for the labels, "
        f"{points(student)} for the student. Its labels are likely to hurt; a larger teacher, or one trained on more "
        "gold pairs, may help."
    ]


def dev_scores(judged: Mapping[str, Any]) -> str | None:
    """What labels and student reach on dev, in a line to be read before labelling; None without dev."""
    teacher, student = _dev(judged["labels"]), _dev(judged["student"])
    if teacher is None:
        return None
    beside = "" if student is None else f", {points(student)} for the student"
    return f"dev Spearman: {points(teacher)} for the labels{beside}"


def label_warnings(metrics: Mapping[str, Any]) -> list[str]:
    """What to tell after labelling, beside what was told before."""
    found = []
    told = metrics["distribution"]
    if told["outside"]:
        found.append(
            f"{told['outside']:,} of {told['silver_pairs']:,} scores lie outside 0 to 1, and most losses expect none "
            "there: --sigmoid or --calibrate brings them inside."
        )
    counts = np.array(told["silver_hist"])
    if counts.sum() > 1 and counts.max() == counts.sum():
        low, high = (told["edges"][counts.argmax() + place] for place in (0, 1))
        found.append(f"All scores lie between {low:g} and {high:g}: the teacher tells hardly any pair from another.")
    return found


def label_verdict(metrics: Mapping[str, Any]) -> str:
    """One paragraph, the answer first: are these labels better than what the student says by itself."""
    teacher, student = _dev(metrics["labels"]), _dev(metrics["student"])
    names = " and ".join(teacher["name"] for teacher in metrics["teachers"])
    if teacher is None:
        answer = "How good the labels are is not known: nothing was measured on dev."
    elif student is None:
        answer = f"The labels reach a Spearman of {points(teacher)} on dev."
    else:
        comparison = "better" if teacher > student else "no better"
        answer = f"The labels are {comparison} than the student on dev: {points(teacher)} against {points(student)}."
    parts = [answer, f"{metrics['pairs']:,} pairs are labelled by {names}."]
    distance = metrics["distribution"]["wasserstein"]
    if distance is not None:
        parts.append(f"A silver score lies {distance:.3f} from gold's spread on average (Wasserstein).")
    shares = metrics["thresholds"]
    if shares is not None:
        parts.append(
            f"{100 * shares['dropped_share']:.1f} % of the pairs lie between the thresholds, where hard labels would "
            "drop them."
        )
    return " ".join(parts)


def label_table(metrics: Mapping[str, Any]) -> str | None:
    """Teachers and student as a table for a terminal, correlations x 100 with 95 % intervals; None without dev."""
    told = [(f"teacher: {teacher['name']}", teacher["dev"]) for teacher in metrics["teachers"]]
    if len(told) > 1 or (metrics["calibration"] or {}).get("applied"):
        told.append(("labels", metrics["labels"]["dev"]))
    if metrics["student"] is not None:
        told.append((f"student: {metrics['student']['name']}", metrics["student"]["dev"]))
    rows = [("x 100", "Spearman, dev", "95 % interval", "Pearson")]
    for name, dev in told:
        if dev is not None:
            low, high = dev["ci95"]
            rows.append((name, points(dev["spearman"]), f"{points(low)} ... {points(high)}", points(dev["pearson"])))
    return "\n".join(aligned(rows)) if len(rows) > 1 else None


def _dev(model: Mapping[str, Any] | None) -> float | None:
    return None if model is None or model["dev"] is None else float(model["dev"]["spearman"])
