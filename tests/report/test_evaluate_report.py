"""The page of an evaluation: every figure, and models called by letters where no text of a user's may stand."""

import json

import pytest
from fake_evaluate_run import build_evaluate_run
from pages import drawn_in, text_of

from embedtrain.report import write_evaluate_report


@pytest.fixture
def run(tmp_path):
    return build_evaluate_run(tmp_path / "run")


def test_every_model_on_every_set_with_its_interval(run):
    text = text_of(write_evaluate_report(run).read_text())
    for place in range(3):
        for at in range(2):
            score = 80 + place + at
            assert f"{score:.2f} [{score - 2:.1f}, {score + 2:.1f}]" in text
    for said in ("Set 1", "Set 2", "pairs 1379", "A model is better than another.", "12 pairs of train.tsv"):
        assert said in text


def test_differences_say_what_can_be_shown(run):
    page = write_evaluate_report(run).read_text()
    text = text_of(page)
    assert "−3.00 [−4.50, −1.50]" in text
    assert "0.004 worse" in text
    assert "0.400 open" in text
    assert "0.004 better" in text
    drawn = drawn_in(page)
    assert "A minus B, set 1" in drawn
    assert "B minus C, set 2" in drawn


def test_one_model_alone_has_no_differences(run):
    metrics = json.loads((run / "metrics.json").read_text())
    first = next(iter(metrics["main"]))
    metrics |= {"main": {first: metrics["main"][first]}, "differences": [], "verdict": ""}
    (run / "metrics.json").write_text(json.dumps(metrics))
    page = write_evaluate_report(run).read_text()
    assert page.count("<svg") == 2
    assert 'id="differences"' not in page
