"""The house keeps its floors: a module imports only from rooms below its own, and losses import torch alone."""

import ast
import importlib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "embedtrain"
FLOORS = {
    "errors": 0, "files": 0, "progress": 0, "libraries": 0, "lazy": 0,
    "losses": 1, "data": 1, "report": 1,
    "mining": 2, "models": 2,
    "evaluation": 3,
    "training": 4,
    "pipelines": 5,
    "configs": 6,
    "keywords": 7, "api": 8,
    "console": 1, "arguments": 7, "cli_evaluate": 8, "cli_making": 8, "cli_start": 9, "cli_results": 9,
    "cli_completion": 10, "cli": 11, "__main__": 12,
}  # fmt: skip
MODULES = sorted(PACKAGE.rglob("*.py"))


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path):
    room = room_of(path)
    if room == "__init__":
        return
    for module in imported_modules(path):
        parts = module.split(".")
        if parts[0] == "embedtrain" and len(parts) > 1 and parts[1] != room:
            assert FLOORS[parts[1]] < FLOORS[room], f"{path.name} imports {module}"


def test_every_room_has_a_floor():
    assert {room_of(path) for path in MODULES} - {"__init__"} == set(FLOORS)


@pytest.mark.parametrize("name", ["data", "data.glue", "evaluation", "models"])
def test_what_a_room_offers_is_there(name):
    room = importlib.import_module(f"embedtrain.{name}")
    assert set(room.__all__) <= set(dir(room))
    assert all(getattr(room, offered) is not None for offered in room.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = room.nothing
