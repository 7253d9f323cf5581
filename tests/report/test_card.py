import json

import pytest
import yaml
from fake_adapt_run import build_adapt_run
from fake_run import CHINESE, SCRIPT, build_run
from fake_train_run import SOURCE, build_train_run

from embedtrain.report.card import model_card

BUILDERS = {"augsbert": build_run, "train": build_train_run, "adapt": build_adapt_run}


@pytest.fixture(params=BUILDERS)
def run(request, tmp_path):
    return BUILDERS[request.param](tmp_path / "run")


def front_matter(card):
    assert card.startswith("---\n")
    return yaml.safe_load(card.split("---\n")[1])


def change(run, file, **values):
    found = json.loads((run / file).read_text())
    (run / file).write_text(json.dumps({**found, **values}, ensure_ascii=False))


def test_the_front_matter_is_what_the_hub_reads(run):
    front = front_matter(model_card(run, run / "model"))
    assert front["library_name"] == "sentence-transformers"
    assert front["pipeline_tag"] == "sentence-similarity"
    assert {"sentence-transformers", "feature-extraction", "embedtrain"} <= set(front["tags"])
    assert "license" not in front
    assert "# license:" in model_card(run, run / "model")


def test_the_same_run_gives_the_same_card(run):
    assert model_card(run, run / "model") == model_card(run, run / "model")


def test_every_section_is_there(run):
    card = model_card(run, run / "model")
    for heading in ("Use", "Data", "Recipe", "Scores", "Limits", "Licence"):
        assert f"\n## {heading}\n" in card
    assert "**To be filled in**" in card


def test_scores_stand_with_intervals_and_differences(tmp_path):
    card = model_card(build_train_run(tmp_path / "run"), tmp_path / "run" / "model")
    assert "| Trained (this model) | 86.13 [84.5, 87.7] | 73.45 [71.5, 75.5] |" in card
    assert "| Before training | 82.03 [80.4, 83.6] |" in card
    assert "| model | Spearman × 100, test | MRR × 100, dev |" in card
    assert "- Trained minus Before training, on test: +4.10 points [+3.02, +5.21]" in card
    assert "no test set" not in card


def test_without_a_test_set_the_card_says_so(tmp_path):
    run = build_train_run(tmp_path / "run")
    metrics = json.loads((run / "metrics.json").read_text())
    for figures in metrics["models"].values():
        del figures["test"]
    del metrics["metrics"]["test"]
    (run / "metrics.json").write_text(json.dumps(metrics))
    card = model_card(run, run / "model")
    assert "There was no test set" in card
    assert "| model | MRR × 100, dev |" in card


def test_only_names_of_the_hub_are_base_models(tmp_path):
    run = build_train_run(tmp_path / "run")
    for name, kind, expected in (
        ("intfloat/multilingual-e5-small", "hub cache", "intfloat/multilingual-e5-small"),
        ("all-MiniLM-L6-v2", "bundled package", "sentence-transformers/all-MiniLM-L6-v2"),
        ("/home/me/models/mine", "folder", None),
        ("runs/first/model", "folder", None),
    ):
        change(run, "manifest.json", models={"base": {"name": name, "location": "/secret/place", "kind": kind}})
        card = model_card(run, run / "model")
        assert front_matter(card).get("base_model") == expected
        assert "/home" not in card
        assert "/secret" not in card
    assert "# first, after" in card


def test_paths_of_the_users_machine_stay_there(tmp_path):
    run = build_train_run(tmp_path / "run")
    settings = yaml.safe_load((run / "config.yaml").read_text())
    given = {"data": ["/home/me/客服/questions.tsv"], "output": "/home/me/runs/first", "dev": "C:\\Users\\me\\dev.tsv"}
    (run / "config.yaml").write_text(yaml.safe_dump({**settings, **given}, allow_unicode=True))
    change(run, "manifest.json", losses={"/home/me/客服/questions.tsv": "mnrl"})
    card = model_card(run, run / "model")
    assert "/home" not in card
    assert "Users" not in card
    assert "questions.tsv" in card
    assert "dev: dev.tsv" in card


def test_what_the_user_wrote_is_neither_markdown_nor_html(tmp_path):
    run = build_train_run(tmp_path / "run")
    change(run, "metrics.json", verdict=f"Helped | {SCRIPT} *much* [x](http://x) {CHINESE}", warnings=["```" + SCRIPT])
    change(run, "manifest.json", files=[{"role": "data", "name": f"a|b{SCRIPT}`.tsv", "sha256": "0" * 64}])
    card = model_card(run, run / "model")
    assert SCRIPT not in card
    assert CHINESE in card
    assert "Helped \\| &lt;script&gt;alert(1)&lt;/script&gt; \\*much\\* \\[x\\](http://x)" in card
    assert "a\\|b&lt;script&gt;" in card
    assert SOURCE.rpartition("/")[2].replace("<b>", "&lt;b&gt;") in card


def test_hashes_scripts_and_lengths_are_told(tmp_path):
    run = build_train_run(tmp_path / "run")
    files = [{"role": "data", "name": "问题.tsv", "sha256": "abcd" * 16}]
    change(run, "manifest.json", files=files, scripts={"Han": 0.75, "Latin": 0.25})
    (run / "model" / "sentence_bert_config.json").write_text('{"max_seq_length": 128}')
    card = model_card(run, run / "model")
    assert "| data | <code>问题.tsv</code> | <code>abcdabcdabcdabcd</code> |" in card
    assert "Han 75.0\u00a0%, Latin 25.0\u00a0%" in card
    assert "the first 128 tokens" in card
