"""Embeddings by content: computed once, bounded, and never wrong whatever happens to the files."""

import os

import numpy as np
import pytest

from embedtrain.evaluation.mteb.embedding_cache import EmbeddingCache

DIM = 4


class Model:
    """Embeddings that tell their text, and a count of what was asked for."""

    def __init__(self, factor=1.0):
        self.asked = []
        self.factor = factor

    def __call__(self, texts):
        self.asked.extend(texts)
        return np.array([[self.factor * (len(text) + at) for at in range(DIM)] for text in texts], dtype=np.float32)


def cache_at(path, *, model="m", max_bytes=2**20):
    return EmbeddingCache(path, model=model, max_bytes=max_bytes)


def test_each_text_once_in_order(tmp_path):
    model, cache = Model(), cache_at(tmp_path)
    texts = ["bb", "a", "bb", "cccc"]
    np.testing.assert_array_equal(cache.embeddings(texts, model), Model()(texts))
    assert model.asked == ["bb", "a", "cccc"]
    np.testing.assert_array_equal(cache.embeddings(["cccc", "new", "a"], model), Model()(["cccc", "new", "a"]))
    assert model.asked == ["bb", "a", "cccc", "new"]
    assert (cache.computed, cache.reused) == (4, 3)


def test_kept_on_disk_per_model_and_context(tmp_path):
    cache_at(tmp_path).embeddings(["a", "bb"], Model())
    again = Model()
    np.testing.assert_array_equal(cache_at(tmp_path).embeddings(["bb"], again), Model()(["bb"]))
    assert again.asked == []
    other = Model(2.0)
    np.testing.assert_array_equal(cache_at(tmp_path, model="n").embeddings(["a"], other), Model(2.0)(["a"]))
    assert other.asked == ["a"]
    prompted = Model(3.0)
    np.testing.assert_array_equal(cache_at(tmp_path).embeddings(["a"], prompted, context="query: "), Model(3.0)(["a"]))


def size_of(folder):
    return sum(path.stat().st_size for path in folder.rglob("*.npy"))


def test_the_room_is_bounded_and_what_was_used_stays(tmp_path):
    """Three shards have room; of those before them the one that every process opened is no older than the rest."""
    shard = 40 * DIM * 4 + 40 * 16
    bound = 3 * shard + 1000  # and the files' headers
    for number in range(6):
        cache_at(tmp_path, model=str(number), max_bytes=bound).embeddings([f"text {n}" for n in range(40)], Model())
        for keys in tmp_path.rglob("*.keys.npy"):  # as if time passed
            stamp = keys.stat().st_mtime
            os.utime(keys, (stamp - 100, stamp - 100))
        cache_at(tmp_path, model="0", max_bytes=bound)  # opened, and so in use
    assert size_of(tmp_path) <= bound + 1000
    kept = []
    for number in range(6):
        model = Model()
        cache_at(tmp_path, model=str(number), max_bytes=0).embeddings(["text 7"], model)
        kept.append(not model.asked)
    assert kept[0]
    assert kept[-1]
    assert not any(kept[1:4])


def test_larger_than_the_bound_is_not_kept_but_right(tmp_path):
    cache = cache_at(tmp_path, max_bytes=10)
    texts = ["a", "bb"]
    np.testing.assert_array_equal(cache.embeddings(texts, Model()), Model()(texts))
    assert size_of(tmp_path) == 0
    model = Model()
    cache.embeddings(texts, model)
    assert model.asked == []  # this process still has them


@pytest.mark.parametrize("damage", ["cut", "gone", "no digests"])
def test_damaged_shards_are_computed_again(tmp_path, damage):
    cache_at(tmp_path).embeddings(["a", "bb"], Model())
    (rows,) = tmp_path.rglob("*.rows.npy")
    (keys,) = tmp_path.rglob("*.keys.npy")
    if damage == "cut":
        rows.write_bytes(rows.read_bytes()[:-7])
    elif damage == "gone":
        rows.unlink()
    else:
        keys.unlink()
    model = Model()
    np.testing.assert_array_equal(cache_at(tmp_path).embeddings(["bb", "a"], model), Model()(["bb", "a"]))
    assert model.asked == ["bb", "a"]


def test_nothing_asked_for_is_nothing(tmp_path):
    assert len(cache_at(tmp_path).embeddings([], Model())) == 0
