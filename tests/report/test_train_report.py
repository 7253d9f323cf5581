import json
import re
import shutil

import pytest
from fake_run import CHINESE
from fake_train_run import DEV, SOURCE, TEST, VERDICT, build_train_run
from pages import text_of

from embedtrain.report import write_train_report


@pytest.fixture
def run(tmp_path):
    return build_train_run(tmp_path / "run")


def test_every_figure_of_both_models_with_its_interval(run):
    text = text_of(write_train_report(run).read_text())
    for model in DEV:
        dev, test = 100 * DEV[model], 100 * TEST[model]
        assert f"{dev:.2f} [{dev - 2:.1f}, {dev + 2:.1f}]" in text
        assert f"{dev - 11:.2f}" in text
        assert f"{test:.2f} [{test - 1.67:.1f}, {test + 1.53:.1f}]" in text
        assert f"{test - 1.1:.2f} [" in text
    for said in ("MRR", "Accuracy at 1", "Spearman", "Pearson", "300 rows in dev", "1,379 pairs in test"):
        assert said in text
    assert VERDICT.partition(". ")[0] in text
    assert "+4.10 [+3.02, +5.21] points of Spearman" in text
    assert "lies above zero" in text
    assert "Nothing was chosen by test." in text
    assert "The learning rate was <high>." in text


def test_the_training_and_its_seeds(run):
    text = text_of(write_train_report(run).read_text())
    for said in (
        "best of 3 seeds", "The seeds, after 30 steps", "Seed 43 went on", "3,021 training rows", "4,312", "4.3 %",
        "1 min 22 s", "with MRR 73.45", "The dotted line is the model before training (61.20)",
    ):  # fmt: skip
        assert said in text


def test_what_was_learnt_from_and_what_was_chosen(run):
    page = write_train_report(run).read_text()
    text = text_of(page)
    assert f"{SOURCE} mnrl 3,324 3,321 3 " in text
    for said in (
        "loss mnrl", "Attention: eager", "short sentences on a CPU", "Base: all-MiniLM-L6-v2", "found in: folder",
        "training.batch_size", "adapter/ holds it by itself",
    ):  # fmt: skip
        assert said in text
    # The example under "Use the model" is a pair of the user's own.
    assert CHINESE in re.search(r'<code id="code">(.*?)</code>', page, flags=re.DOTALL)[1]


def test_one_seed_and_no_test(run):
    value = json.loads((run / "metrics.json").read_text())
    del value["seeds"], value["metrics"]["test"]
    for scores in value["models"].values():
        del scores["test"]
    value["paired_difference"] |= {"split": "dev", "metric": "mrr", "difference": 0.1, "ci95": [-0.01, 0.2]}
    (run / "metrics.json").write_text(json.dumps(value))
    shutil.rmtree(run / "adapter")
    page = write_train_report(run).read_text()
    text = text_of(page)
    assert page.count("<svg") == 2
    for said in ("MRR on dev", "there is no test", "points of MRR", "cannot tell the two models apart"):
        assert said in text
    for unsaid in ("seeds", "holds it by itself", "Pearson"):
        assert unsaid not in text


@pytest.mark.parametrize(
    "gone", ["metrics.json", "manifest.json", "config.yaml", "stages/read/audit.json", "stages/train/history.json"]
)
def test_a_missing_part_is_named_and_the_rest_is_shown(run, gone):
    (run / gone).unlink()
    text = text_of(write_train_report(run).read_text())
    assert f"{gone} is not in this run folder." in text
    assert ("86.13" in text) == (gone != "metrics.json")


def test_a_training_of_one_step_still_draws(run):
    one = {"steps": [{"step": 1, "loss": 0.2}], "evaluations": [{"step": 1, "mrr": None}], "best_step": 1}
    (run / "stages/train/history.json").write_text(json.dumps(one))
    assert write_train_report(run).read_text().count("<svg") == 3
