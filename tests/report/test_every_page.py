"""What holds for the page of every kind of run."""

import json
import re

import pytest
import yaml
from fake_adapt_run import build_adapt_run
from fake_evaluate_run import build_evaluate_run
from fake_label_run import build_label_run
from fake_run import CHINESE, SCRIPT, build_run
from fake_tasks_run import build_tasks_run
from fake_train_run import build_train_run
from pages import drawn_in, text_of

from embedtrain.errors import UserError
from embedtrain.report import (
    write_adapt_report,
    write_evaluate_report,
    write_label_report,
    write_report,
    write_tasks_report,
    write_train_report,
)

# How the folder is built, how its page is written, and how many plots it has.
PAGES = {
    "augsbert": (build_run, write_report, 6),
    "train": (build_train_run, write_train_report, 3),
    "label": (build_label_run, write_label_report, 3),
    "adapt": (build_adapt_run, write_adapt_report, 9),
    "evaluate": (build_evaluate_run, write_evaluate_report, 3),
    "tasks": (build_tasks_run, write_tasks_report, 9),
}


@pytest.fixture(params=PAGES)
def page(request, tmp_path):
    """The folder, the function that writes its page, and its number of plots."""
    build, write, plots = PAGES[request.param]
    return build(tmp_path / "run"), write, plots


def test_it_loads_nothing(page):
    run, write, _ = page
    text = write(run).read_text()
    loads = re.findall(r"<[^>]*\s(?:src|href|data|action|poster|srcset)=[\"']?([^\"'\s>]+)", text)
    assert loads
    assert all(target.startswith(("#", "data:")) for target in loads)
    assert set(re.findall(r"url\((.)", text)) <= {"#"}
    assert "@import" not in text
    assert "<image" not in text
    assert len(text.encode()) < 1_500_000
    assert [path.name for path in run.iterdir() if "report" in path.name] == ["report.html"]


def test_a_whole_run_lacks_nothing(page):
    run, write, _ = page
    text = write(run).read_text()
    assert 'class="missing"' not in text
    assert "–</td>" not in text


def test_the_same_folder_gives_the_same_bytes(page):
    run, write, _ = page
    assert write(run).read_bytes() == write(run).read_bytes()


def test_ids_are_unique_and_every_reference_has_its_target(page):
    run, write, plots = page
    text = write(run).read_text()
    assert text.count("<svg") == plots
    ids = re.findall(r"\sid=\"([^\"]+)\"", text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"(?:url\(|href=\")#([^\")]+)", text)) <= set(ids)


def test_plots_take_their_colours_from_the_page(page):
    run, write, _ = page
    text = write(run).read_text()
    style = re.search(r"<style>(.*?)</style>", text, flags=re.DOTALL)[1]
    drawn = drawn_in(text)
    assert not re.findall(r"#[0-9a-f]{6}\b(?=[;\"])", drawn)
    for variable in set(re.findall(r"var\((--[\w-]+)\)", drawn)):
        assert style.count(f"{variable}:") == 2, variable


def test_plots_hold_no_user_text_and_say_what_they_show(page):
    run, write, plots = page
    drawn = drawn_in(write(run).read_text())
    assert not re.search(r"[\u3400-\u9fff]", drawn)
    said = re.findall(r'<svg [^>]*role="img" aria-label="([^"]{20,})"', drawn)
    assert len(said) == plots


def test_user_text_is_never_markup(page):
    run, write, _ = page
    text = write(run).read_text()
    assert SCRIPT not in text
    assert text.count("<script") == 1
    assert "<img" not in text
    assert "\x00" not in text
    assert "\x1b" not in text
    assert SCRIPT in text_of(text)
    assert f'<bdi lang="zh">{CHINESE}</bdi>' in text


def test_hostile_names_are_escaped(page):
    run, write, _ = page
    hostile = run.with_name("a\"><b onclick=x>'")
    run.rename(hostile)
    (hostile / "config.yaml").write_text(yaml.safe_dump({"<i>": {"<u>": "<s>"}}))
    value = json.loads((hostile / "metrics.json").read_text())
    (hostile / "metrics.json").write_text(json.dumps({**value, "verdict": "<h1>\ud800", "warnings": ["<h2>"]}))
    text = write(hostile).read_text()
    assert not re.search(r"<b onclick|<i>|<u>|<s>|<h1>&|<h2><", text)
    assert "<i>.<u>" in text_of(text)


def test_an_empty_folder_gives_a_page_and_no_folder_an_error(page, tmp_path):
    _, write, _ = page
    empty = tmp_path / "empty"
    empty.mkdir()
    text = text_of(write(empty).read_text())
    assert "There is no verdict yet." in text
    assert "metrics.json is not in this run folder." in text
    with pytest.raises(UserError, match="nowhere"):
        write(tmp_path / "nowhere")


@pytest.mark.parametrize("damaged", ["metrics.json", "manifest.json"])
def test_a_damaged_file_is_said_and_the_rest_is_shown(page, damaged):
    run, write, _ = page
    (run / damaged).write_text("[1, 2")
    text = text_of(write(run).read_text())
    assert f"{damaged} cannot be read as a JSON object." in text
    assert "Settings" in text
