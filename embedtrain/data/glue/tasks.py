"""What each task of GLUE asks: its columns, its labels, its metrics, and how many rows it is measured on.

Source: Wang et al. 2018, GLUE (arXiv:1804.07461), table 1.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from embedtrain.errors import UserError, did_you_mean

MetricName = Literal["matthews", "f1", "accuracy", "pearson", "spearman"]
HIGHEST_SCORE = 5.0
MIN_ROWS = 10
_DEV = {"dev": ("dev", "validation")}


@dataclass(frozen=True)
class GLUETask:
    """One task.

    Attributes:
        name: As GLUE writes it, which is its folder's name, too.
        forms: The columns that a file may have, texts first and the label last; of two that fit, the first.
        labels: Names of the classes, in the order of their numbers; empty where scores are to be predicted.
        metrics: What it is measured by; the task's score is their mean.
        dev_rows: How many rows GLUE measures it on, by part.
        dev_splits: How files call each of those parts.
        hub_name: What it is called on the hub.
    """

    name: str
    forms: tuple[tuple[str, ...], ...]
    labels: tuple[str, ...]
    metrics: tuple[MetricName, ...]
    dev_rows: Mapping[str, int]
    hub_name: str
    dev_splits: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: _DEV)

    @property
    def text_columns(self) -> tuple[str, ...]:
        """How its texts are called once they are read."""
        return ("sentence1", "sentence2")[: len(self.forms[0]) - 1]

    @property
    def outputs(self) -> int:
        """How many numbers a model says of a row: one for each class, or a score."""
        return len(self.labels) or 1


_PAIR = ("sentence1", "sentence2", "label")
_SINGLE = ("sentence", "label")
_ENTAILED = ("entailment", "not_entailment")

TASKS: Mapping[str, GLUETask] = {
    task.name: task
    for task in (
        GLUETask("CoLA", (_SINGLE,), ("unacceptable", "acceptable"), ("matthews",), {"dev": 1043}, "cola"),
        GLUETask("SST-2", (_SINGLE,), ("negative", "positive"), ("accuracy",), {"dev": 872}, "sst2"),
        GLUETask(
            "MRPC",
            (("#1 String", "#2 String", "Quality"), _PAIR),
            ("not_equivalent", "equivalent"),
            ("f1", "accuracy"),
            {"dev": 408},
            "mrpc",
        ),
        GLUETask(
            "STS-B",
            (("sentence1", "sentence2", "score"), _PAIR),
            (),
            ("pearson", "spearman"),
            {"dev": 1500},
            "stsb",
        ),
        GLUETask(
            "QQP",
            (("question1", "question2", "is_duplicate"), ("question1", "question2", "label")),
            ("not_duplicate", "duplicate"),
            ("f1", "accuracy"),
            {"dev": 40430},
            "qqp",
        ),
        GLUETask(
            "MNLI",
            (("sentence1", "sentence2", "gold_label"), ("premise", "hypothesis", "label")),
            ("entailment", "neutral", "contradiction"),
            ("accuracy",),
            {"matched": 9815, "mismatched": 9832},
            "mnli",
            {part: (f"dev_{part}", f"validation_{part}") for part in ("matched", "mismatched")},
        ),
        GLUETask("QNLI", (("question", "sentence", "label"),), _ENTAILED, ("accuracy",), {"dev": 5463}, "qnli"),
        GLUETask("RTE", (_PAIR,), _ENTAILED, ("accuracy",), {"dev": 277}, "rte"),
        GLUETask("WNLI", (_PAIR,), _ENTAILED[::-1], ("accuracy",), {"dev": 71}, "wnli"),
    )
}


def find_task(name: str) -> GLUETask:
    """A task by its name, however it is written: ``SST-2``, ``sst2``, ``sts_b``.

    Raises:
        UserError: There is no such task; the nearest name and all names are given.
    """
    known = {plain_name(task): task for task in TASKS}
    found = known.get(plain_name(name))
    if found is None:
        raise UserError(f"--tasks {name}: GLUE has no such task{did_you_mean(name, TASKS)}; it has {', '.join(TASKS)}")
    return TASKS[found]


def plain_name(name: str) -> str:
    """A task's or folder's name without what it is written with."""
    return re.sub(r"[-_ ]", "", name).lower()
