"""TSDAE from text to a saved model, with every family of encoders."""

import pandas as pd
import pytest
import torch
from conftest import SAMPLES
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import AutoConfig, AutoModel, AutoTokenizer

from embedtrain.data.noise import Noise
from embedtrain.training.settings import TrainingSettings
from embedtrain.training.tsdae import train_tsdae

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 80,
}
DISTILBERT = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48, "max_position_embeddings": 80}
DEBERTA = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "max_relative_positions": 80}
FAMILIES = {
    "bert": SIZES,
    "roberta": SIZES,
    "xlm-roberta": SIZES,
    "distilbert": DISTILBERT,
    "mpnet": SIZES,
    "electra": {**SIZES, "embedding_size": 16},
    "albert": {**SIZES, "embedding_size": 16},
    "deberta": {**SIZES, **DEBERTA},
    "deberta-v2": {**SIZES, **DEBERTA, "share_att_key": True, "norm_rel_ebd": "layer_norm", "position_buckets": 8},
    "modernbert": {**SIZES, "global_attn_every_n_layers": 2},
}
SHORT = TrainingSettings(min_steps=1, batch_size=8, learning_rate=3e-3, weight_decay=0.0, evaluations=2, patience=0)


@pytest.fixture(scope="module")
def sentences():
    lines = (SAMPLES / "zh_sentences.txt").read_text(encoding="utf-8").splitlines()
    return pd.Series([line for line in lines if line][:64])


def built(family, tokenizer_folder, folder):
    """An encoder of the family with random weights, and a tokenizer that knows the sentences."""
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    special = {f"{name}_token_id": tokenizer.cls_token_id for name in ("bos", "cls")}
    special |= {f"{name}_token_id": tokenizer.sep_token_id for name in ("eos", "sep")}
    config = AutoConfig.for_model(
        family, vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **special, **FAMILIES[family]
    )
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return SentenceTransformer(
        modules=[Transformer(str(folder), max_seq_length=64), Pooling(32, pooling_mode="mean")], device="cpu"
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_falls_and_plain_sentence_transformers_loads_what_was_saved(
    family, tiny_chinese_model, sentences, tmp_path
):
    model = built(family, tiny_chinese_model, tmp_path / "base")
    names = set(model.state_dict())
    history = train_tsdae(
        model, sentences[8:], noise=Noise(), held_out=sentences[:8], settings=SHORT, max_steps=30, seed=1
    )
    losses = [step["loss"] for step in history.as_dict()["steps"]]
    assert sum(losses[-5:]) < 0.95 * sum(losses[:5])
    model.save_pretrained(str(tmp_path / "saved"), create_model_card=False)
    again = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    assert type(again[0].auto_model) is type(model[0].auto_model)
    assert set(again.state_dict()) == names  # nothing of the decoder came along
    texts = sentences[:4].tolist()
    assert torch.equal(again.encode(texts, convert_to_tensor=True), model.encode(texts, convert_to_tensor=True))
