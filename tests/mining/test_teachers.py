"""Scorers: what each gives is what its models give by themselves, in order, and known by a fingerprint."""

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder, SentenceTransformer

from embedtrain.mining.calibration import Calibration
from embedtrain.mining.labeling import score_pairs
from embedtrain.mining.teachers import Averaged, BiEncoderScorer, Calibrated, CrossEncoderScorer

FIRST = ["how do i reset it", "怎么重置密码", "how do i reset it", "my router is slow", "it leaks"]
SECOND = ["where is the button", "忘记密码怎么办", "it leaks", "how do i reset it", "it leaks"]


class Fixed:
    """A scorer that says what it was given."""

    def __init__(self, scores, fingerprint="fixed"):
        self.scores = np.array(scores, dtype=np.float32)
        self.fingerprint = fingerprint

    def score(self, sentence1, sentence2):
        return self.scores[: len(sentence1)]


@pytest.fixture(scope="module")
def encoder(tiny_model):
    return SentenceTransformer(str(tiny_model), device="cpu")


@pytest.fixture(scope="module")
def cross_encoder(tiny_model):
    torch.manual_seed(1)
    model = CrossEncoder(str(tiny_model.parent / "hf"), num_labels=1, device="cpu", max_length=48)
    with torch.no_grad():
        model.model.classifier.weight.normal_(0, 1)
    return model


def naive_cosines(encoder, first, second):
    found = []
    for one, other in zip(first, second, strict=True):
        a, b = encoder.encode(one), encoder.encode(other)
        found.append(float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)))
    return found


def test_a_bi_encoder_gives_the_cosine_of_each_pair_in_order(encoder):
    scores = BiEncoderScorer(encoder, "a").score(FIRST, SECOND)
    assert scores.dtype == np.float32
    assert scores.shape == (5,)
    np.testing.assert_allclose(scores, naive_cosines(encoder, FIRST, SECOND), atol=1e-5)
    assert scores[4] == pytest.approx(1, abs=1e-6)
    assert np.unique(scores.round(4)).size > 3


def test_a_bi_encoder_encodes_each_distinct_text_once(encoder, monkeypatch):
    encoded = []
    real = encoder.encode

    def counting(texts, **options):
        encoded.extend(texts)
        return real(texts, **options)

    monkeypatch.setattr(encoder, "encode", counting)
    BiEncoderScorer(encoder, "a").score(FIRST, SECOND)
    assert len(encoded) == len(set(encoded)) == len({*FIRST, *SECOND})


def test_a_bi_encoder_takes_many_pairs_in_pieces(encoder, monkeypatch):
    whole = BiEncoderScorer(encoder, "a").score(FIRST, SECOND)
    monkeypatch.setattr("embedtrain.mining.teachers.PAIRS_TOGETHER", 2)
    np.testing.assert_array_equal(BiEncoderScorer(encoder, "a").score(FIRST, SECOND), whole)


def test_a_bi_encoder_in_bf16_is_near_and_not_the_same(encoder):
    exact = BiEncoderScorer(encoder, "a").score(FIRST, SECOND)
    rounded = BiEncoderScorer(encoder, "a", dtype=torch.bfloat16).score(FIRST, SECOND)
    assert rounded.dtype == np.float32
    assert not np.array_equal(exact, rounded)
    np.testing.assert_allclose(exact, rounded, atol=0.03)


def test_an_embedding_of_zeros_scores_zero(encoder, monkeypatch):
    monkeypatch.setattr(encoder, "encode", lambda texts, **_: torch.zeros(len(texts), 4))
    np.testing.assert_array_equal(BiEncoderScorer(encoder, "a").score(FIRST, SECOND), np.zeros(5))


def test_no_pairs_give_no_scores(encoder, cross_encoder):
    for scorer in (BiEncoderScorer(encoder, "a"), CrossEncoderScorer(cross_encoder, "b")):
        scores = scorer.score([], [])
        assert scores.shape == (0,)
        assert scores.dtype == np.float32


def test_columns_of_unlike_length_are_refused(encoder, cross_encoder):
    for scorer in (BiEncoderScorer(encoder, "a"), CrossEncoderScorer(cross_encoder, "b")):
        with pytest.raises(ValueError, match="5 and 4"):
            scorer.score(FIRST, SECOND[:4])


def test_a_cross_encoder_gives_its_scores_in_one_order_or_both(cross_encoder):
    both = CrossEncoderScorer(cross_encoder, "b").score(FIRST, SECOND)
    np.testing.assert_array_equal(both, score_pairs(cross_encoder, FIRST, SECOND))
    one = CrossEncoderScorer(cross_encoder, "b", both_orders=False).score(FIRST, SECOND)
    np.testing.assert_array_equal(one, score_pairs(cross_encoder, FIRST, SECOND, both_orders=False))
    assert not np.allclose(one, both, atol=1e-6)


def test_the_mean_of_scorers_is_a_scorer(encoder, cross_encoder):
    one, other = BiEncoderScorer(encoder, "a"), CrossEncoderScorer(cross_encoder, "b")
    mean = Averaged([one, other])
    expected = (one.score(FIRST, SECOND).astype(float) + other.score(FIRST, SECOND)) / 2
    np.testing.assert_allclose(mean.score(FIRST, SECOND), expected, atol=1e-6)
    assert mean.score(FIRST, SECOND).dtype == np.float32


def test_the_mean_is_known_by_its_scorers():
    def scorer(mark):
        return Fixed([0.0], mark)

    assert Averaged([scorer("a"), scorer("b")]).fingerprint == Averaged([scorer("a"), scorer("b")]).fingerprint
    assert Averaged([scorer("a"), scorer("b")]).fingerprint != Averaged([scorer("a"), scorer("c")]).fingerprint
    assert Averaged([scorer("a")], fingerprint="mine").fingerprint == "mine"
    with pytest.raises(ValueError, match="at least one scorer"):
        Averaged([])


def test_a_calibrated_scorer_maps_what_it_gets_and_says_so():
    calibration = Calibration(np.array([0.0, 1.0]), np.array([0.2, 0.6]))
    plain = Fixed([-1.0, 0.0, 0.5, 1.0, 2.0])
    calibrated = Calibrated(plain, calibration)
    np.testing.assert_allclose(calibrated.score(FIRST, SECOND), [0.2, 0.2, 0.4, 0.6, 0.6], atol=1e-6)
    other = Calibrated(plain, Calibration(np.array([0.0, 1.0]), np.array([0.2, 0.7])))
    assert len({plain.fingerprint, calibrated.fingerprint, other.fingerprint}) == 3
