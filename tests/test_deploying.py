"""The page on deploying: its Python runs in order, and so do its commands."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from conftest import SAMPLES

from embedtrain.cli import main

PAGE = Path(__file__).parent.parent / "docs" / "deploying.md"
TEXT = PAGE.read_text(encoding="utf-8")
PYTHON = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
COMMANDS = re.findall(r"^```\n(embedtrain .*?)\n```", TEXT, re.MULTILINE)
# Packages that are not among the dependencies.
OTHERS = ("langchain_huggingface", "llama_index")


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_model):
    """A folder with a run, the sample data, and the model exported."""
    folder = tmp_path_factory.mktemp("deploying")
    run = folder / "runs" / "first"
    shutil.copytree(tiny_model, run / "model")
    (run / "config.yaml").write_text("mix: proportional\n")
    for name in ("manifest.json", "metrics.json"):
        (run / name).write_text("{}")
    (folder / "data_samples").symlink_to(SAMPLES, target_is_directory=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main([*shlex.split(COMMANDS[-1])[1:], "--sentences", "8", "--rounds", "1"]) == 0
    return folder


@pytest.mark.parametrize("code", PYTHON, ids=[f"block{number}" for number in range(len(PYTHON))])
def test_python_runs(code, place, monkeypatch):
    monkeypatch.chdir(place)
    for package in OTHERS:
        if package in code:
            pytest.importorskip(package)
    exec(compile(code, str(PAGE), "exec"), {"__name__": "__main__"})


def test_commands_run(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    assert COMMANDS[-1].startswith("embedtrain export ")
    assert TEXT.rstrip().endswith(f"```\n{COMMANDS[-1]}\n```")
    for command in COMMANDS[:-1]:
        assert main(shlex.split(command)[1:]) == 0, capsys.readouterr()
    assert (place / "exported" / "onnx" / "model_qint8.onnx").is_file()
