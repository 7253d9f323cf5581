"""The options of ``embedtrain compare``, with their checks."""

from dataclasses import dataclass, field

from embedtrain.errors import Problems
from embedtrain.pipelines.evaluate.options import EvaluateOptions, check_given


@dataclass(frozen=True, kw_only=True)
class CompareOptions(EvaluateOptions):
    """Models beside each other on the same rows.

    Args:
        data: Tables to measure on: scored pairs, labelled pairs, positive pairs, triplets or labelled sentences, as
            their columns tell. Without any, the test sets of the runs are taken.
        columns: Names in your files for ours, such as sentence1=question1; numbers from 0 for a file without header.
    """

    data: list[str] = field(default_factory=list)
    columns: dict[str, str] = field(default_factory=dict)

    def check(self, problems: Problems) -> None:
        """As for every evaluation, with two models or more."""
        super().check(problems)
        if len(self.model) == 1:
            problems.add(f"{self.model[0]} is the only model, expected at least two to compare")
        if self.data:
            check_given("data", self.data, problems)

    def inputs(self) -> list[tuple[str, str]]:
        """Models and data."""
        return [*super().inputs(), *(("data", name) for name in self.data)]
