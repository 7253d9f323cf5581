"""The commands as functions: quick to import, the options of the command line by name, results as tables."""

import dataclasses
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import SAMPLES

import embedtrain
from embedtrain import api
from embedtrain.configs.commands import COMMANDS
from embedtrain.errors import UserError
from embedtrain.keywords import options_from
from embedtrain.pipelines.results import COLUMNS, main_scores_frame, split_scores

TEST = SAMPLES / "en_test.tsv"


def test_importing_the_package_brings_no_library_with_it():
    program = (
        "import sys, embedtrain; embedtrain.__version__; dir(embedtrain);"
        "heavy = {'torch', 'transformers', 'pandas', 'numpy', 'jsonargparse', 'tqdm'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_every_command_with_options_is_a_function():
    assert {name.split()[0] for name in COMMANDS} - {"export", "report"} == set(embedtrain.__all__)
    assert set(embedtrain.__all__) <= set(dir(embedtrain))
    assert all(getattr(embedtrain, name) is getattr(api, name) for name in embedtrain.__all__)
    with pytest.raises(AttributeError, match="agsbert"):
        _ = embedtrain.agsbert


@pytest.mark.parametrize("name", [name for name in COMMANDS if " " not in name and name in embedtrain.__all__])
def test_signatures_show_the_options(name):
    parameters = inspect.signature(getattr(embedtrain, name)).parameters
    assert list(parameters) == [field.name for field in dataclasses.fields(COMMANDS[name].options)]
    assert {one.kind for one in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}


def test_every_wrong_keyword_is_told_with_the_nearest_name():
    with pytest.raises(UserError) as caught:
        embedtrain.augsbert(dev="b.tsv", output="x", topk=3, seed="x", student={"epoch": 2}, loss=None)
    told = "\n".join(caught.value.problems)
    assert "unknown option 'topk'; did you mean 'top_k'?" in told
    assert "unknown option 'student.epoch'; did you mean 'student.epochs'?" in told
    assert "'seed' is 'x', expected a whole number" in told
    assert "'gold' is required" in told


def test_options_are_taken_by_name_alone():
    with pytest.raises(TypeError, match=r"embedtrain\.train takes its options by name"):
        embedtrain.train("a.tsv")


def test_an_unknown_kind_of_evaluation_gets_the_nearest_name():
    with pytest.raises(UserError, match="did you mean 'sts'"):
        embedtrain.evaluate("stss", model="x", data="y")


def test_paths_lists_groups_and_settings_are_understood():
    from embedtrain.pipelines.train.options import TrainOptions
    from embedtrain.training.settings import TrainingSettings

    given = {"data": Path("a.tsv"), "output": Path("runs"), "score_range": (0, 5)}
    options = options_from(TrainOptions, {**given, "training": {"epochs": 3}}, called="x")
    assert (options.data, options.output, options.score_range) == (["a.tsv"], "runs", (0.0, 5.0))
    assert options.training == dataclasses.replace(TrainOptions(data=["a"], output="b").training, epochs=3)
    whole = TrainingSettings(epochs=2, batch_size=8)
    assert options_from(TrainOptions, {**given, "training": whole}, called="x").training == whole
    with pytest.raises(UserError, match="expected a mapping with any of epochs"):
        options_from(TrainOptions, {**given, "training": 3}, called="x")


def test_an_evaluation_gives_a_table_and_no_bars(tiny_model, capfd):
    result = embedtrain.evaluate("sts", model=tiny_model, data=TEST, bootstrap_samples=100, number_types=[])
    frame = result.to_frame()
    assert list(frame) == COLUMNS
    (row,) = frame.itertuples()
    found = result.metrics["main"][str(tiny_model)][str(TEST)]
    assert (row.model, row.data, row.metric) == (str(tiny_model), str(TEST), "spearman")
    assert (row.score, [row.low, row.high]) == (found["score"], found["ci95"])
    assert row.low < row.score < row.high
    assert capfd.readouterr() == ("", "")


def test_mistakes_in_values_are_those_of_the_command(tmp_path):
    with pytest.raises(UserError, match="batch-size is 0"):
        embedtrain.compare(model=["a", "b"], batch_size=0)


def test_mined_pairs_come_as_a_table(tmp_path):
    sentences = tmp_path / "few.txt"
    lines = (SAMPLES / "zh_sentences.txt").read_text(encoding="utf-8").splitlines()[:40]
    sentences.write_text("\n".join(lines), encoding="utf-8")
    result = embedtrain.mine(unlabeled=sentences, strategy="bm25", output=tmp_path / "run")
    frame = result.to_frame()
    assert len(frame) == result.rows > 0
    assert set(frame["sentence1"]) <= set(lines)


def test_scores_of_a_training_become_rows():
    found = {"spearman": 0.5, "ci95": [0.4, 0.6], "pearson": 0.3, "pearson_ci95": [0.2, 0.4], "pairs": 9}
    frame = split_scores(
        {"trained": {"dev": {"mrr": 0.7, "ci95": [0.6, 0.8]}, "test": found}}, {"dev": "mrr", "test": "spearman"}
    )
    assert frame.to_numpy().tolist() == [
        ["trained", "dev", "mrr", 0.7, 0.6, 0.8],
        ["trained", "test", "spearman", 0.5, 0.4, 0.6],
        ["trained", "test", "pearson", 0.3, 0.2, 0.4],
    ]
    assert list(split_scores({}, {})) == COLUMNS


def test_a_score_without_an_interval_has_none():
    metrics = {
        "metric": {"name": "main"},
        "data": {"a": {"metric": "ndcg"}, "b": {}},
        "main": {"m": {"a": {"score": 0.5, "ci95": None}, "b": {"score": 0.25, "ci95": [0, 1]}}},
    }
    frame = main_scores_frame(metrics)
    assert frame["metric"].tolist() == ["ndcg", "main"]
    assert frame["low"].isna().tolist() == [True, False]
