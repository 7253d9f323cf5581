"""Trackers get the loss of the steps and the scores on dev."""

import os
from pathlib import Path

import pytest
from conftest import SAMPLES
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from embedtrain.pipelines.train.options import TrainOptions
from embedtrain.pipelines.train.pipeline import train
from embedtrain.training.settings import TrainingSettings
from embedtrain.training.tracking import logs_in

PLACES = ("TENSORBOARD_LOGGING_DIR", "MLFLOW_TRACKING_URI")


@pytest.fixture(autouse=True)
def _no_places(monkeypatch):
    for name in PLACES:
        monkeypatch.delenv(name, raising=False)


def tracked(tiny_model, output):
    settings = TrainingSettings(batch_size=16, min_steps=6, epochs=0.1, evaluations=3, patience=0)
    return train(
        TrainOptions(
            data=[str(SAMPLES / "en_gold.tsv")],
            dev=str(SAMPLES / "en_dev.tsv"),
            score_range=(0, 5),
            output=str(output),
            base=str(tiny_model),
            training=settings,
            report_to=["tensorboard"],
            device="cpu",
        )
    )


def test_tensorboard_gets_losses_and_dev_scores_in_each_run_folder(tiny_model, tmp_path):
    tracked(tiny_model, tmp_path / "first")
    result = tracked(tiny_model, tmp_path / "run")
    events = EventAccumulator(str(tmp_path / "run" / "logs")).Reload()
    losses, scores = events.Scalars("train/loss"), events.Scalars("eval/spearman")
    assert [event.step for event in losses] == [1, 2, 3, 4, 5, 6]
    assert all(event.value > 0 for event in losses)
    assert [event.step for event in scores] == [2, 4, 6]
    models = result.metrics["models"]
    best = max(event.value for event in scores)
    before = models["zero_shot"]["dev"]["spearman"]
    assert models["trained"]["dev"]["spearman"] == pytest.approx(max(best, before), abs=1e-5)


def test_trackers_write_where_the_environment_says_and_it_is_as_before_afterwards(monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server")
    with logs_in(str(tmp_path / "logs")):
        assert os.environ["TENSORBOARD_LOGGING_DIR"] == str(tmp_path / "logs")
        assert os.environ["MLFLOW_TRACKING_URI"] == "http://server"
    assert [os.environ.get(name) for name in PLACES] == [None, "http://server"]


def test_mlflow_gets_a_database_in_the_log_folder(tmp_path):
    with logs_in(str(tmp_path / "logs")):
        kept = os.environ["MLFLOW_TRACKING_URI"].removeprefix("sqlite:///")
    assert Path(kept) == (tmp_path / "logs" / "mlflow.db").resolve()
    assert Path(kept).parent.is_dir()
