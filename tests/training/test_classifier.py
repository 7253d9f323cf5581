"""Classifiers of sentences and pairs: their outputs are sentence-transformers', and training moves them."""

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_glue import made_rows
from torch.nn import functional as F

from embedtrain.data.glue import TASKS
from embedtrain.models import resolve_model
from embedtrain.models.pooled_crossencoder import make_pooled_crossencoder
from embedtrain.training.classifier import ClassLoss, predict, train_classifier
from embedtrain.training.settings import EngineSettings, TrainingSettings


@pytest.fixture
def classifier(tiny_model):
    """From a number of outputs to a new classifier."""
    return lambda outputs, seed=0: make_pooled_crossencoder(
        resolve_model(str(tiny_model)), pooling="own", device="cpu", seed=seed, outputs=outputs
    )


@pytest.mark.parametrize("name", ["CoLA", "MNLI", "STS-B"])
def test_outputs_are_those_of_sentence_transformers(name, classifier):
    rows = made_rows(TASKS[name], 30)
    # Rows of very different lengths, so that batches of like length put them back in order.
    rows["sentence1"] = [text * (1 + number % 4) for number, text in enumerate(rows["sentence1"])]
    model = classifier(TASKS[name].outputs)
    if name == "CoLA":  # its own function takes pairs alone
        tokens = model.tokenizer(rows["sentence1"].tolist(), padding=True, return_tensors="pt")
        with torch.no_grad():
            expected = model.eval()(dict(tokens))["scores"].numpy()
    else:
        pairs = list(zip(rows["sentence1"], rows["sentence2"], strict=True))
        expected = model.predict(pairs, activation_fn=torch.nn.Identity(), convert_to_numpy=True)
    found = predict(model, rows)
    assert found.shape == (30, TASKS[name].outputs)
    assert np.allclose(found, np.asarray(expected).reshape(found.shape), atol=1e-5)


def test_rows_are_cut_to_the_length_that_is_asked_for(classifier):
    rows = made_rows(TASKS["CoLA"], 10)
    longer = rows.assign(sentence1=rows["sentence1"] + " abcdef")
    model = classifier(2)
    assert np.allclose(predict(model, rows, max_length=6), predict(model, longer, max_length=6), atol=1e-6)
    assert not np.allclose(predict(model, rows), predict(model, longer), atol=1e-6)


def test_the_loss_is_cross_entropy(classifier):
    model = classifier(3).eval()
    features = model.preprocess([("ab", "cd"), ("e", "f")])
    target = torch.tensor([2, 0])
    with torch.no_grad():
        logits = model(dict(features))["scores"]
        assert ClassLoss(model)([features], target).item() == pytest.approx(F.cross_entropy(logits, target).item())


@pytest.mark.parametrize("engine", [EngineSettings(), EngineSettings(batch_tokens=400)], ids=["rows", "tokens"])
def test_an_easy_task_is_learnt_and_the_best_weights_are_kept(classifier, engine):
    task = TASKS["MNLI"]
    rows, dev = made_rows(task, 240), made_rows(task, 60, seed=1)
    model = classifier(3)
    gold = dev["label"].to_numpy()

    def accuracy(outputs):
        return {"accuracy": float((outputs.argmax(axis=1) == gold).mean())}

    before = accuracy(predict(model, dev))["accuracy"]
    history = train_classifier(
        model,
        rows,
        dev=dev,
        measure=accuracy,
        metric="accuracy",
        settings=TrainingSettings(epochs=4, min_steps=1, batch_size=32, learning_rate=5e-3, evaluations=4),
        engine=engine,
    )
    scores = [entry["accuracy"] for entry in history.evaluations]
    assert accuracy(predict(model, dev))["accuracy"] == max(scores) > 0.6 > before


def test_a_task_s_seed_is_that_of_its_new_layer(classifier):
    rows = pd.DataFrame({"sentence1": ["ab"], "label": [0]})
    first, same, other = (predict(classifier(2, seed), rows) for seed in (0, 0, 1))
    assert np.array_equal(first, same)
    assert not np.allclose(first, other)
