"""The options of ``embedtrain compare``, with their checks."""

from dataclasses import dataclass, field

from embedtrain.errors import Problems
from embedtrain.pipelines.evaluate.options import EvaluateOptions, check_given


@dataclass(frozen=True, kw_only=True)
class CompareOptions(EvaluateOptions):
    """Models beside each other on the same rows; or folders of evaluations, task by task, by what they keep.

    Args:
        model: Models and folders of runs; or folders that evaluate sts, pairs, retrieval, mteb or glue wrote.
        data: Tables to measure on: scored pairs, labelled pairs, positive pairs, triplets or labelled sentences, as
            their columns tell. Without any, the test sets of the runs are taken.
        columns: Names in your files for ours, such as sentence1=question1; numbers from 0 for a file without header.
        train_data: Tables that the models were trained on; evaluation texts and pairs that stand in them are told.
    """

    data: list[str] = field(default_factory=list)
    columns: dict[str, str] = field(default_factory=dict)
    train_data: list[str] = field(default_factory=list)

    def check(self, problems: Problems, *, are_evaluations: bool = False) -> None:
        """As for every evaluation, with two models or more, or what evaluations keep of several."""
        super().check(problems)
        if are_evaluations:
            for given in (name for name in ("data", "columns", "train_data") if getattr(self, name)):
                given = given.replace("_", "-")
                problems.add(f"--{given}: evaluations are compared on what they were measured on, expected no tables")
            return
        if len(self.model) == 1:
            problems.add(f"{self.model[0]} is the only model, expected at least two to compare")
        if self.data:
            check_given("data", self.data, problems)

    def inputs(self) -> list[tuple[str, str]]:
        """Models and data."""
        return [*super().inputs(), *(("data", name) for name in self.data)]
