"""Who may label: single trained models, and which of them together."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from embedtrain.mining.strict_calibration import PAIRS_FOR_ISOTONIC
from embedtrain.pipelines.augsbert.options import AugSBERTOptions, MemberKind, TeacherAverage

STUDENT_STAGE = "gold_only"


@dataclass(frozen=True)
class Member:
    """One model that can score pairs.

    Attributes:
        kind: What it is.
        number: Which of several seeds, from 1.
    """

    kind: MemberKind
    number: int = 1

    @property
    def name(self) -> str:
        """For people."""
        return self.kind if self.number == 1 else f"{self.kind} {self.number}"

    @property
    def slug(self) -> str:
        """For names of folders."""
        return self.name.replace("-", "_").replace(" ", "_")

    @property
    def embeds(self) -> bool:
        """Whether it knows texts by embeddings, so that it can tell the similarity of any two."""
        return self.kind != "cross-encoder"

    @property
    def stage(self) -> str:
        """The stage that trains it."""
        return STUDENT_STAGE if self.kind == "student" else f"teacher_{self.slug}"

    def seed(self, options: AugSBERTOptions) -> int:
        """Of its training."""
        # A bi-encoder of the student's own base and seed would be that student once more.
        return options.seed + self.number - (self.kind == "cross-encoder")


@dataclass(frozen=True)
class Candidate:
    """Members whose scores are averaged, as a possible teacher."""

    kinds: tuple[MemberKind, ...]
    members: tuple[Member, ...]

    @property
    def name(self) -> str:
        """For people, such as ``cross-encoder + student``, or ``3 bi-encoders``."""
        counts = {kind: sum(member.kind == kind for member in self.members) for kind in self.kinds}
        return " + ".join(kind if count == 1 else f"{count} {kind}s" for kind, count in counts.items())

    def calibration(self, options: AugSBERTOptions, *, dev_pairs: int) -> Literal["isotonic", "logistic", "none"]:
        """How its scores are brought onto gold's scale, with so many dev pairs to learn it from."""
        if options.calibration != "auto":
            return options.calibration
        if self.kinds == ("cross-encoder",) and self.average(options) == "scores":
            return "none"
        return "isotonic" if dev_pairs >= PAIRS_FOR_ISOTONIC else "logistic"

    def average(self, options: AugSBERTOptions) -> TeacherAverage:
        """What of its members is averaged."""
        return options.teacher_average if len(self.members) > 1 else "scores"


def kinds_of(options: AugSBERTOptions) -> tuple[MemberKind, ...]:
    """The kinds of members that the options ask for."""
    if options.teacher_kind in ("ensemble", "auto"):
        return options.members
    return ("bi-encoder",) if options.teacher_kind == "bi-encoder" else ("cross-encoder",)


def members_of(kinds: Sequence[MemberKind], *, seeds: int) -> tuple[Member, ...]:
    """Every member of those kinds; there is one student whatever the seeds."""
    return tuple(Member(kind, number) for kind in kinds for number in range(1, 2 if kind == "student" else seeds + 1))


def candidates_of(options: AugSBERTOptions) -> list[Candidate]:
    """What may become the teacher, the simplest first: one candidate, or for ``auto`` each combination of kinds.

    The student alone is none: it would be taught what it says already.
    """
    kinds = kinds_of(options)
    sizes = range(1, len(kinds) + 1) if options.teacher_kind == "auto" else [len(kinds)]
    together = [chosen for size in sizes for chosen in combinations(kinds, size)]
    return [
        Candidate(chosen, members_of(chosen, seeds=options.teacher_seeds))
        for chosen in together
        if chosen != ("student",)
    ]


def learns_batches(options: AugSBERTOptions, members: Sequence[Member]) -> bool:
    """Whether students learn all of a batch's similarities from this teacher, in place of each pair's own."""
    if options.silver_targets != "auto":
        return options.silver_targets == "batch"
    return all(member.embeds for member in members) and not options.takes_pairs_as_labels


def starts_from(member: Member, options: AugSBERTOptions) -> Member | None:
    """The trained model whose weights a cross-encoder starts from; None when that is the teacher's base."""
    if member.kind != "cross-encoder" or options.teacher_start == "base":
        return None
    return Member("student") if options.teacher_start == "student" else Member("bi-encoder", member.number)


def trained_members(candidates: Sequence[Candidate], options: AugSBERTOptions) -> list[Member]:
    """All that has to be trained for some candidates, each behind what it starts from."""
    members = [member for candidate in candidates for member in candidate.members]
    behind = [(starts_from(member, options), member) for member in members]
    return list(dict.fromkeys(each for both in behind for each in both if each is not None))
