"""Decoders of every family: what they see, whom they teach, and that they are the encoder's own layers."""

from contextlib import nullcontext

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import DenoisingAutoEncoderLoss
from transformers import AutoModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from embedtrain.losses import DenoisingLoss
from embedtrain.models import decoder_for, small_decoder, tied_decoder
from embedtrain.models.packing import backbone_of
from embedtrain.models.token_gradients import token_gradients_in_place

VOCABULARY = 300
LENGTHS = (9, 2, 17, 12, 1)
COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
    "initializer_range": 0.1,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "pad_token_id": 0,
}
DISTILBERT = {
    "vocab_size": VOCABULARY,
    "dim": 32,
    "n_layers": 2,
    "n_heads": 2,
    "hidden_dim": 48,
    "max_position_embeddings": 40,
    "initializer_range": 0.1,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "pad_token_id": 0,
}
MODERNBERT = {
    **{key: COMMON[key] for key in COMMON if not key.endswith("dropout_prob")},
    **{f"{token}_token_id": 1 for token in ("bos", "eos", "cls", "sep")},
}
DEBERTA = {**COMMON, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]}
DEBERTA_V3 = {**DEBERTA, "share_att_key": True, "norm_rel_ebd": "layer_norm", "position_buckets": 8}
TIED = {
    "bert": ("bert", COMMON),
    "roberta": ("roberta", {**COMMON, "pad_token_id": 1}),
    "xlm-roberta": ("xlm-roberta", {**COMMON, "pad_token_id": 1}),
    "distilbert": ("distilbert", DISTILBERT),
    "mpnet": ("mpnet", {**COMMON, "pad_token_id": 1}),
    "electra": ("electra", {**COMMON, "embedding_size": 16}),
    "electra, embeddings as wide as the layers": ("electra", {**COMMON, "embedding_size": 32}),
    "albert": ("albert", {**COMMON, "embedding_size": 16}),
    "albert with groups": ("albert", {**COMMON, "embedding_size": 16, "num_hidden_groups": 2, "inner_group_num": 2}),
}
SMALL = {
    "deberta": ("deberta", DEBERTA),
    "deberta-v2": ("deberta-v2", DEBERTA),
    "deberta-v3": ("deberta-v2", DEBERTA_V3),
    "modernbert": ("modernbert", MODERNBERT),
    "an architecture that nobody has tried": ("rembert", {**COMMON, "input_embedding_size": 16}),
}
FAMILIES = {**TIED, **SMALL}


def build(family, **changes):
    name, options = FAMILIES[family]
    torch.manual_seed(0)
    return AutoModel.from_config(CONFIG_MAPPING[name](**{**options, **changes})).eval()


def texts(model, lengths=LENGTHS):
    ids = torch.randint(8, VOCABULARY, (len(lengths), max(lengths)), generator=torch.Generator().manual_seed(1))
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return ids.masked_fill(~mask, model.config.pad_token_id), mask


def embed(model, ids, mask):
    hidden = model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_falls(family):
    model = build(family).train()
    decoder, _ = decoder_for(model)
    loss = DenoisingLoss(decoder)
    ids, mask = texts(model)
    optimizer = torch.optim.AdamW([*model.parameters(), *loss.parameters()], lr=3e-3)
    values = []
    for _ in range(30):
        value = loss(embed(model, ids, mask), ids, mask)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.7 * values[0], values


@pytest.mark.parametrize("family", FAMILIES)
def test_a_token_sees_the_embedding_and_what_came_before(family):
    model = build(family)
    decoder, _ = decoder_for(model)
    ids, mask = texts(model)
    embedding = embed(model, ids, mask).detach()
    before = decoder(embedding, ids, mask)
    changed = ids.clone()
    changed[2, 6] = (ids[2, 6] + 1) % VOCABULARY
    after = decoder(embedding, changed, mask)
    assert torch.equal(after[2, :6], before[2, :6])
    assert all((after[2, place] - before[2, place]).abs().max() > 1e-5 for place in range(6, 17))
    others = torch.tensor([0, 1, 3, 4])
    assert torch.equal(after[others], before[others])
    embedding[3] += 0.1
    moved = decoder(embedding, ids, mask)
    assert all((moved[3, place] - before[3, place]).abs().max() > 1e-5 for place in range(12))
    others = torch.tensor([0, 1, 2, 4])
    assert torch.equal(moved[others], before[others])


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_changes_nothing(family):
    model = build(family)
    decoder, _ = decoder_for(model)
    ids, mask = texts(model)
    embedding = embed(model, ids, mask).detach()
    together = decoder(embedding, ids, mask)
    assert not together[~mask].any()
    for row, length in enumerate(LENGTHS):
        alone = decoder(embedding[row : row + 1], ids[row : row + 1, :length], mask[row : row + 1, :length])
        torch.testing.assert_close(alone[0], together[row, :length], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_reach_the_encoder_through_both(family):
    model = build(family)
    decoder, choice = decoder_for(model)
    ids, mask = texts(model)
    DenoisingLoss(decoder)(embed(model, ids, mask).detach(), ids, mask).backward()
    reached = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert all(parameter.grad.any() for name, parameter in model.named_parameters() if name in reached)
    unused = {name for name, _ in model.named_parameters() if "pooler" not in name} - reached
    assert (choice.name == "tied") == (family in TIED)
    if choice.name == "tied":
        assert not unused
    else:
        assert len(reached) == 1, "the token embeddings alone are shared"
    assert all(parameter.grad.any() for parameter in decoder.parameters())
    model.zero_grad()
    DenoisingLoss(decoder)(embed(model, ids, mask), ids, mask).backward()
    assert all(parameter.grad is not None for name, parameter in model.named_parameters() if "pooler" not in name)


@pytest.mark.parametrize("family", TIED)
def test_tied_layers_are_the_encoders_under_a_causal_mask(family):
    model = build(family, attn_implementation="eager")
    decoder = tied_decoder(model)
    decoder._crossed = lambda embedding: tuple(torch.zeros(len(embedding), 32) for _ in decoder.cross_norms)
    decoder.cross_norms = torch.nn.ModuleList(torch.nn.Identity() for _ in decoder.cross_norms)
    found = []
    decoder.head.register_forward_pre_hook(lambda module, inputs: found.append(inputs[0]))
    ids, mask = texts(model)
    decoder(torch.zeros(len(ids), 32), ids, mask)
    seen = torch.ones(17, 17, dtype=torch.bool).tril().expand(len(ids), -1, -1)
    causal = torch.zeros(len(ids), 1, 17, 17).masked_fill(~seen[:, None], torch.finfo(torch.float32).min)
    expected = model(input_ids=ids, attention_mask=causal).last_hidden_state[mask]
    torch.testing.assert_close(found[0], expected, rtol=1e-4, atol=1e-5)
    assert (expected - model(input_ids=ids, attention_mask=mask.long()).last_hidden_state[mask]).abs().max() > 1e-2


@pytest.mark.parametrize("family", FAMILIES)
def test_the_choice_says_why(family):
    model = build(family)
    decoder, choice = decoder_for(model)
    if family in TIED:
        assert choice.name == "tied"
        assert "shares the encoder's embeddings" in choice.reason
    else:
        assert choice.name == "small"
        assert choice.reason.startswith(f"1 layer of its own: {model.config.model_type} cannot be tied, its ")
    own, asked = decoder_for(model, layers=2)
    assert str(asked) == "small (2 layers of its own, asked for)"
    assert len(own.cross_norms) == 2
    assert decoder.output_weight is own.output_weight is model.get_input_embeddings().weight


def test_families_that_cannot_be_tied_are_refused():
    with pytest.raises(ValueError, match="modernbert cannot be tied: its layers rotate"):
        tied_decoder(build("modernbert"))
    with pytest.raises(ValueError, match="layers must be at least 1, found 0"):
        small_decoder(build("bert"), 0)


@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_the_decoder_owns_only_what_is_new(family):
    model = build(family)
    names, shared = set(model.state_dict()), {id(parameter) for parameter in model.parameters()}
    decoder, _ = decoder_for(model)
    assert set(model.state_dict()) == names
    assert not shared & {id(parameter) for parameter in decoder.parameters()}
    assert set(decoder.state_dict()) == {name for name, _ in decoder.named_parameters()}


@pytest.mark.parametrize("make", [tied_decoder, small_decoder])
def test_new_weights_come_from_the_seed_alone(make):
    model = build("bert")
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = make(model, seed=1).state_dict()
    assert torch.equal(torch.rand(3), expected), "the caller's random numbers were drawn"
    second, other = make(model, seed=1).state_dict(), make(model, seed=2).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["cross_output"], other["cross_output"])


@pytest.mark.parametrize("make", [tied_decoder, small_decoder])
def test_embeddings_of_another_length(make):
    model = build("bert")
    ids, mask = texts(model)
    loss = DenoisingLoss(make(model, embedding_dim=7))
    embedding = torch.randn(len(ids), 7, requires_grad=True)
    loss(embedding, ids, mask).backward()
    assert embedding.grad.abs().sum(1).gt(0).tolist() == [length > 1 for length in LENGTHS]


@pytest.mark.parametrize("family", FAMILIES)
def test_bf16_gives_nearly_the_same(family):
    model = build(family)
    loss = DenoisingLoss(decoder_for(model)[0])
    ids, mask = texts(model)

    def run(precision):
        model.zero_grad()
        embedding = embed(model, ids, mask)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
            value = loss(embedding, ids, mask)
        value.backward()
        return value.item(), model.get_input_embeddings().weight.grad.clone()

    (expected, expected_gradient), (found, gradient) = run("fp32"), run("bf16")
    assert found == pytest.approx(expected, rel=2e-2)
    assert (gradient - expected_gradient).norm() < 0.1 * expected_gradient.norm()
    assert gradient.dtype == torch.float32


def test_dropout_follows_the_mode():
    model = build("bert", hidden_dropout_prob=0.2, attention_probs_dropout_prob=0.2)
    decoder, _ = decoder_for(model)
    ids, mask = texts(model)
    embedding = torch.randn(len(ids), 32)
    assert not torch.allclose(*(decoder.train()(embedding, ids, mask) for _ in range(2)))
    assert torch.equal(*(decoder.eval()(embedding, ids, mask) for _ in range(2)))


TEXTS = [
    "how do i reset my password?",
    "a",
    "my order is late, where is it, and who can tell me when it comes",
    "退款订单 is late",
]
DAMAGED = ["reset password", "a", "order late where", "订单"]


def features_of(model, texts):
    features = model.preprocess(texts)
    return {name: features[name] for name in ("input_ids", "attention_mask")}


def copied_from(theirs, ours):
    """Their new weights as ours; which of theirs belongs to which of ours, part for part."""
    layers = [layer.crossattention for layer in theirs.bert.encoder.layer]
    head = theirs.cls.predictions
    pairs = {
        "cross_value.weight": [layer.self.value.weight for layer in layers],
        "cross_value.bias": [layer.self.value.bias for layer in layers],
        "cross_output": [layer.output.dense.weight for layer in layers],
        "cross_output_bias": [layer.output.dense.bias for layer in layers],
        "head.weight": [head.transform.dense.weight],
        "head.bias": [head.transform.dense.bias],
        "head_norm.weight": [head.transform.LayerNorm.weight],
        "head_norm.bias": [head.transform.LayerNorm.bias],
        "output_bias": [head.decoder.bias],
    }
    for number, layer in enumerate(layers):
        pairs[f"cross_norms.{number}.weight"] = [layer.output.LayerNorm.weight]
        pairs[f"cross_norms.{number}.bias"] = [layer.output.LayerNorm.bias]
    own = dict(ours.named_parameters())
    assert own.keys() == pairs.keys()

    def arranged(name, parts):
        if name == "cross_output":  # multiplied from the other side
            return torch.stack([part.T for part in parts])
        return torch.cat(list(parts)).view(own[name].shape)

    with torch.no_grad():
        for name, parts in pairs.items():
            own[name].copy_(arranged(name, parts))
    return {
        name: lambda name=name, parts=parts: arranged(name, [p.grad for p in parts]) for name, parts in pairs.items()
    }


@pytest.mark.parametrize("in_place", [False, True])
def test_equals_the_loss_of_sentence_transformers(tiny_model, in_place):
    model = SentenceTransformer(str(tiny_model), device="cpu")
    torch.manual_seed(1)
    theirs = DenoisingAutoEncoderLoss(model, tie_encoder_decoder=True).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():  # what is 0 or 1 in a new model shows nothing
            parameter.add_(torch.randn_like(parameter) * 0.1)
    backbone = backbone_of(model)
    decoder = tied_decoder(backbone).eval()
    expected_gradients = copied_from(theirs.decoder, decoder)
    source, target = features_of(model, DAMAGED), features_of(model, TEXTS)

    expected = theirs([dict(source), dict(target)], None)
    expected.backward()
    by_ours = {name: gradient() for name, gradient in expected_gradients.items()}
    by_shared = {name: p.grad.clone() for name, p in backbone.named_parameters() if p.grad is not None}
    for layer in theirs.decoder.bert.encoder.layer:
        assert layer.crossattention.self.query.weight.grad.abs().max() < 1e-6
        assert layer.crossattention.self.key.weight.grad.abs().max() < 1e-6

    theirs.zero_grad()
    with token_gradients_in_place(decoder.table) if in_place else nullcontext():
        embedding = model(dict(source))["sentence_embedding"]
        found = DenoisingLoss(decoder)(embedding, target["input_ids"], target["attention_mask"])
        found.backward()
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    for name, parameter in decoder.named_parameters():
        torch.testing.assert_close(
            parameter.grad, by_ours[name], rtol=1e-4, atol=1e-6, msg=lambda text, n=name: n + text
        )
    reached = {name: p.grad for name, p in backbone.named_parameters() if p.grad is not None}
    assert reached.keys() == by_shared.keys()
    for name, gradient in reached.items():
        torch.testing.assert_close(gradient, by_shared[name], rtol=1e-4, atol=1e-6, msg=lambda text, n=name: n + text)
