"""Wrong uses of ``embedtrain mine``: exit code 2 and one message a mistake, before any model is loaded."""

import logging

import pandas as pd
import pytest
from conftest import SAMPLES

from embedtrain.cli import main
from embedtrain.pipelines.label.teachers import read_teacher
from embedtrain.pipelines.mine.checks import warn_about_teachers
from embedtrain.pipelines.mine.options import MineOptions

GOLD, DEV = (str(SAMPLES / f"en_{name}.tsv") for name in ("gold", "dev"))
SENTENCES = str(SAMPLES / "en_sentences.txt")
TRIPLETS = str(SAMPLES / "en_triplets.tsv")


@pytest.fixture
def run(tmp_path, tiny_model, capsys, monkeypatch):
    """Run mine with the given words; no model may be loaded."""

    def must_not_load(*args, **kwargs):
        raise AssertionError("a model was loaded before the mistakes were shown")

    monkeypatch.setattr("embedtrain.pipelines.mine.encoding.load_biencoder", must_not_load)
    monkeypatch.setattr("embedtrain.pipelines.label.teachers.load_biencoder", must_not_load)
    monkeypatch.setattr("embedtrain.pipelines.label.teachers.load_crossencoder", must_not_load)

    def call(*words, model=tiny_model):
        code = main(
            ["mine", *words, "--model", str(model), "--output", str(tmp_path / "run"), "--score-range", "0", "5"]
        )
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.err

    return call


@pytest.fixture
def tables(tmp_path):
    def write(name="table.parquet", **columns):
        path = tmp_path / name
        pd.DataFrame(columns).to_parquet(path, index=False)
        return str(path)

    return write


POOL = ["--unlabeled", SENTENCES, "--gold", GOLD]
NEGATIVES = ["--hard-negatives", "--positives", TRIPLETS]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ["nothing to make pairs of"]),
        ([*POOL, "--strategy", "semntic"], ["unknown sampling strategy 'semntic'; did you mean 'semantic'"]),
        ([*POOL, "--strategy", "semantic=0.5", "random"], ["--strategy random: it has no share"]),
        ([*POOL, "--strategy", "semantic=0.5", "random=0.9", "--limit", "9"], ["the shares add up to 1.4, expected 1"]),
        ([*POOL, "--strategy", "semantic=0.5", "random=0.5"], ["shares without a limit", "--limit"]),
        ([*POOL, "--top-k", "0", "--limit", "0"], ["--top-k is 0", "--limit is 0"]),
        (["--unlabeled", SENTENCES, "--strategy", "kde"], ["give --teacher", "give --gold", "with --limit"]),
        (["--gold", GOLD, "--strategy", "cross-domain"], ["sentences of the other domain"]),
        (["--hard-negatives"], ["--hard-negatives without --positives"]),
        ([*NEGATIVES, "--scored", GOLD], ["--hard-negatives with --scored"]),
        ([*NEGATIVES, "--num-negatives", "0"], ["--num-negatives 0: expected 1 or more"]),
        ([*NEGATIVES, "--range-min", "5", "--range-max", "6"], ["leave 1 candidates for --num-negatives 3"]),
        (
            [*NEGATIVES, "--prompts", "documents=passage: ", "default=x"],
            ["--prompts documents=...: unknown; did you mean 'document'?; expected query or document", "default=..."],
        ),
        ([*NEGATIVES, "--teacher", "x", "--relative-margin", "null"], ["--teacher has no effect on hard negatives"]),
        (["--hard-negatives", "--positives", GOLD], ["en_gold.tsv has scores", "--positive-threshold"]),
        (
            ["--hard-negatives", "--positives", GOLD, "--positive-threshold", "1.5"],
            ["--positive-threshold is 1.5", "no pair of", "the highest is 1.00"],
        ),
        (["--scored", GOLD], ["--scored without --positive-threshold", "--scored without --negative-threshold"]),
        (
            ["--scored", GOLD, "--positive-threshold", "0.2", "--negative-threshold", "0.3"],
            ["--negative-threshold 0.3 is not below --positive-threshold 0.2"],
        ),
        ([*POOL, "--columns", "sentense1=a"], ["unknown column 'sentense1'; did you mean 'sentence1'"]),
        ([*POOL, "--known", GOLD + "x"], ["en_gold.tsvx: no such file or folder; did you mean 'en_gold.tsv'"]),
        ([*POOL, "--strateg", "bm25"], ["unknown option --strateg", "--strategy"]),
    ],
)
def test_mistakes_are_named(run, words, expected):
    code, shown = run(*words)
    assert code == 2
    for part in expected:
        assert part in shown


def test_every_mistake_is_shown_at_once(run, tmp_path):
    code, shown = run(
        *(
            "--unlabeled",
            str(tmp_path / "none.txt"),
            "--gold",
            str(tmp_path / "none.tsv"),
            "--top-k",
            "0",
            "--seed",
            "-1",
        ),
        model="no/such-model",
    )
    assert code == 2
    for part in ("none.txt", "none.tsv", "--top-k is 0", "--seed is -1", "no/such-model"):
        assert part in shown


@pytest.mark.parametrize("content", ["", " \n\u3000\n"])
def test_an_empty_pool_is_refused(run, tmp_path, content):
    (tmp_path / "pool.txt").write_text(content, encoding="utf-8")
    code, shown = run("--unlabeled", str(tmp_path / "pool.txt"))
    assert code == 2
    assert "pool.txt: the file is empty" in shown


def test_a_pool_of_gold_sentences_alone_is_said(run, tables, caplog, monkeypatch):
    monkeypatch.setattr("embedtrain.cli.configure_logging", lambda verbosity: None)
    caplog.set_level(logging.INFO, logger="embedtrain")
    gold = pd.read_csv(GOLD, sep="\t", quoting=3)
    pool = tables(text=[text.upper() for text in gold["sentence1"][:30]])
    code, shown = run("--unlabeled", pool, "--gold", GOLD, "--strategy", "cross-domain")
    assert code == 2
    assert "none is such a one" in shown
    code, _ = run("--unlabeled", pool, "--gold", GOLD, "--strategy", "bm25")
    assert code == 0
    assert any("stand in" in message and "other combinations" in message for message in caplog.messages)


def test_a_pool_without_a_new_pair_is_refused(run, tables):
    gold = tables(name="gold.parquet", sentence1=["red car", "a"], sentence2=["red bus", "b"], score=[3.0, 1.0])
    code, shown = run("--unlabeled", tables(text=["red car", "red bus"]), "--gold", gold, "--strategy", "bm25")
    assert code == 2
    assert "no new pair is left among 4 sentences and 2 known pairs" in shown


def test_k_beyond_the_pool_is_said_and_goes_on(run, tables, caplog, monkeypatch, tmp_path):
    monkeypatch.setattr("embedtrain.cli.configure_logging", lambda verbosity: None)
    caplog.set_level(logging.WARNING, logger="embedtrain")
    code, _ = run("--unlabeled", tables(text=["red car", "red bus", "red sky"]), "--strategy", "bm25", "--top-k", "50")
    assert code == 0
    assert any("3 sentences have 2 others" in message for message in caplog.messages)
    assert len(pd.read_parquet(tmp_path / "run" / "pairs.parquet")) == 3


def saved_crossencoder(tiny_model, folder, *, outputs=1, activation=None):
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(tiny_model.parent / "hf"), num_labels=outputs, device="cpu", activation_fn=activation)
    model.save_pretrained(str(folder), create_model_card=False)
    return str(folder)


def test_a_teacher_that_does_not_fit_is_refused(run, tiny_model, tmp_path):
    import torch

    asking = [*POOL, "--strategy", "kde", "--limit", "20", "--teacher"]
    raw = saved_crossencoder(tiny_model, tmp_path / "raw", activation=torch.nn.Identity())
    code, shown = run(*asking, raw, raw)
    assert code == 2
    assert "its files ask for raw outputs" in shown
    assert "--sigmoid or --calibrate" in shown
    assert "is given twice" in shown
    code, shown = run(*asking, saved_crossencoder(tiny_model, tmp_path / "three", outputs=3))
    assert code == 2
    assert "classifier with 3 outputs" in shown


def test_what_limits_on_hard_negatives_are_compared_with_is_said(tiny_model, tmp_path, caplog):
    import torch

    raw = saved_crossencoder(tiny_model, tmp_path / "raw", activation=torch.nn.Identity())
    scaled = saved_crossencoder(tiny_model, tmp_path / "scaled")

    def said(*teachers, **values):
        caplog.clear()
        options = MineOptions(output="o", hard_negatives=True, teacher=list(teachers), **values)
        warn_about_teachers(options, [read_teacher(name) for name in teachers])
        return "\n".join(caplog.messages)

    caplog.set_level(logging.WARNING, logger="embedtrain")
    assert said(scaled) == said(raw, sigmoid=True) == said(raw, scaled, sigmoid=True) == ""
    assert "raw outputs, with which margins and limits are then compared; --sigmoid" in said(raw)
    assert "averaged as they are, on scales of their own" in said(raw, scaled)
    assert "averaged as they are" in said(scaled, str(tiny_model))
    assert "--sigmoid has no effect: no teacher's files" in said(scaled, sigmoid=True)
    assert "--sigmoid has no effect without --teacher" in said(sigmoid=True)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--teacher", "x", "--labelled-pairs", "5"], ["--teacher has no effect without --strategy kde"]),
        (["--labelled-pairs", "5"], ["--labelled-pairs has no effect without --strategy kde"]),
        (["--sigmoid"], ["--sigmoid has no effect without --strategy kde"]),
        (["--pairs", GOLD], ["--pairs has no effect without --strategy cross-domain"]),
        (["--positives", TRIPLETS], ["--positives has no effect without --hard-negatives"]),
        (["--prompts", "query=query: "], ["--prompts has no effect without --hard-negatives"]),
        (["--num-negatives", "2"], ["--num-negatives has no effect without --hard-negatives or --scored"]),
        (["--search", "exact"], ["--search has no effect with strategies that search no embeddings"]),
        (["--strategy", "random", "--limit", "5", "--top-k", "9"], ["--top-k has no effect with --limit"]),
    ],
)
def test_options_without_effect_are_said(run, caplog, monkeypatch, words, expected):
    monkeypatch.setattr("embedtrain.cli.configure_logging", lambda verbosity: None)
    caplog.set_level(logging.WARNING, logger="embedtrain")
    if "--strategy" not in words:
        words = ["--strategy", "bm25", *words]
    code, _ = run("--unlabeled", SENTENCES, *words)
    assert code == 0
    for part in expected:
        assert any(part in message for message in caplog.messages)


def test_ray_within_torchrun_is_refused(run, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    code, shown = run(*POOL, "--engine", "ray")
    assert code == 2
    assert "--engine ray under torchrun or accelerate" in shown


def test_without_faiss_or_ray_the_command_to_install_them_is_given(run, monkeypatch):
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name in ("faiss", "ray") else real(name, *a)
    )
    code, shown = run(*POOL, "--search", "faiss", "--engine", "ray")
    assert code == 2
    assert "pip install 'embedtrain[faiss]'" in shown
    assert "pip install 'embedtrain[ray]'" in shown


def test_an_output_that_is_an_input_is_refused(tmp_path, tiny_model, capsys):
    code = main(["mine", "--unlabeled", SENTENCES, "--model", str(tiny_model), "--output", str(tiny_model)])
    assert code == 2
    assert "this is the input of --model" in capsys.readouterr().err
