"""Frozen parameters stay, adapters alone are trained, and a merged model is a plain one that computes the same."""

import logging
import sys

import pytest
import torch
from sentence_transformers import CrossEncoder, SentenceTransformer
from transformers import AutoModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from embedtrain.errors import UserError
from embedtrain.models.adapting import (
    add_lora,
    count_parameters,
    enable_gradient_checkpointing,
    freeze,
    merge_lora,
)
from embedtrain.models.loading import load_biencoder, load_crossencoder, resolve_model
from embedtrain.models.packing import packed

SENTENCES = ["how do i reset my password?", "reset", "my order is late, where is it", "退款订单"]
LORA = {"rank": 4, "alpha": 8.0, "dropout": 0.0}


@pytest.fixture
def model(tiny_model):
    return load_biencoder(resolve_model(str(tiny_model)), device="cpu")


def embed(model):
    return model.encode(SENTENCES, convert_to_tensor=True).clone()


def train(model, steps=3):
    """A few steps of a real optimiser, and the parameters before them."""
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    features = model.preprocess(SENTENCES)
    goal = torch.randn(len(SENTENCES), 32, generator=torch.Generator().manual_seed(0))
    model.train()
    for _ in range(steps):
        loss = (model(dict(features))["sentence_embedding"] - goal).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    return before


def moved(model, before):
    return {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}


def test_frozen_parameters_do_not_move_and_the_others_do(model, caplog):
    names = [name for name, _ in model.named_parameters()]
    frozen = {name for name in names if "embeddings" in name or "layer.0." in name}
    with caplog.at_level(logging.INFO):
        counts = freeze(model, r"embeddings|layer\.0\.")
    assert counts == (
        sum(p.numel() for name, p in model.named_parameters() if name in frozen),
        sum(p.numel() for name, p in model.named_parameters() if name not in frozen),
    )
    assert f"{len(frozen)} of {len(names)} parameters" in caplog.text
    assert moved(model, train(model)) == {name for name in names if name not in frozen and "pooler" not in name}


def test_what_was_frozen_before_stays_frozen(model):
    first = freeze(model, "word_embeddings")
    second = freeze(model, "LayerNorm")
    assert second.frozen > first.frozen
    assert sum(second) == sum(first) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("embeddings|layer[", r"--freeze 'embeddings\|layer\[': not a regular expression \(.*\)"),
        (
            "embedings",
            r"--freeze 'embedings': no parameter has such a name; there are '.*weight', .*did you mean 'embeddings'\?",
        ),
        (r"layers\.[0-3]\.", r"no parameter has such a name; .*; did you mean 'layer'\?"),
        ("qqq", r"no parameter has such a name; there are '0\..*embeddings.*', '.*', '.*' \.\.\.$"),
        (r"embeddings|layer\.", "nothing would be left to train"),  # only the pooler, which no embedding reads
        ("weight|bias", r"(\d+) of \1 parameters have such a name, and nothing would be left to train; there are"),
    ],
)
def test_wrong_patterns(model, pattern, said):
    with pytest.raises(UserError, match=said):
        freeze(model, pattern)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_pattern_that_leaves_only_frozen_parameters(model):
    freeze(model, "embeddings|pooler")
    with pytest.raises(UserError, match="nothing would be left to train"):
        freeze(model, "encoder")


def test_adapters_alone_are_trained(model):
    expected = embed(model)
    before = sum(count_parameters(model))
    counts = add_lora(model, **LORA)
    assert torch.equal(embed(model), expected), "a new adapter changes nothing"
    assert counts.frozen == before
    # A rank of 4 on the query, key, value and output of two layers, 32 wide, and their two layers of 32 and 64.
    assert counts.trainable == 2 * 4 * (4 * (32 + 32) + 2 * (32 + 64))
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trainable
    assert all("lora_" in name for name in trainable)
    assert moved(model, train(model)) == trainable
    assert not torch.allclose(embed(model), expected, atol=1e-3)


def test_adapters_are_drawn_from_their_seed_alone(tiny_model):
    def first_weights(seed):
        model = load_biencoder(resolve_model(str(tiny_model)), device="cpu")
        add_lora(model, **LORA, seed=seed)
        return next(p.detach() for name, p in model.named_parameters() if "lora_A" in name)

    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(first_weights(1), first_weights(1))
    assert torch.equal(torch.rand(3), expected)
    assert not torch.equal(first_weights(1), first_weights(2))


def test_a_merged_model_computes_the_same_and_is_saved_as_a_plain_one(model, tmp_path):
    names = set(model.state_dict())
    add_lora(model, **LORA)
    train(model)
    expected = embed(model)
    merge_lora(model)
    torch.testing.assert_close(embed(model), expected, rtol=1e-4, atol=1e-5)
    assert set(model.state_dict()) == names
    assert all(parameter.requires_grad for parameter in model.parameters())
    model.save_pretrained(str(tmp_path / "merged"), create_model_card=False)
    assert not list((tmp_path / "merged").rglob("adapter*"))
    plain = SentenceTransformer(str(tmp_path / "merged"), device="cpu")
    torch.testing.assert_close(embed(plain), expected, rtol=1e-4, atol=1e-5)
    # It can be adapted once more.
    add_lora(plain, **LORA)
    assert moved(plain, train(plain))


def test_a_saved_adapter_gives_the_same_embeddings_when_loaded(model, tmp_path):
    add_lora(model, **LORA)
    train(model)
    expected = embed(model)
    model.save_pretrained(str(tmp_path / "adapter"), create_model_card=False)
    assert list((tmp_path / "adapter").rglob("adapter_model.safetensors"))
    assert not list((tmp_path / "adapter").rglob("model.safetensors"))
    loaded = SentenceTransformer(str(tmp_path / "adapter"), device="cpu")
    torch.testing.assert_close(embed(loaded), expected, rtol=1e-5, atol=1e-6)
    merge_lora(loaded)
    torch.testing.assert_close(embed(loaded), expected, rtol=1e-4, atol=1e-5)


def test_the_head_of_a_cross_encoder_is_trained_whole(tiny_model, tmp_path):
    model = load_crossencoder(resolve_model(str(tiny_model.parent / "hf")), device="cpu")
    pairs = [(first, second) for first in SENTENCES for second in SENTENCES]
    expected = model.predict(pairs)
    add_lora(model, **LORA)
    assert model.predict(pairs) == pytest.approx(expected, rel=1e-5)
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    assert {name for name in trainable if "lora_" not in name} == {
        name for name in trainable if "classifier.modules_to_save" in name
    }
    assert sum("classifier.modules_to_save" in name for name in trainable) == 2
    features = model.preprocess(pairs)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        model(dict(features))["scores"].square().mean().backward()
        optimizer.step()
    adapted = model.predict(pairs)
    assert abs(adapted - expected).max() > 1e-3
    merge_lora(model)
    assert model.predict(pairs) == pytest.approx(adapted, rel=1e-4)
    model.save_pretrained(str(tmp_path), create_model_card=False)
    assert CrossEncoder(str(tmp_path), device="cpu").predict(pairs) == pytest.approx(adapted, rel=1e-4)


SMALL = {
    "vocab_size": 30,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 20,
    "pad_token_id": 0,
}
# One layer of each family, without poolers.
LINEAR_LAYERS = {
    "bert": (SMALL, {"query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense"}),
    "roberta": (SMALL, {"query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense"}),
    "mpnet": (SMALL, {"q", "k", "v", "o", "intermediate.dense", "output.dense"}),
    "modernbert": (
        {**SMALL, **{f"{token}_token_id": 1 for token in ("bos", "eos", "cls", "sep")}},
        {"attn.Wqkv", "attn.Wo", "mlp.Wi", "mlp.Wo"},
    ),
    "distilbert": (
        {"vocab_size": 30, "dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 24, "max_position_embeddings": 20},
        {"q_lin", "k_lin", "v_lin", "out_lin", "lin1", "lin2"},
    ),
}


@pytest.mark.parametrize("family", LINEAR_LAYERS)
def test_by_default_all_linear_layers_of_a_family_are_adapted(family):
    options, expected = LINEAR_LAYERS[family]
    model = AutoModel.from_config(CONFIG_MAPPING[family](**options))
    add_lora(model, **LORA)
    adapted = {name.partition(".lora_A")[0] for name, _ in model.named_parameters() if ".lora_A" in name}
    assert len(adapted) == len(expected)
    assert all(any(name.endswith(f".{ending}") for name in adapted) for ending in expected)


def test_a_target_chooses_layers(model):
    add_lora(model, **LORA, target=r"query|value")
    adapted = {name.partition(".lora_")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert {name.rpartition(".")[2] for name in adapted} == {"query", "value"}
    assert len(adapted) == 4


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rank": 0, "dropout": 1.0}, r"LoRA rank 0: expected 1 or more\nLoRA dropout 1: expected 0 or more, and less"),
        ({"alpha": 0.0}, r"LoRA alpha 0: expected more than 0"),
        ({"target": "querry"}, r"LoRA target 'querry': no linear layer has such a name; .*did you mean 'query'\?"),
        ({"target": "pooler"}, r"LoRA target 'pooler': no linear layer has such a name"),
        ({"target": "("}, r"LoRA target '\(': not a regular expression"),
    ],
)
def test_wrong_options(model, changes, said):
    with pytest.raises(UserError, match=said):
        add_lora(model, **{**LORA, **changes})
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_one_adapter_at_a_time(model):
    with pytest.raises(ValueError, match="no adapter to merge"):
        merge_lora(model)
    add_lora(model, **LORA)
    with pytest.raises(UserError, match="has an adapter already"):
        add_lora(model, **LORA)


def test_without_peft_the_remedy_is_said(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UserError, match=r"pip install 'embedtrain\[lora\]'"):
        add_lora(model, **LORA)


def test_no_transformer_no_adapter():
    with pytest.raises(UserError, match="no transformer"):
        add_lora(torch.nn.Linear(2, 2), **LORA)
    with pytest.raises(UserError, match="no transformer does not support it"):
        enable_gradient_checkpointing(torch.nn.Linear(2, 2))


def test_activations_computed_again_give_the_same_gradients(model):
    def gradients(model):
        model.zero_grad()
        model(dict(model.preprocess(SENTENCES)))["sentence_embedding"].square().sum().backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model.train()
    expected = gradients(model)
    enable_gradient_checkpointing(model)
    computed = []
    query = next(module for name, module in model.named_modules() if name.endswith("layer.0.attention.self.query"))
    query.register_forward_hook(lambda *_: computed.append(1))
    found = gradients(model)
    assert computed == [1, 1]
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient)


@pytest.mark.parametrize("pack", [False, True], ids=["padded", "packed"])
def test_adapters_are_trained_with_activations_computed_again(model, pack):
    add_lora(model, **LORA)
    enable_gradient_checkpointing(model)
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    if pack:
        with packed(model) as choice:
            assert choice.name == "packed", choice.reason
            before = train(model)
    else:
        before = train(model)
    assert moved(model, before) == trainable


def test_an_architecture_without_gradient_checkpointing():
    model = AutoModel.from_config(CONFIG_MAPPING["albert"](**{**SMALL, "embedding_size": 8}))
    with pytest.raises(UserError, match="--gradient-checkpointing: AlbertModel does not support it"):
        enable_gradient_checkpointing(model)
