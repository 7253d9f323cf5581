"""A teacher's embeddings: of each row the right ones, and a student that is drawn to them."""

import numpy as np
import pandas as pd
import pytest
import torch
from sentence_transformers import SentenceTransformer

from embedtrain.losses import MSELoss, SimilarityDistillationLoss
from embedtrain.training.adapter import LossAdapter
from embedtrain.training.biencoder import tokenised, train_tasks
from embedtrain.training.history import DevResult
from embedtrain.training.settings import TrainingSettings
from embedtrain.training.tasks import Task
from embedtrain.training.taught import TaughtTexts

TEXTS = [
    "how do i reset it",
    "如何重置密码",
    "where is my order",
    "reset the device",
    "忘记密码怎么登录",
    "it does not start",
]
PAIRS = pd.DataFrame(
    [(TEXTS[first], TEXTS[second]) for first in range(6) for second in range(first)],
    columns=["sentence1", "sentence2"],
)


@pytest.fixture
def embeddings():
    return np.random.default_rng(0).normal(size=(len(TEXTS), 5)).astype(np.float32)


def test_each_text_of_a_row_has_its_own_embedding(embeddings):
    rows = TaughtTexts(TEXTS, embeddings).of(PAIRS)
    given = rows[np.array([4, 0, 4])]
    assert given.shape == (3, 2, 5)
    for place, row in enumerate([4, 0, 4]):
        for column, text in enumerate(PAIRS.iloc[row]):
            np.testing.assert_array_equal(given[place, column], embeddings[TEXTS.index(text)])


def test_embeddings_mapped_from_a_file_in_half_precision_come_as_fp32(embeddings, tmp_path):
    np.save(tmp_path / "e.npy", embeddings.astype(np.float16))
    mapped = np.load(tmp_path / "e.npy", mmap_mode="r")
    given = TaughtTexts(TEXTS, mapped).of(PAIRS)[np.arange(3)]
    assert given.dtype == np.float32
    assert torch.from_numpy(given).shape == (3, 2, 5)


def test_a_text_that_the_teacher_has_not_seen_is_named(embeddings):
    with pytest.raises(ValueError, match="has not embedded '忘记密码怎么登录'"):
        TaughtTexts([text for text in TEXTS if "登录" not in text], embeddings[:5]).of(PAIRS)
    with pytest.raises(ValueError, match="an embedding for each text, found 6 and 5"):
        TaughtTexts(TEXTS, embeddings[:5])


@pytest.mark.parametrize(
    ("loss", "width"), [(SimilarityDistillationLoss(), 5), (MSELoss(), 32)], ids=["similarities", "embeddings"]
)
def test_texts_alone_are_taught_as_pairs_are(tiny_model, tmp_path, loss, width):
    model = SentenceTransformer(str(tiny_model), device="cpu")
    taught = TaughtTexts(TEXTS, np.random.default_rng(0).normal(size=(len(TEXTS), width)).astype(np.float32))
    task = Task("texts", pd.DataFrame({"text": TEXTS}), loss, "unique", taught=taught)
    label = tokenised(model, task, tmp_path / "texts.arrow").label([4, 1])
    np.testing.assert_array_equal(label, taught.embeddings[[4, 1]])
    assert torch.isfinite(LossAdapter(model, loss)([model.preprocess([TEXTS[4], TEXTS[1]])], label))


def test_a_student_learns_the_similarities_of_its_teacher(tiny_model, embeddings, tmp_path):
    student = SentenceTransformer(str(tiny_model), device="cpu")
    task = Task("pairs", PAIRS, SimilarityDistillationLoss(), "unique", taught=TaughtTexts(TEXTS, embeddings))
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)

    def distance(model):
        made = model.encode(TEXTS, normalize_embeddings=True, show_progress_bar=False)
        return float(np.square(made @ made.T - unit @ unit.T).mean())

    def dev_metric(model):
        return DevResult({"nearness": -distance(model)}, np.zeros(1))

    before = distance(student)
    table = tokenised(student, task, tmp_path / "pairs.arrow")
    assert table.label([1, 3]).shape == (2, 2, 5)
    settings = TrainingSettings(batch_size=4, learning_rate=1e-3, evaluations=2, patience=0)
    train_tasks(student, [task], dev_metric=dev_metric, metric="nearness", settings=settings, max_steps=60)
    assert distance(student) < 0.5 * before
