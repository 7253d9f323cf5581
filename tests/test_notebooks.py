"""The notebooks run from top to bottom on a tiny model, with small settings; none is kept with its output."""

import json
from pathlib import Path

import pytest
from conftest import SAMPLES

EXAMPLES = Path(__file__).parent.parent / "examples"
FEW = {"epochs": 0.1, "min_steps": 2, "evaluations": 1}
# What takes the place of the settings in the cell with the tag "parameters".
SETTINGS = {
    "augmented_sbert": {
        "options": {
            "strategies": ["bm25"],
            "top_k": 1,
            "teacher": "cross-encoder",
            "teacher_training": FEW,
            "student": FEW,
            "bootstrap_samples": 100,
        }
    },
    "losses_in_your_own_trainer": {"epochs": 1, "batch_size": 150, "dims": [32, 8], "bootstrap_samples": 100},
}


def cells(path):
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def test_every_notebook_is_run():
    assert {path.stem for path in EXAMPLES.glob("*.ipynb")} == set(SETTINGS)


@pytest.mark.parametrize("name", SETTINGS)
def test_nothing_that_a_run_leaves_is_kept(name):
    code = [cell for cell in cells(EXAMPLES / f"{name}.ipynb") if cell["cell_type"] == "code"]
    assert code
    assert not [cell for cell in code if cell["outputs"] or cell["execution_count"]]


@pytest.mark.parametrize("name", SETTINGS)
def test_cells_run(name, tmp_path, tiny_model, monkeypatch, capsys):
    (tmp_path / "data_samples").symlink_to(SAMPLES, target_is_directory=True)
    (tmp_path / "examples").mkdir()
    monkeypatch.chdir(tmp_path / "examples")
    world, said = {"__name__": "__main__"}, ""
    for number, cell in enumerate(cells(EXAMPLES / f"{name}.ipynb")):
        if cell["cell_type"] != "code":
            continue
        source = "".join(cell["source"])
        exec(compile(source, f"{name}.ipynb, cell {number}", "exec"), world)
        shown = capsys.readouterr()
        said += shown.out
        # What a cell does with sentence-transformers alone may draw its bars; what it does with us draws none of them.
        assert "SentenceTransformer(" in source or "\r" not in shown.err
        if "parameters" in cell["metadata"].get("tags", []):
            assert set(SETTINGS[name]) <= set(world)
            world |= {"base": str(tiny_model), **SETTINGS[name]}
    assert "points" in said  # a verdict was told
    assert list((tmp_path / "runs").glob("*/model/modules.json"))
