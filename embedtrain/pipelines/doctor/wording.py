"""The report of ``embedtrain doctor`` for a terminal."""

from embedtrain.pipelines.doctor.finding import Fact, Report

MARKS = {"ok": " ", "note": "~", "problem": "!"}


def report_text(report: Report) -> str:
    """Sections of facts, then what to do about those that are not as they should be, then a verdict."""
    width = max(len(fact.name) for _, fact in report.facts)
    parts = [
        "\n".join([section, *(f"{MARKS[fact.state]} {fact.name.ljust(width)}  {fact.found}" for fact in facts)])
        for section, facts in report.sections.items()
    ]
    problems = [fact for _, fact in report.facts if fact.state == "problem"]
    notes = [fact for _, fact in report.facts if fact.state == "note"]
    if problems:
        parts.append("\n".join(["! to be mended first", *map(_advice, problems)]))
    if notes:
        parts.append("\n".join(["~ worth knowing", *map(_advice, notes)]))
    count = len(problems)
    parts.append(
        f"Not usable as it is: {'1 problem' if count == 1 else f'{count} problems'}." if problems else "Ready to use."
    )
    return "\n\n".join(parts)


def _advice(fact: Fact) -> str:
    return f"  - {fact.name}: {fact.remedy}"
