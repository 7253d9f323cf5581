"""A local Ray cluster of two workers, some of which are killed; without Ray only its absence is tested."""

import hashlib
import importlib.util
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from embedtrain.errors import UserError
from embedtrain.mining.label_store import LabelStore
from embedtrain.mining.pair_files import PairFiles
from embedtrain.mining.ray_engine import ATTEMPTS, RayWorkers, check_ray, label_with_ray
from embedtrain.mining.shards import label_missing
from embedtrain.mining.teachers import CrossEncoderScorer

ROWS, SHARD_ROWS = 90, 10
ONE_THREAD = RayWorkers(threads=1, gpus=0)
NO_RAY = importlib.util.find_spec("ray") is None


def needs_ray(test):
    return pytest.mark.ray(pytest.mark.skipif(NO_RAY, reason="Ray is not installed")(test))


@pytest.fixture(scope="module")
def cluster():
    """A Ray cluster of two nodes with one CPU each, all on this machine, and a head that does not work."""
    import ray
    from ray.cluster_utils import Cluster

    # Workers cannot import this file: what it defines travels by value.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    soon = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 1000, "health_check_failure_threshold": 5}
    nodes = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, "_system_config": soon}
    )
    try:
        for _ in range(2):
            nodes.add_node(num_cpus=1)
        ray.init(address=nodes.address, log_to_driver=False, logging_level="ERROR")
        yield nodes
    finally:
        ray.shutdown()
        nodes.shutdown()
        ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def pairs(tmp_path):
    generator = np.random.default_rng(0)
    texts = [" ".join(generator.choice(["how", "do", "i", "reset", "密码"], size=n)) for n in range(1, 2 * ROWS + 1)]
    frame = pd.DataFrame({"sentence1": texts[:ROWS], "sentence2": texts[ROWS:], "row": range(ROWS)})
    frame.to_parquet(tmp_path / "pairs.parquet", index=False)
    return PairFiles([tmp_path / "pairs.parquet"])


class Scorer:
    """Scores of its own making that tells in a folder which process worked on which shard."""

    fingerprint = "made up"

    def __init__(self, notes: Path, *, seconds: float = 0.0):
        self.notes = notes
        self.seconds = seconds

    def score(self, sentence1, sentence2):
        (self.notes / f"{os.getpid()} {time.time_ns()}").touch()
        time.sleep(self.seconds)
        return np.array([self.of(*pair) for pair in zip(sentence1, sentence2, strict=True)], dtype=np.float32)

    @staticmethod
    def of(first, second):
        return int(hashlib.sha256(f"{first}|{second}".encode()).hexdigest()[:6], 16) / 0xFFFFFF


class KilledAt(Scorer):
    """Kills its process in the middle of a shard, so many times."""

    def __init__(self, notes, text, *, times):
        super().__init__(notes, seconds=0.2)
        self.text = text
        self.times = times

    def score(self, sentence1, sentence2):
        scores = super().score(sentence1, sentence2)
        deaths = len(list(self.notes.glob("death *")))
        if self.text in sentence1 and deaths < self.times:
            (self.notes / f"death {deaths}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return scores


class Refusing(Scorer):
    """Meets a mistake of the user's."""

    def score(self, sentence1, sentence2):
        raise UserError("teacher.json: nothing to score with", "--precision: wrong")


def make(factory, *arguments, **options):
    return factory(*arguments, **options)


def processes(notes):
    return {file.name.split()[0] for file in notes.iterdir() if not file.name.startswith("death")}


def store_at(folder, **options):
    return LabelStore(folder, rows=ROWS, inputs={"teacher": "one"}, shard_rows=SHARD_ROWS, **options)


def score_bytes(store):
    return [store.read(shard)["score"].to_numpy().tobytes() for shard in range(len(store))]


@pytest.fixture
def notes(tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    return folder


@pytest.fixture
def expected(pairs, tmp_path, notes):
    store = store_at(tmp_path / "local")
    label_missing(store, pairs, Scorer(notes))
    for note in notes.iterdir():
        note.unlink()
    return store


def test_without_ray_the_message_says_what_to_install(monkeypatch, pairs, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'embedtrain\[ray\]'"):
        check_ray()
    with pytest.raises(UserError, match="--engine ray needs"):
        label_with_ray(store_at(tmp_path / "ray"), pairs, Scorer)


@needs_ray
def test_gives_the_bits_of_a_run_without_ray(cluster, one_thread, pairs, tmp_path, tiny_cross_encoder):
    local, spread = store_at(tmp_path / "local"), store_at(tmp_path / "ray")
    load = partial(load_cross_encoder, tiny_cross_encoder)
    label_missing(local, pairs, load())
    seen = {}
    label_with_ray(spread, pairs, load, workers=ONE_THREAD, on_shard=lambda shard, frame: seen.update({shard: frame}))
    assert spread.whole()
    assert score_bytes(spread) == score_bytes(local)
    assert len({score for part in score_bytes(local) for score in np.frombuffer(part, np.float32)}) > ROWS // 2
    assert sorted(seen) == list(range(len(local)))
    for shard, frame in seen.items():
        assert frame["row"].tolist() == list(range(*local.bounds(shard)))
    assert [spread.path(shard).read_bytes() for shard in range(len(spread))] == [
        local.path(shard).read_bytes() for shard in range(len(local))
    ]


@needs_ray
def test_one_of_two_workers_killed_in_the_middle(cluster, pairs, tmp_path, notes, expected):
    store = store_at(tmp_path / "ray")
    text = pairs.read(45, 46)["sentence1"].tolist()[0]
    label_with_ray(store, pairs, partial(make, KilledAt, notes, text, times=1), workers=ONE_THREAD)
    assert len(list(notes.glob("death *"))) == 1
    # Two workers, and the one that Ray has started for the dead one.
    assert len(processes(notes)) == 3
    assert store.whole()
    assert score_bytes(store) == score_bytes(expected)
    # Every shard once, and the one in hand when the worker was killed once more.
    assert len(list(notes.iterdir())) - 1 == len(store) + 1
    assert sorted(path.name for path in store.folder.iterdir()) == ["hashes", "manifest.json", "shards"]
    assert len(list(store.folder.rglob("part-*"))) == 2 * len(store)


@needs_ray
def test_one_of_three_machines_lost_in_the_middle(cluster, pairs, tmp_path, notes, expected):
    store, lost, done = store_at(tmp_path / "ray"), cluster.add_node(num_cpus=1), []

    def lose(shard, frame):
        done.append(shard)
        if len(done) == 2:
            cluster.remove_node(lost, allow_graceful=False)

    label_with_ray(store, pairs, partial(make, Scorer, notes, seconds=0.5), workers=ONE_THREAD, on_shard=lose)
    assert sorted(done) == list(range(len(store)))
    assert store.whole()
    assert score_bytes(store) == score_bytes(expected)


@needs_ray
def test_a_shard_that_kills_its_workers_is_said_and_the_rest_stays(cluster, pairs, tmp_path, notes, expected):
    store = store_at(tmp_path / "ray")
    text = pairs.read(85, 86)["sentence1"].tolist()[0]
    killing = partial(make, KilledAt, notes, text, times=100)
    with pytest.raises(UserError, match=f"{ATTEMPTS} workers in a row were lost while they made shard 8"):
        label_with_ray(store, pairs, killing, workers=ONE_THREAD)
    assert len(list(notes.glob("death *"))) == ATTEMPTS
    done = set(range(len(store))) - set(store.missing())
    assert len(done) >= 5
    again = []
    label_with_ray(
        store, pairs, partial(make, Scorer, notes), workers=ONE_THREAD, on_shard=lambda shard, _: again.append(shard)
    )
    assert not done & set(again)
    assert score_bytes(store) == score_bytes(expected)


@needs_ray
def test_goes_on_where_it_was_and_mends_damage(cluster, pairs, tmp_path, notes, expected):
    store = store_at(tmp_path / "ray")
    label_missing(store, pairs, Scorer(notes))
    store.path(3).write_bytes(b"damaged")
    store.path(7).unlink()
    done = []
    label_with_ray(
        store, pairs, partial(make, Scorer, notes), workers=ONE_THREAD, on_shard=lambda shard, _: done.append(shard)
    )
    assert sorted(done) == [3, 7]
    assert score_bytes(store) == score_bytes(expected)


@needs_ray
def test_a_mistake_met_by_a_worker_arrives_as_one(cluster, pairs, tmp_path, notes):
    with pytest.raises(UserError) as caught:
        label_with_ray(store_at(tmp_path / "ray"), pairs, partial(make, Refusing, notes), workers=ONE_THREAD)
    assert caught.value.problems == ("teacher.json: nothing to score with", "--precision: wrong")


@needs_ray
def test_a_bug_in_a_worker_is_a_traceback(cluster, pairs, tmp_path):
    with pytest.raises(Exception, match="division by zero") as caught:
        label_with_ray(store_at(tmp_path / "ray"), pairs, lambda: 1 / 0, workers=ONE_THREAD)
    assert not isinstance(caught.value, UserError)


@needs_ray
def test_no_room_for_a_worker_is_said(cluster, pairs, tmp_path, notes):
    with pytest.raises(UserError, match="no machine of the cluster has room for a worker of 64 CPU threads"):
        label_with_ray(
            store_at(tmp_path / "ray"), pairs, partial(make, Scorer, notes), workers=RayWorkers(threads=64, gpus=0)
        )


@pytest.fixture(scope="module")
def tiny_cross_encoder(tiny_model, tmp_path_factory):
    from sentence_transformers import CrossEncoder

    torch.manual_seed(1)
    model = CrossEncoder(str(tiny_model.parent / "hf"), num_labels=1, device="cpu", max_length=48)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(0, 0.2)
    folder = tmp_path_factory.mktemp("teacher") / "model"
    model.save_pretrained(str(folder))
    return folder


def load_cross_encoder(folder):
    from sentence_transformers import CrossEncoder

    return CrossEncoderScorer(CrossEncoder(str(folder), device="cpu"), "tiny")
