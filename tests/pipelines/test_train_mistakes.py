"""Wrong uses of ``embedtrain train``: exit code 2 and one message a mistake, before any model is loaded."""

import logging

import pandas as pd
import pytest
from conftest import SAMPLES

from embedtrain.cli import main

GOLD, DEV, TEST = (str(SAMPLES / f"en_{name}.tsv") for name in ("gold", "dev", "test"))
TRIPLETS = str(SAMPLES / "en_triplets.tsv")


@pytest.fixture
def run(tmp_path, tiny_model, capsys, monkeypatch):
    """Run train with the given words; training must not be reached."""

    def must_not_load(*args, **kwargs):
        raise AssertionError("a model was loaded before the mistakes were shown")

    monkeypatch.setattr("embedtrain.pipelines.train.pipeline.load_biencoder", must_not_load)
    monkeypatch.setattr("embedtrain.pipelines.train.fitting.load_biencoder", must_not_load)
    monkeypatch.setattr("embedtrain.pipelines.train.making.load_biencoder", must_not_load)

    def call(*words, base=tiny_model):
        fixed = ["--base", str(base), "--output", str(tmp_path / "run"), "--score-range", "0", "5"]
        code = main(["train", *words, *fixed])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.err

    return call


def table(folder, name="mine.parquet", **columns):
    path = folder / name
    pd.DataFrame(columns).to_parquet(path, index=False)
    return str(path)


SCORED = ["--data", GOLD, "--dev", DEV]
RANKED = ["--data", TRIPLETS, "--dev", DEV]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["--data", GOLD, "--loss", "mnrl"],
            ["--loss mnrl does not fit scored pairs", "these do: cosine, cosent, angle"],
        ),
        (["--data", TRIPLETS, "--loss", "cosine"], ["does not fit triplets", "these do: mnrl, gist, sigmoid, triplet"]),
        (["--data", GOLD, "--loss", "cosin"], ["unknown loss; did you mean 'cosine'"]),
        (["--data", GOLD, "--loss", "margin-mse"], ["a teacher's score", "docs/losses.md"]),
        (["--data", GOLD, TRIPLETS, "--loss", "cosine", "mnrl", "mnrl"], ["3 losses, and --data 2 tables"]),
        (["--data", GOLD, "--loss", "cosine", "mnrl"], ["2 losses, and --data 1 table;"]),
        (["--data", GOLD, GOLD], ["en_gold.tsv is given twice"]),
        (["--data", str(SAMPLES / "en_sentences.txt")], ["sentences alone", "augsbert --unlabeled"]),
        (["--data", str(SAMPLES / "en_golden.tsv")], ["no such file", "did you mean 'en_gold.tsv'"]),
        (["--data", GOLD, "--dev", GOLD], ["--dev", "the same table is trained on"]),
        ([*SCORED, "--test", DEV], ["the same pairs choose the weights"]),
        ([*SCORED, "--test", TRIPLETS], ["en_triplets.tsv", "sentence1"]),
        ([*RANKED, "--loss", "gist"], ["--guide MODEL"]),
        ([*SCORED, "--effective-batch", "512"], ["--effective-batch 512 with the loss cosine"]),
        (
            [*RANKED, "--effective-batch", "512", "--gradient-accumulation", "4"],
            ["--effective-batch 512 with --gradient-accumulation 4"],
        ),
        ([*RANKED, "--batch-tokens", "4096"], ["--batch-tokens 4096 with the loss mnrl"]),
        ([*SCORED, "--batch-tokens", "4096", "--effective-batch", "64"], ["so many rows or so many tokens"]),
        (["--data", GOLD, "--seeds", "3"], ["--seeds 3 without --dev"]),
        ([*SCORED, "--keep-best-after", "0.3"], ["--keep-best-after 0.3 without --seeds"]),
        ([*SCORED, "--seeds", "3", "--keep-best-after", "1.5"], ["--keep-best-after is 1.5"]),
        ([*SCORED, "--matryoshka", "64", "16"], ["have 32 numbers", "found 64"]),
        ([*SCORED, "--matryoshka", "8", "8"], ["--matryoshka is [8, 8]"]),
        ([*SCORED, "--freeze", "layer.[0-3"], ["--freeze 'layer.[0-3'", "regular expression"]),
        ([*SCORED, "--seeds", "0"], ["--seeds is 0, expected at least 1"]),
        ([*SCORED, "--lora-rank", "0"], ["--lora-rank is 0"]),
        ([*SCORED, "--training.batch-size", "0"], ["--training.batch-size is 0"]),
        ([*SCORED, "--report-to", "tensorbord"], ["did you mean 'tensorboard'"]),
        ([*SCORED, "--effective-bach", "4"], ["unknown option --effective-bach", "'--effective-batch'"]),
        ([*SCORED, "--mix", "alternating"], ["mix", "alternating"]),
        ([*RANKED, "--prompts", "query: "], ["--prompts is 'query: ', expected NAME=VALUE"]),
        ([*RANKED, "--columns", "anchor", "question"], ["--columns is 'anchor'", "--columns is 'question'"]),
        (
            [*RANKED, "--prompts", "querry=query: "],
            ["--prompts querry=...: unknown; did you mean 'query'?; expected query, document or default"],
        ),
    ],
)
def test_a_wrong_use_is_named_with_what_was_expected(run, words, expected):
    code, shown = run(*words)
    assert code == 2
    for part in expected:
        assert part in shown


def test_compiling_without_a_compiler_is_refused_before_any_work(run, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    code, shown = run(*SCORED, "--compile")
    assert code == 2
    assert "--compile: torch.compile writes C++ and finds no compiler" in shown


def test_every_mistake_is_shown_at_once(run, tmp_path):
    code, shown = run("--data", str(tmp_path / "no.tsv"), "--loss", "mrnl", "--seeds", "0", base="no/such-model")
    assert code == 2
    for part in ("no.tsv: no such file", "did you mean 'mnrl'", "--seeds is 0", "no/such-model"):
        assert part in shown


def test_a_table_that_no_cosine_can_measure_needs_dev(run, tmp_path):
    pairs = table(tmp_path, sentence1=list("abcd"), sentence2=list("efgh"), label=["x", "y", "z", "x"])
    code, shown = run("--data", pairs)
    assert code == 2
    assert "classified pairs" in shown
    assert "--dev" in shown


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["a"] * 4, "every row has the label 'a'"),
        (list("abcd"), "each of the 4 classes has a single text"),
        (["a", "b", None, "a"], "row 3 ''"),
    ],
)
def test_classes_that_teach_nothing_are_refused(run, tmp_path, labels, expected):
    code, shown = run("--data", table(tmp_path, text=list("wxyz"), label=labels), "--dev", DEV)
    assert code == 2
    assert expected in shown


def test_matryoshka_with_the_softmax_loss_is_refused(run, tmp_path):
    pairs = table(tmp_path, sentence1=list("abcd"), sentence2=list("efgh"), label=["x", "y", "z", "x"])
    code, shown = run("--data", pairs, "--dev", DEV, "--matryoshka", "8")
    assert code == 2
    assert "--matryoshka with the loss softmax" in shown


def test_lora_without_peft_says_what_to_install(run, monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "peft" else find(name, *rest))
    code, shown = run(*SCORED, "--lora-rank", "4")
    assert code == 2
    assert "pip install 'embedtrain[lora]'" in shown


def test_an_output_that_is_an_input_is_refused(run, tmp_path):
    import datasets

    datasets.Dataset.from_dict({"anchor": ["a"], "positive": ["b"]}).save_to_disk(str(tmp_path / "run"))
    code, shown = run("--data", str(tmp_path / "run"))
    assert code == 2
    assert "this is the input of --data" in shown


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([*RANKED, "--chunk-size", "8"], "--chunk-size has no effect without --effective-batch"),
        ([*RANKED, "--effective-batch", "16"], "--effective-batch 16 is no more than --chunk-size 32"),
        ([*RANKED, "--effective-batch", "64", "--training.batch-size", "8"], "--training.batch-size has no effect"),
        ([*SCORED, "--batch-tokens", "640", "--training.batch-size", "8"], "--training.batch-size has no effect"),
        ([*SCORED, "--mix", "round-robin"], "--mix round-robin has no effect"),
        ([*RANKED, "--guide", "TINY"], "--guide has no effect"),
        ([*SCORED, "--lora-alpha", "8"], "--lora-alpha has no effect"),
        ([*SCORED, "--lora-rank", "8", "--freeze", "embeddings"], "--freeze has no effect"),
        (["--data", TRIPLETS], "--score-range has no effect"),
        (
            [*SCORED, "--prompts", "query=query: ", "document=passage: "],
            "--prompts query and document has no effect in training: no table has anchors",
        ),
        ([*SCORED, "--columns", "anchor=question"], "--columns anchor=question has no effect"),
    ],
)
def test_an_option_without_effect_warns(words, expected, tiny_model, tmp_path, caplog):
    from embedtrain.arguments import parse
    from embedtrain.pipelines.train.inputs import collect_train_inputs
    from embedtrain.pipelines.train.options import TrainOptions

    caplog.set_level(logging.WARNING, logger="embedtrain")
    words = [str(tiny_model) if word == "TINY" else word for word in words]
    fixed = ["--base", str(tiny_model), "--output", str(tmp_path), "--score-range", "0", "5"]
    collect_train_inputs(parse(TrainOptions, [*words, *fixed], command="train", summary=""))
    assert expected in caplog.text


def test_the_help_and_the_configuration_show_every_option(capsys):
    assert main(["train", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "--effective-batch" in shown
    assert "--training.learning-rate" in shown
    assert main(["train", *SCORED, "--output", "x", "--print_config"]) == 0
    assert GOLD in capsys.readouterr().out


def test_the_words_of_the_command_line_are_understood():
    from embedtrain.arguments import parse
    from embedtrain.pipelines.train.options import TrainOptions

    words = ["--data", "a, b.tsv", "c#d.tsv", "--loss=mnrl", "--output", "x", "--matryoshka", "128", "64"]
    words += ["--prompts", "query=query: ", 'document=Represent this: a = "b"', "--columns", "anchor=问题"]
    words += ["--compile", "--pack", "false", "--seeds", "5", "--keep-best-after", "0.3", "--freeze", r"layer\.[0-3]\."]
    options = parse(TrainOptions, words, command="train", summary="")
    assert options.data == ["a, b.tsv", "c#d.tsv"]
    assert options.loss == ["mnrl"]
    assert options.matryoshka == [128, 64]
    assert options.prompts == {"query": "query: ", "document": 'Represent this: a = "b"'}
    assert options.columns == {"anchor": "问题"}
    assert options.compile is True
    assert options.pack is False
    assert options.freeze == r"layer\.[0-3]\."
    assert options.asked_losses() == ["mnrl", "mnrl"]


def test_pairs_that_cannot_choose_are_refused(run, tmp_path):
    same = table(tmp_path, sentence1=[f"a{n}" for n in range(12)], sentence2=["b"] * 12, label=[1] * 12)
    code, shown = run("--data", GOLD, "--dev", same)
    assert (code, "every label is 1, expected pairs of label 0 and of label 1" in shown) == (2, True)
    few = table(tmp_path, anchor=["a", "b"], positive=["c", "d"])
    code, shown = run("--data", GOLD, "--dev", few)
    assert (code, "2 pairs, expected at least 10" in shown) == (2, True)


@pytest.mark.parametrize(
    ("header", "words", "advice"),
    [
        ("question,answer", ["--loss", "mnrl"], "--columns anchor=NAME positive=NAME"),
        ("question,answer", ["--columns", "sentence1=question", "sentence2=answer"], "anchor=question positive=answer"),
        ("sentence1,sentence2", [], "--columns anchor=sentence1 positive=sentence2"),
    ],
)
def test_two_columns_of_text_are_taken_for_what_they_are(header, words, advice, tmp_path, capsys):
    table = tmp_path / "qa.csv"
    table.write_text(f"{header}\nhow?,so\nwhy?,because\n", encoding="utf-8")
    assert main(["train", "--data", str(table), *words, "--output", str(tmp_path / "run")]) == 2
    shown = " ".join(capsys.readouterr().err.split())
    assert advice in shown
    assert "negative=NAME" not in shown
