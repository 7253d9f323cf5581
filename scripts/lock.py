"""Pin what is installed now, for the package, the tools of developers, and those that build the documentation.

    make lock

writes requirements.lock (with the bundled model) and requirements-dev.lock, and with the word docs, in the environment
that has those tools, requirements-docs.lock.

Only packages that pyproject.toml leads to are pinned. Torch's own CUDA packages are left to torch, so that the same pin
gives a CPU build on one machine and a GPU build on another.
"""

import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
NOT_PINNED = re.compile(r"^(nvidia-|cuda-|triton|embedtrain$)")


def closure(name: str, extras: set[str]) -> dict[str, str]:
    """Every installed package that a package needs, with its version."""
    found: dict[str, str] = {}
    waiting = [(name, frozenset(extras))]
    seen = set()
    while waiting:
        current, wanted = waiting.pop()
        if (current, wanted) in seen:
            continue
        seen.add((current, wanted))
        distribution = importlib.metadata.distribution(current)
        if not NOT_PINNED.match(current):
            found[current] = distribution.version.split("+")[0]
        for line in distribution.requires or []:
            requirement = Requirement(line)
            marker = requirement.marker
            if marker and not any(marker.evaluate({"extra": extra}) for extra in {"", *wanted}):
                continue
            needed = re.sub(r"[-_.]+", "-", requirement.name).lower()
            if not NOT_PINNED.match(needed):
                waiting.append((needed, frozenset(requirement.extras)))
    return found


def closure_of_extra(extra: str) -> dict[str, str]:
    """Every installed package that an extra needs beside what the package itself needs, with its version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found: dict[str, str] = {}
    for line in project["optional-dependencies"][extra]:
        requirement = Requirement(line)
        found |= closure(requirement.name, set(requirement.extras))
    return found


def main() -> None:
    """Write the files of this environment."""
    if sys.argv[1:] == ["docs"]:
        write("requirements-docs.lock", closure_of_extra("docs"))
        return
    runtime = closure("embedtrain", {"bundled-model"})
    tools = closure("embedtrain", {"bundled-model", "dev"})
    build = {"setuptools": importlib.metadata.version("setuptools")}
    write("requirements.lock", {**runtime, **build})
    write(
        "requirements-dev.lock", {name: version for name, version in tools.items() if name not in {**runtime, **build}}
    )


def write(file: str, pins: dict[str, str]) -> None:
    """One pin a line, sorted."""
    lines = [
        "# Written by `make lock`; pyproject.toml states the ranges.",
        *(f"{n}=={v}" for n, v in sorted(pins.items())),
    ]
    (ROOT / file).write_text("\n".join(lines) + "\n")
    print(f"{file}: {len(pins)} packages")


if __name__ == "__main__":
    main()
