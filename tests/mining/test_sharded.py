import importlib.util
import sys
from functools import partial

import numpy as np
import pytest
import torch

from embedtrain.mining.bm25 import bm25_top_k
from embedtrain.mining.ray_engine import RayWorkers
from embedtrain.mining.sharded import bm25_candidates, encode_sentences

WORDS = ["how", "do", "i", "reset", "the", "password", "refund", "update", "密码", "网络", "退款"]
ONE_THREAD = RayWorkers(threads=1, gpus=0)


def sentences(count, *, seed=0):
    generator = np.random.default_rng(seed)
    return [" ".join(generator.choice(WORDS, size=generator.integers(1, 9))) for _ in range(count)]


class Encoder:
    """Counts its calls, and the words of each text."""

    def __init__(self, calls=None):
        self.calls = calls

    def __call__(self, texts):
        if self.calls is not None:
            self.calls.append(list(texts))
        return np.array([[text.count(word) + 0.25 for word in WORDS] for text in texts], dtype=np.float32)


def test_every_sentence_is_encoded_once_in_its_shard(tmp_path):
    texts, calls = sentences(25), []
    found = encode_sentences(texts, lambda: Encoder(calls), folder=tmp_path, fingerprint="one", shard_rows=10)
    assert found.dtype == torch.float32
    np.testing.assert_array_equal(found.numpy(), Encoder()(texts))
    assert calls == [texts[:10], texts[10:20], texts[20:]]


def test_what_is_encoded_stays_until_something_changes(tmp_path):
    texts, calls = sentences(25), []
    encode = partial(encode_sentences, folder=tmp_path, shard_rows=10)
    first = encode(texts, lambda: Encoder(calls), fingerprint="one")
    (tmp_path / "embeddings" / "shards" / "part-00001.parquet").write_bytes(b"damaged")
    again = encode(texts, lambda: Encoder(calls), fingerprint="one")
    assert calls[3:] == [texts[10:20]]
    assert torch.equal(first, again)
    encode(texts, lambda: Encoder(calls), fingerprint="two")
    assert len(calls) == 7
    changed = encode([*texts[:-1], "another"], lambda: Encoder(calls), fingerprint="two")
    assert len(calls) == 10
    np.testing.assert_array_equal(changed[-1].numpy(), Encoder()(["another"])[0])


def test_nothing_is_loaded_when_nothing_is_missing(tmp_path):
    texts = sentences(5)
    encode_sentences(texts, Encoder, folder=tmp_path, fingerprint="one")

    def refuse():
        raise AssertionError("loaded for nothing")

    encode_sentences(texts, refuse, folder=tmp_path, fingerprint="one")


@pytest.mark.parametrize("shard_rows", [1, 7, 100])
def test_bm25_in_shards_is_bm25(tmp_path, shard_rows):
    texts = [*sentences(40), "", "単独"]
    exclude = torch.tensor([[0, 1], [1, 0], [5, 9], [41, 2]])
    found = bm25_candidates(texts, k=4, exclude=exclude, folder=tmp_path, shard_rows=shard_rows)
    expected = bm25_top_k(texts, k=4, exclude=exclude)
    for part, wanted in zip(found, expected, strict=True):
        assert part.dtype == wanted.dtype
        assert torch.equal(part, wanted)
    # Sentences without a neighbour stay in their places.
    assert (found[0][40] == -1).all()


def test_other_options_search_again(tmp_path):
    texts = sentences(30)
    for k, exclude in ((3, None), (2, None), (2, torch.tensor([[0, 1]]))):
        found = bm25_candidates(texts, k=k, exclude=exclude, folder=tmp_path, shard_rows=8)
        assert torch.equal(found[0], bm25_top_k(texts, k=k, exclude=exclude)[0])


@pytest.mark.ray
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
def test_ray_makes_the_same_embeddings_and_candidates(tmp_path):
    import ray

    texts = sentences(33)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    ray.init(
        num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR", _node_ip_address="127.0.0.1"
    )
    try:
        encoded = encode_sentences(
            texts,
            Encoder,
            folder=tmp_path / "ray",
            fingerprint="one",
            engine="ray",
            workers=ONE_THREAD,
            shard_rows=5,
        )
        candidates = bm25_candidates(texts, k=3, folder=tmp_path / "ray", engine="ray", shard_rows=5)
    finally:
        ray.shutdown()
        ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    local = encode_sentences(texts, Encoder, folder=tmp_path / "local", fingerprint="one", shard_rows=5)
    assert torch.equal(encoded, local)
    for part, wanted in zip(candidates, bm25_top_k(texts, k=3), strict=True):
        assert torch.equal(part, wanted)
