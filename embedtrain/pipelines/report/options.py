"""The options of ``embedtrain report``."""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Which runs, and where to.

    Args:
        runs: Run folders, or patterns such as "runs/*"; they may also stand first without a flag. Of one, the report is
            written again; of several, one page is written over them all.
        output: The page over several runs; by default runs.html in the folder that holds the first of them.
    """

    runs: list[str] = field(default_factory=list)
    output: str | None = None
