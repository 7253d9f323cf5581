import logging
import threading

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from embedtrain.errors import UserError
from embedtrain.mining import token_batches
from embedtrain.mining.labeling import check_thresholds, hard_labels, label_pairs, score_pairs
from embedtrain.mining.token_batches import PairTokens

WORDS = ["how", "do", "i", "reset", "the", "password", "refund", "update", "?", "怎么", "重置", "密码", "网络", "退款"]


@pytest.fixture(scope="module")
def cross_encoder(tiny_model):
    from sentence_transformers import CrossEncoder

    torch.manual_seed(1)
    model = CrossEncoder(str(tiny_model.parent / "hf"), num_labels=1, device="cpu", max_length=48)
    # Weights as small as a fresh model's score everything alike; larger ones spread the scores, so that mix-ups show.
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(0, 0.2)
        model.model.classifier.weight.normal_(0, 1)
    return model


def texts(count, *, seed, longest=30):
    generator = np.random.default_rng(seed)
    return [" ".join(generator.choice(WORDS, size=generator.integers(1, longest))) for _ in range(count)]


def predict(model, first, second, **options):
    return model.predict(list(zip(first, second, strict=True)), show_progress_bar=False, **options)


def test_equals_predict_in_both_orders(cross_encoder):
    first, second = texts(70, seed=0), texts(70, seed=1)
    expected = (predict(cross_encoder, first, second) + predict(cross_encoder, second, first)) / 2
    scores = score_pairs(cross_encoder, first, second)
    assert scores.dtype == np.float32
    assert scores.shape == (70,)
    assert expected.std() > 0.01
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    np.testing.assert_allclose(scores, score_pairs(cross_encoder, second, first), atol=1e-5)


def test_equals_predict_in_one_order(cross_encoder):
    first, second = texts(40, seed=2), texts(40, seed=3)
    scores = score_pairs(cross_encoder, first, second, both_orders=False)
    np.testing.assert_allclose(scores, predict(cross_encoder, first, second), atol=1e-5)
    assert np.abs(scores - score_pairs(cross_encoder, second, first, both_orders=False)).max() > 1e-3


def test_truncates_as_predict_does(cross_encoder):
    assert cross_encoder.max_seq_length == 48
    first, second = ["密码 " * 200, "short"], ["reset " * 30, "网络 " * 300]
    expected = predict(cross_encoder, first, second)
    np.testing.assert_allclose(score_pairs(cross_encoder, first, second, both_orders=False), expected, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(count=st.integers(1, 25), budget=st.integers(1, 600), seed=st.integers(0, 1000))
def test_batches_do_not_change_scores(cross_encoder, count, budget, seed):
    first, second = texts(count, seed=seed, longest=12), texts(count, seed=seed + 1, longest=12)
    np.testing.assert_allclose(
        score_pairs(cross_encoder, first, second, token_budget=budget),
        score_pairs(cross_encoder, first, second, token_budget=10**6),
        atol=1e-5,
    )


def test_batches_keep_to_the_budget_and_hold_like_lengths(cross_encoder, monkeypatch):
    shapes, forward = [], cross_encoder.forward

    def watched(features, **kwargs):
        shapes.append((tuple(features["input_ids"].shape), int(features["attention_mask"].sum())))
        return forward(features, **kwargs)

    monkeypatch.setattr(cross_encoder, "forward", watched)
    score_pairs(cross_encoder, texts(200, seed=4), texts(200, seed=5), token_budget=300)
    assert sum(shape[0] for shape, _ in shapes) == 400
    assert all(rows * width <= 300 for (rows, width), _ in shapes)
    padded = sum(rows * width for (rows, width), _ in shapes)
    assert sum(real for _, real in shapes) / padded > 0.95


@pytest.mark.parametrize("both_orders", [True, False])
@pytest.mark.parametrize("chunk_pairs", [1, 7, 64])
def test_chunks_do_not_change_scores(cross_encoder, monkeypatch, chunk_pairs, both_orders):
    first, second = texts(65, seed=20), texts(65, seed=21)
    expected = score_pairs(cross_encoder, first, second, both_orders=both_orders)
    monkeypatch.setattr(token_batches, "CHUNK_PAIRS", chunk_pairs)
    scores = score_pairs(cross_encoder, first, second, both_orders=both_orders)
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_the_same_pairs_get_the_same_bits(cross_encoder):
    first, second = texts(90, seed=22), texts(90, seed=23)
    for dtype in (None, torch.bfloat16):
        once, again = (score_pairs(cross_encoder, first, second, dtype=dtype) for _ in range(2))
        assert once.tobytes() == again.tobytes()


def test_tokenising_runs_in_the_background_one_chunk_ahead(cross_encoder, monkeypatch):
    monkeypatch.setattr(token_batches, "CHUNK_PAIRS", 5)
    begun, ahead, threads = [], [], set()
    chunk_of, forward = PairTokens._chunk, cross_encoder.forward

    def watched_chunk(self, start):
        threads.add(threading.current_thread().name)
        begun.append(start)
        return chunk_of(self, start)

    def watched_forward(features, **kwargs):
        ahead.append(len(begun))
        return forward(features, **kwargs)

    monkeypatch.setattr(PairTokens, "_chunk", watched_chunk)
    monkeypatch.setattr(cross_encoder, "forward", watched_forward)
    score_pairs(cross_encoder, texts(40, seed=24), texts(40, seed=25), token_budget=10**6)
    assert begun == list(range(0, 40, 5))
    assert len(ahead) == 8
    assert all(count <= number + 2 for number, count in enumerate(ahead))
    assert threads
    assert threading.main_thread().name not in threads


def test_a_failure_of_the_tokenizer_comes_out_and_ends_the_background(cross_encoder, monkeypatch):
    monkeypatch.setattr(token_batches, "CHUNK_PAIRS", 5)
    chunk_of = PairTokens._chunk

    def fails_later(self, start):
        if start == 10:
            raise RuntimeError("no such token")
        return chunk_of(self, start)

    monkeypatch.setattr(PairTokens, "_chunk", fails_later)
    cross_encoder.train()
    try:
        with pytest.raises(RuntimeError, match="no such token"):
            score_pairs(cross_encoder, texts(40, seed=26), texts(40, seed=27))
        assert cross_encoder.training
    finally:
        cross_encoder.eval()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("tokenising")]


def test_padding_on_the_left_as_the_tokenizer_says(cross_encoder, monkeypatch):
    first, second = texts(30, seed=28), texts(30, seed=29)
    monkeypatch.setattr(cross_encoder.tokenizer, "padding_side", "left")
    pairs = PairTokens(cross_encoder.tokenizer, first, second, both_orders=False)
    (chunk,) = pairs.chunks()
    rows = [(first[row], second[row]) for row in chunk.order]
    sides = map(list, zip(*rows, strict=True))
    expected = cross_encoder.tokenizer(*sides, truncation="longest_first", padding=True, return_tensors="pt")
    found = pairs.features(chunk, 0, len(rows))
    assert (found["attention_mask"] == 0).any()
    for name in ("input_ids", "attention_mask", "token_type_ids"):
        assert torch.equal(found[name], expected[name])


def test_applies_the_activation_of_the_model(cross_encoder, monkeypatch):
    first, second = texts(5, seed=6), texts(5, seed=7)
    probability = score_pairs(cross_encoder, first, second, both_orders=False)
    monkeypatch.setattr(cross_encoder, "activation_fn", torch.nn.Identity())
    logit = score_pairs(cross_encoder, first, second, both_orders=False)
    np.testing.assert_allclose(probability, 1 / (1 + np.exp(-logit)), atol=1e-5)


def test_bf16_autocast_is_used_and_stays_near(cross_encoder):
    first, second = texts(60, seed=8), texts(60, seed=9)
    exact, rounded = (
        score_pairs(cross_encoder, first, second),
        score_pairs(cross_encoder, first, second, dtype=torch.bfloat16),
    )
    assert rounded.dtype == np.float32
    assert 0 < np.abs(rounded - exact).max() < 0.03
    assert cross_encoder.model.classifier.weight.dtype == torch.float32


def test_training_mode_is_restored_and_dropout_is_off(cross_encoder):
    first, second = texts(10, seed=10), texts(10, seed=11)
    expected = score_pairs(cross_encoder, first, second)
    cross_encoder.train()
    try:
        np.testing.assert_array_equal(score_pairs(cross_encoder, first, second), expected)
        assert cross_encoder.training
    finally:
        cross_encoder.eval()


def test_no_pairs(cross_encoder):
    scores = score_pairs(cross_encoder, [], [])
    assert scores.shape == (0,)
    assert scores.dtype == np.float32


def test_refuses_unlike_lengths_budget_and_model(cross_encoder, tiny_model):
    from sentence_transformers import CrossEncoder

    with pytest.raises(ValueError, match="found 1 and 2"):
        score_pairs(cross_encoder, ["a"], ["a", "b"])
    with pytest.raises(ValueError, match="token_budget"):
        score_pairs(cross_encoder, ["a"], ["b"], token_budget=0)
    three = CrossEncoder(str(tiny_model.parent / "hf"), num_labels=3, device="cpu")
    with pytest.raises(ValueError, match="found 3"):
        score_pairs(three, ["a"], ["b"])


def test_refuses_a_prompt(cross_encoder, monkeypatch):
    monkeypatch.setattr(cross_encoder, "default_prompt_name", "query")
    with pytest.raises(ValueError, match="prompt"):
        score_pairs(cross_encoder, ["a"], ["b"])


def test_label_pairs_adds_a_column_and_leaves_its_input_alone(cross_encoder):
    pairs = pd.DataFrame({"sentence1": ["怎么重置密码", "refund"], "sentence2": ["密码", "退款"], "sampled_by": "bm25"})
    labelled = label_pairs(pairs, cross_encoder)
    assert list(pairs.columns) == ["sentence1", "sentence2", "sampled_by"]
    assert list(labelled.columns) == ["sentence1", "sentence2", "sampled_by", "score"]
    expected = score_pairs(cross_encoder, pairs["sentence1"].tolist(), pairs["sentence2"].tolist())
    np.testing.assert_array_equal(labelled["score"], expected)


def test_hard_labels_keep_the_clear_ones(caplog):
    silver = pd.DataFrame({"sentence1": list("abcdef"), "score": [0.2, 0.85, 0.5, 0.0, 1.0, float("nan")]})
    with caplog.at_level(logging.INFO):
        labelled = hard_labels(silver, positive_threshold=0.85, negative_threshold=0.2)
    assert labelled["sentence1"].tolist() == ["a", "b", "d", "e"]
    assert labelled["label"].tolist() == [0, 1, 0, 1]
    assert labelled["label"].dtype == "int64"
    assert labelled.index.tolist() == [0, 1, 2, 3]
    assert "2 of 6 pairs" in caplog.text
    assert "2 positive and 2 negative" in caplog.text


@given(
    scores=st.lists(st.floats(0, 1), max_size=30),
    thresholds=st.tuples(st.floats(0, 1), st.floats(0, 1)).filter(lambda pair: pair[0] < pair[1]),
)
def test_hard_labels_equal_a_loop(scores, thresholds):
    negative, positive = thresholds
    silver = pd.DataFrame({"row": range(len(scores)), "score": np.array(scores, dtype=float)})
    labelled = hard_labels(silver, positive_threshold=positive, negative_threshold=negative)
    expected = [(i, 1 if s >= positive else 0) for i, s in enumerate(scores) if s >= positive or s <= negative]
    assert list(zip(labelled["row"], labelled["label"], strict=True)) == expected


@pytest.mark.parametrize(
    ("positive", "negative", "expected"),
    [
        (1.5, -0.1, ["--positive-threshold 1.5", "--negative-threshold -0.1"]),
        (0.3, 0.3, ["--negative-threshold 0.3 is not below --positive-threshold 0.3"]),
        (0.2, 0.8, ["--negative-threshold 0.8 is not below --positive-threshold 0.2"]),
        (float("nan"), 0.1, ["--positive-threshold nan"]),
    ],
)
def test_thresholds_that_cannot_split(positive, negative, expected):
    with pytest.raises(UserError) as error:
        check_thresholds(positive_threshold=positive, negative_threshold=negative)
    assert len(error.value.problems) == len(expected)
    for problem, part in zip(error.value.problems, expected, strict=True):
        assert part in problem
    with pytest.raises(UserError):
        hard_labels(pd.DataFrame({"score": [0.5]}), positive_threshold=positive, negative_threshold=negative)


@pytest.mark.gpu
def test_gpu_gives_the_scores_of_the_cpu(cross_encoder):
    first, second = texts(50, seed=12), texts(50, seed=13)
    expected = score_pairs(cross_encoder, first, second)
    try:
        cross_encoder.to("cuda")
        np.testing.assert_allclose(score_pairs(cross_encoder, first, second), expected, atol=1e-3)
    finally:
        cross_encoder.to("cpu")
