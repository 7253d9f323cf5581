"""The page on scores over tasks: every figure, strips on one scale, a heat map of what is shared."""

import json
import re

import pytest
from fake_tasks_run import TASKS, build_tasks_run
from pages import drawn_in, text_of

from embedtrain.report import write_tasks_report
from embedtrain.report.strips import Dot, Scale, strip


@pytest.fixture
def run(tmp_path):
    return build_tasks_run(tmp_path / "run")


def test_every_model_on_every_task_with_its_interval(run):
    text = text_of(write_tasks_report(run).read_text())
    for at, task in enumerate(TASKS):
        assert task in text
        for place, letter in enumerate("ABC"):
            value = 50 + 10 * at + 2 * place
            said = f"{letter} {value:.2f} [{value - 2:.1f}, {value + 2:.1f}]"
            assert (said in text) == (at < 2 or place < 2)
    assert "C not measured" in text
    assert "Mean of 2 shared tasks" in text
    assert "3 of 41 tasks in this mirror" in text
    assert "differs: 23 characters fewer" in text
    assert "STSBenchmark: only A and B measured on it" in text


def test_differences_say_what_can_be_shown(run):
    text = text_of(write_tasks_report(run).read_text())
    assert "A minus B" in text
    assert "−3.00 [−4.50, −1.50]p 0.004, worse" in text
    assert "p 0.400, open" in text
    assert "p 0.004, better" in text
    assert "mean of 2 shared tasks −1.00 [−3.00, +1.00]" in text


def test_the_heat_map_tints_by_distance_from_the_mean_of_the_row(run):
    page = write_tasks_report(run).read_text()
    cells = re.findall(r'<td class="(above|below)" style="--tint:(\d+)%">([\d.]+)</td>', page)
    assert cells[:3] == [("below", "42", "50.00"), ("above", "0", "52.00"), ("above", "42", "54.00")]


def test_a_single_model_has_neither_heat_map_nor_differences(run):
    metrics = json.loads((run / "metrics.json").read_text())
    first = next(iter(metrics["main"]))
    metrics |= {"main": {first: metrics["main"][first]}, "differences": [], "left_out": []}
    metrics["overall"] = {"tasks": list(TASKS), "models": {first: {"score": 0.6}}, "differences": []}
    metrics["types"] = {"STS": {"tasks": list(TASKS), "models": {first: 0.6}}}
    (run / "metrics.json").write_text(json.dumps(metrics))
    page = write_tasks_report(run).read_text()
    assert page.count("<svg") == 4
    assert 'id="types"' not in page
    assert 'id="differences"' not in page
    assert "Mean of 3 tasks" in page


def test_strips_stand_where_the_scale_says():
    scale = Scale(0.0, 1.0, (0.0, 0.5, 1.0))
    drawn = strip([Dot("augmented", "A", 0.5, (0.25, 0.75)), None], scale, label="Scores")
    assert 'height="44"' in drawn
    assert 'x1="27.50%" x2="72.50%"' in drawn
    assert "translate(50.00%,11px)" in drawn
    assert 'aria-label="Scores, times 100: A 50.00."' in drawn
    dots = [Dot("augmented", "A", value, None) for value in (0.31, 0.62)]
    scale = Scale.of(dots)
    assert scale.low <= 0.31 < 0.62 <= scale.high
    around = Scale.of(dots, around_zero=True)
    assert around.low == 0
    same = Scale.of([Dot("augmented", "A", 0.5, None)])
    assert same.place(0.5).endswith("%")


def test_no_strip_holds_user_text(run):
    assert "STSBenchmark" not in drawn_in(write_tasks_report(run).read_text())
