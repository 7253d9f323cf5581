"""Trackers get the loss of the steps and the scores on dev."""

import pytest
from conftest import SAMPLES
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from embedtrain.pipelines.train.options import TrainOptions
from embedtrain.pipelines.train.pipeline import train
from embedtrain.training.settings import TrainingSettings


def test_tensorboard_gets_losses_and_dev_scores_in_the_run_folder(tiny_model, tmp_path, monkeypatch):
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    settings = TrainingSettings(batch_size=16, min_steps=6, epochs=0.1, evaluations=3, patience=0)
    result = train(
        TrainOptions(
            data=[str(SAMPLES / "en_gold.tsv")],
            dev=str(SAMPLES / "en_dev.tsv"),
            score_range=(0, 5),
            output=str(tmp_path / "run"),
            base=str(tiny_model),
            training=settings,
            report_to=["tensorboard"],
            device="cpu",
        )
    )
    events = EventAccumulator(str(tmp_path / "run" / "logs")).Reload()
    losses, scores = events.Scalars("train/loss"), events.Scalars("eval/spearman")
    assert [event.step for event in losses] == [1, 2, 3, 4, 5, 6]
    assert all(event.value > 0 for event in losses)
    assert [event.step for event in scores] == [2, 4, 6]
    models = result.metrics["models"]
    best = max(event.value for event in scores)
    before = models["zero_shot"]["dev"]["spearman"]
    assert models["trained"]["dev"]["spearman"] == pytest.approx(max(best, before), abs=1e-5)
