"""A cross-encoder over pooled tokens: the arithmetic by hand, saved and loaded, trained."""

import numpy as np
import pytest
import torch
from conftest import SAMPLES
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding

from embedtrain.data import read_scored_pairs
from embedtrain.errors import UserError
from embedtrain.mining.labeling import score_pairs
from embedtrain.models import ModelSource, load_crossencoder, resolve_model
from embedtrain.models.pooled_crossencoder import make_pooled_crossencoder
from embedtrain.training.crossencoder import train_crossencoder
from embedtrain.training.settings import TrainingSettings

FIRST = ["how do i reset it", "怎么重置密码", "it leaks"]
SECOND = ["where is the button for it", "忘记密码", "the valve drips, what now?"]


@pytest.fixture(scope="module")
def source(tiny_model):
    return resolve_model(str(tiny_model))


def spread(model):
    """Larger weights of the new layer, so that scores differ."""
    with torch.no_grad():
        model[2].linear.weight.normal_(0, 1)
    return model


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_the_score_is_a_sigmoid_over_the_pooled_tokens_of_both_texts(source, pooling):
    model = spread(make_pooled_crossencoder(source, pooling=pooling, device="cpu", seed=3))
    logits = []
    for one, other in zip(FIRST, SECOND, strict=True):
        tokens = model.tokenizer(one, other, return_tensors="pt")
        with torch.no_grad():
            states = model[0].model.eval()(**tokens).last_hidden_state[0]
            pooled = states.mean(dim=0) if pooling == "mean" else states[0]
            logits.append(model[2].linear(pooled).item())
    # Where the sigmoid is steep, differences show.
    with torch.no_grad():
        model[2].linear.bias.fill_(-np.mean(logits))
    expected = 1 / (1 + np.exp(np.mean(logits) - np.array(logits)))
    np.testing.assert_allclose(score_pairs(model, FIRST, SECOND, both_orders=False), expected, atol=1e-5)
    predicted = model.predict(list(zip(FIRST, SECOND, strict=True)), show_progress_bar=False)
    np.testing.assert_allclose(predicted, expected, atol=1e-5)
    assert model.num_labels == 1
    assert np.std(expected) > 1e-3


def test_it_pools_as_the_encoder_does_and_has_an_output_for_each_class(source, tmp_path):
    encoder = SentenceTransformer(source.location, device="cpu")
    encoder[1] = Pooling(32, "max")
    encoder.save(str(tmp_path / "max"))
    model = make_pooled_crossencoder(resolve_model(str(tmp_path / "max")), pooling="own", device="cpu", outputs=3)
    assert model[1].pooling_mode == "max"
    tokens = model.tokenizer(FIRST[0], SECOND[0], return_tensors="pt")
    with torch.no_grad():
        states = model[0].model.eval()(**tokens).last_hidden_state[0]
        expected = model[2].linear(states.max(dim=0).values).numpy()
    found = model.predict([(FIRST[0], SECOND[0])], show_progress_bar=False)
    np.testing.assert_allclose(found[0], expected, atol=1e-5)
    assert model.num_labels == 3


def test_an_encoder_that_is_no_transformer_is_refused(tmp_path, source):
    tokenizer = SentenceTransformer(source.location, device="cpu").tokenizer
    static = StaticEmbedding(tokenizer.backend_tokenizer, embedding_dim=8)
    SentenceTransformer(modules=[static], device="cpu").save(str(tmp_path / "static"))
    with pytest.raises(UserError, match="its first part is StaticEmbedding, expected a transformer"):
        make_pooled_crossencoder(resolve_model(str(tmp_path / "static")), pooling="own", device="cpu")


def test_it_starts_from_the_encoders_weights_and_near_a_half(source, tiny_model):
    from safetensors.torch import load_file

    model = make_pooled_crossencoder(source, pooling="mean", device="cpu")
    before = load_file(tiny_model / "model.safetensors")
    after = model[0].model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    np.testing.assert_allclose(score_pairs(model, FIRST, SECOND), 0.5, atol=0.1)


def test_the_same_seed_makes_the_same_layer_and_leaves_the_random_state_alone(source):
    torch.manual_seed(0)
    drawn = torch.rand(1)
    torch.manual_seed(0)
    one, two, other = (make_pooled_crossencoder(source, pooling="mean", device="cpu", seed=s)[2] for s in (1, 1, 2))
    assert torch.equal(one.linear.weight, two.linear.weight)
    assert not torch.equal(one.linear.weight, other.linear.weight)
    assert torch.equal(torch.rand(1), drawn)


def test_what_is_saved_loads_in_plain_sentence_transformers_and_here(source, tmp_path):
    model = spread(make_pooled_crossencoder(source, pooling="mean", device="cpu"))
    model.save_pretrained(str(tmp_path / "model"), create_model_card=False)
    expected = score_pairs(model, FIRST, SECOND)
    plain = CrossEncoder(str(tmp_path / "model"), device="cpu")
    np.testing.assert_allclose(score_pairs(plain, FIRST, SECOND), expected, atol=1e-6)
    ours = load_crossencoder(ModelSource("saved", str(tmp_path / "model"), "folder"), device="cpu")
    np.testing.assert_allclose(score_pairs(ours, FIRST, SECOND), expected, atol=1e-6)


def test_it_is_trained_as_any_other(source):
    model = make_pooled_crossencoder(source, pooling="mean", device="cpu")
    gold = read_scored_pairs(str(SAMPLES / "en_gold.tsv"), score_range=(0, 5)).head(80)
    dev = read_scored_pairs(str(SAMPLES / "en_dev.tsv"), score_range=(0, 5)).head(40)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    settings = TrainingSettings(batch_size=16, min_steps=40, epochs=0.1, evaluations=2, patience=0, learning_rate=2e-3)
    history = train_crossencoder(model, gold, dev=dev, settings=settings)
    losses = [step["loss"] for step in history.steps]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    after = model.state_dict()
    assert not torch.equal(before["2.linear.weight"], after["2.linear.weight"])
    assert any(not torch.equal(before[name], after[name]) for name in before if "layer.0" in name)
