"""A model exported to ONNX: the files, the figures, and that nothing is lost."""

import json

import numpy as np
import pytest
from conftest import CHINESE, SAMPLES
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize

from embedtrain.cli import main
from embedtrain.errors import UserError
from embedtrain.models.onnx_loading import load_onnx
from embedtrain.pipelines.export.options import ExportOptions
from embedtrain.pipelines.export.pipeline import export, export_table

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
TEST = str(SAMPLES / "en_test.tsv")
TEXTS = ["How do I reset it?", "a", "怎么重置密码？", "a much longer sentence " * 9, CHINESE]
INT8 = "onnx/model_qint8.onnx"


@pytest.fixture(scope="module")
def normalising_model(tiny_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("normalising") / "model"
    model = SentenceTransformer(str(tiny_model), device="cpu")
    model = SentenceTransformer(modules=[*model, Normalize()], prompts={"query": "ask: "}, device="cpu")
    model.save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="module")
def exported(normalising_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "out"
    options = ExportOptions(
        model=str(normalising_model), output=str(folder), onnx=True, int8=True, data=TEST, sentences=16, rounds=2,
        bootstrap_samples=100,
    )  # fmt: skip
    return export(options)


def test_embeddings_are_those_of_the_original(exported, normalising_model):
    before = SentenceTransformer(str(normalising_model), device="cpu")
    after = load_onnx(exported.folder)
    np.testing.assert_allclose(after.encode(TEXTS), before.encode(TEXTS), atol=2e-5)
    np.testing.assert_allclose(after.encode_query(TEXTS), before.encode_query(TEXTS), atol=2e-5)
    assert np.abs(after.encode_query(TEXTS) - after.encode(TEXTS)).max() > 1e-3
    assert after.max_seq_length == before.max_seq_length
    np.testing.assert_allclose(np.linalg.norm(after.encode(TEXTS), axis=1), 1, atol=1e-5)


def test_int8_is_near_and_smaller(exported, normalising_model):
    before = SentenceTransformer(str(normalising_model), device="cpu").encode(TEXTS)
    after = load_onnx(exported.folder, file=INT8).encode(TEXTS)
    assert 0.9 < np.einsum("td,td->t", before, after).min() < 1 - 1e-7
    forms = exported.figures["forms"]
    assert forms["int8"]["bytes"] == (exported.folder / INT8).stat().st_size
    assert list(forms) == ["original", "onnx", "int8"]


def test_the_folder_is_laid_out_for_sentence_transformers(exported):
    modules = json.loads((exported.folder / "modules.json").read_text())
    assert [module["type"] for module in modules] == [
        f"sentence_transformers.models.{name}" for name in ("Transformer", "Pooling", "Normalize")
    ]
    assert not list(exported.folder.rglob("*.safetensors"))
    for name in ("config.json", "tokenizer.json", "1_Pooling/config.json", "onnx/model.onnx", INT8, "README.md"):
        assert (exported.folder / name).is_file()
    assert "## ONNX" in (exported.folder / "README.md").read_text()


def test_figures_are_kept_and_shown(exported):
    assert json.loads((exported.folder / "export.json").read_text()) == exported.figures
    forms = exported.figures["forms"]
    for found in forms.values():
        assert found["ci95"][0] <= found["spearman"] <= found["ci95"][1]
        assert found["sentences_per_second"] > 0
    assert forms["onnx"]["difference"] == pytest.approx(0, abs=1e-4)
    assert forms["original"]["cosine"] == pytest.approx(1)
    assert "difference" not in forms["original"]
    table = export_table(exported.figures)
    assert "ONNX, int8" in table
    assert "400 scored pairs of en_test.tsv" in table


def test_mistakes_are_told_together_before_a_model_is_loaded(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("embedtrain.models.onnx_files.PACKAGES", ("onnxruntime_that_is_not_there",))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("")
    (tmp_path / "bad.tsv").write_text("first\tsecond\na\tb\n")
    words = ["--output", str(tmp_path / "full"), "--data", str(tmp_path / "bad.tsv"), "--rounds", "0"]
    assert main(["export", str(tmp_path), *words]) == 2
    said = capsys.readouterr().err
    for part in (
        "expected --onnx",
        "--rounds is 0",
        "something is there already",
        "pip install 'embedtrain[onnx]'",
        "holds no model",
        "bad.tsv",
    ):
        assert part in said
    assert "Traceback" not in said


def test_an_export_without_the_file_is_no_export(tiny_model):
    with pytest.raises(UserError, match=r"no onnx/model\.onnx in it"):
        load_onnx(tiny_model)
