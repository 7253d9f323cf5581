"""One process calls a model, two encode: real processes, a model that counts what it is given."""

import json
import os
from functools import partial

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp

from embedtrain.models import sharing

TEXTS = [f"{'word ' * (n % 7)}{n}" for n in range(23)]


class Counting:
    """Embeddings made of a text's length and the state that the call sees; keeps what it was given."""

    def __init__(self, file):
        self.file = file

    def encode(self, inputs, **options):
        self.file.open("a").write(json.dumps(inputs) + "\n")
        is_bf16 = torch.is_autocast_enabled("cpu")
        return np.array([[len(text), float(text.split()[-1]), is_bf16] for text in inputs], dtype=np.float32)


def _load(folder):
    return Counting(folder / f"calls{os.environ['RANK']}.jsonl")


def _process(rank, world, port, folder):
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world), LOCAL_RANK="0", MASTER_ADDR="127.0.0.1", MASTER_PORT=port)

    def work():
        assert sharing.is_leading()
        model = sharing.share_model(partial(_load, folder), device="cpu")
        found = [model.encode(TEXTS, batch_size=4), model.encode(inputs=TEXTS, batch_size=4, convert_to_tensor=True)]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found.append(model.encode(TEXTS, batch_size=4))
        found.append(model.encode(TEXTS[:3], batch_size=4))
        assert isinstance(found[1], torch.Tensor)
        if folder.joinpath("fail").exists():
            raise ValueError("the leader's own mistake")
        for number, values in enumerate(found):
            np.save(folder / f"{number}.npy", np.asarray(values))
        return "done"

    try:
        told = sharing.with_helpers(work)
    except ValueError:
        told = "failed"
    (folder / f"told{rank}").write_text(str(told))


def run(folder, world=2):
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    mp.spawn(_process, args=(world, port, folder), nprocs=world)


def given(folder, rank):
    file = folder / f"calls{rank}.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.mark.timeout(120)
@pytest.mark.parametrize("world", [2, 3])
def test_the_leader_has_what_it_would_have_made_alone(tmp_path, world):
    run(tmp_path, world)
    alone = Counting(tmp_path / "alone.jsonl").encode(TEXTS)
    for number, expected in enumerate([alone, alone, np.add(alone, [0, 0, 1]), alone[:3]]):
        assert np.array_equal(np.load(tmp_path / f"{number}.npy"), expected)
    assert (tmp_path / "told0").read_text() == "done"
    assert (tmp_path / "told1").read_text() == "None"
    # Six batches of four texts and less, dealt out; three texts are no reason to ask anybody.
    calls = [given(tmp_path, rank) for rank in range(world)]
    assert [len(of_rank) for of_rank in calls] == [4, *[3] * (world - 1)]
    assert sorted(text for of_rank in calls for text in of_rank[0]) == sorted(TEXTS)
    lengths = [[len(text) for text in of_rank[0]] for of_rank in calls]
    assert all(one == sorted(one, reverse=True) for one in lengths)


@pytest.mark.timeout(120)
def test_helpers_end_when_the_leader_fails(tmp_path):
    (tmp_path / "fail").touch()
    run(tmp_path)
    assert (tmp_path / "told0").read_text() == "failed"
    assert (tmp_path / "told1").read_text() == "None"


def test_alone_nothing_changes(tmp_path):
    model = Counting(tmp_path / "calls.jsonl")
    found = sharing.with_helpers(lambda: sharing.share_model(lambda: model, device="cpu"))
    assert found is model
    assert "encode" not in vars(model)
    assert not sharing.is_leading()
