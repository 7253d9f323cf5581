"""Labels in shards: whole or not at all, never twice, and the same however often the labelling is cut off."""

import errno
import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_teacher import FakeTeacher, pairs_table, store_of

from embedtrain.errors import UserError
from embedtrain.files import read_json
from embedtrain.mining import label_store
from embedtrain.mining.label_store import LabelStore
from embedtrain.mining.pair_files import PairFiles
from embedtrain.mining.shards import label_missing


@pytest.fixture
def file(tmp_path):
    pairs_table(95).to_parquet(tmp_path / "pairs.parquet", index=False)
    return tmp_path / "pairs.parquet"


@pytest.fixture
def pairs(file):
    return PairFiles([file])


def calls_of(teacher):
    return len(Path(teacher.calls).read_text().splitlines()) if Path(teacher.calls).exists() else 0


def contents(store):
    return {path.name: path.read_bytes() for path in sorted((store.folder / "shards").iterdir())}


def test_labels_are_the_teachers_and_other_columns_stay(pairs, tmp_path):
    store = store_of(tmp_path / "labels", pairs, shard_rows=20)
    seen = []
    label_missing(store, pairs, FakeTeacher(), on_shard=lambda shard, frame: seen.append((shard, len(frame))))
    assert seen == [(0, 20), (1, 20), (2, 20), (3, 20), (4, 15)]
    table = pairs_table(95)
    # Any reader of Parquet folders takes the shards as one table.
    labels = pd.read_parquet(store.folder / "shards")
    assert list(labels.columns) == ["sentence1", "sentence2", "sampled_by", "row", "score"]
    pd.testing.assert_frame_equal(labels[list(table.columns)], table)
    assert labels["score"].dtype == "float32"
    np.testing.assert_array_equal(labels["score"], FakeTeacher().score(table["sentence1"], table["sentence2"]))
    assert store.whole()
    joined = pd.concat([frame for _, frame in store.frames(["row"])])
    assert joined["row"].tolist() == list(range(95))


def test_what_is_there_is_not_labelled_again(pairs, tmp_path, caplog):
    teacher = FakeTeacher(calls=tmp_path / "calls")
    store = store_of(tmp_path / "labels", pairs, shard_rows=20)
    label_missing(store, pairs, teacher)
    assert calls_of(teacher) == 5
    before = contents(store)
    caplog.set_level(logging.INFO, logger="embedtrain")
    label_missing(store_of(tmp_path / "labels", pairs, shard_rows=20), pairs, teacher)
    assert calls_of(teacher) == 5
    assert "5 of 5 shards are there already" in caplog.text
    assert contents(store) == before


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone", "no hash", "broken hash", "other hash"])
def test_a_damaged_shard_is_found_and_labelled_again(pairs, tmp_path, caplog, damage):
    teacher = FakeTeacher(calls=tmp_path / "calls")
    store = store_of(tmp_path / "labels", pairs, shard_rows=20)
    label_missing(store, pairs, teacher)
    before = contents(store)
    victim, record = store.path(2), store.folder / "hashes" / "part-00002.json"
    if damage == "flipped":
        content = bytearray(victim.read_bytes())
        content[len(content) // 2] ^= 1
        victim.write_bytes(content)
    elif damage == "cut":
        victim.write_bytes(victim.read_bytes()[:-100])
    elif damage == "gone":
        victim.unlink()
    elif damage == "no hash":
        record.unlink()
    elif damage == "broken hash":
        record.write_text('{"key": ')
    else:
        record.write_text(json.dumps({**read_json(record), "key": "of other inputs"}))
    again = store_of(tmp_path / "labels", pairs, shard_rows=20)
    assert again.missing() == [2]
    assert not again.whole()
    if damage in ("flipped", "cut"):
        assert "part-00002.parquet: damaged" in caplog.text
    label_missing(again, pairs, teacher)
    assert calls_of(teacher) == 6
    assert contents(again) == before
    assert again.whole()


def test_other_inputs_are_named_and_refused_or_begun_again(pairs, tmp_path, caplog):
    store = store_of(tmp_path / "labels", pairs, shard_rows=20)
    label_missing(store, pairs, FakeTeacher())
    other = {"pairs": pairs.fingerprint, "teacher": "another"}
    with pytest.raises(UserError) as error:
        LabelStore(tmp_path / "labels", rows=95, shard_rows=20, inputs=other)
    assert "5 shards of labels made with other inputs (teacher changed from fake to another)" in str(error.value)
    assert "--restart" in str(error.value)
    assert store.whole()
    with pytest.raises(UserError, match="shard_rows changed from 20 to 30"):
        store_of(tmp_path / "labels", pairs, shard_rows=30)
    caplog.set_level(logging.INFO, logger="embedtrain")
    begun = LabelStore(tmp_path / "labels", rows=95, shard_rows=30, inputs=other, on_change="restart")
    assert "begun again, shard_rows changed from 20 to 30; teacher changed" in caplog.text
    assert begun.missing() == [0, 1, 2, 3]
    assert not list((begun.folder / "shards").iterdir())


def test_nothing_is_refused_where_nothing_is_labelled_yet(pairs, tmp_path):
    store_of(tmp_path / "labels", pairs, shard_rows=20)
    assert store_of(tmp_path / "labels", pairs, shard_rows=30).missing() == [0, 1, 2, 3]


def test_a_kill_while_old_labels_are_thrown_away_leaves_none_that_count(pairs, tmp_path, monkeypatch):
    label_missing(store_of(tmp_path / "labels", pairs, shard_rows=20), pairs, FakeTeacher())

    def killed(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(label_store.shutil, "rmtree", killed)
    other = {"pairs": pairs.fingerprint, "teacher": "another"}
    with pytest.raises(KeyboardInterrupt):
        LabelStore(tmp_path / "labels", rows=95, shard_rows=20, inputs=other, on_change="restart")
    monkeypatch.undo()
    store = LabelStore(tmp_path / "labels", rows=95, shard_rows=20, inputs=other)
    assert store.missing() == [0, 1, 2, 3, 4]


def test_two_processes_share_the_shards_and_wait_for_each_other(pairs, file, tmp_path):
    alone = store_of(tmp_path / "alone", pairs, shard_rows=10)
    label_missing(alone, pairs, FakeTeacher())
    folder, done = tmp_path / "labels", {}

    def work(rank):
        store = store_of(folder, PairFiles([file]), shard_rows=10, leads=rank == 0)
        mine = []
        teacher = FakeTeacher(pause=0.01 * (1 - rank))
        label_missing(
            store, PairFiles([file]), teacher, rank=rank, world=2, on_shard=lambda shard, _: mine.append(shard)
        )
        store.await_whole()
        done[rank] = mine, store.whole()

    second = threading.Thread(target=work, args=(1,))
    second.start()
    work(0)
    second.join(timeout=60)
    assert done == {0: ([0, 2, 4, 6, 8], True), 1: ([1, 3, 5, 7, 9], True)}
    assert contents(LabelStore.open(folder)) == contents(alone)


def test_the_manifest_ends_with_the_hash_of_every_shard(pairs, tmp_path):
    store = store_of(tmp_path / "labels", pairs, shard_rows=50)
    label_missing(store, pairs, FakeTeacher(pause=0.02))
    assert read_json(store.folder / "manifest.json")["finished"] is None
    store.finish()
    manifest = read_json(store.folder / "manifest.json")
    assert manifest["inputs"] == {"pairs": pairs.fingerprint, "teacher": "fake", "rows": 95, "shard_rows": 50}
    assert manifest["shards"] == store.hashes()
    assert manifest["finished"]
    assert store.seconds > 0.03
    store.finish()
    assert read_json(store.folder / "manifest.json") == manifest
    opened = LabelStore.open(store.folder)
    assert opened.inputs == store.inputs
    assert opened.whole()


def test_names_sort_as_the_shards_do(tmp_path):
    store = LabelStore(tmp_path, rows=100_001, shard_rows=1, inputs={})
    assert store.path(99_999).name < store.path(100_000).name
    assert LabelStore(tmp_path / "few", rows=3, shard_rows=1, inputs={}).path(2).name == "part-00002.parquet"


def test_leftovers_of_a_kill_are_cleared_each_by_its_own_process(pairs, tmp_path):
    store = store_of(tmp_path / "labels", pairs, shard_rows=20)
    leftovers = [store.folder / "shards" / f".part-0000{shard}.parquet.12ab34cd.part" for shard in (1, 2)]
    for leftover in leftovers:
        leftover.write_bytes(b"half")
    label_missing(store, pairs, FakeTeacher(), rank=1, world=2)
    assert [leftover.exists() for leftover in leftovers] == [False, True]


class Broken(FakeTeacher):
    def score(self, sentence1, sentence2):
        scores = super().score(sentence1, sentence2)
        scores[[4, 6]] = np.nan
        return scores


def test_scores_that_are_no_numbers_are_named_with_their_pair(pairs, tmp_path):
    store = store_of(tmp_path / "labels", pairs, shard_rows=20)
    label_missing(store, pairs, FakeTeacher())
    store.path(1).unlink()
    again = store_of(tmp_path / "labels", pairs, shard_rows=20)
    with pytest.raises(UserError) as error:
        label_missing(again, pairs, Broken())
    assert "score of row 25 is nan, and of 1 more in its shard" in str(error.value)
    assert pairs_table(95)["sentence1"][24][:20] in str(error.value)
    assert again.missing() == [1]


def test_a_score_too_few_is_a_bug(pairs, tmp_path):
    class Short(FakeTeacher):
        def score(self, sentence1, sentence2):
            return super().score(sentence1[1:], sentence2[1:])

    with pytest.raises(ValueError, match="one score a pair"):
        label_missing(store_of(tmp_path / "labels", pairs, shard_rows=20), pairs, Short())


def full_disk_message(folder, pairs):
    store = store_of(folder, pairs, shard_rows=20)
    with pytest.raises(UserError) as error:
        label_missing(store, pairs, FakeTeacher())
    (message,) = error.value.problems
    assert "the disk is full" in message
    assert not list(folder.glob("*/.*.part"))
    return store, message


def test_a_full_disk_is_one_message_and_the_whole_shards_stay(pairs, tmp_path, monkeypatch):
    written, real = [], label_store.pq.write_table

    def fills_up(table, path, **options):
        if len(written) == 3:
            Path(path).write_bytes(b"as much as there was room for")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(table, path, **options)
        written.append(path)

    monkeypatch.setattr(label_store.pq, "write_table", fills_up)
    store, message = full_disk_message(tmp_path / "labels", pairs)
    assert "3 of 5 shards are whole" in message
    assert store.missing() == [3, 4]
    monkeypatch.undo()
    label_missing(store, pairs, FakeTeacher())
    assert store.whole()


def test_other_errors_of_the_disk_are_not_called_full(pairs, tmp_path, monkeypatch):
    def fails(*args, **kwargs):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(label_store.pq, "write_table", fails)
    with pytest.raises(OSError, match="Input/output") as error:
        label_missing(store_of(tmp_path / "labels", pairs, shard_rows=20), pairs, FakeTeacher())
    assert error.value.errno == errno.EIO


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own with little room."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("only root may mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full(small_disk, tmp_path):
    # Texts that hardly compress, several times what the disk holds.
    random_ = np.random.default_rng(0)
    texts = [random_.bytes(40).hex() for _ in range(20_000)]
    table = pd.DataFrame({"sentence1": texts, "sentence2": texts[::-1]})
    table.to_parquet(tmp_path / "large.parquet", index=False)
    pairs = PairFiles([tmp_path / "large.parquet"])
    store = store_of(small_disk / "labels", pairs, shard_rows=1000)
    with pytest.raises(UserError, match="the disk is full") as error:
        label_missing(store, pairs, FakeTeacher())
    whole = len(store) - len(store.missing())
    assert 0 < whole < len(store)
    assert f"{whole} of 20 shards are whole" in str(error.value)
    assert not list(store.folder.glob("*/.*.part"))
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    teacher = FakeTeacher(calls=tmp_path / "calls")
    label_missing(store, pairs, teacher)
    assert calls_of(teacher) == len(store) - whole
    assert store.whole()


@pytest.mark.timeout(180)
def test_twenty_kills_at_random_moments_cost_a_shard_each_at_most(tmp_path):
    file, folder, shards, kills = tmp_path / "pairs.parquet", tmp_path / "labels", 220, 20
    pairs_table(shards * 3 - 1).to_parquet(file, index=False)
    options = {"folder": str(folder), "file": str(file), "kills": kills, "shard_rows": 3, "pause": 0.008}
    script = Path(__file__).with_name("fake_teacher.py")
    done = subprocess.run(
        [sys.executable, str(script), json.dumps({**options, "longest": 0.1})],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    whole = json.loads(done.stdout)
    assert len(whole) == kills
    assert whole == sorted(whole)
    assert 0 < whole[-1] < shards
    pairs, teacher = PairFiles([file]), FakeTeacher(calls=tmp_path / "calls")
    store = store_of(folder, pairs, shard_rows=3)
    label_missing(store, pairs, teacher)
    assert store.whole()
    # Each shard was labelled once, but for the one in hand when a kill struck.
    assert shards <= calls_of(teacher) <= shards + kills
    uninterrupted = store_of(tmp_path / "uninterrupted", pairs, shard_rows=3)
    label_missing(uninterrupted, pairs, FakeTeacher())
    assert contents(store) == contents(uninterrupted)
