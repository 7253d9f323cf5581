"""Training: the loss falls, the best weights are kept, the same seed gives the same weights, patience stops."""

import gc

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import SAMPLES

from embedtrain.data import read_scored_pairs
from embedtrain.evaluation.statistics import spearman
from embedtrain.evaluation.sts import cosine_of_pairs
from embedtrain.mining.labeling import score_pairs
from embedtrain.models.hardware import autocast
from embedtrain.models.loading import load_biencoder, load_crossencoder, resolve_model
from embedtrain.training.biencoder import train_biencoder
from embedtrain.training.crossencoder import train_crossencoder
from embedtrain.training.history import DevResult
from embedtrain.training.settings import TrainingSettings

SETTINGS = TrainingSettings(batch_size=16, min_steps=20, epochs=0.1, evaluations=4, patience=0, learning_rate=2e-3)


@pytest.fixture(scope="module")
def gold():
    return read_scored_pairs(str(SAMPLES / "en_gold.tsv"), score_range=(0, 5)).head(120)


@pytest.fixture(scope="module")
def dev():
    return read_scored_pairs(str(SAMPLES / "en_dev.tsv"), score_range=(0, 5)).head(60)


def encoder(tiny_model):
    return load_biencoder(resolve_model(str(tiny_model)), device="cpu")


def test_the_loss_falls_and_the_best_weights_are_kept(tiny_model, gold, dev):
    model = encoder(tiny_model)
    longer = TrainingSettings(batch_size=16, min_steps=60, epochs=0.1, evaluations=4, patience=0, learning_rate=2e-3)
    history = train_biencoder(model, gold, dev=dev, settings=longer)
    losses = [step["loss"] for step in history.steps]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    best = max(history.evaluations, key=lambda evaluation: evaluation["spearman"])
    assert history.best_step == best["step"]
    cosines = cosine_of_pairs(model, dev["sentence1"].tolist(), dev["sentence2"].tolist())
    assert spearman(cosines, dev["score"]) == pytest.approx(best["spearman"], abs=1e-6)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_after_training_nothing_is_held_but_the_model_even_before_garbage_is_collected(tiny_model, gold, precision):
    def held():
        # No subclasses: those that other tests leave behind may have no memory.
        tensors = [thing for thing in gc.get_objects() if type(thing) in (torch.Tensor, torch.nn.Parameter)]
        storages = [tensor.untyped_storage() for tensor in tensors if tensor.layout is torch.strided]
        return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())

    model = encoder(tiny_model)
    size = sum(parameter.nbytes for parameter in model.parameters())
    gc.collect()
    gc.disable()
    try:
        before = held()
        train_biencoder(model, gold, dev=gold, settings=SETTINGS, precision=precision)
        assert held() - before < size / 2
    finally:
        gc.enable()


def test_the_same_seed_gives_the_same_weights_and_another_seed_other_batches(tiny_model, gold, dev):
    weights, losses = [], []
    for seed in (1, 1, 2):
        model = encoder(tiny_model)
        history = train_biencoder(model, gold, dev=dev, settings=SETTINGS, seed=seed)
        weights.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
        losses.append([step["loss"] for step in history.steps])
    assert torch.equal(weights[0], weights[1])
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


def test_patience_stops_and_says_so(tiny_model, gold, dev):
    idle = TrainingSettings(
        batch_size=16, min_steps=40, epochs=0.1, evaluations=10, patience=2, learning_rate=1e-12, warmup_share=0
    )
    history = train_biencoder(encoder(tiny_model), gold, dev=dev, settings=idle)
    assert history.stopped_early
    assert history.evaluations[-1]["step"] == 8
    assert history.best_step == 0


def test_the_last_step_is_evaluated_when_the_interval_does_not_meet_it(tiny_model, gold, dev):
    odd = TrainingSettings(batch_size=16, min_steps=10, epochs=0.1, evaluations=4, patience=0)
    history = train_biencoder(encoder(tiny_model), gold, dev=dev, settings=odd)
    assert [evaluation["step"] for evaluation in history.evaluations] == [0, 3, 6, 9, 10]


def test_bf16_leaves_no_autocast_and_no_swapped_dropout_behind(tiny_model, gold, dev):
    model = encoder(tiny_model)
    kinds = [type(module) for module in model.modules()]
    train_biencoder(model, gold, dev=dev, settings=SETTINGS, precision="bf16")
    assert [type(module) for module in model.modules()] == kinds
    model.eval()
    with torch.no_grad():
        plain = model(model.preprocess(["how do i reset"]))["sentence_embedding"]
        with autocast("cpu", "bf16"):
            half = model(model.preprocess(["how do i reset"]))["sentence_embedding"]
    assert plain.dtype == torch.float32
    assert not torch.equal(plain, half.float())


def test_the_ranking_loss_pulls_pairs_together(tiny_model, dev):
    questions = [
        f"how do i reset the {word}" for word in ("valve", "hub", "app", "boiler", "plan", "door", "bill", "fan")
    ]
    pairs = pd.DataFrame({"sentence1": questions, "sentence2": [f"{q.split()[-1]} reset please" for q in questions]})
    model = encoder(tiny_model)
    settings = TrainingSettings(batch_size=8, min_steps=30, epochs=1, evaluations=1, patience=0, learning_rate=2e-3)
    history = train_biencoder(model, pairs, dev=dev, loss="mnrl", settings=settings)
    losses = [step["loss"] for step in history.steps]
    assert losses[-1] < 0.5 * losses[0]


def test_the_cross_encoder_learns_and_keeps_its_best_weights(tiny_model):
    questions = [f"question {letter} {word}" for letter in "abcdefghij" for word in ("one", "two", "three")]
    pairs = pd.DataFrame({"sentence1": questions, "sentence2": ["yyyy", "nnnn"] * 15, "score": [0.9, 0.1] * 15})
    model = load_crossencoder(resolve_model(str(tiny_model.parent / "hf")), device="cpu", seed=1)
    settings = TrainingSettings(batch_size=10, min_steps=90, epochs=1, evaluations=3, patience=0, learning_rate=3e-3)
    history = train_crossencoder(model, pairs, dev=pairs, settings=settings)
    assert history.train_pairs == 2 * len(pairs)
    losses = [step["loss"] for step in history.steps]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    scores = score_pairs(model, pairs["sentence1"].tolist(), pairs["sentence2"].tolist())
    best = max(evaluation["spearman"] for evaluation in history.evaluations)
    assert best > 0.8
    assert spearman(scores, pairs["score"]) == pytest.approx(best, abs=1e-6)
    # Either order alone has been learnt, not just their mean.
    turned = score_pairs(model, pairs["sentence2"].tolist(), pairs["sentence1"].tolist(), both_orders=False)
    assert spearman(turned, pairs["score"]) > 0.8


def test_settings_out_of_range_are_named_with_their_option():
    from embedtrain.errors import Problems

    problems = Problems()
    TrainingSettings(batch_size=0, learning_rate=2).check("student", problems)
    assert [message.split(" is ")[0] for message in problems.messages] == [
        "--student.batch-size",
        "--student.learning-rate",
    ]


@pytest.mark.gpu
def test_training_and_scoring_on_a_gpu_in_bf16(tiny_model, gold, dev):
    model = load_biencoder(resolve_model(str(tiny_model)), device="cuda")
    history = train_biencoder(model, gold, dev=dev, settings=SETTINGS, precision="bf16")
    assert history.steps
    cosines = cosine_of_pairs(model, dev["sentence1"].tolist(), dev["sentence2"].tolist())
    assert np.isfinite(cosines).all()


def test_a_known_score_replaces_the_evaluation_before_the_first_step(tiny_model, gold, dev):
    settings = TrainingSettings(batch_size=4, evaluations=2)
    known = DevResult({"spearman": 0.99, "pearson": 0.99}, np.arange(len(dev), dtype=float))
    model = encoder(tiny_model)
    before = model.encode(dev["sentence1"].tolist())
    history = train_biencoder(model, gold, dev=dev, settings=settings, max_steps=4, untrained=known)
    assert [evaluation["step"] for evaluation in history.evaluations] == [0, 2, 4]
    assert history.evaluations[0] == {"step": 0, "spearman": 0.99, "pearson": 0.99}
    assert history.best_step == 0
    assert history.best_predictions is known.predictions
    assert "best_predictions" not in history.as_dict()
    np.testing.assert_array_equal(model.encode(dev["sentence1"].tolist()), before)


def test_the_best_predictions_are_those_of_the_kept_weights(tiny_model, gold, dev):
    model = encoder(tiny_model)
    history = train_biencoder(model, gold, dev=dev, settings=TrainingSettings(batch_size=4), max_steps=8)
    kept = cosine_of_pairs(model, dev["sentence1"].tolist(), dev["sentence2"].tolist())
    np.testing.assert_allclose(history.best_predictions, kept, atol=1e-12)
