import json
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from embedtrain.evaluation import bootstrap_correlation, cosine_of_pairs, score_predictions


def test_scores_are_plain_fractions_with_intervals():
    generator = np.random.default_rng(0)
    gold = generator.integers(0, 6, 120)
    prediction = (gold + generator.normal(size=120)).astype(np.float32)
    scores = score_predictions(prediction, gold, samples=200, seed=1)
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores
    assert scores["spearman"] == pytest.approx(stats.spearmanr(prediction, gold).statistic)
    assert scores["pearson"] == pytest.approx(stats.pearsonr(prediction.astype(float), gold).statistic)
    for name, method in (("ci95", "spearman"), ("pearson_ci95", "pearson")):
        interval = bootstrap_correlation(prediction, gold, method=method, samples=200, seed=1)
        assert scores[name] == [interval.low, interval.high]
    assert scores["ci95"][0] < scores["spearman"] < scores["ci95"][1]
    assert scores["pairs"] == 120


def test_a_constant_prediction_scores_0():
    scores = score_predictions([0.5] * 4, [1, 2, 3, 4])
    assert (scores["spearman"], scores["pearson"], scores["ci95"]) == (0.0, 0.0, [0.0, 0.0])


class Recorder:
    """A SentenceTransformer that notes what it is asked to encode."""

    def __init__(self, model):
        self.model = model
        self.asked = []

    def encode(self, sentences, **options):
        self.asked.append((list(sentences), options["batch_size"]))
        return self.model.encode(sentences, **options)


@pytest.fixture(scope="module")
def model(tiny_model):
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(tiny_model), device="cpu")


SENTENCE1 = ["reset my password", "cancel the order", "重置密码", "same text"]
SENTENCE2 = ["cancel the order", "reset my password", "how do i log in?", "same text"]


def test_cosines_equal_the_model_s_own_and_each_sentence_is_encoded_once(model):
    recorder = Recorder(model)
    cosines = cosine_of_pairs(recorder, SENTENCE1, SENTENCE2, batch_size=2)
    expected = [model.similarity(*model.encode([s1, s2])).item() for s1, s2 in zip(SENTENCE1, SENTENCE2, strict=True)]
    np.testing.assert_allclose(cosines, expected, rtol=0, atol=1e-5)
    assert cosines[0] == cosines[1]
    [(asked, batch_size)] = recorder.asked
    assert sorted(asked) == sorted({*SENTENCE1, *SENTENCE2})
    assert batch_size == 2


def test_embeddings_that_are_not_of_unit_length_still_give_cosines():
    class Rough:
        def encode(self, sentences, **options):
            return np.array([[3.0, 4.0], [0.0, 2.0], [0.0, 0.0]], dtype=np.float32)[: len(sentences)]

    np.testing.assert_allclose(cosine_of_pairs(Rough(), ["a", "a", "b"], ["b", "c", "b"]), [0.8, 0.0, 1.0], atol=1e-12)


def test_no_pairs_no_cosines(model):
    assert cosine_of_pairs(model, [], []).shape == (0,)


def test_lists_of_unequal_length_are_refused(model):
    with pytest.raises(ValueError, match="equally long, found 2 and 1 sentences"):
        cosine_of_pairs(model, ["a", "b"], ["a"])


def test_importing_the_module_does_not_import_sentence_transformers():
    code = (
        "import sys, embedtrain.evaluation.sts; print('sentence_transformers' in sys.modules, 'torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False"]
