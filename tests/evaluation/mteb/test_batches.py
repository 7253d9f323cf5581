"""Batches hold every text once and no more tokens than they may; a quick model gives the embeddings of a slow one."""

import numpy as np
import pytest
import torch

from embedtrain.evaluation.mteb.batches import default_token_budget, quick, token_batches, token_lengths
from embedtrain.models import autocast, load_biencoder, resolve_model

TEXTS = ["one", "two words", "今天天气很好", "", "a longer text of some more words than the others have " * 3]


@pytest.fixture(scope="module")
def model(tiny_model):
    return load_biencoder(resolve_model(str(tiny_model)), device="cpu")


@pytest.mark.parametrize("budget", [1, 7, 20, 1000])
def test_batches_keep_within_the_budget(budget):
    lengths = np.random.default_rng(budget).integers(0, 12, size=50)
    batches = list(token_batches(lengths, budget=budget))
    assert sorted(np.concatenate(batches).tolist()) == list(range(50))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * lengths[batch].max() <= max(budget, len(batch))
    longest = [lengths[batch].max() for batch in batches]
    assert longest == sorted(longest, reverse=True)


def test_no_texts_make_no_batches():
    assert list(token_batches(np.array([], dtype=np.int64), budget=8)) == []


@pytest.mark.parametrize("prompt", ["", "query: "])
def test_lengths_are_those_that_the_model_reads(model, prompt):
    expected = [int(model.tokenize([prompt + text])["attention_mask"].sum()) for text in TEXTS]
    assert token_lengths(model, TEXTS, prompt=prompt).tolist() == expected


def test_lengths_are_guessed_without_a_tokenizer_of_transformers():
    class Static:
        tokenizer = object()

        def get_max_seq_length(self):
            return 10

    guessed = token_lengths(Static(), ["", "abc", "今天", "word " * 100])
    assert guessed.tolist() == [2, 3, 4, 10]


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 3e-2)])
def test_embeddings_are_those_of_the_model_itself(model, precision, tolerance):
    expected = model.encode(TEXTS, normalize_embeddings=True)
    encoder = model[0].auto_model.encoder
    with quick(model, precision=precision, token_budget=64), autocast("cpu", precision):
        assert (model[0].auto_model.encoder is not encoder) == (precision == "bf16")
        found = model.encode(TEXTS, normalize_embeddings=True)
    assert model[0].auto_model.encoder is encoder
    np.testing.assert_allclose(found, expected, atol=tolerance)


def test_a_training_model_goes_on_training(model):
    model.train()
    try:
        with quick(model, precision="fp32", token_budget=64):
            assert not model.training
        assert model.training
    finally:
        model.eval()


def test_budgets():
    assert default_token_budget("cpu") == 1024 * torch.get_num_threads()
    assert default_token_budget("cuda") == 16_384
