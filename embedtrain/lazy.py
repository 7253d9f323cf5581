"""Names that a package offers of its modules, found when they are asked for: a help needs no torch."""

import importlib
import sys
from collections.abc import Callable, Collection, Sequence
from typing import Any


def offered(
    package: str, names: Collection[str], *, modules: Sequence[str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """What a package's ``__getattr__`` and ``__dir__`` are for names that stand in its modules.

    Args:
        package: Its full name.
        names: What it offers.
        modules: Where those names stand, without the package's name; looked through in this order.
    """

    def find(name: str) -> Any:
        if name in names:
            for module in modules:
                content = vars(importlib.import_module(f"{package}.{module}"))
                if name in content:
                    return content[name]
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def listed() -> list[str]:
        return sorted({*vars(sys.modules[package]), *names})

    return find, listed
