import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from fake_run import CHINESE, DEV, SCRIPT, TEST, VERDICT, WARNING, build_run
from pages import scores_listed, text_of

from embedtrain.errors import UserError
from embedtrain.report import score_plots, wording, write_report
from embedtrain.report.drawing import MAX_POINTS


@pytest.fixture
def run(tmp_path):
    return build_run(tmp_path / "first")


def test_every_figure_of_every_model_is_text_with_its_interval(run):
    text = text_of(write_report(run).read_text())
    for role in DEV:
        for value in (DEV[role], TEST[role]):
            low, high = 100 * value - 1.67, 100 * value + 1.53
            assert f"{100 * value:.2f} [{low:.1f}, {high:.1f}]" in text
            assert f"{100 * value - 1.1:.2f} [" in text
    assert "−0.86 [−1.42, −0.31]" in text
    assert "lies below zero" in text
    assert VERDICT in text
    assert WARNING in text
    assert text.index(VERDICT) < text.index("Results")
    assert re.search(r"Gold only chosen on dev", text)
    assert not re.search(r"Augmented chosen on dev", text)
    for said in (
        "12 found, 12 dropped",
        "5,749",
        "sampling.top_k",
        "not set",
        "torch",
        "1 min 22 s",
        "no GPU was found",
    ):
        assert said in text


def test_user_text_is_never_markup(run):
    page = write_report(run).read_text()
    assert SCRIPT not in page
    assert page.count("<script") == 1
    assert "<img" not in page
    assert "\x00" not in page
    assert "\x1b" not in page
    assert text_of(page).count(SCRIPT) == 2
    policy = re.search(r"script-src 'sha256-([^']+)'", page)[1]
    assert re.fullmatch(r"[A-Za-z0-9+/]{43}=", policy)


def test_chinese_text_stands_on_the_page_and_is_marked(run):
    page = write_report(run).read_text()
    assert f'<bdi lang="zh">{CHINESE}</bdi>' in page
    assert '<html lang="en">' in page
    assert [wording.language(text) for text in ("plain", "日本語です", "한국어", "中文")] == ["", "ja", "ko", "zh"]


def test_the_teacher_is_named_with_those_that_might_have_been_it(run):
    text = text_of(write_report(run).read_text())
    assert "Teacher cross-encoder + student, trained on gold 86.03" in text
    assert "cross-encoder 85.11 cross-encoder + student labels 86.03" in text
    assert "its curve is that of the best of them" in text
    assert "has to move by 0.123" in text
    assert "agree best on 4,502 of 5,002 pairs" in text
    value = json.loads((run / "metrics.json").read_text())
    value["teacher"] = {"name": "bi-encoder", "members": [{}], "candidates": [{"name": "bi-encoder", "dev": 0.9}]}
    (run / "metrics.json").write_text(json.dumps(value))
    text = text_of(write_report(run).read_text())
    assert "Teacher bi-encoder, trained on gold" in text
    assert "Which teacher labels" not in text
    assert "the best of them" not in text


def test_silver_examples_run_from_the_lowest_to_the_highest_score(run):
    page = write_report(run).read_text()
    scores = scores_listed(page)
    assert len(scores) == 20
    assert scores == sorted(scores)
    assert (scores[0], scores[-1]) == (0.0, 1.0)
    silver = pd.read_parquet(run / "stages/label/scored.parquet")["score"]
    assert scores[10] == pytest.approx(silver.quantile(10 / 19), abs=0.01)


@pytest.mark.parametrize(
    ("gone", "sentence"),
    [
        ("metrics.json", "metrics.json is not in this run folder."),
        ("manifest.json", "manifest.json is not in this run folder."),
        ("config.yaml", "config.yaml is not in this run folder."),
        ("model", "model/ is not in this run folder"),
        ("stages/read/audit.json", "stages/read/audit.json is not in this run folder."),
        ("stages/read/gold.parquet", "stages/read/gold.parquet is not in this run folder."),
        ("stages/teacher", "stages/teacher/history.json is not in this run folder."),
        ("stages/augmented/history.json", "stages/augmented/history.json is not in this run folder."),
        ("stages/label/scored.parquet", "stages/label/scored.parquet is not in this run folder."),
    ],
)
def test_a_missing_part_is_named_and_the_rest_is_shown(run, gone, sentence):
    shutil.rmtree(run / gone) if (run / gone).is_dir() else (run / gone).unlink()
    text = text_of(write_report(run).read_text())
    assert sentence in text
    assert ("85.77" in text) == (gone != "metrics.json")


def test_an_empty_folder_gives_a_page_and_no_folder_an_error(tmp_path):
    text = text_of(write_report(tmp_path).read_text())
    assert "There is no verdict yet." in text
    assert text.count("is not in this run folder") > 8
    with pytest.raises(UserError, match="nowhere"):
        write_report(tmp_path / "nowhere")


def test_damaged_files_and_undefined_figures_are_said(run):
    (run / "manifest.json").write_text("[1, 2")
    (run / "config.yaml").write_text("a: [")
    (run / "stages/read/gold.parquet").write_bytes(b"not a table")
    pd.DataFrame({"score": [0.5]}).to_parquet(run / "stages/label/scored.parquet")
    value = json.loads((run / "metrics.json").read_text())
    value["models"]["augmented"]["test"] = {"spearman": None, "pearson": None, "ci95": [None, None], "pairs": 2}
    del value["models"]["zero_shot"]
    (run / "metrics.json").write_text(json.dumps(value))
    text = text_of(write_report(run).read_text())
    assert "manifest.json cannot be read as a JSON object." in text
    assert "config.yaml cannot be read as a YAML mapping." in text
    assert "gold.parquet cannot be read as a Parquet table." in text
    assert "scored.parquet has no column sentence1, sentence2, sampled_by." in text
    assert "metrics.json has no figures of the model zero_shot." in text
    assert "88.58" in text
    assert "84.91" not in text


def test_a_constant_teacher_and_a_single_step_still_draw(run):
    table = {"split": ["dev"] * 3, "score": [0.1, 0.5, np.nan], "prediction": [0.4] * 3}
    pd.DataFrame({"model": ["teacher"] * 3, **table}).to_parquet(run / "stages/predict/predictions.parquet")
    one = {"steps": [{"step": 1, "loss": 0.2, "learning_rate": 1e-5}], "evaluations": [{"step": 1, "spearman": None}]}
    (run / "stages/gold_only/history.json").write_text(json.dumps({**one, "best_step": 1}))
    assert write_report(run).read_text().count("<svg") == 6


def test_wording_of_figures():
    assert wording.points(0.857749) == "85.77"
    assert wording.points(-0.00001) == "0.00"
    assert wording.points(None) == "–"
    assert wording.points(float("nan")) == "–"
    assert wording.points(0.0123, plus=True) == "+1.23"
    assert wording.interval([0.841, 0.8734]) == "[84.1, 87.3]"
    assert wording.interval([None, 0.2]) == ""
    assert [wording.duration(s) for s in (8.44, 59.97, 723, 3899, 3599.7, 172_799, 1_000_000)] == [
        "8.4 s", "1 min 0 s", "12 min 3 s", "1 h 5 min", "1 h 0 min", "2 d 0 h", "11 d 14 h",
    ]  # fmt: skip
    assert [wording.decimal(v, 3) for v in (0.12345, -2.5, -0.0001, None)] == ["0.123", "−2.500", "0.000", "–"]
    assert [wording.share(v) for v in (0.4137, 0, None)] == ["41.4\u00a0%", "0.0\u00a0%", "–"]
    assert wording.printable("x" * 500, 10) == "x" * 9 + "…"
    assert wording.flattened({"a": {"b": 1e-5, "c": {}}, "d": [1, "二"]}) == [
        ("a.b", "1e-05"), ("a.c", "{}"), ("d", '[1, "二"]'),
    ]  # fmt: skip


def test_the_scatter_is_bounded():
    random = np.random.default_rng(0)
    small, large = (
        len(score_plots.teacher_scatter(*random.random((2, n)), spearman=0.5)) for n in (MAX_POINTS, 50_000)
    )
    assert large < 1.1 * small


def test_the_verdict_is_a_short_headline_and_its_reasons():
    assert wording.headline("It helped. By +0.50 points. Kept.") == {
        "verdict": "It helped.", "reasons": "By +0.50 points. Kept.",
    }  # fmt: skip
    assert wording.headline("It helped.") == {"verdict": "It helped.", "reasons": ""}
    assert wording.headline("") == {"verdict": "", "reasons": ""}


def test_silver_before_gold_has_a_curve_of_its_own_and_what_was_learnt_of_it_is_said(run):
    before = text_of(write_report(run).read_text())
    stages = run / "stages"
    shutil.copytree(stages / "augmented", stages / "silver_only")
    # A stage that only lies there, of an earlier run.
    assert "first on silver" not in text_of(write_report(run).read_text())
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["seconds"]["silver_only"] = 12.0
    metrics["silver"] = {**metrics.get("silver", {}), "targets": "batch"}
    (run / "metrics.json").write_text(json.dumps(metrics))
    after = text_of(write_report(run).read_text())
    assert "Augmented, first on silver" in after
    assert "any two texts of a batch" in after
    assert "any two texts of a batch" not in before
