"""What an export reads: the model's place, and texts to measure on."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from embedtrain.data.readers import read_sentences, read_table_of
from embedtrain.data.schema import SCORED_PAIRS, SENTENCES
from embedtrain.errors import Problems
from embedtrain.models import ModelSource
from embedtrain.pipelines.checks import check_tables, noting
from embedtrain.pipelines.compare.reading import read_test
from embedtrain.pipelines.evaluate.inputs import find_biencoder, is_run
from embedtrain.pipelines.export.options import ExportOptions

# For a model without data: what embeddings are compared on, said as such.
BUILT_IN = (
    "How do I reset my password?", "I forgot the password of my account.", "The parcel arrived two days late.",
    "Where can I see the state of my delivery?", "A cat sleeps on the warm windowsill.",
    "The committee postponed its decision until the figures of the second quarter were published.",
    "Boil the potatoes for twenty minutes, drain them, and let the steam escape before you mash them.", "Thank you!",
    "Patients who took the drug reported fewer headaches than those who took the placebo.", "When does the shop open?",
    "The bridge was closed to lorries after engineers had found cracks in two of its pillars.",
    "This phone's battery lasts a whole day, even when I watch films on the train.", "如何重置我的密码？",
    "我的账号无法登录，一直提示密码错误。", "快递比预计晚了两天才到。",
    "会议改到下周三下午三点，请大家提前准备好材料。",
)  # fmt: skip


@dataclass(frozen=True)
class ExportInputs:
    """Everything that an export depends on.

    Attributes:
        source: The model.
        pairs: Scored pairs, or None.
        texts: Different texts, in the order in which they came.
        measured_on: What they are, for people.
    """

    source: ModelSource
    pairs: pd.DataFrame | None
    texts: list[str]
    measured_on: str


def collect_export_inputs(options: ExportOptions) -> ExportInputs:
    """Check the options, find the model and read the data; no model is loaded yet.

    Raises:
        UserError: With every problem of every option, file and name at once.
    """
    problems = Problems()
    options.check(problems)
    source = noting(problems, find_biencoder, options.model)
    given = noting(problems, _read, options)
    problems.raise_if_any()
    # Nothing is None past this point: each attempt either gave a value or noted a problem.
    assert source is not None
    assert given is not None
    pairs, texts, measured_on = given
    return ExportInputs(source, pairs, texts, measured_on)


def _read(options: ExportOptions) -> tuple[pd.DataFrame | None, list[str], str]:
    folder = Path(options.model).expanduser()
    table, name = None, options.data
    if options.data is None:
        kept = read_test(folder) if is_run(folder) else None
        if kept is None or kept.kind is not SCORED_PAIRS:
            return None, list(BUILT_IN), f"{len(BUILT_IN)} built-in sentences"
        table, name = kept.table, "the run's test set"
    elif Path(options.data).suffix.lower() == ".txt":
        return _texts(read_sentences(options.data), options.data)
    else:
        table, kind = read_table_of(
            options.data, kinds=(SCORED_PAIRS, SENTENCES), columns=options.columns, score_range=None
        )
        if kind is SENTENCES:
            return _texts(table, options.data)
    whole = table["sentence1"].str.strip().ne("") & table["sentence2"].str.strip().ne("")
    pairs = table[whole]
    check_tables({f"--data {options.data}" if options.data else str(name): pairs})
    texts = pd.unique(pd.concat([pairs["sentence1"], pairs["sentence2"]])).tolist()
    return pairs, texts, f"{len(pairs):,} scored pairs of {Path(str(name)).name}"


def _texts(table: pd.DataFrame, name: str) -> tuple[None, list[str], str]:
    texts = pd.unique(table["text"][table["text"].str.strip().ne("")]).tolist()
    return None, texts, f"{len(texts):,} sentences of {Path(name).name}"
