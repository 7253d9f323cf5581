"""The options of ``embedtrain evaluate sts``, ``pairs`` and ``retrieval``, with their checks."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from embedtrain.errors import Problems
from embedtrain.evaluation.names import NumberType
from embedtrain.models.names import DeviceName, PrecisionName

Search = Literal["dense", "bm25", "fused"]


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """What every evaluation is told.

    Args:
        model: One or more models: folders of models or of runs, or models' names.
        output: A folder that keeps the figures; the same command does again only what has changed. Without it they are
            shown and forgotten.
        batch_size: Texts encoded at a time.
        seed: Of the bootstrap.
        device: Where to compute; auto takes the GPU where there is one.
        precision: Of matrix products. fp32 is what a saved model gives to whoever loads it; bf16 is faster where the
            hardware has instructions for it, which auto finds out.
        bootstrap_samples: Resamples behind each 95 % interval.
    """

    model: list[str]
    output: str | None = None
    batch_size: int = 64
    seed: int = 42
    device: DeviceName = "auto"
    precision: PrecisionName = "fp32"
    bootstrap_samples: int = 1000

    def as_dict(self) -> dict[str, Any]:
        """Plain values for YAML and JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def check(self, problems: Problems) -> None:
        """Note every value that is out of range and every pair of options that contradict each other."""
        check_numbers(self, {"batch_size": 1, "seed": 0, "bootstrap_samples": 100}, problems)
        check_given("model", self.model, problems)
        check_output(self.output, self.inputs(), problems)
        self.check_processes(problems)

    def check_processes(self, problems: Problems) -> None:
        """Note several processes that were started together, where they cannot share the work."""
        check_single_process(problems)

    def inputs(self) -> list[tuple[str, str]]:
        """Option and value of everything that is read."""
        return [("model", name) for name in self.model]


@dataclass(frozen=True, kw_only=True)
class STSOptions(EvaluateOptions):
    """How well similarities follow people's scores.

    Args:
        data: One or more tables of scored pairs: CSV, TSV, JSON, JSONL or Parquet files, saved datasets folders, or
            hub names.
        columns: Names in your files for ours, such as sentence1=question1; numbers from 0 for a file without header.
        score_range: Lowest and highest score that your files may hold; any number is one where this is left out.
        dims: Measure embeddings cut to so many dimensions, too, such as 32 64 128 256.
        number_types: Types that embeddings are quantised to and measured in, too.
        train_data: Tables that the models were trained on; evaluation texts and pairs that stand in them are told.
    """

    data: list[str]
    columns: dict[str, str] = field(default_factory=dict)
    score_range: tuple[float, float] | None = None
    dims: list[int] = field(default_factory=list)
    number_types: list[NumberType] = field(default_factory=lambda: ["int8", "binary"])
    train_data: list[str] = field(default_factory=list)

    def check(self, problems: Problems) -> None:
        """As for every evaluation, with the data and the sizes."""
        super().check(problems)
        check_given("data", self.data, problems)
        for dim in self.dims:
            if dim < 1:
                problems.add(f"--dims {dim}, expected at least 1")
        for name, values in (("dims", self.dims), ("number-types", self.number_types)):
            for twice in _twice(values):
                problems.add(f"--{name} {twice} is given twice")

    def inputs(self) -> list[tuple[str, str]]:
        """Models and data."""
        return [*super().inputs(), *(("data", name) for name in self.data)]


@dataclass(frozen=True, kw_only=True)
class PairsOptions(EvaluateOptions):
    """How well cosines tell pairs that match from pairs that do not.

    Args:
        data: One or more tables of labelled pairs (label 1 where they match, else 0): CSV, TSV, JSON, JSONL or Parquet
            files, saved datasets folders, or hub names.
        columns: Names in your files for ours, such as sentence1=question1; numbers from 0 for a file without header.
        train_data: Tables that the models were trained on; evaluation texts and pairs that stand in them are told.
    """

    data: list[str]
    columns: dict[str, str] = field(default_factory=dict)
    train_data: list[str] = field(default_factory=list)

    def check(self, problems: Problems) -> None:
        """As for every evaluation, with the data."""
        super().check(problems)
        check_given("data", self.data, problems)

    def inputs(self) -> list[tuple[str, str]]:
        """Models and data."""
        return [*super().inputs(), *(("data", name) for name in self.data)]


@dataclass(frozen=True, kw_only=True)
class RetrievalOptions(EvaluateOptions):
    """Whether the documents that answer a query are found: by embeddings, by words, and by both.

    Args:
        data: A folder that holds corpus, queries and judgements in BEIR's layout.
        split: Whose judgements to read.
        searches: dense (nearest embeddings by cosine), bm25 (words), fused (both, by reciprocal rank).
        reranker: A cross-encoder that puts the best documents of each query in order anew.
        candidates: Documents of each query that the searches hand on to fusion, and to the cross-encoder.
        fusion_offset: Added to each rank before fusion: the larger, the less the very first ranks decide.
        recall: Each k of recall at k.
        skip_own_id: Leave out the document whose id is the query's, for sets whose queries stand in the corpus.
        train_data: Tables that the models were trained on; evaluation texts and pairs that stand in them are told.
    """

    data: str
    split: str = "test"
    searches: list[Search] = field(default_factory=lambda: ["dense", "bm25", "fused"])
    reranker: str | None = None
    candidates: int = 100
    fusion_offset: int = 60
    recall: list[int] = field(default_factory=lambda: [1, 3, 5, 10, 100])
    skip_own_id: bool = False
    train_data: list[str] = field(default_factory=list)

    def check(self, problems: Problems) -> None:
        """As for every evaluation, with the searches."""
        super().check(problems)
        check_given("searches", self.searches, problems)
        check_numbers(self, {"candidates": 1, "fusion_offset": 0}, problems)
        for depth in self.recall:
            if depth < 1:
                problems.add(f"--recall {depth}, expected at least 1")

    def inputs(self) -> list[tuple[str, str]]:
        """Models, data and the cross-encoder."""
        reranker = [] if self.reranker is None else [("reranker", self.reranker)]
        return [*super().inputs(), ("data", self.data), *reranker]


def check_numbers(options: object, least: Mapping[str, int], problems: Problems) -> None:
    """Note every number that is smaller than the least that makes sense; None stands for a default."""
    for name, smallest in least.items():
        value = getattr(options, name)
        if value is not None and value < smallest:
            problems.add(f"--{name.replace('_', '-')} is {value}, expected at least {smallest}")


def check_given(option: str, given: Sequence[str], problems: Problems) -> None:
    """Note a list that is empty, or that names something twice."""
    if not given:
        problems.add(f"--{option} names nothing, expected at least one")
    for twice in _twice(given):
        problems.add(f"--{option} {twice} is given twice")


def check_output(output: str | None, inputs: Sequence[tuple[str, str]], problems: Problems) -> None:
    """Note a folder to write to that is a file, or one of those that are read."""
    if output is None:
        return
    # os.path answers False where a path may not be looked at; the writing check says so then.
    if os.path.isfile(output):
        problems.add(f"--output {output}: this is a file, expected a folder")
    for option, given in inputs:
        if os.path.isdir(given) and os.path.abspath(given) == os.path.abspath(output):
            problems.add(f"--output {output}: this is the input of --{option}, expected a folder of its own")


def check_single_process(problems: Problems) -> None:
    """Note that several processes were started together, where each would do the whole work."""
    # Options are read before torch is imported.
    from embedtrain.models.sharing import is_leading, processes

    if processes() > 1 and not is_leading():
        problems.add("started by torchrun or accelerate with several processes: this command works in one")


def _twice(given: Sequence[Any]) -> list[Any]:
    return sorted({name for name in given if given.count(name) > 1})
