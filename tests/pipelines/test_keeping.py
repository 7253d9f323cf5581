"""A run's model is kept with its card, the same one however often the command runs."""

import os

import pandas as pd
from conftest import SAMPLES

from embedtrain.files import sha256_of_file
from embedtrain.pipelines.keeping import given_files, scripts_of
from embedtrain.pipelines.train.options import TrainOptions
from embedtrain.pipelines.train.pipeline import train
from embedtrain.training.settings import TrainingSettings


def test_a_training_writes_the_card_once(tiny_model, tmp_path):
    data = tmp_path / "客服 gold.tsv"
    pd.read_csv(SAMPLES / "en_gold.tsv", sep="\t", quoting=3).head(120).to_csv(data, sep="\t", index=False)
    options = TrainOptions(
        data=[str(data)], output=str(tmp_path / "run"), score_range=(0, 5), base=str(tiny_model), device="cpu",
        precision="fp32", bootstrap_samples=100,
        training=TrainingSettings(batch_size=16, min_steps=4, epochs=0.1, evaluations=1, patience=0),
    )  # fmt: skip
    result = train(options)
    card = (result.model / "README.md").read_text(encoding="utf-8")
    assert "客服 gold.tsv" in card
    assert sha256_of_file(data)[:16] in card
    assert str(tmp_path) not in card
    assert "Latin 100.0" in card
    assert "the first 64 tokens" in card
    written = os.stat(result.model / "model.safetensors").st_mtime_ns
    assert (train(options).model / "README.md").read_text(encoding="utf-8") == card
    assert os.stat(result.model / "model.safetensors").st_mtime_ns == written


def test_files_are_named_without_their_folders(tmp_path):
    (tmp_path / "a.tsv").write_text("x")
    config = {"data": [str(tmp_path / "a.tsv"), "owner/set"], "dev": None, "output": str(tmp_path)}
    first, second = given_files(config)
    assert first == {"role": "data", "name": "a.tsv", "sha256": sha256_of_file(tmp_path / "a.tsv")}
    assert second == {"role": "data", "name": "owner/set", "sha256": ""}


def test_scripts_are_those_of_what_was_trained_on(tmp_path):
    read = tmp_path / "stages" / "read"
    read.mkdir(parents=True)
    pd.DataFrame({"row": [0, 1], "text": ["中文", "English"]}).to_parquet(read / "sentences.parquet")
    pd.DataFrame({"row": [0], "text": ["Привет"]}).to_parquet(read / "test.parquet")
    assert scripts_of(tmp_path) == {"Han": 0.5, "Latin": 0.5}
