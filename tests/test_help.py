"""Asking for help, or misspelling an option, costs a moment: libraries that take seconds to import come later."""

import json
import subprocess
import sys

import pytest

from embedtrain.cli import COMMANDS
from embedtrain.cli_evaluate import SUBCOMMANDS

WORDS = [
    *([name, "--help"] for name in COMMANDS),
    *(["evaluate", name, "--help"] for name in SUBCOMMANDS),
    ["mteb", "export", "--help"],
    ["init", "train", "--help"],
    ["mine", "--modle", "x"],
    ["--help"],
    ["--version"],
]
HEAVY = [
    "torch", "transformers", "sentence_transformers", "datasets", "mteb", "pandas", "pyarrow", "scipy", "sklearn",
    "matplotlib", "numpy",
]  # fmt: skip
# All in one process: what a command brings in stays, so it is told at the first one.
PROGRAM = """
import contextlib, io, json, sys
from embedtrain.cli import main
words, heavy = json.load(sys.stdin)
known, told = set(), []
for given in words:
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
        code = main(given)
    new = {name for name in heavy if name in sys.modules} - known
    known |= new
    told.append([code, sorted(new), len(shown.getvalue())])
json.dump(told, sys.stdout)
"""


@pytest.fixture(scope="module")
def told():
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], input=json.dumps([WORDS, HEAVY]), capture_output=True, text=True, check=True
    )
    return dict(zip(map(" ".join, WORDS), json.loads(ran.stdout), strict=True))


@pytest.mark.parametrize("words", [" ".join(words) for words in WORDS])
def test_no_heavy_library_is_imported_before_the_options_are_read(told, words):
    code, imported, length = told[words]
    assert imported == []
    assert code == (2 if "--modle" in words else 0)
    assert length > 10
