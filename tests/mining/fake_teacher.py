"""A teacher that needs no model, and a labelling with it that is killed again and again. Run as a script by a test."""

import hashlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from embedtrain.mining.shards import LabelStore, PairFiles, label_missing

TEXTS = ["how do i reset it", "the valve drips", "怎么重置密码", "无法登录账号", "a refund please", "it leaks"]


class FakeTeacher:
    """Scores made of the texts alone, after a pause; notes every call in a file, so that calls survive a kill."""

    fingerprint = "fake"

    def __init__(self, *, pause=0.0, calls=None):
        self.pause = pause
        self.calls = calls

    def score(self, sentence1, sentence2):
        if self.calls is not None:
            with open(self.calls, "a", encoding="utf-8") as file:
                file.write("call\n")
        time.sleep(self.pause)
        digests = [hashlib.sha256(f"{a}|{b}".encode()).digest() for a, b in zip(sentence1, sentence2, strict=True)]
        return np.array([int.from_bytes(digest[:3], "big") / 2**24 for digest in digests], dtype=np.float32)


def pairs_table(count, *, seed=0):
    """Pairs of various lengths with columns of several types beside them."""
    random_ = np.random.default_rng(seed)

    def text():
        return " ".join(random_.choice(TEXTS, size=random_.integers(1, 6)))

    return pd.DataFrame(
        {
            "sentence1": [text() for _ in range(count)],
            "sentence2": [text() for _ in range(count)],
            "sampled_by": random_.choice(["bm25", "semantic"], size=count),
            "row": np.arange(count),
        }
    )


def store_of(folder, pairs, *, shard_rows, **options):
    inputs = {"pairs": pairs.fingerprint, "teacher": "fake"}
    return LabelStore(folder, rows=pairs.rows, shard_rows=shard_rows, inputs=inputs, **options)


def kill_again_and_again(folder, file, *, kills, shard_rows, pause, longest):
    """Fork a labelling, kill it at a random moment, and begin again; how many shards were whole after each kill.

    Every second time the moment lies behind the first call of the teacher, however busy the machine is.
    """
    moments, whole, calls = random.Random(7), [], folder.parent / "calls"
    calls.touch()
    for number in range(kills):
        called, process = calls.stat().st_size, os.fork()
        if process == 0:
            pairs = PairFiles([file])
            store = store_of(folder, pairs, shard_rows=shard_rows)
            label_missing(store, pairs, FakeTeacher(pause=pause, calls=calls))
            os._exit(0)
        while number % 2 and calls.stat().st_size == called:
            time.sleep(0.001)
        time.sleep(moments.uniform(0, longest))
        os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        assert os.WIFSIGNALED(status), "it was done before it could be killed"
        # A file that is there is there whole, with or without its hash.
        files = sorted((folder / "shards").glob("part-*.parquet"))
        assert all(len(pd.read_parquet(path)) for path in files)
        hashed = len(list((folder / "hashes").glob("part-*.json")))
        assert len(files) - 1 <= hashed <= len(files)
        whole.append(hashed)
    return whole


if __name__ == "__main__":
    options = json.loads(sys.argv[1])
    print(json.dumps(kill_again_and_again(Path(options.pop("folder")), Path(options.pop("file")), **options)))
