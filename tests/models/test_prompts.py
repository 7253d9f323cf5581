"""Prompts: which of a model's stands before which column, and what is kept with the model."""

import pytest

from embedtrain.models.loading import load_biencoder, resolve_model
from embedtrain.models.prompts import Prompts, prompt_before, set_prompts


@pytest.fixture
def model(tiny_model):
    return load_biencoder(resolve_model(str(tiny_model)), device="cpu")


@pytest.mark.parametrize("column", ["anchor", "positive", "negative_1", "sentence1", "text"])
def test_a_model_without_prompts_has_none(model, column):
    assert prompt_before(model, column) == ""


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("anchor", "query: "),
        ("positive", "passage: "),
        ("negative", "passage: "),
        ("negative_12", "passage: "),
        ("sentence1", "text: "),
        ("text", "text: "),
    ],
)
def test_anchors_are_queries_and_what_they_are_compared_with_documents(model, column, expected):
    set_prompts(model, {"query": "query: ", "document": "passage: ", "default": "text: "})
    assert prompt_before(model, column) == expected


def test_without_a_prompt_of_its_role_a_column_gets_the_default(model):
    set_prompts(model, {"query": "query: ", "default": "text: "})
    assert [prompt_before(model, name) for name in ("anchor", "positive", "sentence2")] == [
        "query: ",
        "text: ",
        "text: ",
    ]


@pytest.mark.parametrize(
    ("own", "given", "query", "document"),
    [
        ({"query": "", "document": "", "passage": "passage: "}, {}, "", "passage: "),
        ({}, {"default": "text: "}, "text: ", "text: "),
        ({"corpus": "passage: "}, {"query": "query: ", "default": "text: "}, "query: ", "passage: "),
    ],
)
def test_what_stands_before_a_column_is_what_the_saved_model_is_asked_with(
    model, tmp_path, own, given, query, document
):
    model.prompts = own
    set_prompts(model, given)
    assert [prompt_before(model, name) for name in ("anchor", "positive", "negative")] == [query, document, document]
    model.save_pretrained(str(tmp_path))
    loaded = load_biencoder(resolve_model(str(tmp_path)), device="cpu")
    for encode, before in ((loaded.encode_query, query), (loaded.encode_document, document)):
        assert encode("a text") == pytest.approx(loaded.encode("a text", prompt=before))


@pytest.mark.parametrize("name", ["document", "passage"])
def test_a_role_that_is_given_an_empty_prompt_has_none(model, name):
    model.prompts, model.default_prompt_name = {"query": "query: ", name: "passage: "}, "query"
    set_prompts(model, {"document": ""})
    assert (prompt_before(model, "anchor"), prompt_before(model, "positive")) == ("query: ", "")
    assert model.encode_document("a text") == pytest.approx(model.encode("a text", prompt=""))


def test_prompts_are_saved_with_the_model_and_its_others_stay(model, tmp_path):
    model.prompts = {"clustering": "identify: ", "query": "old: "}
    set_prompts(model, {"query": "query: ", "default": "text: "})
    model.save_pretrained(str(tmp_path))
    loaded = load_biencoder(resolve_model(str(tmp_path)), device="cpu")
    kept = {"clustering": "identify: ", "query": "query: ", "default": "text: "}
    assert {name: loaded.prompts[name] for name in kept} == kept
    assert loaded.default_prompt_name == "default"


def test_the_files_name_what_the_loaded_model_has(model, tiny_model, tmp_path):
    assert prompt_before(Prompts(resolve_model(str(tiny_model))), "anchor") == ""
    set_prompts(model, {"query": "问题：", "default": "文本："})
    model.save_pretrained(str(tmp_path))
    files = Prompts(resolve_model(str(tmp_path)))
    assert (files.prompts, files.default_prompt_name) == (model.prompts, "default")
    assert [prompt_before(files, name) for name in ("anchor", "negative", "text")] == ["问题：", "文本：", "文本："]


@pytest.mark.parametrize(
    "content",
    [
        None,
        "{",
        "[]",
        '{"prompts": null}',
        '{"prompts": ["query"], "default_prompt_name": ["query"]}',
        '{"prompts": "query: "}',
        '{"prompts": {"query": 5, "document": null}}',
    ],
)
def test_files_without_prompts_have_none(tmp_path, content):
    (tmp_path / "modules.json").touch()
    if content is not None:
        (tmp_path / "config_sentence_transformers.json").write_text(content, encoding="utf-8")
    files = Prompts(resolve_model(str(tmp_path)))
    assert (files.prompts, files.default_prompt_name) == ({}, None)
