"""What ``embedtrain doctor`` finds: facts in sections, each good, worth knowing, or in the way."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

GIB = 2**30

State = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Fact:
    """One thing that was looked at.

    Attributes:
        name: What it is.
        found: What was found, in words.
        state: ``note`` for what works with a limit, ``problem`` for what no command works with.
        remedy: What to do about it, where it is not ``ok``.
    """

    name: str
    found: str
    state: State = "ok"
    remedy: str = ""


@dataclass(frozen=True)
class Report:
    """Everything that was looked at, by section."""

    sections: dict[str, list[Fact]] = field(default_factory=dict)

    @property
    def facts(self) -> list[tuple[str, Fact]]:
        """Every fact with the section that it stands in."""
        return [(section, fact) for section, facts in self.sections.items() for fact in facts]

    @property
    def is_usable(self) -> bool:
        """Whether nothing is in the way."""
        return all(fact.state != "problem" for _, fact in self.facts)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "usable": self.is_usable,
            "sections": {name: [asdict(fact) for fact in facts] for name, facts in self.sections.items()},
        }
