"""What every test shares: no network, a tiny model built from a config, small tables."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("MPLBACKEND", "Agg")
# Several processes that each compute with every core are slower than one. To be set before torch is imported.
if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, allowed // workers)))

import logging
import socket
from pathlib import Path

import pytest
from hypothesis import settings

# The machine may be busy: how long an example takes says nothing about it.
settings.register_profile("project", deadline=None, derandomize=True)
settings.load_profile("project")


@pytest.fixture(autouse=True)
def no_logging_set_up():
    """What the command line sets up is cleared after a test; before it, what fixtures of a module left."""

    def clear():
        package = logging.getLogger("embedtrain")
        package.handlers[:], package.propagate = [], True
        package.setLevel(logging.NOTSET)

    clear()
    yield
    clear()


class NetworkBlocked(Exception):
    """A test tried to reach the network."""


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Sockets other than local ones (UNIX, and loopback for multi-process tests) are refused in every test."""
    connect = socket.socket.connect

    def guarded(self, address):
        if self.family == socket.AF_UNIX or (isinstance(address, tuple) and address[0] in {"127.0.0.1", "::1"}):
            return connect(self, address)
        raise NetworkBlocked(f"a test tried to connect to {address}")

    def no_lookup(host, *args, **kwargs):
        if host in {"localhost", "127.0.0.1", "::1", None}:
            return lookup(host, *args, **kwargs)
        raise NetworkBlocked(f"a test tried to look up {host}")

    lookup = socket.getaddrinfo
    monkeypatch.setattr(socket.socket, "connect", guarded)
    monkeypatch.setattr(socket, "getaddrinfo", no_lookup)


SAMPLES = Path(__file__).parent.parent / "data_samples"


CHINESE = "怎么如何密码重置设备连接网络退款订单无法登录账号忘记更新手机应用"


def build_tiny_model(folder: Path, *, layers: int = 2, hidden: int = 32, chinese: str = CHINESE) -> Path:
    """A random BERT with a vocabulary of characters (Latin and Chinese), as a SentenceTransformer."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizer

    torch.manual_seed(0)
    letters = "abcdefghijklmnopqrstuvwxyz0123456789?!.,'"
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocab += list(dict.fromkeys([*letters, *("##" + c for c in letters), *chinese]))
    base = folder / "hf"
    base.mkdir(parents=True)
    (base / "vocab.txt").write_text("\n".join(vocab), encoding="utf-8")
    tokenizer = BertTokenizer.from_pretrained(str(base))
    config = BertConfig(
        vocab_size=len(vocab),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=hidden * 2,
        max_position_embeddings=128,
    )
    BertModel(config).save_pretrained(base)
    tokenizer.save_pretrained(base)
    transformer = Transformer(str(base), max_seq_length=64)
    model = SentenceTransformer(modules=[transformer, Pooling(hidden, pooling_mode="mean")], device="cpu")
    model.save(str(folder / "st"))
    return folder / "st"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """Folder of the tiny SentenceTransformer; do not write to it."""
    return build_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_chinese_model(tmp_path_factory) -> Path:
    """The same with every character of the Chinese sample text in its vocabulary."""
    text = (SAMPLES / "zh_sentences.txt").read_text(encoding="utf-8")
    characters = "".join(sorted({character for character in text if "\u3000" <= character <= "\uffff"}))
    return build_tiny_model(tmp_path_factory.mktemp("tiny_chinese"), chinese=characters)
