import json
import re

import pandas as pd
import pytest
from fake_adapt_run import build_adapt_run
from fake_evaluate_run import build_evaluate_run
from fake_label_run import build_label_run
from fake_run import SCRIPT, build_run
from fake_tasks_run import build_tasks_run
from fake_train_run import build_train_run
from pages import drawn_in, text_of

from embedtrain.cli import main
from embedtrain.errors import UserError
from embedtrain.pipelines.report.options import ReportOptions
from embedtrain.pipelines.report.pipeline import report

PAIRS = pd.DataFrame({"sentence1": ["a", "b", "c"], "sentence2": ["d", "e", "f"], "score": [0.1, 0.5, 0.9]})


def give_test(run, pairs):
    pairs.to_parquet(run / "stages" / "read" / "test.parquet")


@pytest.fixture
def runs(tmp_path):
    """Runs of several commands, two of them on the same test rows; a broken one, an unfinished one, and no run."""
    folder = tmp_path / "runs"
    for name, build in (("abc", build_run), ("train", build_train_run), ("adapt", build_adapt_run)):
        build(folder / name)
    build_train_run(folder / "中文 <script>alert(1)")
    give_test(folder / "abc", PAIRS)
    give_test(folder / "train", PAIRS)
    give_test(folder / "中文 <script>alert(1)", PAIRS.assign(score=[0.9, 0.5, 0.1]))
    build_train_run(folder / "broken")
    (folder / "broken" / "metrics.json").write_text("{")
    build_train_run(folder / "unfinished")
    (folder / "unfinished" / "metrics.json").unlink()
    (folder / "empty").mkdir()
    (folder / "notes.txt").write_text("none of them")
    (folder / "abc" / "report.html").write_text("page")
    return folder


def page_of(runs, **given):
    return report(ReportOptions(runs=[str(runs / "*")], **given)).page.read_text(encoding="utf-8")


def test_every_run_is_a_row_and_every_other_has_its_reason(runs):
    written = report(ReportOptions(runs=[str(runs / "*")]))
    assert written.page == runs / "runs.html"
    assert dict(written.left_out) == {
        "broken": "metrics.json cannot be read as a JSON object.",
        "empty": "no run: manifest.json is not in this folder",
        "unfinished": "not finished; stages done: read, zero_shot, train, predict, judge",
    }
    text = text_of(written.page.read_text(encoding="utf-8"))
    assert "4 runs, 3 left out." in text
    assert "86.13 [84.5, 87.7]Spearman, test Trained" in text
    assert "85.77 [84.1, 87.3]Spearman, test Gold only" in text


def test_only_the_same_test_rows_stand_in_one_plot(runs):
    page = page_of(runs)
    figures = re.findall(r"<figure>.*?</figure>", page, flags=re.DOTALL)
    together = [figure for figure in figures if "of 2 runs" in figure]
    assert len(together) == 1
    assert "is <bdi>train</bdi>" in together[0]
    assert "is <bdi>abc</bdi>" in together[0]
    assert len([figure for figure in figures if "alert" in figure]) == 1
    assert "alert" not in drawn_in(page)


def test_runs_link_to_their_reports_from_where_the_page_lies(runs, tmp_path):
    assert '<a href="abc/report.html">' in page_of(runs)
    away = page_of(runs, output=str(tmp_path / "elsewhere" / "page.html"))
    assert '<a href="../runs/abc/report.html">' in away
    assert away.count("<a href=") == 1


def test_text_of_the_user_is_never_markup(runs):
    page = page_of(runs)
    assert SCRIPT not in page
    assert page.count("<script") == 1
    assert "中文 &lt;script&gt;alert(1)" in page


def test_the_same_runs_give_the_same_page(runs):
    assert page_of(runs) == page_of(runs)


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (build_run, "Augmented SBERT"),
        (build_train_run, "Training"),
        (build_adapt_run, "Domain adaptation"),
        (build_label_run, "Labels"),
        (build_evaluate_run, "Evaluation"),
        (build_tasks_run, "Tasks"),
    ],
)
def test_of_one_run_its_own_page_is_written_again(build, says, tmp_path):
    run = build(tmp_path / "run")
    if build is build_evaluate_run:
        metrics = json.loads((run / "metrics.json").read_text())
        (run / "metrics.json").write_text(json.dumps({"task": "sts", **metrics}))
    if build is build_tasks_run:
        metrics = json.loads((run / "metrics.json").read_text())
        (run / "metrics.json").write_text(json.dumps({"task": "mteb", **metrics}))
    written = report(ReportOptions(runs=[str(run)]))
    assert written.page == run / "report.html"
    assert "<h1>" in written.page.read_text()
    assert says.lower()[:5] in written.page.read_text().lower()


def test_mistakes_are_told_together(runs, capsys):
    with pytest.raises(UserError) as error:
        report(ReportOptions(runs=["nowhere", "none/*"]))
    assert len(error.value.problems) == 2
    for words in (["report"], ["report", str(runs / "notes.txt")], ["report", str(runs), "--output", str(runs)]):
        assert main(words) == 2
        said = capsys.readouterr().err
        assert "Traceback" not in said
        assert said.count("  - ") == 1
