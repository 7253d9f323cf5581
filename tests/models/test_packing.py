"""Packed models give what padded ones give, and are themselves again afterwards."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModel, AutoModelForSequenceClassification, ModernBertConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from embedtrain.models import packed_attention, packing
from embedtrain.models.adapting import enable_gradient_checkpointing
from embedtrain.models.loading import load_biencoder, load_crossencoder, resolve_model
from embedtrain.models.packed_attention import ATTENTION_NAME, Packing
from embedtrain.models.packed_grids import Grid
from embedtrain.models.packing import packed

VOCABULARY = 60
LENGTHS = (5, 1, 23, 9)
# Large weights, so that a text that sees another one shows.
COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
    "initializer_range": 0.3,
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
    "initializer_range": 0.3,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "pad_token_id": 0,
}
# Every second layer sees 4 places to either side, far less than the longest text.
MODERNBERT = {
    **{key: COMMON[key] for key in COMMON if not key.endswith("dropout_prob")},
    "local_attention": 8,
    "global_attn_every_n_layers": 2,
    **{f"{token}_token_id": 1 for token in ("bos", "eos", "cls", "sep")},
}
PACKED_FAMILIES = {
    "bert": ("bert", COMMON),
    "bert with padding token 7": ("bert", {**COMMON, "pad_token_id": 7}),
    "roberta": ("roberta", {**COMMON, "pad_token_id": 1}),
    "roberta with padding token 7": ("roberta", {**COMMON, "pad_token_id": 7}),
    "xlm-roberta": ("xlm-roberta", {**COMMON, "pad_token_id": 1}),
    "distilbert": ("distilbert", DISTILBERT),
    "electra": ("electra", {**COMMON, "embedding_size": 16}),
    "modernbert": ("modernbert", MODERNBERT),
}
PADDED_FAMILIES = {
    "mpnet": ("mpnet", {**COMMON, "pad_token_id": 1}),
    "deberta-v2": ("deberta-v2", {**COMMON, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]}),
    "albert": ("albert", {**COMMON, "embedding_size": 16}),
}


def build(family, automatic=AutoModel, **changes):
    name, options = {**PACKED_FAMILIES, **PADDED_FAMILIES}[family]
    torch.manual_seed(0)
    return automatic.from_config(CONFIG_MAPPING[name](**{**options, **changes})).eval()


def texts(model, lengths=LENGTHS, side="right", longest=None):
    """Random texts as a tokenizer gives them."""
    padding = model.config.pad_token_id
    longest = longest or max(lengths)
    ids = torch.randint(8, VOCABULARY, (len(lengths), longest), generator=torch.Generator().manual_seed(1))
    places = torch.arange(longest).expand_as(ids)
    mask = places < torch.tensor(lengths)[:, None]
    mask = mask.flip(1) if side == "left" else mask
    device = model.device
    return {
        "input_ids": ids.masked_fill(~mask, padding).to(device),
        "attention_mask": mask.long().to(device),
    }


def outputs_and_gradients(model, inputs, read=lambda output: output.last_hidden_state):
    """What a model makes of the real tokens (or what ``read`` reads), and the gradients of a sum over it."""
    model.zero_grad()
    found = read(model(**inputs))
    if found.shape[:2] == inputs["input_ids"].shape:
        found = found[inputs["attention_mask"].bool()]
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(2)).to(found)
    (found * weights).sum().backward()
    return found.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same(found, expected, rtol=1e-4):
    """Outputs and gradients are the same, up to rounding relative to the largest number of each tensor."""
    torch.testing.assert_close(found[0], expected[0], rtol=rtol, atol=rtol * expected[0].abs().max().item())
    assert found[1].keys() == expected[1].keys()
    for name, gradient in expected[1].items():
        near = {"rtol": rtol, "atol": rtol * gradient.abs().max().item()}
        # A key's bias moves all products of a query alike: its gradient is rounding alone.
        if gradient.abs().max() > 1e-3:
            torch.testing.assert_close(found[1][name], gradient, **near, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("family", PACKED_FAMILIES)
def test_equals_the_padded_model(family, side):
    model = build(family)
    inputs = texts(model, side=side)
    expected = outputs_and_gradients(model, inputs)
    with packed(model) as choice:
        assert choice.name == "packed", choice.reason
        found = outputs_and_gradients(model, inputs)
    assert_same(found, expected)


@pytest.mark.parametrize("family", PACKED_FAMILIES)
def test_the_transformer_sees_real_tokens_only(family):
    model = build(family)
    seen = []
    model.get_input_embeddings().register_forward_hook(lambda module, inputs, output: seen.append(output.shape[:2]))
    with packed(model):
        seen.clear()
        model(**texts(model))
    assert seen == [(1, sum(LENGTHS))]


def test_the_trial_notices_attention_that_leaves_a_text(monkeypatch):
    monkeypatch.setattr(Grid, "bias", lambda self, reach, dtype: torch.zeros(()))
    with packed(build("bert")) as choice:
        assert choice == packing.Choice("padded", "this architecture gives other numbers without padding")


def test_a_window_is_shorter_than_the_longest_text():
    assert ModernBertConfig(**MODERNBERT).sliding_window < max(LENGTHS) // 2


def test_in_a_window_padding_sees_itself_and_real_tokens_see_their_neighbours():
    visible = Packing.of_mask(torch.tensor([[1, 1, 0, 0, 0]])).visible(1)
    assert visible.shape == (1, 1, 5, 5)
    assert [row.nonzero().flatten().tolist() for row in visible[0, 0]] == [[0, 1], [0, 1], [1, 2], [3], [4]]


def test_types_of_tokens_are_packed_too():
    model = build("bert")
    inputs = texts(model)
    inputs["token_type_ids"] = (torch.arange(max(LENGTHS)) > 2).long().expand_as(inputs["input_ids"]).clone()
    expected = outputs_and_gradients(model, inputs)
    with packed(model):
        found = outputs_and_gradients(model, inputs)
    assert_same(found, expected)


def test_positions_of_the_caller_are_kept():
    model = build("bert")
    inputs = texts(model)
    inputs["position_ids"] = torch.arange(max(LENGTHS)).flip(0)[None]
    expected = outputs_and_gradients(model, inputs)
    with packed(model):
        found = outputs_and_gradients(model, inputs)
    assert_same(found, expected)


def test_without_a_mask_all_tokens_are_real():
    model = build("bert")
    inputs = texts(model, lengths=(6, 6))
    expected = model(**inputs).last_hidden_state
    with packed(model):
        found = model(inputs["input_ids"]).last_hidden_state
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_padding_token_inside_a_text_keeps_its_position():
    model = build("roberta")
    inputs = texts(model)
    inputs["input_ids"][2, 4] = model.config.pad_token_id
    expected = outputs_and_gradients(model, inputs)
    with packed(model):
        found = outputs_and_gradients(model, inputs)
    assert_same(found, expected)


def test_padding_comes_back_as_zeros_and_hidden_states_are_spread_out():
    model = build("bert")
    inputs = texts(model)
    expected = model(**inputs, output_hidden_states=True)
    with packed(model):
        found = model(**inputs, output_hidden_states=True)
    real = inputs["attention_mask"].bool()
    assert not found.last_hidden_state[~real].any()
    assert len(found.hidden_states) == len(expected.hidden_states) == 3
    for one, other in zip(found.hidden_states, expected.hidden_states, strict=True):
        torch.testing.assert_close(one[real], other[real], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        *((family, {}) for family in ("bert", "roberta", "xlm-roberta", "distilbert", "electra")),
        *(("modernbert", {"classifier_pooling": pooling}) for pooling in ("cls", "mean")),
    ],
)
def test_cross_encoder_heads(family, changes):
    model = build(family, AutoModelForSequenceClassification, num_labels=1, **changes)
    inputs = texts(model)
    expected = outputs_and_gradients(model, inputs, lambda output: output.logits)
    with packed(model) as choice:
        assert choice.name == "packed", choice.reason
        found = outputs_and_gradients(model, inputs, lambda output: output.logits)
    assert_same(found, expected)


SENTENCES = ["a", "how do i reset my password?", "reset", "my order is late, where is it", "退款订单"]


@pytest.mark.parametrize("mode", ["mean", "cls", "max"])
def test_sentence_embeddings(tiny_model, mode):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    transformer = load_biencoder(resolve_model(str(tiny_model)), device="cpu")[0]
    model = SentenceTransformer(modules=[transformer, Pooling(32, pooling_mode=mode)], device="cpu")
    expected = model.encode(SENTENCES, convert_to_tensor=True)
    with packed(model) as choice:
        assert choice.name == "packed", choice.reason
        found = model.encode(SENTENCES, convert_to_tensor=True)
        features = model.preprocess(SENTENCES)
        forward = model(dict(features))["sentence_embedding"]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(forward, expected, rtol=1e-4, atol=1e-5)


def test_a_cross_encoder(tiny_model):
    model = load_crossencoder(resolve_model(str(tiny_model.parent / "hf")), device="cpu")
    pairs = [(first, second) for first in SENTENCES for second in SENTENCES]
    expected = model.predict(pairs)
    with packed(model) as choice:
        assert choice.name == "packed", choice.reason
        found = model.predict(pairs)
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("family", PADDED_FAMILIES)
def test_other_architectures_stay_padded_and_say_why(family, caplog):
    model = build(family)
    inputs = texts(model)
    expected = model(**inputs).last_hidden_state
    with packed(model) as choice:
        assert choice.name == "padded"
        assert choice.reason.startswith("this architecture")
        assert torch.equal(model(**inputs).last_hidden_state, expected)
    assert not caplog.records


def test_a_model_that_is_no_transformer_is_left_alone():
    with packed(torch.nn.Linear(2, 2)) as choice:
        assert choice == packing.Choice("padded", "the model is no transformer")


def test_everything_is_as_it_was_also_after_an_exception():
    model = build("bert", hidden_dropout_prob=0.1).train()
    model.encoder.layer[0].eval()
    training = [module.training for module in model.modules()]
    attributes = {name: value for name, value in vars(model).items() if name != "training"}
    attention = model.config._attn_implementation
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    with pytest.raises(KeyboardInterrupt), packed(model):
        assert torch.equal(torch.rand(3), expected), "the trial draws random numbers"
        assert [module.training for module in model.modules()] == training
        assert model.config._attn_implementation == ATTENTION_NAME
        raise KeyboardInterrupt
    assert model.config._attn_implementation == attention
    assert {name: value for name, value in vars(model).items() if name != "training"} == attributes
    assert [module.training for module in model.modules()] == training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_forward_that_was_replaced_before_comes_back():
    model = build("bert")
    calls = []
    original = model.forward

    def counted(*args, **named):
        calls.append(1)
        return original(*args, **named)

    model.forward = counted
    inputs = texts(model)
    expected = model(**inputs).last_hidden_state
    with packed(model) as choice:
        assert choice.name == "packed", choice.reason
        calls.clear()
        found = model(**inputs).last_hidden_state
        assert calls == [1]
    assert model.forward is counted
    torch.testing.assert_close(found[inputs["attention_mask"].bool()], expected[inputs["attention_mask"].bool()])


def test_a_packed_model_may_be_packed_again():
    model = build("bert")
    inputs = texts(model)
    expected = outputs_and_gradients(model, inputs)
    with packed(model) as outer, packed(model) as inner:
        assert outer == inner
        found = outputs_and_gradients(model, inputs)
    assert_same(found, expected)
    assert model.config._attn_implementation != ATTENTION_NAME


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "electra", "modernbert"])
def test_gradient_checkpointing(family):
    model = build(family).train()
    inputs = texts(model)
    expected = outputs_and_gradients(model, inputs)
    enable_gradient_checkpointing(model)
    computed = []
    linear = [
        module for name, module in model.named_modules() if "layer" in name and isinstance(module, torch.nn.Linear)
    ]
    with packed(model) as choice:
        assert choice.name == "packed", choice.reason
        linear[0].register_forward_hook(lambda *_: computed.append(1))
        found = outputs_and_gradients(model, inputs)
    assert computed == [1, 1], "the layer was not computed again"
    assert_same(found, expected)


def test_attention_dropout_is_kept_on_a_cpu():
    model = build("bert", attention_probs_dropout_prob=0.5).train()
    inputs = texts(model)
    with packed(model) as choice:
        assert choice == packing.Choice("packed", "texts lie end to end without padding")
        first, second = (model(**inputs).last_hidden_state for _ in range(2))
    assert not torch.allclose(first, second)


@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_weights_in_half_precision(family):
    model = build(family).to(torch.bfloat16)
    inputs = texts(model)
    real = inputs["attention_mask"].bool()
    with torch.no_grad():
        expected = model(**inputs).last_hidden_state[real]
        with packed(model) as choice:
            assert choice.name == "packed", choice.reason
            found = model(**inputs).last_hidden_state[real]
    assert (found - expected).abs().max() <= 5e-2 * expected.abs().max()


@pytest.mark.parametrize(("family", "positions"), [("bert", 2), ("bert", 4), ("roberta", 6)])
def test_few_positions(family, positions):
    model = build(family, max_position_embeddings=positions)
    inputs = texts(model, lengths=(2, 1))
    expected = outputs_and_gradients(model, inputs)
    with packed(model) as choice:
        assert choice.name == "packed", choice.reason
        found = outputs_and_gradients(model, inputs)
    assert_same(found, expected)


@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert"])
@pytest.mark.parametrize("lengths", [(5, 0, 12), (0, 0)])
def test_texts_without_tokens(family, lengths):
    model = build(family)
    inputs = texts(model, lengths=lengths, longest=12)
    expected = model(**inputs).last_hidden_state
    with packed(model):
        found = model(**inputs).last_hidden_state
    found.sum().backward()
    real = inputs["attention_mask"].bool()
    torch.testing.assert_close(found[real], expected[real], rtol=1e-4, atol=1e-4)
    assert found.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@given(
    lengths=st.lists(st.integers(0, 6), min_size=1, max_size=7),
    padding=st.integers(0, 3),
    left=st.booleans(),
    trailing=st.lists(st.integers(1, 3), max_size=2),
)
def test_what_is_packed_is_unpacked_to_its_place(lengths, padding, left, trailing):
    longest = max(1, *lengths) + padding
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    mask = mask.flip(1) if left else mask
    values = torch.arange(1.0, 1 + mask.numel() * torch.tensor(trailing).prod().item()).view(*mask.shape, *trailing)
    packing_of_it = Packing.of_mask(mask.long())
    packed_values = packing_of_it.pack(values)
    counts = [max(1, length) for length in lengths]
    assert packed_values.shape == (1, sum(counts), *trailing)
    assert packing_of_it.starts.tolist() == [sum(counts[:k]) for k in range(len(counts) + 1)]
    for row, length in enumerate(lengths):
        start = packing_of_it.starts[row]
        kept = values[row][mask[row]] if length else values[row, :1]
        assert torch.equal(packed_values[0, start : start + max(1, length)], kept)
    spread = packing_of_it.unpack(packed_values)
    kept = mask.clone()
    kept[[length == 0 for length in lengths], 0] = True
    assert torch.equal(spread, values * kept.view(*mask.shape, *(1 for _ in trailing)))


def on_gpu(family, **changes):
    return build(family, **changes).cuda()


@pytest.fixture
def kernel_calls(monkeypatch):
    """Counts the calls of PyTorch's kernel for sequences of different lengths."""
    calls = []
    kernel = packed_attention.varlen_attn

    def counted(*args, **named):
        calls.append(1)
        return kernel(*args, **named)

    monkeypatch.setattr(packed_attention, "varlen_attn", counted)
    return calls


@pytest.mark.gpu
@pytest.mark.parametrize("family", PACKED_FAMILIES)
def test_on_a_gpu_in_half_precision(family, kernel_calls):
    model = on_gpu(family, initializer_range=0.1)
    inputs = texts(model)
    expected = outputs_and_gradients(model, inputs)
    with torch.autocast("cuda", torch.bfloat16):
        padded = outputs_and_gradients(model, inputs)
        with packed(model) as choice:
            assert choice.name == "packed", choice.reason
            kernel_calls.clear()
            found = outputs_and_gradients(model, inputs)
    assert len(kernel_calls) == 2
    # As near to full precision as the padded model in half precision, up to a factor.
    for name in expected[1]:
        scale = expected[1][name].abs().max()
        rounding = (padded[1][name] - expected[1][name]).abs().max()
        assert (found[1][name] - expected[1][name]).abs().max() <= 3 * rounding + 2e-2 * scale, name
    assert (found[0] - padded[0]).abs().max() <= 5e-2 * padded[0].abs().max()


@pytest.mark.gpu
@pytest.mark.parametrize("family", PACKED_FAMILIES)
def test_on_a_gpu_in_full_precision(family, kernel_calls):
    model = on_gpu(family)
    inputs = texts(model)
    expected = outputs_and_gradients(model, inputs)
    with packed(model) as choice:
        assert choice.name == "packed", choice.reason
        kernel_calls.clear()
        found = outputs_and_gradients(model, inputs)
    assert not kernel_calls
    assert_same(found, expected, rtol=1e-3)


@pytest.mark.gpu
def test_on_a_gpu_attention_dropout_is_left_out_or_the_model_stays_padded():
    model = on_gpu("bert", attention_probs_dropout_prob=0.1).train()
    inputs = texts(model)
    with packed(model) as choice, torch.autocast("cuda", torch.bfloat16):
        assert choice.reason.endswith("attention dropout 0.1 is left out")
        first, second = (model(**inputs).last_hidden_state for _ in range(2))
        assert torch.equal(first, second)
    with packed(model, keep_attention_dropout=True) as choice:
        assert choice.name == "padded"
        assert "attention dropout 0.1 is kept" in choice.reason
    with packed(on_gpu("bert"), keep_attention_dropout=True) as choice:
        assert choice.name == "packed"


@pytest.mark.gpu
def test_on_a_gpu_gradient_checkpointing():
    model = on_gpu("bert").train()
    inputs = texts(model)
    with packed(model), torch.autocast("cuda", torch.bfloat16):
        expected = outputs_and_gradients(model, inputs)
        enable_gradient_checkpointing(model)
        found = outputs_and_gradients(model, inputs)
    assert_same(found, expected, rtol=1e-2)
