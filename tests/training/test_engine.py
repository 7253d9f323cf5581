"""The engine: resuming after a kill, several processes, several tables, losses that break, memory that runs out."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from engine_runs import STEPS, pairs, run, task_of
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer
from torch import nn

from embedtrain.errors import UserError
from embedtrain.losses import CosineSimilarityLoss, GradCache, MultipleNegativesRankingLoss, SoftmaxLoss, TripletLoss
from embedtrain.models.prompts import set_prompts
from embedtrain.training import bf16_weights, token_rows
from embedtrain.training import checkpoints as stored
from embedtrain.training.adapter import encode_columns
from embedtrain.training.biencoder import tokenised
from embedtrain.training.engine import Engine
from embedtrain.training.history import DevResult
from embedtrain.training.settings import EngineSettings
from embedtrain.training.steps import Schedule
from embedtrain.training.tasks import Task
from embedtrain.training.token_rows import TokenRowAdamW
from embedtrain.training.tokens import CHUNK_ROWS, TextTable, TokenTable

SCRIPT = Path(__file__).parent / "engine_runs.py"


def encoder(tiny_model, *, still=False):
    model = SentenceTransformer(str(tiny_model), device="cpu")
    for module in model.modules():
        if still and isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def script(tiny_model, checkpoints, output, losses, batch_size=8, *kill, processes=0):
    command = [str(each) for each in (SCRIPT, tiny_model, checkpoints, output, ",".join(losses), batch_size, *kill)]
    starter = [sys.executable]
    if processes:
        starter += ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([*starter, *command], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode != 0) == bool(kill), done.stderr
    return done


def weights_equal(first, second):
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


# Resuming


RESUMED = ["cosine", "mnrl", "similarities"]


@pytest.fixture(scope="module")
def whole(tiny_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    script(tiny_model, "-", folder, RESUMED)
    return folder


@pytest.mark.parametrize("loss", RESUMED)
def test_a_run_killed_at_any_step_ends_with_the_weights_of_one_that_was_not(tiny_model, tmp_path, whole, loss):
    kill_at = int(np.random.default_rng().integers(4, STEPS))
    killed = script(tiny_model, tmp_path / "kept", tmp_path / "killed", [loss], 8, kill_at)
    assert killed.returncode == -signal.SIGKILL
    assert stored.last_whole(tmp_path / "kept" / loss) is not None
    script(tiny_model, tmp_path / "kept", tmp_path / "resumed", [loss])
    first, second = (torch.load(folder / f"{loss}.pt") for folder in (whole, tmp_path / "resumed"))
    weights_equal(first["weights"], second["weights"])
    assert first["losses"] == second["losses"], f"killed at step {kill_at}"
    assert first["evaluations"] == second["evaluations"]


def test_leaving_off_and_going_on_equals_one_run(tiny_model, tmp_path):
    rows = pairs(90)
    straight, broken = encoder(tiny_model), encoder(tiny_model)
    run(straight, [task_of("cosine", rows)], batch_size=8)
    first = run(broken, [task_of("cosine", rows)], batch_size=8, checkpoints=tmp_path, until_share=0.4)
    # Evaluations are at 3, 6, 9 and 12.
    assert first.evaluations[-1]["step"] == 6
    second = run(encoder(tiny_model), [task_of("cosine", rows)], batch_size=8, checkpoints=tmp_path)
    assert second.evaluations[-1]["step"] == STEPS
    again = encoder(tiny_model)
    third = run(again, [task_of("cosine", rows)], batch_size=8, checkpoints=tmp_path)
    weights_equal(straight.state_dict(), again.state_dict())
    assert {**third.progress(), "seconds": 0} == {**second.progress(), "seconds": 0}


def test_a_checkpoint_that_was_cut_off_is_not_used(tmp_path):
    for step, whole in ((3, True), (6, True), (9, False)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "weights.pt").write_bytes(b"")
        if whole:
            (folder / stored.MARKER).write_text("{}")
    assert stored.last_whole(tmp_path) == tmp_path / "checkpoint-6"
    assert not (tmp_path / "checkpoint-9").exists()
    assert stored.last_whole(tmp_path / "nothing") is None


# Several processes


TOGETHER = [f"{loss}-still" for loss in ("cosine", "mnrl", "cosent", "similarities", "softmax", "tsdae")]


@pytest.fixture(scope="module")
def alone_and_both(tiny_model, tmp_path_factory):
    """What one process trains, and what two do with half the batch each."""
    folder = tmp_path_factory.mktemp("together")
    script(tiny_model, "-", folder / "alone", TOGETHER, 8)
    script(tiny_model, "-", folder / "both", TOGETHER, 4, processes=2)
    return folder / "alone", folder / "both"


@pytest.mark.parametrize("loss", TOGETHER)
@pytest.mark.timeout(240)
def test_two_processes_give_the_losses_of_one_with_twice_the_batch(alone_and_both, loss):
    one, two = (torch.load(folder / f"{loss}.pt") for folder in alone_and_both)
    assert len(one["losses"]) == STEPS
    np.testing.assert_allclose(two["losses"], one["losses"], rtol=2e-3, atol=1e-5)
    # Through a decoder that knows nothing yet, gradients are near zero, and Adam makes steps of their rounding errors.
    np.testing.assert_allclose(two["evaluations"], one["evaluations"], atol=2e-2 if loss == "tsdae-still" else 1e-3)
    if loss == "similarities-still":
        for name, weight in one["weights"].items():
            torch.testing.assert_close(two["weights"][name], weight, atol=1e-5, rtol=0, msg=name)


@given(
    sizes=st.lists(st.integers(2, 9), min_size=1, max_size=6),
    world=st.integers(1, 2),
    first=st.integers(0, 20),
    last=st.integers(1, 20),
)
def test_the_shares_of_all_ranks_are_the_batches_of_every_epoch(sizes, world, first, last):
    def batches(epoch):
        return [(0, [100 * epoch + 10 * place + row for row in range(size)]) for place, size in enumerate(sizes)]

    shares = [
        list(Schedule(batches, first=min(first, last), last=last, rank=rank, world_size=world)) for rank in range(world)
    ]
    expected = [rows for epoch in range(last) for _, rows in batches(epoch)][:last][min(first, last) :]
    assert [sorted(row for share in at_once for row in share.rows) for at_once in zip(*shares, strict=True)] == expected
    assert all(share.batch == rows for share, rows in zip(shares[0], expected, strict=True))


# Tokens


def test_a_batch_of_tokens_is_what_the_model_makes_of_the_texts(tiny_model, tmp_path):
    model = encoder(tiny_model)
    rows = pairs(CHUNK_ROWS + 40)
    table = tokenised(model, task_of("cosine", rows), tmp_path / "t.arrow")
    assert isinstance(table, TokenTable)
    wanted = [3, CHUNK_ROWS + 1, 0, CHUNK_ROWS - 1, CHUNK_ROWS]
    for column, name in zip(table.batch(wanted), ("sentence1", "sentence2"), strict=True):
        expected = model.preprocess(rows[name].iloc[wanted].tolist())
        for key in ("input_ids", "attention_mask"):
            assert torch.equal(column[key], expected[key])
    np.testing.assert_allclose(table.label(wanted), rows["score"].iloc[wanted], rtol=1e-6)


def test_texts_longer_than_the_model_reads_are_cut(tiny_model, tmp_path):
    model = encoder(tiny_model)
    model.max_seq_length = 12
    table = tokenised(model, task_of("mnrl", pairs(40)), tmp_path / "t.arrow")
    assert table.longest.max() == 12


@pytest.mark.parametrize("pooled", [True, False])
def test_anchors_are_embedded_as_queries_and_positives_as_documents(tiny_model, tmp_path, pooled):
    model = encoder(tiny_model, still=True)
    set_prompts(model, {"query": "order: ", "document": "reset the cable: "})
    model[1].include_prompt = pooled
    rows = pairs(9)[["sentence1", "sentence2"]].set_axis(["anchor", "positive"], axis=1)
    table = tokenised(model, Task("questions", rows, MultipleNegativesRankingLoss()), tmp_path / "t.arrow")
    embedded = encode_columns(model, table.batch([2, 5]))
    for column, name, encode in zip(embedded, rows, (model.encode_query, model.encode_document), strict=True):
        expected = encode(rows[name].iloc[[2, 5]].tolist(), convert_to_tensor=True)
        torch.testing.assert_close(column, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooled", [True, False])
def test_training_embeds_texts_as_encode_does_with_the_models_default_prompt(tiny_model, tmp_path, pooled):
    model = encoder(tiny_model, still=True)
    model.prompts, model.default_prompt_name = {"similar": "reset the cable: "}, "similar"
    model[1].include_prompt = pooled
    rows = pairs(9)
    table = tokenised(model, task_of("mnrl", rows), tmp_path / "t.arrow")
    assert isinstance(table, TokenTable) == pooled
    columns = table.batch([2, 5])
    embedded = encode_columns(model, columns)
    for column, name in zip(embedded, ("sentence1", "sentence2"), strict=True):
        texts = rows[name].iloc[[2, 5]].tolist()
        torch.testing.assert_close(column, model.encode(texts, convert_to_tensor=True), rtol=1e-4, atol=1e-5)
        assert not np.allclose(model.encode(texts, prompt=""), column.detach(), atol=1e-3)
    history = run(model, [task_of("cosine", pairs(20))], batch_size=8)
    assert history.rows_seen > 0


def test_a_model_without_a_transformer_is_trained_from_its_texts(tmp_path):
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = sorted({word for text in pairs(90)["sentence1"] for word in text.split()})
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(["[UNK]", *words])}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    torch.manual_seed(0)
    model = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=8)], device="cpu")
    assert isinstance(tokenised(model, task_of("mnrl", pairs(9)), tmp_path / "t.arrow"), TextTable)
    before = model.encode("reset device")
    history = run(model, [task_of("cosine", pairs(90))], batch_size=8)
    assert history.rows_seen == 90
    assert not np.allclose(model.encode("reset device"), before)


# What is learnt


def test_accumulated_batches_are_one_step(tiny_model):
    rows = pairs(64)
    together, apart = encoder(tiny_model, still=True), encoder(tiny_model, still=True)
    more = {"max_steps": 1, "untrained": "skip"}
    run(together, [task_of("cosine", rows)], batch_size=64, **more)
    run(apart, [task_of("cosine", rows)], batch_size=16, engine=EngineSettings(gradient_accumulation=4), **more)
    before = encoder(tiny_model).state_dict()
    moved = 0
    for name, value in together.state_dict().items():
        torch.testing.assert_close(value, apart.state_dict()[name], rtol=1e-3, atol=2e-5)
        moved += not torch.equal(value, before[name])
    assert moved


def test_two_tables_with_two_losses_are_both_learnt_from(tiny_model):
    triples = pairs(40, seed=3)
    triples = pd.DataFrame(
        {"anchor": triples["sentence1"], "positive": triples["sentence1"] + " too", "negative": triples["sentence2"]}
    )
    tasks = [task_of("cosine", pairs(60)), Task("triples", triples, TripletLoss())]
    history = run(encoder(tiny_model), tasks, batch_size=8, max_steps=26)
    assert history.train_pairs == 100
    # Two epochs of 8 and 5 batches.
    assert history.rows_seen == 200
    assert history.texts_seen == 2 * (60 * 2 + 40 * 3)


def test_batches_hold_no_more_tokens_than_asked_for(tiny_model, monkeypatch):
    computed = []
    plain = Engine._count

    def noted(self, columns, share, *, tokens):
        computed.append(len(columns) * max(column["input_ids"].numel() for column in columns))
        plain(self, columns, share, tokens=tokens)

    monkeypatch.setattr(Engine, "_count", noted)
    run(encoder(tiny_model), [task_of("cosine", pairs(90))], batch_size=8, engine=EngineSettings(batch_tokens=600))
    assert max(computed) <= 600
    assert np.mean(computed) > 300


def test_what_a_loss_learns_itself_is_trained_and_kept_in_checkpoints(tiny_model, tmp_path):
    rows = pairs(90)
    table = rows[["sentence1", "sentence2"]].assign(label=(rows["score"] > 0.5).astype("int64"))
    straight, broken = SoftmaxLoss(dim=32, num_labels=2), SoftmaxLoss(dim=32, num_labels=2)
    broken.load_state_dict(straight.state_dict())
    start = {name: value.clone() for name, value in straight.state_dict().items()}
    run(encoder(tiny_model), [Task("t", table, straight)], batch_size=8)
    assert any(not torch.equal(value, start[name]) for name, value in straight.state_dict().items())
    run(encoder(tiny_model), [Task("t", table, broken)], batch_size=8, checkpoints=tmp_path, until_share=0.5)
    fresh = SoftmaxLoss(dim=32, num_labels=2)
    run(encoder(tiny_model), [Task("t", table, fresh)], batch_size=8, checkpoints=tmp_path)
    weights_equal(straight.state_dict(), fresh.state_dict())


def test_clipping_inside_the_optimiser_is_clipping(tiny_model, monkeypatch):
    inside, outside = encoder(tiny_model), encoder(tiny_model)
    run(inside, [task_of("mnrl", pairs(90))], batch_size=8)
    monkeypatch.delattr(Engine, "_clip_grad_norm")
    run(outside, [task_of("mnrl", pairs(90))], batch_size=8)
    start = encoder(tiny_model).state_dict()
    for name, value in inside.state_dict().items():
        torch.testing.assert_close(value, outside.state_dict()[name], rtol=1e-3, atol=1e-5)
    assert any(not torch.equal(value, start[name]) for name, value in inside.state_dict().items())


@pytest.fixture
def sparse_tables(monkeypatch):
    """Every embedding table counts as a large one."""
    monkeypatch.setattr(token_rows, "MIN_ROWS", 1)
    made = []
    step = TokenRowAdamW.step
    monkeypatch.setattr(TokenRowAdamW, "step", lambda self, closure=None: made.append(self) or step(self, closure))
    return made


@pytest.mark.parametrize("loss", ["cosine", "mnrl"])
def test_gradients_of_seen_tokens_alone_train_the_same_model(tiny_model, sparse_tables, monkeypatch, loss):
    rows, whole = encoder(tiny_model), encoder(tiny_model)
    run(rows, [task_of(loss, pairs(90))], batch_size=8)
    assert len(sparse_tables) == STEPS
    monkeypatch.setattr(token_rows, "MIN_ROWS", 10**9)
    run(whole, [task_of(loss, pairs(90))], batch_size=8)
    assert len(sparse_tables) == STEPS
    for name, value in rows.state_dict().items():
        torch.testing.assert_close(value, whole.state_dict()[name], rtol=1e-3, atol=1e-5)


def test_going_on_with_gradients_of_seen_tokens_equals_one_run(tiny_model, tmp_path, sparse_tables):
    straight, broken, resumed = (encoder(tiny_model) for _ in range(3))
    run(straight, [task_of("mnrl", pairs(90))], batch_size=8)
    run(broken, [task_of("mnrl", pairs(90))], batch_size=8, checkpoints=tmp_path, until_share=0.5)
    run(resumed, [task_of("mnrl", pairs(90))], batch_size=8, checkpoints=tmp_path)
    assert sparse_tables
    weights_equal(straight.state_dict(), resumed.state_dict())


@pytest.mark.parametrize("together", [False, True])
def test_kept_copies_of_weights_train_the_same_model(tiny_model, monkeypatch, together):
    kept, plain = encoder(tiny_model), encoder(tiny_model)
    calls = []
    refresh = bf16_weights._Kept.refresh
    monkeypatch.setattr(bf16_weights._Kept, "refresh", lambda self: calls.append(1) or refresh(self))
    monkeypatch.setattr(bf16_weights, "MIN_ELEMENTS", 1)
    if not together:
        monkeypatch.setattr(bf16_weights, "SAME_INPUT", ())
    run(kept, [task_of("mnrl", pairs(90))], batch_size=8, precision="bf16")
    assert calls
    monkeypatch.setattr(bf16_weights, "MIN_ELEMENTS", 10**12)
    run(plain, [task_of("mnrl", pairs(90))], batch_size=8, precision="bf16")
    if not together:
        weights_equal(kept.state_dict(), plain.state_dict())
        return
    before = encoder(tiny_model).state_dict()
    moved, apart = (
        torch.stack([(value - one.state_dict()[name]).float().norm() for name, value in other.items()]).norm()
        for one, other in ((kept, before), (kept, plain.state_dict()))
    )
    # One product rounds where three and their sum round otherwise.
    assert 0 < apart < 0.05 * moved


# What can go wrong


class BrokenFrom(CosineSimilarityLoss):
    """The cosine loss until a number of calls, then not a number."""

    def __init__(self, calls):
        super().__init__()
        self.left = calls

    def forward(self, embedding1, embedding2, score):
        self.left -= 1
        return super().forward(embedding1, embedding2, score) * (1.0 if self.left >= 0 else float("nan"))


def test_a_loss_that_is_not_a_number_stops_with_the_texts_and_leaves_the_checkpoint(tiny_model, tmp_path):
    rows = pairs(90)
    task = Task(
        "mine.tsv", rows[["sentence1", "sentence2"]].assign(label=rows["score"].astype("float32")), BrokenFrom(7)
    )
    with pytest.raises(UserError, match=r"(?s)the loss is nan at step 8.*mine.tsv, row \d+: '") as caught:
        run(encoder(tiny_model), [task], batch_size=8, checkpoints=tmp_path)
    assert any(text in str(caught.value) for text in rows["sentence1"])
    assert stored.last_whole(tmp_path) == tmp_path / "checkpoint-6"


def test_out_of_memory_halves_the_chunks_and_goes_on(tiny_model, monkeypatch, caplog):
    model = encoder(tiny_model, still=True)
    plain_model = encoder(tiny_model, still=True)
    rows = pairs(64)
    loss = GradCache(MultipleNegativesRankingLoss(), chunk_size=16)
    encode = model.forward

    def limited(features, **named):
        if len(features["input_ids"]) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return encode(features, **named)

    monkeypatch.setattr(model, "forward", limited)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)

    def metric(_):
        return DevResult({"spearman": 0.0}, np.zeros(0))

    with caplog.at_level("WARNING", logger="embedtrain"):
        settings = {"batch_size": 32, "max_steps": 2}
        run_with(model, Task("pairs", rows[["sentence1", "sentence2"]], loss, batches="unique"), metric, **settings)
    assert loss.chunk_size == 4
    assert "chunks of 4 texts" in caplog.text
    unchunked = Task("pairs", rows[["sentence1", "sentence2"]], MultipleNegativesRankingLoss(), batches="unique")
    run_with(plain_model, unchunked, metric, **settings)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, plain_model.state_dict()[name], rtol=1e-3, atol=2e-5)


def run_with(model, task, metric, *, batch_size, max_steps):
    from embedtrain.training.biencoder import train_tasks
    from embedtrain.training.settings import TrainingSettings

    settings = TrainingSettings(batch_size=batch_size, learning_rate=1e-3, evaluations=1)
    train_tasks(model, [task], dev_metric=metric, untrained="skip", settings=settings, max_steps=max_steps)


def test_memory_that_cannot_be_had_in_smaller_pieces_is_an_error(tiny_model, monkeypatch):
    model = encoder(tiny_model)

    def never(features, **named):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(model, "forward", never)
    with pytest.raises(torch.OutOfMemoryError):
        run(model, [task_of("cosine", pairs(30))], batch_size=8, untrained="skip")


def test_rates_and_padding_are_counted(tiny_model):
    packed = run(encoder(tiny_model), [task_of("cosine", pairs(90))], batch_size=8)
    assert packed.padding_share == 0
    history = run(encoder(tiny_model), [task_of("cosine", pairs(90))], batch_size=8, engine=EngineSettings(pack=False))
    assert history.rows_seen == packed.rows_seen == 90  # 12 batches of an epoch of 12
    assert history.texts_seen == 180
    assert history.tokens_seen == packed.tokens_seen
    assert 0 < history.padding_share < 0.5
    assert history.tokens_per_second > history.sentences_per_second > 0
    assert history.as_dict()["pairs_per_second"] == pytest.approx(history.sentences_per_second / 2)


@pytest.mark.timeout(240)
def test_two_processes_go_on_from_a_checkpoint(tiny_model, tmp_path, alone_and_both):
    loss = "mnrl-still"
    script(tiny_model, tmp_path / "kept", tmp_path / "killed", [loss], 4, 7, processes=2)
    kept = tmp_path / "kept" / loss
    assert stored.last_whole(kept) == kept / "checkpoint-6"
    script(tiny_model, tmp_path / "kept", tmp_path / "resumed", [loss], 4, processes=2)
    first, second = (torch.load(folder / f"{loss}.pt") for folder in (alone_and_both[1], tmp_path / "resumed"))
    np.testing.assert_allclose(second["losses"], first["losses"], rtol=1e-5)


@pytest.mark.parametrize("pack", [False, True])
def test_a_compiled_model_learns_what_the_plain_one_does(tiny_model, caplog, monkeypatch, pack):
    compile_model, calls = torch.compile, []

    def traced(model, **options):
        calls.append(options)
        # Everything but writing C++, which takes a minute.
        return compile_model(model, **{**options, "backend": "aot_eager"})

    monkeypatch.setattr(torch, "compile", traced)
    compiled, plain = encoder(tiny_model, still=True), encoder(tiny_model, still=True)
    names = list(compiled.state_dict())
    for model, chosen in ((compiled, True), (plain, False)):
        engine = EngineSettings(compile=chosen, pack=pack)
        run(model, [task_of("cosine", pairs(40))], batch_size=8, engine=engine, max_steps=3)
    assert len(calls) == 1
    assert "compiled steps took twice as long" in caplog.text
    assert list(compiled.state_dict()) == names
    for name, value in compiled.state_dict().items():
        torch.testing.assert_close(value, plain.state_dict()[name], rtol=1e-3, atol=1e-4)
