"""The commands of the documentation: those that end a guide run as they stand there, all others are understood."""

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml
from conftest import SAMPLES

import embedtrain.arguments
import embedtrain.cli_evaluate
import embedtrain.cli_making
import embedtrain.cli_results
import embedtrain.cli_start
from embedtrain.cli import main

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
BLOCK = re.compile(r"^ *```(?P<language>\w*)\n(?P<lines>.*?)^ *```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^ *(?:embedtrain|.* -m embedtrain) (?P<words>[a-z].*)$")
# What a command answers where a value has yet to be filled in.
UNFILLED = {"embedtrain check train.yaml": 2, "embedtrain check runs/adapt.yaml": 2}


# Pages whose commands another test runs, with what they need.
ELSEWHERE = {"deploying.md"}


def guides():
    """The pages that lead through something, as the navigation names them."""
    entries = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    nav = {title: entry for item in entries for title, entry in item.items()}
    pages = [nav["Home"], *(page for entry in nav["Guides"] for page in entry.values())]
    return [page for page in pages if page not in ELSEWHERE]


def blocks(path):
    """Language and lines of each block, lines that go on after a backslash joined."""
    for match in BLOCK.finditer(path.read_text(encoding="utf-8")):
        yield match["language"], re.sub(r"\\\n\s*", "", match["lines"]).splitlines()


@pytest.fixture
def small_world(tiny_model, tmp_path, monkeypatch):
    """A folder with the sample data, in which a tiny model has the name of the default one."""
    (tmp_path / "data_samples").symlink_to(SAMPLES, target_is_directory=True)
    (tmp_path / "sentence-transformers").mkdir()
    for name in ("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"):
        (tmp_path / name).symlink_to(tiny_model, target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(lines, capsys):
    assert lines
    for line in lines:
        code = main(shlex.split(line)[1:])
        assert code == UNFILLED.get(line, 0), f"{line}: {capsys.readouterr()}"


def losses_of(folder):
    steps = json.loads((folder / "stages/train/history.json").read_text())["steps"]
    assert len(steps) >= 5
    return [step["loss"] for step in steps]


@pytest.mark.parametrize("page", ["data.md", "start.md"])
def test_commands_of_the_first_pages_run(page, small_world, capsys):
    lines = [line for language, block in blocks(DOCS / page) if not language for line in block]
    run([line for line in lines if line.startswith("embedtrain ")], capsys)


@pytest.mark.parametrize("page", guides())
def test_a_guide_ends_in_commands_that_run(page, small_world, capsys):
    text = (DOCS / page).read_text(encoding="utf-8")
    end = text.rpartition("\n## ")[2]
    assert end.startswith("Try it\n")
    assert end.endswith("\n```\n")
    language, lines = list(blocks(DOCS / page))[-1]
    assert not language
    run(lines, capsys)
    if page == "reproducing.md":
        first, second = (small_world / "runs" / name for name in ("try-once", "try-again"))
        weights = "model/model.safetensors"
        assert (first / weights).read_bytes() == (second / weights).read_bytes()
        assert losses_of(first) == losses_of(second)


def written_commands():
    """Every command that a page shows, but those with words left out or a file of options that is not there."""
    for path in [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]:
        lines = dict.fromkeys(line for _, block in blocks(path) for line in block)
        for number, line in enumerate(lines):
            match = COMMAND.match(line)
            if match and "--config" not in line and "..." not in line:
                yield pytest.param(match["words"], id=f"{path.name}-{number}")


@pytest.mark.parametrize("words", written_commands())
def test_every_command_is_understood(words, monkeypatch, tmp_path, capsys):
    parsed = []
    parse = embedtrain.arguments.parse

    def parse_only(*args, **kwargs):
        parsed.append(parse(*args, **kwargs))

    for module in (
        embedtrain.arguments,
        embedtrain.cli_making,
        embedtrain.cli_evaluate,
        embedtrain.cli_results,
        embedtrain.cli_start,
    ):
        monkeypatch.setattr(module, "parse", parse_only)
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(words, comments=True)) == 0, capsys.readouterr().err
    assert len(parsed) == 1


def test_commands_are_found_on_every_kind_of_page():
    found = {parameters.id.rpartition("-")[0] for parameters in written_commands()}
    assert {"README.md", *guides()} <= found


def test_every_kind_of_configuration_is_named():
    from embedtrain.configs.commands import COMMANDS

    page = (DOCS / "start.md").read_text(encoding="utf-8")
    for name in COMMANDS:
        for word in name.split():
            assert f"`{word}`" in page
