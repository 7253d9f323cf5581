"""The teacher: what its possible members say together is compared on dev, and the best of them labels."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from embedtrain.evaluation.statistics import spearman
from embedtrain.files import read_json, sha256_of_file, write_json, write_parquet
from embedtrain.mining.combining import Combination, Floats, fit_combination
from embedtrain.pipelines.augsbert.judging import teacher_warning
from embedtrain.pipelines.augsbert.members import STUDENT_STAGE, Candidate, Member, candidates_of, trained_members
from embedtrain.pipelines.augsbert.options import AugSBERTOptions
from embedtrain.pipelines.augsbert.teaching import member_fingerprint, train_member
from embedtrain.pipelines.augsbert.workspace import Workspace
from embedtrain.pipelines.wording import aligned, points

logger = logging.getLogger(__name__)

STAGE = "teacher"


@dataclass(frozen=True)
class Teacher:
    """What labels: members, and how their scores become one.

    Attributes:
        name: For people.
        members: Whose scores are combined.
        combination: How.
        fingerprint: What its labels depend on: hashes of the members, and the combination.
    """

    name: str
    members: tuple[Member, ...]
    combination: Combination
    fingerprint: Mapping[str, Any]


def make_teacher(work: Workspace) -> Teacher:
    """Train every member that may be needed, compare the candidates on dev, and take the best."""
    candidates = candidates_of(work.options)
    for member in trained_members(candidates, work.options):
        train_member(work, member)
    _choose(work, candidates)
    facts = read_json(work.run.path(STAGE, "teacher.json"))
    for line in candidate_lines(facts):
        logger.info("%s", line)
    zero_shot = work.zero_shot_dev()
    warning = teacher_warning(
        facts["name"],
        facts["dev"],
        work.dev_spearman(STUDENT_STAGE),
        zero_shot_dev=spearman(zero_shot["prediction"], zero_shot["score"]),
    )
    if warning:
        logger.warning("%s", warning)
    members = tuple(Member(member["kind"], member["number"]) for member in facts["members"])
    return Teacher(
        name=facts["name"],
        members=members,
        combination=Combination.from_dict(facts["combination"]),
        fingerprint={
            "combination": facts["combination"],
            **{member.name: member_fingerprint(work, member) for member in members},
        },
    )


def teacher_facts(work: Workspace) -> dict[str, Any]:
    """What ``metrics.json`` tells of the teacher: which candidate labels, its members, every candidate's dev score."""
    facts: dict[str, Any] = read_json(work.run.path(STAGE, "teacher.json"))
    return {name: value for name, value in facts.items() if name != "combination"}


def candidate_lines(facts: Mapping[str, Any]) -> list[str]:
    """Every candidate with its dev score as lines for a terminal; none where there is only one."""
    if len(facts["candidates"]) < 2:
        return []
    rows = [("teacher", "dev Spearman x 100")]
    rows += [
        (each["name"] + (" *" if each["name"] == facts["name"] else ""), points(each["dev"]))
        for each in facts["candidates"]
    ]
    return [*aligned(rows), "* labels, the best on dev"]


def _choose(work: Workspace, candidates: list[Candidate]) -> None:
    options = work.options
    members = list(dict.fromkeys(member for candidate in candidates for member in candidate.members))

    def fill(folder: Path) -> None:
        kept = {member: work.kept_dev(member.stage)["prediction"].to_numpy() for member in members}
        dev = work.table("dev")[["score"]]
        gold = dev["score"].to_numpy(dtype="float64")
        results = []
        for candidate in candidates:
            scores = [kept[member] for member in candidate.members]
            predictions = _on_dev(candidate, scores, gold, options)
            results.append((spearman(predictions, gold), candidate, predictions, scores))
        # The first of equals is the simplest.
        value, best, predictions, scores = max(results, key=lambda result: result[0])
        average, calibration = best.average(options), best.calibration(options, dev_pairs=len(gold))
        combination = fit_combination(
            scores,
            gold,
            average=average,
            method="logistic" if calibration == "logistic" else "centred",
            calibrated=calibration != "none",
        )
        alone = {member: spearman(kept[member], gold) for member in members}

        def told(which: Sequence[Member]) -> list[dict[str, Any]]:
            return [{**asdict(member), "name": member.name, "dev": alone[member]} for member in which]

        facts = {
            "kind": options.teacher_kind,
            "name": best.name,
            "dev": value,
            "average": average,
            "calibration": calibration,
            "members": told(best.members),
            "trained": told(members),
            "candidates": [{"name": each.name, "dev": score} for score, each, *_ in results],
            "combination": combination.as_dict(),
        }
        write_json(folder / "teacher.json", facts)
        write_parquet(folder / "dev.parquet", dev.assign(split="dev", prediction=np.float64(predictions)))
        # A page draws one curve: that of the best member which was trained to teach.
        drawn = max((member for member in best.members if member.kind != "student"), key=lambda member: alone[member])
        write_json(folder / "history.json", read_json(work.run.path(drawn.stage, "history.json")))

    used = {
        "teacher": options.teacher_kind,
        **{
            f"{member.name} {part}": sha256_of_file(work.run.path(member.stage, file))
            for member in members
            for part, file in (("dev", "dev.parquet"), ("training", "history.json"))
        },
        "teacher_average": options.teacher_average,
        "calibration": options.calibration,
        **work.hashes("dev"),
    }
    work.run.stage(STAGE, inputs=used, work=fill)


def _on_dev(candidate: Candidate, scores: Sequence[np.ndarray], gold: np.ndarray, options: AugSBERTOptions) -> Floats:
    """What a candidate says of the dev pairs, to compare it by.

    Each teacher's scores go through a logistic curve, whatever calibrates the labels. Isotonic regression would look
    far better on the pairs it was fitted on than it is; fitted on parts of dev for the others, far worse. Two numbers a
    teacher leave next to nothing to choose from, and a teacher alone keeps its order.
    """
    calibrated = candidate.calibration(options, dev_pairs=len(gold)) != "none"
    average = candidate.average(options)
    return fit_combination(scores, gold, average=average, method="logistic", calibrated=calibrated).apply(scores)
