import json
import re
import shutil

import pytest
from fake_adapt_run import (
    DEV,
    DIFFERENCES,
    TEST,
    TEXT,
    VERDICT,
    build_adapt_run,
    history,
    measure_nothing,
    metrics,
    write,
)
from fake_run import SCRIPT
from pages import text_of

from embedtrain.report import plots, write_adapt_report
from embedtrain.report.adapt_sections import name_of, role_of


@pytest.fixture
def run(tmp_path):
    return build_adapt_run(tmp_path / "run")


def page_of(run, **changed):
    """The page's text after a change of ``metrics.json``."""
    write(run, "metrics.json", {**metrics(), **changed})
    return text_of(write_adapt_report(run).read_text())


def difference(model, value, low, high, *, split="test"):
    return {"model": model, "split": split, "metric": "spearman", "difference": value, "ci95": [low, high]}


def test_the_page_opens_with_what_helped_by_how_much_and_what_is_kept(run):
    text = text_of(write_adapt_report(run).read_text())
    answer = "Adaptation helped: +2.10 points of Spearman on test against gold only. Kept: TSDAE → gold."
    assert answer in text
    assert VERDICT in text
    assert text.index(answer) < text.index("Better than gold only") < text.index("Results")
    assert "1.5 % of the sentences are longer than <128> tokens and are cut there." in text
    assert "20,817 sentences base all-MiniLM-L6-v2 loss on gold cosent" in text.replace(" ·", "")


@pytest.mark.parametrize(
    ("changed", "answer"),
    [
        (
            {"differences": [difference("tsdae+gold", 0.004, -0.001, 0.009, split="dev")]},
            "Adaptation made no difference that dev can show: +0.40 points of Spearman against gold only.",
        ),
        (
            {"differences": [difference("tsdae", -0.0312, -0.04, -0.02)], "winner": "tsdae", "baseline": "zero_shot"},
            "Adaptation did harm: −3.12 points of Spearman on test against zero-shot. Kept: TSDAE.",
        ),
        (
            {"winner": "gold"},
            "Adaptation did not help: no adapted model beats gold only on dev. Kept: gold only.",
        ),
        ({"winner": "zero_shot"}, "Training on gold did not help on dev. Kept: zero-shot."),
        ({"differences": []}, "Better than gold only on test"),
        ({"winner": "<b>"}, "Better than gold only on test"),
    ],
)
def test_the_answer_follows_the_figures(run, changed, answer):
    header, _, _ = page_of(run, **changed).partition("Results")
    assert answer in header
    assert ("Adaptation" in header.replace("Domain adaptation", "")) == answer.startswith("Adaptation")


def test_every_figure_of_every_model_with_its_interval(run):
    text = text_of(write_adapt_report(run).read_text())
    for model in DEV:
        for value in (100 * DEV[model], 100 * TEST[model]):
            assert f"{value:.2f} [{value - 1.67:.1f}, {value + 1.53:.1f}]" in text
            assert f"{value - 1.1:.2f} [" in text
    assert re.search("TSDAE → gold chosen on dev adapted, then trained on gold 82.30", text)
    assert text.count("chosen on dev") == 1
    assert "1,379 rows in dev, 1,379 rows in test" in text
    assert "were chosen by dev. Nothing was chosen by test." in text


def test_the_differences_with_their_reading(run):
    page = write_adapt_report(run).read_text()
    text = text_of(page)
    for said in (
        "Against gold only, on test",
        "MLM → gold +0.40 [−0.70, +1.55] open",
        "TSDAE → gold +2.10 [+0.80, +3.41] better",
        "SimCSE → gold −0.20 [−1.31, +0.90] open",
        "likelier one of them clears the line by chance",
    ):
        assert said in text
    said = re.search(r'aria-label="(Difference on test[^"]+)"', page)[1]
    assert said == "Difference on test, times 100: MLM → gold +0.40, TSDAE → gold +2.10, SimCSE → gold −0.20."
    worse = difference("tsdae+gold", -0.02, -0.03, -0.01)
    text = page_of(run, differences=[worse])
    assert "TSDAE → gold −2.00 [−3.00, −1.00] worse" in text
    assert "by chance" not in text


def test_a_plot_of_differences_always_shows_its_line_at_zero():
    far = [("teacher", "MLM", 0.2, (0.19, 0.21))]
    plain, signed = (plots.model_intervals(far, differences=differences) for differences in (False, True))
    assert re.search(r">0(\.0)?<", signed)
    assert not re.search(r">0(\.0)?<", plain)
    assert "+20.00" in signed
    assert "+20.00" not in plain


def test_each_training_has_its_curve(run):
    page = write_adapt_report(run).read_text()
    text = text_of(page)
    trained = {model for model in DEV if model != "zero_shot"}
    assert set(re.findall(r"<h4>(.*?)</h4>", page)) == {
        name_of(model)[0].upper() + name_of(model)[1:] for model in trained
    }
    for model in trained:
        assert f"with Spearman {100 * DEV[model]:.2f}: the weights" in text
    assert text.index("On the text") < text.index("On gold")
    assert text.count("20,317 sentences, 104 a second, 1 min 22 s") == 3
    assert text.count("5,749 rows, 104 a second") == 4
    assert "The dotted line is the base model as it came (72.10)." in text
    assert "Without dev pairs" not in text


def test_gold_first(run):
    models = {"zero_shot": "zero_shot", "gold": "gold", "gold+tsdae": "gold_tsdae"}
    (run / "stages/gold_tsdae").mkdir()
    write(run, "stages/gold_tsdae/history.json", history("tsdae"))
    scores = metrics()["models"]
    text = page_of(
        run,
        models={"zero_shot": scores["zero_shot"], "gold": scores["gold"], "gold+tsdae": scores["tsdae"]},
        stages=models,
        differences=[difference("gold+tsdae", -0.0658, -0.08, -0.05)],
        winner="gold",
    )
    assert "Gold → TSDAE trained on gold, then adapted 74.33" in text
    assert "Gold → TSDAE −6.58 [−8.00, −5.00] worse" in text
    assert text.index("On gold") < text.index("On the text")
    assert 'class="missing"' not in (run / "report.html").read_text()


def test_what_was_found_in_the_text(run):
    text = text_of(write_adapt_report(run).read_text())
    for said in (
        "sentences read 20,874", "repeated, dropped 57", "empty, dropped 0", "kept 20,817", "also in test 12",
        "mean length 23.5 tokens", "longer than 128 tokens, cut there 1.5 % of the sentences",
        "unknown to the tokenizer 0.4 % of the tokens", "are of 2,000 sentences drawn",
        f"Repeated sentence in {TEXT}: 41 sentences stand more than once.",
    ):  # fmt: skip
        assert said in text.replace("\u00a0", " ")


def test_nothing_measured(run):
    page = write_adapt_report(measure_nothing(run)).read_text()
    text = text_of(page)
    for said in (
        "Nothing was measured: there are no pairs with scores or labels.", "Kept in model/: TSDAE.",
        "so these models cannot be ranked", "TSDAE kept adapted to the text", "Without dev pairs, sentences held out",
        "Best on held-out text at step 180, with token probability 41.20", "with token probability 8.70",
        "with finding probability 96.60", "does not say that the embeddings became better",
    ):  # fmt: skip
        assert said in text
    for unsaid in ("Spearman", "chosen on dev", "Against", "dotted line", "Nothing was chosen by test"):
        assert unsaid not in text
    assert page.count("<svg") == 3
    assert 'class="missing"' not in page
    # The example under "Use the model" is the user's own text.
    code = re.search(r'<code id="code">(.*?)</code>', page, flags=re.DOTALL)[1]
    assert "What is it?" in code
    assert "Reset &lt;the&gt; device first." in code


def test_only_dev_and_only_test(run):
    value = metrics()
    for absent, has in (("test", "dev"), ("dev", "test")):
        text = page_of(
            run,
            models={model: {has: scores[has]} for model, scores in value["models"].items()},
            metrics={has: value["metrics"][has]},
            differences=[difference(model, *figures, split=has) for model, figures in DIFFERENCES.items()],
        )
        assert f"1,379 rows in {has}." in text
        assert f"Spearman on {has}" in text
        assert f"Against gold only, on {has}" in text
        assert f"rows in {absent}" not in text
        assert ("the figures flatter what was chosen" in text) == (has == "dev")
        assert ("nothing chose between the models" in text) == (has == "test")
        assert ("kept adapted, then trained on gold" in text) == (has == "test")


def test_text_of_the_users_is_escaped(run):
    value = json.loads((run / "manifest.json").read_text())
    write(run, "manifest.json", {**value, "loss": SCRIPT, "models": {"base": {"name": SCRIPT}}})
    text = page_of(run, verdict=SCRIPT, warnings=[SCRIPT], metrics={"dev": {"name": "spearman", "label": SCRIPT}})
    page = (run / "report.html").read_text()
    assert page.count("<script") == 1
    assert text.count(SCRIPT) > 6


@pytest.mark.parametrize(
    "gone", ["metrics.json", "manifest.json", "config.yaml", "stages/read/audit.json", "stages/tsdae_gold/history.json"]
)
def test_a_missing_part_is_named_and_the_rest_is_shown(run, gone):
    (run / gone).unlink()
    page = write_adapt_report(run).read_text()
    assert f"{gone} is not in this run folder." in text_of(page)
    assert ("80.93" in text_of(page)) == (gone != "metrics.json")
    assert page.count("<svg") == {"metrics.json": 7, "stages/tsdae_gold/history.json": 8}.get(gone, 9)


def test_figures_that_are_missing_or_not_known_are_said_or_left_out(run):
    value = metrics()["models"]
    text = page_of(run, models={**value, "mlm": {}, "<i>new</i>": value["mlm"]})
    assert "metrics.json has no figures of the model mlm." in text
    assert "new" not in text
    shutil.rmtree(run / "stages")
    text = page_of(run, text={})
    assert "Nothing of the text is on record." in text


def test_names_and_roles():
    assert [name_of(model) for model in ("zero_shot", "gold", "mlm+gold", "gold+simcse")] == [
        "zero-shot", "gold only", "MLM → gold", "gold → SimCSE",
    ]  # fmt: skip
    assert [role_of(model) for model in ("zero_shot", "gold", "mlm+gold", "gold+simcse", "tsdae")] == [
        "zero_shot", "gold_only", "teacher", "simcse", "augmented",
    ]  # fmt: skip
