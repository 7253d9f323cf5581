"""The meaning behind the example data: frames, the scoring rule, and the source files with the surface forms."""

import re
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

SOURCE = Path(__file__).resolve().parent / "source"
# A slot whose value is the point of the question: another value is another question (grade 3), not a detail of it.
KEY_SLOTS = frozenset({"code", "system", "src", "dst"})
SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Frame:
    """What a sentence means: an intent (topic, object, goal, detail) and the slot values that it states."""

    topic: str
    object: str
    goal: str
    detail: str
    slots: tuple[tuple[str, str], ...] = ()

    @property
    def intent(self) -> tuple[str, str, str, str]:
        """The meaning without its slot values."""
        return self.topic, self.object, self.goal, self.detail


@dataclass
class Intent:
    """One intent with its hand-written surface forms; ``only`` names the one split it occurs in, or is empty."""

    frame: Frame
    only: str
    forms: list[tuple[str, str]] = field(default_factory=list)

    @property
    def slots(self) -> list[str]:
        """Names of the slots that its forms use."""
        return sorted({name for _, form in self.forms for name in SLOT.findall(form)})


@dataclass
class Material:
    """One language's source file: the lists of slot values (each with its synonyms) and the intents."""

    lists: dict[str, list[list[str]]]
    intents: list[Intent]


def score(a: Frame, b: Frame) -> float:
    """Similarity of two frames, 0 to 5 in half points, by the rule in the README."""
    if a.topic != b.topic:
        return 0.5 if a.goal == b.goal else 0.0
    if a.object != b.object and a.goal != b.goal:
        return 1.0
    if a.object != b.object or a.goal != b.goal:
        return 2.0
    left, right = dict(a.slots), dict(b.slots)
    changed = {name for name in left.keys() & right.keys() if left[name] != right[name]}
    unstated = left.keys() ^ right.keys()
    if a.detail != b.detail or changed & KEY_SLOTS:
        return 2.5 if changed - KEY_SLOTS or unstated else 3.0
    return 5.0 - min(1.5, len(changed) + 0.5 * len(unstated))


def fold(text: str) -> str:
    """The text without case, width, spacing and punctuation, for finding sentences that are the same."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", text).casefold())


def read_material(language: str) -> Material:
    """Parse ``source/<language>.txt``: ``@ list``, ``# topic``, ``## object / goal / detail [split]``, forms."""
    material = Material({}, [])
    topic, current = "", ""
    for line in (SOURCE / f"{language}.txt").read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("//"):
            continue
        if line.startswith("@ "):
            current, _, same_as = line[2:].partition(" = ")
            material.lists[current] = material.lists[same_as] if same_as else []
        elif line.startswith("# "):
            topic, current = line[2:], ""
        elif line.startswith("## "):
            name, _, only = line[3:].partition(" [")
            thing, goal, detail = name.split(" / ")
            material.intents.append(Intent(Frame(topic, thing, goal, detail), only.rstrip("]")))
        elif current:
            material.lists[current].append(line.split(" | "))
        else:
            intent = material.intents[-1]
            intent.forms.append((f"{language}{len(material.intents):03d}.{len(intent.forms):02d}", line))
    return material
