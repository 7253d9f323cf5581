"""The fused encoder gives what the model's own gives, for the architectures it knows; others keep their own."""

import pytest
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from embedtrain.mining import fused_encoder
from embedtrain.mining.fused_encoder import FusedEncoder, fused

VOCABULARY = 60
COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "max_position_embeddings": 60,
    "initializer_range": 0.2,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "pad_token_id": 0,
    "num_labels": 1,
}
FUSED = {
    "bert": COMMON,
    "roberta": {**COMMON, "pad_token_id": 1},
    "xlm-roberta": {**COMMON, "pad_token_id": 1},
    "electra": {**COMMON, "embedding_size": 32},
    "mpnet": {**COMMON, "pad_token_id": 1},
}
NOT_FUSED = {
    "distilbert": {
        "vocab_size": VOCABULARY,
        "dim": 64,
        "n_layers": 2,
        "n_heads": 4,
        "hidden_dim": 96,
        "num_labels": 1,
        "pad_token_id": 0,
    },
    "albert": {**COMMON, "embedding_size": 32},
    "deberta-v2": {**COMMON, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
}


class Scoring(nn.Module):
    """A cross-encoder as ``score_pairs`` sees it."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, features):
        return {"scores": self.model(**features).logits}


class MeanPooled(nn.Module):
    """One whose score is read from all tokens."""

    def __init__(self, model):
        super().__init__()
        self.backbone = model.base_model
        self.head = nn.Linear(COMMON["hidden_size"], 1)

    def forward(self, features):
        tokens = self.backbone(**features).last_hidden_state
        mask = features["attention_mask"][:, :, None]
        return {"scores": self.head((tokens * mask).sum(dim=1) / mask.sum(dim=1))}


def build(name, **changes):
    torch.manual_seed(0)
    options = {**{**FUSED, **NOT_FUSED}[name], **changes}
    return AutoModelForSequenceClassification.from_config(CONFIG_MAPPING[name](**options)).eval()


def batch(model, *, lengths=(5, 23, 9, 1), side="right"):
    padding = model.config.pad_token_id
    ids = torch.randint(8, VOCABULARY, (len(lengths), max(lengths)), generator=torch.Generator().manual_seed(1))
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    mask = mask.flip(1) if side == "left" else mask
    return {"input_ids": ids.masked_fill(~mask, padding), "attention_mask": mask.long()}


def scores_of(model, features):
    return model(dict(features))["scores"].float()


@pytest.fixture(autouse=True)
def as_in_labelling():
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        yield


@pytest.fixture(autouse=True)
def needs_the_instructions():
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("this processor has no bf16 products")


def close(found, expected, *, tolerance=0.1):
    return bool((found - expected).norm() <= tolerance * expected.norm())


@pytest.mark.parametrize("name", FUSED)
@pytest.mark.parametrize("lengths", [(5, 23, 9, 1), (12, 12, 12)])
def test_scores_are_those_of_the_model(name, lengths):
    model = Scoring(build(name))
    features = batch(model.model, lengths=lengths)
    with torch.autocast("cpu", enabled=False):
        expected = scores_of(model, features)
    plain = scores_of(model, features)
    own = model.model.base_model.encoder
    with fused(model, token_budget=64) as is_fused:
        assert is_fused
        stand_in = model.model.base_model.encoder
        assert isinstance(stand_in, FusedEncoder)
        assert stand_in.layers[-1].first_only
        found = scores_of(model, features)
    assert expected.std() > 0.05
    assert close(found, expected)
    assert model.model.base_model.encoder is own
    assert torch.equal(scores_of(model, features), plain)


def test_padding_on_the_left_is_not_seen():
    model = Scoring(build("bert"))
    features = batch(model.model, side="left")
    with torch.autocast("cpu", enabled=False):
        expected = scores_of(model, features)
    with fused(model, token_budget=64) as is_fused:
        assert is_fused
        assert close(scores_of(model, features), expected)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_masks_of_both_forms(attention):
    model = Scoring(build("bert", attn_implementation=attention))
    model.model.set_attn_implementation(attention)
    features = batch(model.model)
    with torch.autocast("cpu", enabled=False):
        expected = scores_of(model, features)
    with fused(model, token_budget=64) as is_fused:
        assert is_fused
        assert close(scores_of(model, features), expected)


def test_all_tokens_are_computed_where_all_are_looked_at():
    torch.manual_seed(3)
    model = MeanPooled(build("bert")).eval()
    features = batch(model.backbone)
    with torch.autocast("cpu", enabled=False):
        expected = scores_of(model, features)
    with fused(model, token_budget=64) as is_fused:
        assert is_fused
        assert not model.backbone.encoder.layers[-1].first_only
        assert close(scores_of(model, features), expected)


@pytest.mark.parametrize("name", NOT_FUSED)
def test_other_architectures_keep_their_own_encoder(name):
    model = Scoring(build(name))
    features = batch(model.model)
    plain = scores_of(model, features)
    with fused(model, token_budget=64) as is_fused:
        assert not is_fused
        assert torch.equal(scores_of(model, features), plain)


def test_another_activation_is_not_taken_for_gelu():
    with fused(Scoring(build("bert", hidden_act="relu")), token_budget=64) as is_fused:
        assert not is_fused


def test_what_gives_other_numbers_is_not_used(monkeypatch):
    forward = fused_encoder.FusedLayer.__call__
    monkeypatch.setattr(
        fused_encoder.FusedLayer, "__call__", lambda self, hidden, added, **shape: forward(self, hidden, None, **shape)
    )
    model = Scoring(build("bert"))
    own = model.model.base_model.encoder
    with fused(model, token_budget=64) as is_fused:
        assert not is_fused
        assert model.model.base_model.encoder is own


def test_the_models_own_encoder_comes_back_after_an_error():
    model = Scoring(build("bert"))
    own, weights = model.model.base_model.encoder, {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(RuntimeError, match="in between"), fused(model, token_budget=64):
        raise RuntimeError("in between")
    assert model.model.base_model.encoder is own
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def test_what_holds_no_transformer_is_left_alone():
    with fused(nn.Linear(2, 1), token_budget=64) as is_fused:
        assert not is_fused
