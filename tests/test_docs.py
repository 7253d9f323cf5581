"""The examples of the documentation run as they stand, with a tiny model in place of the real one."""

import re
from pathlib import Path

import pytest
import torch

import embedtrain.losses

PAGE = Path(__file__).parent.parent / "docs" / "losses.md"
# A block, and the output that is promised right after it.
BLOCK = re.compile(r"^```python\n(?P<code>.*?)^```\n(?:\n```text\n(?P<output>.*?)^```\n)?", re.MULTILINE | re.DOTALL)


def examples():
    """Each block of Python with the line it stands in and the output promised for it, if any."""
    text = PAGE.read_text(encoding="utf-8")
    for match in BLOCK.finditer(text):
        line = text[: match.start("code")].count("\n") + 1
        yield pytest.param(match["code"], line, match["output"], id=f"line{line}")


@pytest.fixture
def small_world(tiny_model, tmp_path, monkeypatch):
    """A tiny model under every name, a folder to write to, and nothing left over of Accelerate's global state."""
    import sentence_transformers
    from accelerate.state import AcceleratorState, GradientState

    real = sentence_transformers.SentenceTransformer
    named = []

    def load(name):
        named.append(name)
        return real(str(tiny_model), device="cpu")

    def forget():
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()

    monkeypatch.setattr(sentence_transformers, "SentenceTransformer", load)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.chdir(tmp_path)
    forget()
    yield named
    forget()


@pytest.mark.parametrize(("code", "line", "output"), examples())
def test_example_runs(code, line, output, small_world, capsys):
    torch.manual_seed(0)
    # The empty lines make a traceback name the page's own lines.
    exec(compile("\n" * (line - 1) + code, str(PAGE), "exec"), {"__name__": "__main__"})
    printed = capsys.readouterr().out
    if output is not None:
        assert printed == output
    assert set(small_world) <= {"sentence-transformers/all-MiniLM-L6-v2"}


def test_the_blocks_are_found():
    text = PAGE.read_text(encoding="utf-8")
    assert len(list(examples())) == text.count("```python") > 0
    assert text.count("```text") == sum(parameters.values[2] is not None for parameters in examples())


def test_the_page_names_every_loss_and_no_other():
    classes = {name for name in embedtrain.losses.__all__ if name[0].isupper() and name != "Loss"}
    text = PAGE.read_text(encoding="utf-8")
    assert not {name for name in classes if f"`{name}`" not in text}
    assert set(re.findall(r"`(\w+Loss)`", text)) <= classes


def test_links_within_the_page_lead_somewhere():
    text = PAGE.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= anchors
