"""Training on raw sentences: TSDAE, masked language modelling and SimCSE, and the tables that they draw noise from."""

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import SAMPLES
from sentence_transformers import SentenceTransformer

from embedtrain.data.noise import Noise
from embedtrain.data.token_spelling import replacement_ids
from embedtrain.training.denoising_rows import IGNORED, DenoisingTable, MaskedTable
from embedtrain.training.held_out import HELD_OUT_EPOCH
from embedtrain.training.history import DevResult
from embedtrain.training.mlm import train_mlm
from embedtrain.training.settings import TrainingSettings
from embedtrain.training.simcse import train_simcse
from embedtrain.training.tsdae import train_tsdae

SHORT = TrainingSettings(min_steps=1, batch_size=8, learning_rate=3e-3, weight_decay=0.0, evaluations=2, patience=0)


@pytest.fixture
def model(tiny_chinese_model):
    return SentenceTransformer(str(tiny_chinese_model), device="cpu")


@pytest.fixture(scope="module")
def sentences():
    lines = (SAMPLES / "zh_sentences.txt").read_text(encoding="utf-8").splitlines()
    return pd.Series([line for line in lines if line][:96])


FITS = {
    "tsdae": lambda model, sentences, **named: train_tsdae(model, sentences, noise=Noise(), **named),
    "mlm": train_mlm,
    "simcse": train_simcse,
}


def fitted(name, model, sentences, *, steps=24, **named):
    named = {"held_out": sentences[:16], "settings": SHORT, "max_steps": steps, "seed": 1, **named}
    return FITS[name](model, sentences[16:], **named)


def table_of(model, sentences, folder, **named):
    return DenoisingTable(folder / "table.arrow", sentences, tokenizer=model.tokenizer, max_length=64, **named)


def test_denoising_rows_are_a_damaged_sentence_and_the_sentence_as_the_model_reads_it(model, sentences, tmp_path):
    table = table_of(model, sentences, tmp_path, noise=Noise(delete_ratio=0.6))
    rows = [5, 0, 17]
    damaged, whole = table.batch(rows)
    expected = model.preprocess([sentences[row] for row in rows])
    for name in ("input_ids", "attention_mask", "token_type_ids"):
        assert torch.equal(whole[name], expected[name])
    for row in range(len(rows)):
        few = damaged["input_ids"][row][damaged["attention_mask"][row].bool()].tolist()
        many = whole["input_ids"][row][whole["attention_mask"][row].bool()].tolist()
        assert [few[0], few[-1]] == [many[0], many[-1]]
        assert 3 <= len(few) < len(many)
        left = iter(many)
        assert all(token in left for token in few)  # in the same order


def test_noise_is_new_in_every_epoch_and_the_same_in_every_batch(model, sentences, tmp_path):
    table = table_of(model, sentences, tmp_path, noise=Noise())

    def damaged(rows, epoch, row):
        source = table.batch(rows, epoch)[0]
        place = rows.index(row)
        return source["input_ids"][place][source["attention_mask"][place].bool()].tolist()

    longest = int(np.argmax(table.longest))
    other = (longest + 1) % len(table)
    assert damaged([longest], 3, longest) == damaged([other, longest], 3, longest)
    assert len({tuple(damaged([longest], epoch, longest)) for epoch in range(8)}) > 4


def test_lengths_count_special_tokens_and_long_sentences_are_cut(model, tmp_path):
    table = table_of(model, pd.Series(["密码" * 60, "退款"]), tmp_path, noise=Noise())
    assert table.longest.tolist() == [64, 4]
    assert table.batch([0])[1]["input_ids"].shape == (1, 64)
    assert table.batch([0])[1]["input_ids"][0, -1] == model.tokenizer.sep_token_id


def test_masked_rows_say_what_is_to_be_found_and_never_a_special_token(model, sentences, tmp_path):
    table = MaskedTable(
        tmp_path / "table.arrow",
        sentences,
        tokenizer=model.tokenizer,
        max_length=64,
        mask_id=model.tokenizer.mask_token_id,
        vocabulary=replacement_ids(model.tokenizer),
        share=0.3,
    )
    rows = list(range(len(sentences)))
    source, wanted = table.batch(rows, 2)
    whole = model.preprocess([sentences[row] for row in rows])
    targets, chosen = wanted["targets"], wanted["targets"] != IGNORED
    assert torch.equal(targets[chosen], whole["input_ids"][chosen])
    assert torch.equal(source["input_ids"][~chosen], whole["input_ids"][~chosen])
    around = [model.tokenizer.cls_token_id, model.tokenizer.sep_token_id, model.tokenizer.pad_token_id]
    assert not torch.isin(targets[chosen], torch.tensor(around)).any()
    assert (chosen.sum(dim=1) >= 1).all()
    content = whole["attention_mask"].sum() - 2 * len(rows)
    assert float(chosen.sum() / content) == pytest.approx(0.3, abs=0.03)
    hidden = source["input_ids"][chosen] == model.tokenizer.mask_token_id
    assert float(hidden.float().mean()) == pytest.approx(0.8, abs=0.05)
    same = source["input_ids"][chosen] == targets[chosen]
    assert 0.04 < float(same.float().mean()) < 0.2


@pytest.mark.parametrize("name", list(FITS))
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_learns_and_the_encoder_stays_a_plain_one(name, precision, model, sentences, tmp_path):
    before = {key: value.clone() for key, value in model.state_dict().items()}
    history = fitted(name, model, sentences, precision=precision)
    metric = next(key for key in history.evaluations[0] if key != "step")
    scores = [entry[metric] for entry in history.evaluations]
    assert 0 < scores[0] < max(scores[1:]) < 1
    assert np.mean([step["loss"] for step in history.steps[-4:]]) < history.steps[0]["loss"]
    assert history.tokens_seen > 0
    assert 0 <= history.padding_share < 1
    state = model.state_dict()
    assert state.keys() == before.keys()
    assert any(not torch.equal(state[key], before[key]) for key in before)
    model.save_pretrained(str(tmp_path / "saved"))
    again = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    texts = sentences[:4].tolist()
    assert np.allclose(again.encode(texts), model.encode(texts), atol=1e-6)


@pytest.mark.parametrize("name", list(FITS))
def test_a_training_that_was_cut_off_ends_with_the_same_weights(name, tiny_chinese_model, sentences, tmp_path):
    class Killed(Exception):
        pass

    def run(checkpoints, *, killed_at=None):
        model = SentenceTransformer(str(tiny_chinese_model), device="cpu")
        asked = 0

        def dev_metric(current):
            nonlocal asked
            asked += 1
            if asked == killed_at:
                raise Killed
            moved = sum(float(p.detach().abs().sum()) for p in current.parameters())
            return DevResult({"dev": moved}, np.zeros(1))

        settings = TrainingSettings(min_steps=1, batch_size=8, learning_rate=3e-3, evaluations=4, patience=0)
        named = {"dev_metric": dev_metric, "metric": "dev", "untrained": "skip", "settings": settings}
        fitted(name, model, sentences, checkpoints=checkpoints, **named)
        return model.state_dict()

    whole = run(tmp_path / "whole")
    with pytest.raises(Killed):
        run(tmp_path / "cut", killed_at=3)
    resumed = run(tmp_path / "cut")
    assert all(torch.equal(resumed[key], whole[key]) for key in whole)


def test_held_out_sentences_are_always_damaged_in_the_same_way(model, sentences, tmp_path):
    table = table_of(model, sentences, tmp_path, noise=Noise())
    first, second = (table.batch([1, 2], HELD_OUT_EPOCH)[0]["input_ids"] for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("name", list(FITS))
def test_without_anything_to_choose_by_it_does_not_start(name, model, sentences):
    with pytest.raises(ValueError, match="held_out"):
        FITS[name](model, sentences, settings=SHORT, max_steps=1)


def test_a_decoder_of_its_own_is_trained_and_left_behind(model, sentences):
    before = set(model.state_dict())
    history = fitted("tsdae", model, sentences, decoder_layers=1)
    assert history.steps[-1]["loss"] < history.steps[0]["loss"]
    assert set(model.state_dict()) == before


def test_what_a_loss_is_the_mean_of_adds_up_over_processes(model, sentences, tmp_path):
    named = {"tokenizer": model.tokenizer, "max_length": 64}
    denoising = DenoisingTable(tmp_path / "a.arrow", sentences, noise=Noise(), **named)
    vocabulary = replacement_ids(model.tokenizer)
    masked = MaskedTable(tmp_path / "b.arrow", sentences, mask_id=4, vocabulary=vocabulary, share=0.3, **named)
    rows = list(range(12))
    assert denoising.weight(rows) == int(denoising.batch(rows)[1]["attention_mask"][:, 1:].sum())
    for epoch in (0, 3):
        found = masked.batch(rows, epoch)[1]["targets"]
        assert masked.weight(rows, epoch) == int((found != IGNORED).sum())
        assert masked.weight(rows[:5], epoch) + masked.weight(rows[5:], epoch) == masked.weight(rows, epoch)
