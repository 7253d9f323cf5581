"""Where a model name is looked for, in which order, and what is said when it is nowhere."""

import importlib.util

import pytest
import torch

from embedtrain.errors import UserError
from embedtrain.models import loading
from embedtrain.models.hardware import choose_device, choose_precision
from embedtrain.models.loading import load_biencoder, load_crossencoder, resolve_model
from embedtrain.models.names import DEFAULT_MODEL

bundled = pytest.mark.skipif(
    importlib.util.find_spec(loading.BUNDLED_PACKAGE) is None, reason="the bundled-model extra is not installed"
)


@pytest.fixture(autouse=True)
def empty_hub_cache(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def test_a_folder_comes_first(tiny_model):
    source = resolve_model(str(tiny_model))
    assert source.kind == "folder"
    assert load_biencoder(source, device="cpu").encode("reset").shape == (32,)


def test_a_plain_transformers_folder_gets_mean_pooling(tiny_model):
    model = load_biencoder(resolve_model(str(tiny_model.parent / "hf")), device="cpu")
    assert model[1].pooling_mode == "mean"


def test_a_new_cross_encoder_head_is_drawn_from_the_seed(tiny_model):
    source = resolve_model(str(tiny_model.parent / "hf"))
    first, same, other = (load_crossencoder(source, device="cpu", seed=seed) for seed in (1, 1, 2))
    pair = [("how do i reset", "reset it")]
    assert first.predict(pair) == same.predict(pair)
    assert first.predict(pair) != other.predict(pair)


def test_a_teacher_that_asks_for_raw_logits_still_scores_between_0_and_1(tiny_model, tmp_path):
    from sentence_transformers import CrossEncoder

    raw = CrossEncoder(str(tiny_model.parent / "hf"), num_labels=1, device="cpu", activation_fn=torch.nn.Identity())
    with torch.no_grad():
        for parameter in raw[0].model.classifier.parameters():
            parameter.fill_(30.0)
    raw.save_pretrained(str(tmp_path), create_model_card=False)
    score = load_crossencoder(resolve_model(str(tmp_path)), device="cpu").predict([("how do i reset", "reset it")])
    assert 0 <= score[0] <= 1


def test_loading_leaves_the_caller_s_random_numbers_alone(tiny_model):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load_crossencoder(resolve_model(str(tiny_model.parent / "hf")), device="cpu", seed=1)
    assert torch.equal(torch.rand(3), expected)


@bundled
@pytest.mark.parametrize("name", [DEFAULT_MODEL, "all-MiniLM-L6-v2"])
def test_the_default_model_is_found_in_the_bundled_package(name):
    assert resolve_model(name).kind == "bundled package"


@bundled
def test_bundled_weights_that_are_not_the_published_ones_are_refused(monkeypatch):
    monkeypatch.setattr(loading, "BUNDLED_SHA256", "0" * 64)
    with pytest.raises(UserError, match="not the published ones"):
        resolve_model(DEFAULT_MODEL)


@pytest.mark.parametrize("name", ["no/such-model", "all-MinLM-L6-v2", "/no/such/folder", "a b"])
def test_a_name_that_is_nowhere_says_what_to_install(name):
    with pytest.raises(UserError, match="pip install") as caught:
        resolve_model(name)
    assert name in str(caught.value)


def test_a_folder_without_a_model_is_said_to_be_one(tmp_path):
    with pytest.raises(UserError, match="holds no model"):
        resolve_model(str(tmp_path))


def test_a_broken_model_folder_is_one_message(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="cannot be loaded"):
        load_biencoder(resolve_model(str(tmp_path)), device="cpu")


def test_the_fingerprint_follows_the_weights(tmp_path, tiny_model):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(tiny_model, copy)
    assert resolve_model(str(copy)).fingerprint == resolve_model(str(tiny_model)).fingerprint
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert resolve_model(str(copy)).fingerprint != resolve_model(str(tiny_model)).fingerprint


def test_forced_precision_and_device_are_taken():
    assert choose_precision("cpu", "fp32").name == "fp32"
    assert choose_device("cpu").reason == "asked for"


def test_the_precision_follows_the_instructions(monkeypatch):
    monkeypatch.setattr("embedtrain.models.hardware.cpu_bf16_instructions", lambda: "AMX")
    assert choose_precision("cpu").name == "bf16"
    assert "AMX" in choose_precision("cpu").reason
    monkeypatch.setattr("embedtrain.models.hardware.cpu_bf16_instructions", lambda: None)
    assert choose_precision("cpu").name == "fp32"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_asking_for_a_missing_gpu_is_a_user_error():
    with pytest.raises(UserError, match="--device cuda"):
        choose_device("cuda")


def test_a_model_of_the_hub_is_fetched_once_and_then_found_in_the_cache(tiny_model, monkeypatch, tmp_path):
    """The name resolves to the same files before and after, so nothing that was made with them is made again."""
    asked = []

    class Info:
        siblings = ()

    def model_info(repository, timeout):
        asked.append(repository)
        if repository == "tiny":
            from huggingface_hub.errors import RepositoryNotFoundError

            raise RepositoryNotFoundError("404", response=type("Response", (), {"headers": {}, "request": None})())
        return Info()

    monkeypatch.setattr("huggingface_hub.model_info", model_info)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda repository, **options: _cached(options, tiny_model))
    source = resolve_model("tiny")
    assert asked == ["tiny", "sentence-transformers/tiny"]
    assert source.kind == "hub cache"
    assert source.fingerprint == resolve_model(str(tiny_model)).fingerprint


def _cached(options, folder):
    if options.get("local_files_only"):
        raise FileNotFoundError
    return str(folder)
